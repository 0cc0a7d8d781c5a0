"""Another process that writes into a live room's journal; run in a server's surroundings through `manage.py shell`."""

import msgspec

from journal.entry import Entry
from journal.models import Document, JournalBatch
from journal.writer import Appended, Draft, append_batches
from tests.rooms.build import message, put
from vuer_rtc.crdt.message import Message, cut_record


def append(slug: str, messages: list[Message]) -> None:
    """Behind whatever head the journal has by then."""
    document = Document.objects.get(slug=slug)
    while True:
        last = JournalBatch.objects.filter(document=document).order_by("-last_seq").first()
        head_seq = last.last_seq if last else 0
        numbered = [
            msgspec.structs.replace(item, server_seq=seq) for seq, item in enumerate(messages, head_seq + 1)
        ]
        entries = [Entry(item, received_at=1.75e9) for item in numbered]
        [outcome] = append_batches([Draft(document.pk, head_seq + 1, entries)], "second-writer")
        if isinstance(outcome, Appended):
            return


def write_edits(slug: str, count: int) -> None:
    """`count` batches of one message each, by a client `robot`."""
    for counter in range(1, count + 1):
        append(slug, [message("robot", counter, put("n", "robot", counter), lt=1000 + counter)])


def write_cut(slug: str, cut: int) -> None:
    append(slug, [cut_record(f"=cut-{cut}", cut, 1.75e9)])
