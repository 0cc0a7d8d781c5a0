"""Proves, from rows read back, that what compaction has written stands for what it is going to delete (rule J15)."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from journal.error import JournalError
from journal.lease import Lease
from journal.models import Snapshot
from journal.reader import Batch, Start, with_history
from journal.snapshot import SnapshotDamaged, restore_snapshot
from vuer_rtc.crdt.graph import Graph


class ProofFailed(JournalError):
    """A new snapshot does not stand for the batches it was to replace; nothing was deleted."""


def prove(held: Lease, snapshot_id: UUID, origin_id: UUID | None = None) -> None:
    """Nothing differs, at the snapshot's seq, between what is to go and what is to stay, and the origin of time travel
    leads there; all read from the database.

    Raises: ProofFailed; JournalBusy when the lease was lost.
    """
    row = Snapshot.objects.get(pk=snapshot_id)
    origin = None if origin_id is None else Snapshot.objects.get(pk=origin_id)
    try:
        ways = with_history(
            row.document_id, lambda start, batches: _replayed(held, row, origin, start, batches), before=row
        )
    except SnapshotDamaged as error:
        raise ProofFailed(f"document {row.document_id}: what was written is damaged: {error}") from error
    if ways.old.head_seq != row.seq:
        raise ProofFailed(
            f"document {row.document_id}: its batches end at seq {ways.old.head_seq}, before {row.seq}"
        )
    told = row.digest if ways.told is None else ways.told.digest()
    wanted = (row.digest, row.full_digest)
    for what, is_same in (
        ("snapshot", wanted == _digests(ways.old) == _digests(ways.new)),
        ("origin of time travel", told == row.digest),
    ):
        if not is_same:
            raise ProofFailed(
                f"document {row.document_id}: the new {what} at seq {row.seq} does not equal the journal it was "
                "made of; nothing was deleted. This is a defect: please report it, with an export of the document"
            )


@dataclass(frozen=True, slots=True)
class Ways:
    """The document at one sequence, reached on each way."""

    old: Graph
    """By an older snapshot and every batch."""
    new: Graph
    """By the new snapshot and the batches that stay."""
    told: Graph | None
    """By the origin and the batches that stay."""


def _digests(graph: Graph) -> tuple[str, str]:
    return graph.digest(), graph.full_digest()


def _replayed(
    held: Lease, row: Snapshot, origin: Snapshot | None, start: Start, batches: Iterator[Batch]
) -> Ways:
    ways = Ways(start.graph, restore_snapshot(row), None if origin is None else restore_snapshot(origin))
    for batch in batches:
        if batch.first_seq > row.seq:
            break
        ways.old.apply_all(batch.messages)
        if batch.last_seq > row.covered_seq:
            ways.new.apply_all(batch.messages)
        if origin is not None and ways.told is not None and batch.last_seq > origin.seq:
            ways.told.apply_all(batch.messages)
        held.keep()
    return ways
