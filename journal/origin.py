"""Where time travel begins once older batches are gone: the state at the truncation point, exactly (rule J35).

A snapshot for recovery folds up to a cut of the journal, and so messages that came in after the truncation point: the
states before these could not be told from it.  An origin folds only as far as no later message reaches, and keeps what
lies above as messages.
"""

import logging
from collections.abc import Iterable
from uuid import UUID

import msgspec

from journal.error import SnapshotTooLarge
from journal.models import Snapshot
from journal.plan import Span
from journal.settings import settings
from journal.snapshot import Origin, SnapshotDraft, write_snapshot
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import INTEGER_MAX, cut_record

logger = logging.getLogger(__name__)


def draft_origin(graph: Graph, cut: int, later: Iterable[Span]) -> SnapshotDraft | None:
    """The state of `graph`, from which every later one can be told; None when that takes too many messages.

    The graph is folded as far as none of the later messages reaches, nor any that comes behind them: those are late
    behind `cut`, which is in force there.  So what it tells behind the cut is the same.
    """
    fold = min(cut, _lowest(graph, later) - 1)
    if fold > graph.cut:
        graph.apply(cut_record("=server:origin", fold, 0))
    tail = graph.retained_messages()
    if len(tail) > settings.origin_messages_max:
        return None
    seq, state = graph.head_seq, msgspec.msgpack.encode(Origin(graph.snapshot(), tail))
    return SnapshotDraft(seq, graph.cut, state, graph.digest(), graph.full_digest(), covered_seq=seq)


def _lowest(graph: Graph, later: Iterable[Span]) -> int:
    """The lowest Lamport time of the later messages and of those in the graph that they undo or redo."""
    lowest = INTEGER_MAX
    for span in later:
        targets = (graph.message(target) for target in span.targets)
        lowest = min(lowest, span.lt_min, *(target.lt for target in targets if target is not None))
    return lowest


def write_origin(document_id: UUID, seq: int, draft: SnapshotDraft | None) -> Snapshot | None:
    """Afterwards every state from `seq` on can be told without the batches up to there.

    None, with a line in the log, when it cannot be: there is no such draft, or it is too large for a row.
    """
    try:
        if draft is not None:
            return write_snapshot(document_id, draft, seq, Snapshot.Reason.ORIGIN)
        problem = "its state is not told exactly any more, or takes more messages than are allowed"
    except SnapshotTooLarge as error:
        problem = str(error)
    logger.warning("document %s: no origin of time travel at seq %d: %s", document_id, seq, problem)
    return None
