"""The states a document has been in: at a server sequence, at a time (rule J30)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from journal.column import as_column
from journal.depth import Depths, last_at_or_below
from journal.entry import Entry
from journal.error import CorruptJournal, JournalGap, OutOfReach
from journal.models import JournalBatch, Operation, Snapshot
from journal.position import read_heads, truncated_seq_of
from journal.reader import read_batches, restored, retained, usable_snapshots, while_retained
from journal.stored_row import answering, backup_hint, readable
from vuer_rtc.crdt.graph import Graph

T = TypeVar("T")

OPERATIONS_PER_MESSAGE = 4
"""From here on a message counts by its operations where it is asked how long a replay takes: an insertion takes as long
as a message that sets one number."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The server sequences whose states can be told: all of them from one to the other."""

    oldest_seq: int
    """0: the empty document."""
    head_seq: int

    def __contains__(self, seq: int) -> bool:
        return self.oldest_seq <= seq <= self.head_seq


def reach_of(document_id: UUID) -> Reach:
    """How far back states can be told exactly.  Cost: without a compaction none to speak of, else one pass over
    the retained messages, which are not applied.

    Raises: CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    return while_retained(document_id, lambda truncated_seq: _reach(document_id, truncated_seq))


def readable_part(document_id: UUID, reach: Reach) -> Reach:
    """Of a reach, the part before the first batch that is missing or damaged (rule J23).  Cost: reading it.

    Raises: JournalUnavailable.
    """
    seq = reach.oldest_seq
    with answering(), suppress(CorruptJournal, JournalGap):
        for batch in read_batches(document_id, seq):
            seq = batch.last_seq
    return Reach(reach.oldest_seq, seq)


def graph_at(document_id: UUID, seq: int) -> Graph:
    """The document as it was when `seq` was its newest message; its clock and Lamport time may be later ones.

    It is for reading: what is applied to it may not merge as it did then.  Cost: that of a recovery, and the
    pass of `reach_of` when `seq` is older than the oldest snapshot.

    Raises: OutOfReach (`folded-away`, `ahead`); CorruptJournal; UnknownDocument; JournalUnavailable.
    """
    return while_retained(document_id, lambda truncated_seq: _graph_at(document_id, truncated_seq, seq))


def entries_between(document_id: UUID, after: int, upto: int) -> list[Entry]:
    """The retained messages of (after, upto], in order.

    Raises: OutOfReach (`folded-away`, `ahead`); CorruptJournal; UnknownDocument; JournalUnavailable.
    """

    def read(truncated_seq: int) -> list[Entry]:
        for seq in (after, upto):
            _refuse_unreachable(document_id, truncated_seq, seq)
        return list(_entries(document_id, after, upto))

    return while_retained(document_id, read)


def replay(document_id: UUID, seq_a: int, seq_b: int, use: Callable[[Graph, Iterator[Entry]], T]) -> T:
    """What `use` returns of the state at `seq_a` and the messages after it up to `seq_b`, which it applies itself.

    It begins again from a new state when a compaction overtakes it.  Cost and Raises: as `graph_at`.
    """

    def begin(truncated_seq: int) -> T:
        _refuse_unreachable(document_id, truncated_seq, seq_b)
        graph = _graph_at(document_id, truncated_seq, seq_a)
        return use(graph, _entries(document_id, seq_a, seq_b))

    return while_retained(document_id, begin)


def seq_at(document_id: UUID, moment: datetime) -> int:
    """The last server sequence that, with all before it, was received at or before `moment`; 0: none was.

    By the clock of the server, which may have been set: sequences decide, times only help to find them.

    Raises: OutOfReach (`folded-away`) when that may be older than what is retained; CorruptJournal;
    UnknownDocument; JournalUnavailable.
    """
    return while_retained(document_id, lambda truncated_seq: _seq_at(document_id, truncated_seq, moment))


# What that costs


def reach_length(document_id: UUID) -> int:
    """How many messages `reach_of` looks at.  Raises: UnknownDocument; JournalUnavailable."""
    truncated_seq = truncated_seq_of(document_id)
    if not truncated_seq or any(seq == truncated_seq for _, seq in _origins(document_id, truncated_seq)):
        return 0
    return retained_length(document_id)


def retained_length(document_id: UUID) -> int:
    """How many messages the journal holds.  Raises: UnknownDocument; JournalUnavailable."""
    truncated_seq = truncated_seq_of(document_id)
    return read_heads([document_id]).get(document_id, truncated_seq) - truncated_seq


def replay_length(document_id: UUID, seq_a: int, seq_b: int) -> int:
    """How many messages `replay` reads, more only when snapshots are damaged; 0 for what it refuses.  Four
    operations count as one, as far as there are rows of them.

    Raises: UnknownDocument; JournalUnavailable.
    """
    truncated_seq = truncated_seq_of(document_id)
    head_seq = read_heads([document_id]).get(document_id, truncated_seq)
    if not truncated_seq <= seq_a <= seq_b <= head_seq:
        return 0
    if earlier := _earlier_starts(document_id, truncated_seq, seq_a):
        return _weight(document_id, min(earlier[0].covered_seq, seq_a), seq_b)
    return _weight(document_id, truncated_seq, head_seq if truncated_seq else seq_b)


def _weight(document_id: UUID, after: int, upto: int) -> int:
    rows = Operation.objects.filter(document=document_id, server_seq__gt=after, server_seq__lte=upto)
    with answering():
        return max(upto - after, rows.order_by().count() // OPERATIONS_PER_MESSAGE)


def told_within(document_id: UUID, reach: Reach, messages_max: int) -> int:
    """The oldest sequence from which `replay` comes to the head by that many messages; of all, when there is none.

    Raises: UnknownDocument; JournalUnavailable.
    """
    starts = _earlier_starts(document_id, truncated_seq_of(document_id), reach.head_seq)
    candidates = sorted({reach.oldest_seq, *(start.seq for start in starts if start.seq in reach)})
    lengths = ((seq, replay_length(document_id, seq, reach.head_seq)) for seq in candidates)
    return next((seq for seq, length in lengths if length <= messages_max), reach.oldest_seq)


# Reach


def _reach(document_id: UUID, truncated_seq: int) -> Reach:
    head_seq = read_heads([document_id])[document_id]
    if not truncated_seq:
        return Reach(0, head_seq)
    oldest = [seq for _, seq in _origins(document_id, truncated_seq)]
    if truncated_seq not in oldest:
        usable = usable_snapshots(document_id, truncated_seq).values_list("seq", "cut")
        rows = readable(usable, document_id, truncated_seq)
        depths = _depths(document_id, truncated_seq)
        oldest += [_exact_from(depths, seq, cut) for seq, cut in rows]
    return Reach(max(truncated_seq, min(oldest, default=head_seq)), head_seq)


def _origins(document_id: UUID, truncated_seq: int) -> list[tuple[UUID, int]]:
    """Key and sequence of the origins that the retained batches reach (rule J35)."""
    rows = Snapshot.objects.filter(document=document_id, reason=Snapshot.Reason.ORIGIN)
    reached = rows.filter(seq__gte=truncated_seq).values_list("pk", "seq")
    return readable(reached, document_id, truncated_seq)


def _depths(document_id: UUID, truncated_seq: int) -> list[tuple[int, int]]:
    depths = Depths()
    for batch in retained(document_id, truncated_seq):
        for entry in batch.entries:
            depths.add(entry.message)
    return list(depths.known())


def _exact_from(depths: Iterable[tuple[int, int]], seq: int, cut: int) -> int:
    """The oldest sequence that a snapshot can tell: its last message that reaches below its cut."""
    return last_at_or_below(depths, cut, upto=seq)


# States


def _graph_at(document_id: UUID, truncated_seq: int, seq: int) -> Graph:
    graph, covered_seq = state_before(document_id, truncated_seq, seq)
    graph.apply_all(entry.message for entry in _entries(document_id, min(covered_seq, seq), seq))
    graph.head_seq = seq
    return graph


def _refuse_unreachable(document_id: UUID, truncated_seq: int, seq: int) -> None:
    head_seq = read_heads([document_id])[document_id]
    if seq > head_seq:
        raise OutOfReach("ahead", f"the document has come to sequence {head_seq}, not to {seq} yet")
    if seq < truncated_seq:
        raise OutOfReach("folded-away", f"sequence {seq} is folded away: history begins at {truncated_seq}")


def _entries(document_id: UUID, after: int, upto: int) -> Iterator[Entry]:
    """The messages of (after, upto], in order; what is wrong behind them does not matter."""
    if after >= upto:
        return
    for batch in read_batches(document_id, after):
        yield from (entry for entry in batch.entries if after < entry.message.server_seq <= upto)
        if batch.last_seq >= upto:
            return


def state_before(document_id: UUID, truncated_seq: int, seq: int) -> tuple[Graph, int]:
    """A state from which that at `seq` follows exactly, by the retained messages up to there; and up to which sequence
    it holds everything.

    Raises: OutOfReach; CorruptJournal.
    """
    _refuse_unreachable(document_id, truncated_seq, seq)
    earlier = _earlier_starts(document_id, truncated_seq, seq)
    for start in earlier:
        if (found := restored(start.pk)) is not None:
            return found[0], found[1].covered_seq
    if not truncated_seq:
        return Graph(), 0
    usable = usable_snapshots(document_id, truncated_seq).values_list("pk", "seq", "cut")
    rows = readable(usable, document_id, truncated_seq)
    depths = _depths(document_id, truncated_seq)
    later = sorted((row for row in rows if row[1] > seq), key=lambda row: row[1:])
    exact = [pk for pk, at, cut in later if _exact_from(depths, at, cut) <= seq]
    for pk in exact:
        if (found := restored(pk)) is not None:
            return found[0], found[1].covered_seq
    if exact or earlier:
        problem = "no good snapshot tells the state there"
        raise CorruptJournal(document_id, seq, problem, backup_hint(document_id, truncated_seq, Snapshot))
    oldest_seq = _reach(document_id, truncated_seq).oldest_seq
    raise OutOfReach(
        "folded-away",
        f"sequence {seq} cannot be told exactly any more: later messages were folded with older ones; history "
        f"begins at {oldest_seq}",
    )


class _Start(NamedTuple):
    """A state that a row holds; with the messages behind `covered_seq` it tells every one from `seq` on."""

    pk: UUID
    seq: int
    covered_seq: int


def _earlier_starts(document_id: UUID, truncated_seq: int, seq: int) -> list[_Start]:
    """Those that tell the state at `seq`, whatever came later; the newest first."""
    origins = [_Start(pk, at, at) for pk, at in _origins(document_id, truncated_seq)]
    usable = usable_snapshots(document_id, truncated_seq).values_list("pk", "seq", "covered_seq")
    rows = readable(usable, document_id, truncated_seq)
    earlier = (start for start in (*origins, *map(_Start._make, rows)) if start.seq <= seq)
    return sorted(earlier, key=lambda start: start.seq, reverse=True)


# Times


def _seq_at(document_id: UUID, truncated_seq: int, moment: datetime) -> int:
    rows = JournalBatch.objects.filter(document=document_id, last_seq__gt=truncated_seq)
    earlier = rows.filter(created_at__lte=as_column(moment))
    begun = earlier.order_by("-last_seq").values_list("last_seq", flat=True)[:1]
    found = next(iter(begun), truncated_seq)
    at = moment.timestamp()
    for batch in read_batches(document_id, found):
        for entry in batch.entries:
            if entry.received_at > at:
                return _told(found, truncated_seq, moment)
            found = entry.message.server_seq
    return _told(found, truncated_seq, moment)


def _told(found: int, truncated_seq: int, moment: datetime) -> int:
    if found == truncated_seq and truncated_seq:
        raise OutOfReach(
            "folded-away", f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC is before what is retained"
        )
    return found
