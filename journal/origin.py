"""Where time travel begins once older batches are gone: the state at the truncation point, exactly (rule J35).

A snapshot for recovery folds up to a cut of the journal, and so messages that came in after the truncation point: the
states before these could not be told from it.  An origin folds only as far as no later message reaches, and keeps what
lies above as messages.
"""

import logging
from collections.abc import Iterable
from uuid import UUID

import msgspec

from journal.entry import Entry
from journal.error import OutOfReach, SnapshotTooLarge
from journal.history import replay
from journal.models import Snapshot
from journal.settings import settings
from journal.snapshot import Origin, SnapshotDraft, write_snapshot
from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import INTEGER_MAX, Message, cut_record

logger = logging.getLogger(__name__)


def write_origin(document_id: UUID, seq: int, head: Graph) -> Snapshot | None:
    """Afterwards every state from `seq` on can be told without the batches up to there.  `head` is the document at a
    head behind it.

    None, with a line in the log, when it cannot be: the state there is not told exactly now, or it is too large.
    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    try:
        graph = replay(
            document_id, seq, head.head_seq, lambda then, entries: _folded(then, entries, head.cut)
        )
        tail = graph.retained_messages()
        if len(tail) > settings.origin_messages_max:
            raise SnapshotTooLarge(f"{len(tail)} messages are above its cut")
        state = msgspec.msgpack.encode(Origin(graph.snapshot(), tail))
        draft = SnapshotDraft(seq, graph.cut, state, graph.digest(), graph.full_digest(), covered_seq=seq)
        return write_snapshot(document_id, draft, seq, Snapshot.Reason.ORIGIN)
    except (OutOfReach, SnapshotTooLarge) as error:
        logger.warning("document %s: no origin of time travel at seq %d: %s", document_id, seq, error)
        return None


def _folded(graph: Graph, later: Iterable[Entry], cut: int) -> Graph:
    """The graph, folded as far as none of the later messages reaches, nor any that comes behind them: those are late
    behind `cut`, which is in force there."""
    lowest = min((_depth(entry.message, graph) for entry in later), default=INTEGER_MAX)
    fold = min(cut, lowest - 1)
    if fold > graph.cut:
        graph.apply(cut_record("=server:origin", fold, 0))
    return graph


def _depth(message: Message, graph: Graph) -> int:
    """The lowest Lamport time of a message and of those in the graph that it undoes or redoes."""
    if message.is_server_record:
        return INTEGER_MAX
    targets = (graph.message(str(op.target)) for op in message.ops if op.ot in META_OPS)
    return min([message.lt, *(target.lt for target in targets if target is not None)])
