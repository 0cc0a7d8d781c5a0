"""A room of ten thousand objects; through `manage.py shell`, beside a server."""

from benchmarks.joins import OBJECTS
from journal.entry import Entry
from journal.models import Document, JournalBatch
from journal.writer import Appended, Draft, append_batches
from vuer_rtc.crdt.message import Message, Op

PER_BATCH = 500


def fill(slug: str) -> None:
    """Afterwards the document has its objects."""
    append(slug, [[Op("node.insert", "", "children", value_of(n))] for n in range(OBJECTS)])


def value_of(number: int) -> dict[str, object]:
    return {"key": f"object-{number}", "tag": "Mesh", "position": [number, 1.5, -2], "color": "#ff8800"}


def append(slug: str, changes: list[list[Op]]) -> None:
    document = Document.objects.get(slug=slug)
    last = JournalBatch.objects.filter(document=document).order_by("-last_seq").first()
    head = last.last_seq if last else 0
    for start in range(0, len(changes), PER_BATCH):
        entries = [
            entry_of(seq, ops) for seq, ops in enumerate(changes[start : start + PER_BATCH], head + start + 1)
        ]
        [outcome] = append_batches([Draft(document.pk, head + start + 1, entries)], "benchmark")
        assert isinstance(outcome, Appended)


def entry_of(seq: int, ops: list[Op]) -> Entry:
    return Entry(
        Message(f"maker:{seq}", "maker", {"maker": seq}, seq, 1.75e9 + seq, ops, server_seq=seq),
        received_at=1.75e9,
    )
