"""Puts a document, or some of its nodes, back to what it was: by one message that can be undone (rule J33)."""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from journal.authoring import Author, Authored
from journal.error import BatchTooLarge, OutOfReach, RestoreTooLarge
from journal.history import graph_at, seq_at
from journal.label import graph_of_label, label_named
from journal.lease import lease
from journal.models import Snapshot
from journal.position import truncated_seq_of
from journal.snapshot import SnapshotDamaged, restore_snapshot
from journal.stored_row import answering
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import RESTORE_PREFIX, Op
from vuer_rtc.crdt.restore import restoring_ops


@dataclass(frozen=True, slots=True)
class Point:
    """A state that a document has been in."""

    seq: int
    graph: Graph
    snapshot_id: UUID | None = None
    """Of the label, or the snapshot, that keeps it when the journal does not reach back to it any more."""


def point_at(document_id: UUID, seq: int) -> Point:
    """The state at a server sequence.  Raises: OutOfReach and as reading."""
    return Point(seq, graph_at(document_id, seq))


def point_at_time(document_id: UUID, moment: datetime) -> Point:
    """The state at a time.

    Raises: OutOfReach (`before-first`: a time so early is a slip, sequence 0 is the empty document); and as reading.
    """
    seq = seq_at(document_id, moment)
    if not seq:
        when = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        raise OutOfReach(
            "before-first", f"{when} is before the first message; the empty document is sequence 0"
        )
    return point_at(document_id, seq)


def point_of(snapshot: Snapshot) -> Point:
    """The state in which a snapshot was taken, which may be older than what is retained.

    Raises: OutOfReach (`folded-away`) when it cannot be told exactly any more; and as reading.
    """
    try:
        return point_at(snapshot.document_id, snapshot.seq)
    except OutOfReach:
        return Point(snapshot.seq, _whole(snapshot), snapshot.pk)


def point_of_label(document_id: UUID, name: str) -> Point:
    """The state of a label.  Raises: OutOfReach (`no-such-label`); CorruptJournal, JournalUnavailable."""
    row, graph = label_named(document_id, name), graph_of_label(document_id, name)
    return Point(graph.head_seq, graph, None if row is None else row.pk)


def _whole(snapshot: Snapshot) -> Graph:
    """The snapshot alone, when it holds everything there was."""
    try:
        graph = restore_snapshot(snapshot)
    except SnapshotDamaged as error:
        raise OutOfReach("folded-away", f"snapshot {snapshot.pk} is damaged: {error}") from error
    if not snapshot.digest or graph.digest() != snapshot.digest:
        problem = "it lacks messages that were not folded yet when it was taken, and are no longer retained"
        raise OutOfReach("folded-away", f"snapshot {snapshot.pk} at sequence {snapshot.seq}: {problem}")
    return graph


def restore(
    author: Author, point: Point, keys: Collection[str] | None = None, user: str | None = None
) -> Authored | None:
    """Afterwards the document shows what it showed then; None, and nothing written, when it does already.

    With `keys` only those nodes do.

    Raises: RestoreTooLarge; OutOfReach when the point has been folded away since it was read; JournalBusy when another
    command is at work, and only a label or a snapshot has it; and as `Author.write`.
    """
    document_id = author.document_id
    is_kept = point.snapshot_id is not None and truncated_seq_of(document_id) > point.seq
    keeping = lease(document_id) if is_kept else nullcontext()

    def plan(graph: Graph) -> list[Op]:
        _refuse_folded(document_id, point, is_kept=is_kept)
        return restoring_ops(graph, point.graph, keys)

    try:
        with keeping:
            return author.write(plan, user=user, prefix=RESTORE_PREFIX)
    except BatchTooLarge as error:
        raise RestoreTooLarge(
            f"too much has changed to be restored by one message ({error}); restore some nodes at a time, or raise "
            "VUER_RTC['JOURNAL_BATCH_BYTES_MAX']"
        ) from error


def _refuse_folded(document_id: UUID, point: Point, *, is_kept: bool) -> None:
    """Returns when the point can be told still.

    It was read before, and a redaction may have come between: what is written is no older than the graph that it was
    planned for, so one that comes later finds it in the journal (rule J33).  Raises: OutOfReach.
    """
    if truncated_seq_of(document_id) <= point.seq:
        return
    snapshot_id = point.snapshot_id if is_kept else None
    with answering():
        if snapshot_id is None or not Snapshot.objects.filter(pk=snapshot_id).exists():
            raise OutOfReach("folded-away", f"sequence {point.seq} has just been folded away")


def planned(author: Author, point: Point, keys: Collection[str] | None = None) -> list[Op]:
    """What `restore` would write now."""
    return restoring_ops(author.graph, point.graph, keys)


def unknown_keys(author: Author, point: Point, keys: Collection[str]) -> list[str]:
    """Those of `keys` that the document has no node of, then nor now."""
    known = author.graph.views(keys), point.graph.views(keys)
    return sorted(key for key in keys if all(views[key] is None for views in known))


__all__ = [
    "Point",
    "planned",
    "point_at",
    "point_at_time",
    "point_of",
    "point_of_label",
    "restore",
    "unknown_keys",
]
