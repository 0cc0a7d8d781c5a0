"""Empties a document, and keeps its journal (rules J34, E1 to E4)."""

import random
import time
from uuid import UUID, uuid4

from journal.authoring import CONFLICT_PAUSE_S, Author
from journal.entry import Entry
from journal.error import JournalBusy, JournalError
from journal.failpoint import reach
from journal.lease import process_name
from journal.projection import note_epoch
from journal.settings import settings
from journal.writer import Appended, Conflict, Fenced, append_batches
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import INTEGER_MAX, Epoch, Message, reset_record

LAMPORT_STEP = 1_000_000_000
"""How far a reset goes ahead of the document's Lamport time.  A client that has not seen it goes on in the old epoch,
one step per commit: at a hundred a second it would come so far after four months without a connection."""


class StaleEpoch(JournalError):
    """The document has been reset meanwhile; nothing was written."""


def reset_document(document_id: UUID, *, user: str | None = None, epoch: int | None = None) -> Message:
    """The record, durable: from it on the document is empty, and messages of those who have not seen it are refused.

    `user`: primary key, as text, of the account that is told as its author.  `epoch`: the one that is to end; None:
    whichever is in force.

    Raises: StaleEpoch; OpenTransaction; JournalBusy when writers leave no room; CorruptJournal, UnknownDocument;
    JournalUnavailable: then it may have been written, `Document.epoch` will show.
    """
    author, collisions = Author(document_id), 0
    give_up_at = time.monotonic() + settings.author_patience_s
    while True:
        record = _record(author.graph, epoch)
        entry = Entry(record, user, None, time.time())
        [outcome] = append_batches([author.draft(entry)], process_name())
        match outcome:
            case Appended() as appended:
                reach("reset.written")
                journalled = author.applied(record, appended)
                note_epoch(document_id, author.graph.epoch.number)
                return journalled
            case Fenced():
                author.begin_again()
            case Conflict() if time.monotonic() > give_up_at:
                raise JournalBusy(
                    f"document {document_id}: its writers left no room for the reset; try again"
                )
            case Conflict():
                time.sleep(random.random() * CONFLICT_PAUSE_S * min(collisions, 10))
                collisions += 1
                author.read_on()


def _record(graph: Graph, wanted: int | None) -> Message:
    number = graph.epoch.number
    if wanted not in (None, number):
        raise StaleEpoch(f"the document is in epoch {number}, not in {wanted}")
    lt = min(graph.lt + LAMPORT_STEP, (graph.lt + INTEGER_MAX) // 2)
    return reset_record(f"=server:{uuid4().hex}", Epoch(number + 1, lt), time.time())
