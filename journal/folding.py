"""One pass over the batches that makes all that a compaction writes (rule J15, steps 2 and 2b)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from journal.error import JournalGap, OutOfReach
from journal.history import state_before
from journal.lease import Lease
from journal.origin import draft_origin
from journal.plan import Outline, Plan
from journal.reader import Batch, read_batches, retained, starting_point, usable_snapshots, while_retained
from journal.snapshot import SnapshotDraft, draft_snapshot
from journal.stored_row import readable
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.undo import targets_of


@dataclass(frozen=True, slots=True)
class Folded:
    """A document, and its states to keep."""

    head: Graph
    snapshot: SnapshotDraft
    """The first state in which the cuts of the journal have folded everything that is to go."""
    origin: SnapshotDraft | None
    """The state at the truncation point; None: it is not told exactly now, or it is too large."""


def fold_history(held: Lease, outline: Outline, plan: Plan) -> Folded:
    """What is to be written before the plan's batches may go; the outline knows of a cut that folds them.

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable; JournalBusy when the lease was lost.
    """
    folding = _Folding(held, outline, plan)
    return while_retained(outline.document_id, folding.run)


@dataclass(frozen=True, slots=True)
class _Folding:
    held: Lease
    outline: Outline
    plan: Plan

    def run(self, truncated_seq: int) -> Folded:
        """The graph that the origin was taken of goes on to the head, so that one pass does.

        What it has folded early makes no difference, but for undos of what is folded: then another graph makes the
        snapshot.
        """
        document_id, seq, origin = self.outline.document_id, self.plan.truncate_seq, None
        try:
            graph, covered_seq = state_before(document_id, truncated_seq, seq)
        except OutOfReach:
            pass
        else:
            way = self._way(graph, truncated_seq)
            way.go(self._batches(min(covered_seq, seq), seq))
            graph.head_seq = seq
            way.look(seq)
            origin = draft_origin(graph, self.plan.cut, self.outline.behind(seq))
            way.go(read_batches(document_id, seq))
            if not way.undoes_folded:
                return way.folded(origin)
        start = starting_point(document_id, truncated_seq)
        way = self._way(start.graph, truncated_seq)
        way.go(retained(document_id, truncated_seq, start.snapshot))
        return way.folded(origin)

    def _way(self, graph: Graph, truncated_seq: int) -> "_Way":
        """The snapshot is taken where a cut has folded what is to go, but not before the one it follows: that is what
        proves it."""
        cut_seq = self.outline.cut_seq(self.plan.cut)
        assert cut_seq is not None, "a cut is journalled"
        snapshot_seq = max(cut_seq, self.plan.truncate_seq, graph.head_seq)
        if truncated_seq:
            document_id = self.outline.document_id
            usable = usable_snapshots(document_id, truncated_seq).values_list("seq", flat=True)
            snapshot_seq = max(snapshot_seq, *readable(usable, document_id, truncated_seq))
        folded_seq = 0 if truncated_seq else self.plan.truncate_seq
        undoing = {span.first_seq for span in self.outline.behind(folded_seq) if span.targets}
        return _Way(self.held, graph, snapshot_seq, undoing)

    def _batches(self, after: int, upto: int) -> Iterator[Batch]:
        batches = read_batches(self.outline.document_id, after)
        return takewhile(lambda batch: batch.first_seq <= upto, batches)


class _Way:
    """A graph on its way to the head, past the place where the snapshot is taken."""

    def __init__(self, held: Lease, graph: Graph, snapshot_seq: int, undoing: set[int]) -> None:
        self.held = held
        self.graph = graph
        self.snapshot_seq = snapshot_seq
        self.snapshot: SnapshotDraft | None = None
        self.undoing = undoing
        """First sequences of the batches that undo or redo something when a graph may have folded early."""
        self.undoes_folded = False
        """True when a message undid or redid one that is not retained: what is noted of it depends on the cuts."""

    def go(self, batches: Iterable[Batch]) -> None:
        """Afterwards the graph holds the batches."""
        for batch in batches:
            if batch.first_seq in self.undoing:
                self._apply_undoing(batch)
            else:
                self.graph.apply_all(batch.messages)
            self.look(batch.last_seq)
            self.held.keep()  # a journal may take longer than a lease lasts

    def _apply_undoing(self, batch: Batch) -> None:
        graph = self.graph
        for message in batch.messages:
            self.undoes_folded |= any(graph.message(target) is None for target in targets_of(message))
            graph.apply(message)

    def look(self, seq: int) -> None:
        """Takes the snapshot, where `seq`, the graph's head, is the place for it."""
        if self.snapshot is None and seq >= self.snapshot_seq:
            self.snapshot = draft_snapshot(self.graph, with_digests=True)

    def folded(self, origin: SnapshotDraft | None) -> Folded:
        if self.snapshot is None:
            raise JournalGap(self.graph.head_seq + 1, None)
        return Folded(self.graph, self.snapshot, origin)
