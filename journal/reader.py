"""Reads journals: the tail behind a sequence, and whole documents (rules J10 to J13)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from itertools import islice
from operator import or_
from typing import TypeVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from journal.entry import Entry, PayloadError, checksum_of, decode_entries
from journal.error import (
    CorruptJournal,
    JournalGap,
    JournalPutBack,
    JournalTruncated,
    JournalUnavailable,
)
from journal.models import Document, JournalBatch, Snapshot
from journal.position import TRUNCATED, standing_of, truncated_seq_of
from journal.snapshot import SnapshotDamaged, recovery_snapshots, restore_snapshot
from journal.stored_row import (
    PAGE_ROWS,
    LostRow,
    Unreadable,
    answering,
    backup_hint,
    batch_rows,
    readable,
    stored,
)
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.size import size_of

logger = logging.getLogger(__name__)

TRIES = 3
"""How often a read begins again when rows vanish under it: each time a compaction has overtaken it."""

AGE_STEP_S = 30
"""How finely a hydrated document knows the age of its messages."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """One verified batch row."""

    id: UUID
    first_seq: int
    last_seq: int
    created_at: datetime
    entries: list[Entry]
    """Their messages are numbered."""
    writer: str = ""

    @property
    def messages(self) -> Iterator[Message]:
        return (entry.message for entry in self.entries)

    def behind(self, seq: int) -> "Batch":
        """What it holds behind a sequence, some of which it does."""
        skipped = seq + 1 - self.first_seq
        return replace(self, first_seq=seq + 1, entries=self.entries[skipped:]) if skipped > 0 else self

    def upto(self, seq: int) -> "Batch":
        """What it holds up to a sequence, some of which it does."""
        if seq >= self.last_seq:
            return self
        return replace(self, last_seq=seq, entries=self.entries[: seq + 1 - self.first_seq])


@dataclass(frozen=True, slots=True)
class Hydrated:
    """A document in memory."""

    graph: Graph
    head_seq: int
    """Server sequence of its newest message; 0: none yet."""
    covered_seq: int = 0
    """How far the snapshot covered the journal: everything behind it was read."""
    ages: Sequence[tuple[float, int]] = ()
    """How old that is, roughly: (seconds since 1970, highest Lamport time by then), ascending."""
    last_batch: UUID | None = None
    """Key of the batch that ends at `head_seq`, perhaps `TRUNCATED` when that is the truncation point; None: not known,
    or there is none yet."""
    last_id: str | None = None
    """Id of the message at `head_seq`; None: not known, or there is none yet."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a replay begins."""

    graph: Graph
    """Restored from the snapshot; empty without one."""
    truncated_seq: int
    """Every batch above it is retained."""
    snapshot: Snapshot | None


def read_after(
    document_id: UUID,
    seq: int,
    batches_max: int | None = None,
    bytes_max: int | None = None,
    last_batch: UUID | None = None,
) -> list[Batch]:
    """Everything behind `seq`, contiguous from seq + 1; of the batches only the first `batches_max`, and those with
    which `bytes_max` is reached, if they are given.  `last_batch`: key of the batch that ended at `seq`, if known.

    Raises: JournalTruncated when some of it has been folded away; JournalPutBack when that batch is not there;
    CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    gap = None
    for _ in range(TRIES):
        try:
            with answering(document_id, seq + 1):
                batches = islice(read_batches(document_id, seq), batches_max)
                found = list(batches if bytes_max is None else _first_bytes(batches, bytes_max))
        except JournalGap as error:
            gap, found = error, []
        truncated_seq, is_lost = standing_of(document_id, seq, last_batch)
        if truncated_seq > seq:
            raise JournalTruncated(f"document {document_id} no longer holds seq {seq + 1}")
        if is_lost:
            raise JournalPutBack(f"document {document_id} does not hold what was at seq {seq}")
        if gap is None:
            return [batch.behind(seq) for batch in found]
    assert gap is not None
    raise _missing(document_id, gap)


def _first_bytes(batches: Iterable[Batch], bytes_max: int) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        bytes_max -= sum(map(size_of, batch.messages))
        if bytes_max <= 0:
            return


def hydrate(document_id: UUID) -> Hydrated:
    """The document as its rows say: newest good snapshot, and every retained message behind it.

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    return with_history(document_id, _replay, is_whole=False)


def _replay(start: Start, batches: Iterator[Batch]) -> Hydrated:
    graph, head_seq = start.graph, max(start.truncated_seq, start.graph.head_seq)
    ages: list[tuple[float, int]] = []
    last_batch = last_id = None
    for batch in batches:
        graph.apply_all(batch.messages)
        head_seq, last_batch, last_id = batch.last_seq, batch.id, batch.entries[-1].message.id
        written_at = batch.created_at.timestamp()
        if not ages or written_at >= ages[-1][0] + AGE_STEP_S:
            ages.append((written_at, graph.lt))
    if start.snapshot is None:
        return Hydrated(graph, head_seq, 0, ages, last_batch, last_id)
    if last_batch is None:
        place = start.snapshot.document_id, head_seq, start.truncated_seq
        last_batch, last_id = batch_at(*place), id_at(*place)
    return Hydrated(graph, head_seq, start.snapshot.covered_seq, ages, last_batch, last_id)


def id_at(document_id: UUID, seq: int, truncated_seq: int) -> str | None:
    """Id of the message at a sequence; None: it is folded away, or cannot be read."""
    if seq <= truncated_seq:
        return None
    with suppress(CorruptJournal, JournalGap):
        for batch in read_batches(document_id, seq - 1):
            return batch.behind(seq - 1).entries[0].message.id
    return None


def batch_at(document_id: UUID, head_seq: int, truncated_seq: int) -> UUID | None:
    """Key of the batch that ends at a head, or what stands for it at the truncation point; None: its row is gone.

    Raises: CorruptJournal; JournalUnavailable.
    """
    with answering(document_id, head_seq):
        if head_seq <= truncated_seq:
            row = Document.objects.filter(pk=document_id).order_by()
            return row.values_list("truncated_batch", flat=True).first() or TRUNCATED
        ending = JournalBatch.objects.filter(document=document_id, last_seq=head_seq).order_by()
        return ending.values_list("pk", flat=True).first()


def with_history(
    document_id: UUID,
    use: Callable[[Start, Iterator[Batch]], T],
    before: Snapshot | None = None,
    *,
    is_whole: bool = True,
) -> T:
    """What `use` returns of the newest good snapshot and the retained batches, in order and contiguous.

    All of these, or, if not `is_whole`, those that hold more than the snapshot does.  `use` begins again from
    a new start when a compaction deletes batches under it.  `before` is a snapshot that is to be proved: it
    does not count, nor do those that live rooms have taken at a later seq.

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """

    def begin(truncated_seq: int) -> T:
        start = starting_point(document_id, truncated_seq, before)
        return use(start, retained(document_id, truncated_seq, start.snapshot, is_whole=is_whole))

    return while_retained(document_id, begin)


def while_retained(document_id: UUID, use: Callable[[int], T]) -> T:
    """What `use` returns, given the truncation point; it begins again when a compaction deletes batches under
    it (rule J13).

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    for _ in range(TRIES):
        truncated_seq, damage = truncated_seq_of(document_id), None
        try:
            with answering(document_id, truncated_seq):
                result = use(truncated_seq)
        except JournalGap as gap:
            damage = _missing(document_id, gap)
        except CorruptJournal as error:
            damage = error
        if truncated_seq_of(document_id) == truncated_seq:  # else what looks like damage may be a compaction
            if damage is not None:
                raise damage
            return result
    raise JournalUnavailable(f"document {document_id} was compacted {TRIES} times while it was read")


def starting_point(document_id: UUID, truncated_seq: int, before: Snapshot | None = None) -> Start:
    """The newest good snapshot that reaches the retained batches (rule J10).  Raises: CorruptJournal."""
    candidates = usable_snapshots(document_id, truncated_seq)
    if before is not None:
        candidates = candidates.filter(seq__lte=before.seq).exclude(pk=before.pk)
    rows = readable(candidates.values_list("seq", "cut", "created_at", "pk"), document_id, truncated_seq)
    for *_, pk in sorted(rows, reverse=True):
        if (found := restored(pk)) is not None:
            graph, row = found
            return Start(graph, truncated_seq, row)
    if truncated_seq:
        raise _unreached(document_id, truncated_seq)
    return Start(Graph(), 0, None)


def oldest_start(document_id: UUID, truncated_seq: int) -> Graph:
    """The oldest state that, with the retained batches, holds the whole document.

    Raises: CorruptJournal.
    """
    if not truncated_seq:
        return Graph()
    usable = usable_snapshots(document_id, truncated_seq)
    rows = readable(usable.values_list("seq", "cut", "created_at", "pk"), document_id, truncated_seq)
    for *_, pk in sorted(rows):
        if (found := restored(pk)) is not None:
            return found[0]
    raise _unreached(document_id, truncated_seq)


def usable_snapshots(document_id: UUID, truncated_seq: int) -> models.QuerySet[Snapshot]:
    """Those that, with the retained batches, hold the whole document (rule J10)."""
    return recovery_snapshots(document_id).filter(covered_seq__gte=truncated_seq)


def restored(snapshot_id: UUID) -> tuple[Graph, Snapshot] | None:
    """The graph of a snapshot row, and the row; None when it is gone or, which is logged, damaged."""
    try:
        for row in stored(Snapshot.objects.filter(pk=snapshot_id)):
            return restore_snapshot(row), row
    except Unreadable as error:
        logger.error("snapshot %s is damaged: %s", snapshot_id, error)
    except SnapshotDamaged as error:
        logger.error(
            "document %s: snapshot %s at seq %d is damaged: %s", row.document_id, row.pk, row.seq, error
        )
    return None


def retained(
    document_id: UUID, truncated_seq: int, snapshot: Snapshot | None = None, *, is_whole: bool = True
) -> Iterator[Batch]:
    """Every batch above the truncation point, or, if not `is_whole`, above what the snapshot covers; there must
    be some up to the snapshot's seq."""
    head_seq = truncated_seq if is_whole or snapshot is None else snapshot.covered_seq
    for batch in read_batches(document_id, head_seq):
        if batch.first_seq <= truncated_seq:
            raise JournalGap(truncated_seq + 1, batch.first_seq)
        head_seq = batch.last_seq
        yield batch
    if snapshot is not None and head_seq < snapshot.seq:
        raise JournalGap(head_seq + 1, None)


def read_batches(document_id: UUID, seq: int) -> Iterator[Batch]:
    """The batches that reach beyond `seq`, in order, each verified; the first begins at or before seq + 1.

    Raises: CorruptJournal for a damaged row; JournalGap for a missing one; other database errors as they are.
    """
    expected_seq = None
    for row in batch_rows(document_id, seq):
        yield _next_batch(row, seq, expected_seq)
        expected_seq = row.last_seq + 1


def read_tails(places: Mapping[UUID, int]) -> dict[UUID, list[Batch]]:
    """The same of several documents, by one query; for short tails: a document is missing in the result when so many
    came that some of its own may be missing, and all are when a row cannot be read.

    Raises: as `read_batches`.
    """
    wanted = [Q(document=document_id, last_seq__gt=seq) for document_id, seq in places.items()]
    found = JournalBatch.objects.filter(reduce(or_, wanted)).order_by("document", "last_seq")
    try:
        rows = stored(found[:PAGE_ROWS])
    except Unreadable:
        return {}
    tails: dict[UUID, list[Batch]] = {}
    for row in rows:
        tail = tails.setdefault(row.document_id, [])
        expected_seq = tail[-1].last_seq + 1 if tail else None
        tail.append(_next_batch(row, places[row.document_id], expected_seq))
    if len(rows) < PAGE_ROWS:
        return {document_id: tails.get(document_id, []) for document_id in places}
    tails.popitem()
    return tails


def _next_batch(row: JournalBatch | LostRow, seq: int, expected_seq: int | None) -> Batch:
    """The content of the row that comes next; the first reaches beyond `seq`."""
    is_next = row.first_seq <= seq + 1 if expected_seq is None else row.first_seq == expected_seq
    if not is_next:
        raise JournalGap(expected_seq or seq + 1, row.first_seq)
    return verified(row)


def verified(row: JournalBatch | LostRow) -> Batch:
    """The content of a row.

    Raises: CorruptJournal when its checksum, its count or its bytes do not hold, or the database has none.
    """
    if isinstance(row, LostRow):
        raise _lost(row, row.problem)
    payload = bytes(row.payload)
    if checksum_of(payload, row.document_id, row.first_seq, row.last_seq) != row.checksum:
        raise _lost(row, f"batch {row.pk}: its checksum does not hold")
    try:
        entries = decode_entries(payload, row.first_seq)
    except PayloadError as error:
        hint = "It was written by a newer version, or damaged before its checksum was made."
        raise CorruptJournal(row.document_id, row.first_seq, f"batch {row.pk}: {error}", hint) from error
    if not len(entries) == row.message_count == row.last_seq - row.first_seq + 1:
        held = f"{len(entries)} messages for seq {row.first_seq} to {row.last_seq}"
        raise _lost(row, f"batch {row.pk} holds {held}")
    return Batch(row.pk, row.first_seq, row.last_seq, row.created_at, entries, row.writer)


def _lost(row: JournalBatch | LostRow, problem: str) -> CorruptJournal:
    hint = backup_hint(row.document_id, row.first_seq)
    return CorruptJournal(row.document_id, row.first_seq, problem, hint)


def _unreached(document_id: UUID, truncated_seq: int) -> CorruptJournal:
    problem = "no good snapshot reaches the batches that are left"
    return CorruptJournal(
        document_id, truncated_seq, problem, backup_hint(document_id, truncated_seq, Snapshot)
    )


def _missing(document_id: UUID, gap: JournalGap) -> CorruptJournal:
    behind = (
        f"the next one begins at {gap.found_seq}"
        if gap.found_seq is not None
        else "and nothing comes after it"
    )
    seq = gap.expected_seq
    return CorruptJournal(document_id, seq, f"{gap}; {behind}", backup_hint(document_id, seq))
