"""`Operation` and `SceneObject` rows: what the journal says, in a form that people and queries can read (rule
J16).

`Document.head_seq` is how far both have come.  Everything here may be repeated, interrupted and run by
several processes at once; what is written follows from the journal alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections
from django.utils import timezone

from journal.chunk import chunks
from journal.column import bounded
from journal.durability import derived_rows, journal_alias
from journal.error import (
    CorruptJournal,
    JournalGap,
    JournalPutBack,
    JournalUnavailable,
    OutOfReach,
    UnknownDocument,
)
from journal.failpoint import reach
from journal.history import state_before
from journal.models import Document, JournalBatch, Operation, SceneObject
from journal.operation import adapted_operations, create_operations, delete_operations, operation_rows, seq_of
from journal.position import read_heads, still_there
from journal.reader import Batch, hydrate, oldest_start, read_batches, read_tails, retained, while_retained
from journal.row_insert import Row
from journal.row_update import update_rows
from journal.scene_object import (
    Drafted,
    Nodes,
    Objects,
    covers_flips,
    draft_objects,
    write_objects,
    write_what_differs,
)
from journal.settings import settings
from journal.stored_row import answering
from journal.turnstile import leaving_room
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Epoch, epoch_of
from vuer_rtc.crdt.undo import targets_of


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What takes the rows of a document to the state at `seq`; `undone` and `nodes` are taken from its graph there."""

    document_id: UUID
    seq: int
    undone: Collection[str]
    """Ids of messages."""
    nodes: Nodes
    since: int | None = None
    """`nodes` are those that may differ from the state at `since`; None: they are all there are."""
    retained: frozenset[str] | None = None
    """Ids of the messages that the graph has not folded away: of others that were undone or redone on the way, a replay
    tells what came of it.  None: nothing that the rows lack is folded."""
    last_batch: UUID | None = None
    """Key of the batch that ends at `seq`, if it is known."""


def objects_of(step: Step) -> Objects:
    """What the rows of objects are to be after a step."""
    return Objects(step.document_id, step.seq, step.nodes, step.since is None)


def project(
    document_id: UUID,
    seq: int,
    undone: Collection[str],
    nodes: Nodes,
    since: int | None = None,
    retained: frozenset[str] | None = None,
    last_batch: UUID | None = None,
) -> bool:
    """One `Step`, as `project_together` takes it."""
    [is_done] = project_together([Step(document_id, seq, undone, nodes, since, retained, last_batch)])
    return is_done


def project_together(steps: Sequence[Step]) -> list[bool]:
    """Afterwards the rows of each document are at least those of the state that its step leads to.  Idempotent.

    False, and nothing written of that step but operation rows, when the rows have not come as far as its `since`, or
    somebody else has hidden or shown more than its nodes: call again with all nodes.  At most one step per document.

    Operation rows go in bounded transactions; the last of them, nodes, undone flags and the heads in a last one, which
    is one for all: a transaction costs more than the few rows of a quiet room.

    Raises, and then each may be tried by itself: JournalGap when a compaction has overtaken it (take the next
    occasion), JournalPutBack, CorruptJournal, UnknownDocument, JournalUnavailable, also when the rows are being made
    anew.
    """
    with answering():
        marks = _marks([step.document_id for step in steps])
        following = [step for step in steps if marks[step.document_id].precedes(step)]
        done = _finish(_prepare_all(following, marks)) if following else []
    reach("project.done")
    return [step in done or marks[step.document_id].head_seq >= step.seq for step in steps]


def rebuild(document_id: UUID) -> tuple[int, int]:
    """Afterwards both projections are exactly those of the journal, whatever they were; numbers of rows.

    Raises: CorruptJournal, UnknownDocument, JournalUnavailable.
    """
    hydrated = hydrate(document_id)
    Document.objects.filter(pk=document_id).update(
        head_seq=0
    )  # killed behind this, the next projection is a whole one
    delete_operations(document_id)
    Document.objects.filter(pk=document_id).update(
        head_seq=0
    )  # again: a live room may have projected meanwhile
    graph, last_batch = hydrated.graph, hydrated.last_batch
    project(document_id, hydrated.head_seq, undone_in(document_id), graph.nodes(), last_batch=last_batch)
    note_epoch(document_id, graph.epoch.number)  # its record may be folded away
    operations = Operation.objects.filter(document=document_id).count()
    return operations, SceneObject.objects.filter(document=document_id).count()


def catch_up(document_id: UUID) -> None:
    """Afterwards the projections are at the journal's head; reads heads only when they are there already.

    Raises: CorruptJournal, UnknownDocument, JournalUnavailable.
    """
    reached = reached_seq(document_id)
    if read_heads([document_id]).get(document_id, 0) > reached:
        while_retained(document_id, lambda _: _catch_up(document_id))


def _catch_up(document_id: UUID) -> None:
    hydrated = hydrate(document_id)
    graph = hydrated.graph
    project(
        document_id,
        hydrated.head_seq,
        graph.undone_ids(),
        graph.nodes(),
        retained=graph.retained_ids(),
        last_batch=hydrated.last_batch,
    )
    note_epoch(document_id, graph.epoch.number)  # its record may be folded away


def undone_in(document_id: UUID) -> frozenset[str]:
    """Ids of the messages that are undone, of all whose batches are retained: those that a cut has folded away stay as
    they were then.  Costs a replay of all of them.

    Raises: CorruptJournal, UnknownDocument, JournalUnavailable.
    """

    def collect(truncated_seq: int) -> frozenset[str]:
        graph, undone = _beginning(document_id, truncated_seq), frozenset[str]()
        for batch in retained(document_id, truncated_seq):
            for entry in batch.entries:
                before = graph.undone_ids() if entry.message.is_server_record else frozenset()
                graph.apply(entry.message)
                undone |= {target for target in before if graph.seq_of(target) is None}
        return undone | graph.undone_ids()

    return while_retained(document_id, collect)


def _beginning(document_id: UUID, truncated_seq: int) -> Graph:
    """The state at the truncation point, where it is told exactly (rule J30), so that nothing retained is folded in it;
    else the oldest there is."""
    try:
        return state_before(document_id, truncated_seq, truncated_seq)[0]
    except (OutOfReach, CorruptJournal):
        return oldest_start(document_id, truncated_seq)


def reached_seq(document_id: UUID) -> int:
    """How far the projections are.  Raises: UnknownDocument."""
    found = still_there().filter(pk=document_id).values_list("head_seq", flat=True).first()
    if found is None:
        raise UnknownDocument(str(document_id))
    return found


# How


class _Mark(NamedTuple):
    """How far a document's rows are, and from where on there are batches."""

    head_seq: int
    truncated_seq: int
    updated_at: datetime
    """When the rows last changed, or something else of the document."""

    def precedes(self, step: Step) -> bool:
        """True when the rows are to be taken further, and the step begins early enough."""
        return step.since is None or step.since <= self.head_seq < step.seq


@dataclass(frozen=True, slots=True)
class _Work:
    """What of a step is left for the last transaction."""

    step: Step
    mark: _Mark
    """How far the rows were."""
    operations: list[Row]
    """Adapted."""
    drafted: Drafted | None
    targets: Collection[str]
    """Ids of the messages that were undone or redone in it."""
    undone: Collection[str]
    epoch: int
    """The highest that began in it, or 0."""

    def still_drafted(self, mark: _Mark) -> Drafted | None:
        """None when the rows that are there have to be looked at: others have written some since."""
        return self.drafted if self.step.since is not None or mark == self.mark else None


def _marks(document_ids: Sequence[UUID], *, is_locking: bool = False) -> dict[UUID, _Mark]:
    """Of each document; when locking, nobody else projects it until the transaction ends, where the database can lock
    rows; batches go in meanwhile.  Raises: UnknownDocument."""
    documents = still_there().filter(pk__in=document_ids).order_by("pk")  # one order everywhere: no deadlocks
    features = connections[journal_alias()].features
    if is_locking and features.has_select_for_update:
        documents = documents.select_for_update(no_key=features.has_select_for_no_key_update)
    rows = documents.values_list("pk", "head_seq", "truncated_seq", "updated_at")
    found = {pk: _Mark(head_seq, truncated_seq, at) for pk, head_seq, truncated_seq, at in rows}
    for document_id in document_ids:
        if document_id not in found:
            raise UnknownDocument(str(document_id))
    return found


def _prepare_all(steps: Sequence[Step], marks: Mapping[UUID, _Mark]) -> list[_Work]:
    places = {step.document_id: max(marks[step.document_id][:2]) for step in steps}
    tails = read_tails(places) if len(places) > 1 else {}
    return [
        _prepare(step, marks[step.document_id], tails.get(step.document_id) or read_batches(*place))
        for step, place in zip(steps, places.items(), strict=True)
    ]


def _prepare(step: Step, mark: _Mark, batches: Iterable[Batch]) -> _Work:
    """Writes the rows of a step, but for the last, by bounded transactions; what needs none is done before."""
    after, connection = mark.head_seq, connections[journal_alias()]
    reached_seq = max(mark.head_seq, mark.truncated_seq)
    targets: set[str] = set()
    epoch = Epoch()
    pending: list[Row] = []
    last_batch = step.last_batch
    for batch in batches:
        if batch.first_seq > step.seq:
            break
        reached_seq, last_batch = batch.last_seq, batch.id
        for entry in batch.entries:
            if after < entry.message.server_seq <= step.seq:
                targets.update(targets_of(entry.message))
                epoch = max(epoch, epoch_of(entry.message) or epoch, key=lambda found: found.number)
                pending += operation_rows(step.document_id, batch.id, entry, step.undone)
        if len(pending) >= settings.projection_rows_max:
            is_live = step.since is not None  # and has little to write
            with nullcontext() if is_live else leaving_room(connection):
                _write_operations(step.document_id, adapted_operations(pending), batch)
            pending = []
    if reached_seq < step.seq:
        raise JournalGap(reached_seq + 1, None)  # its graph is of a journal that has been put back (rule J66)
    if last_batch != step.last_batch is not None:
        raise JournalPutBack(f"document {step.document_id} does not hold what was at seq {step.seq}")
    is_told = step.retained is None or step.retained >= targets
    undone = step.undone if is_told else undone_in(step.document_id)
    operations = adapted_operations(pending)
    drafted = draft_objects(objects_of(step))
    if drafted is not None and step.since is None:
        drafted, mark = _write_most(step, drafted, mark)
    return _Work(step, mark, operations, drafted, targets, undone, epoch.number)


def _write_operations(document_id: UUID, rows: Sequence[Row], last: Batch) -> None:
    """Raises: JournalGap when their batches are being deleted: what they hold may have to be gone for good;
    JournalPutBack when the last of these is not there any more."""
    first_seq = seq_of(rows[0])
    with derived_rows(journal_alias()):
        marks = _marks([document_id], is_locking=True)
        truncated_seq = marks[document_id].truncated_seq
        if truncated_seq >= first_seq:
            raise JournalGap(first_seq, truncated_seq + 1)
        _look_for_batches({document_id: (last.last_seq, last.id)}, marks)
        create_operations(rows)


def _look_for_batches(ends: Mapping[UUID, tuple[int, UUID | None]], marks: Mapping[UUID, _Mark]) -> None:
    """Returns when each document still has the batch that ends there, if it is known and not folded away.

    Raises: JournalPutBack.
    """
    wanted = {pk: end for pk, end in ends.items() if end[1] and end[0] > marks[pk].truncated_seq}
    batches = JournalBatch.objects.filter(pk__in=[key for _, key in wanted.values()]).order_by()
    there = set(batches.values_list("pk", flat=True))
    for document_id, (seq, key) in wanted.items():
        if key not in there:
            raise JournalPutBack(f"document {document_id} does not hold what was at seq {seq}")


def _write_most(step: Step, drafted: Drafted, mark: _Mark) -> tuple[Drafted, _Mark]:
    """What is left when most rows of a step's objects are written, or as soon as somebody else has written some; and
    the mark of that, by which others see that these were.

    They may be ahead of `head_seq`: whoever goes on from there writes them again.
    """
    rows, size = drafted.rows, settings.projection_rows_max
    document_id = drafted.objects.document_id
    while len(rows) > size:
        with leaving_room(connections[journal_alias()]), derived_rows(journal_alias()):
            marks = _marks([document_id], is_locking=True)
            if marks[document_id] != mark:
                break
            _look_for_batches({document_id: (step.seq, step.last_batch)}, marks)
            write_objects([drafted._replace(rows=rows[:size], gone=[])])
            Document.objects.filter(pk=document_id).update(updated_at=timezone.now())
            mark = _marks([document_id])[document_id]  # as the database keeps it: MongoDB knows milliseconds
        rows = rows[size:]
    return drafted._replace(rows=rows), mark


def _finish(works: Sequence[_Work]) -> list[Step]:
    """The last transaction, but for documents that another process has brought to a later state meanwhile; the steps
    that have come to their ends."""
    with derived_rows(journal_alias()):
        marks = _marks([work.step.document_id for work in works], is_locking=True)
        if any(marks[work.step.document_id].head_seq < work.mark.head_seq for work in works):
            raise JournalUnavailable("rows are being made anew")
        _look_for_batches(
            {work.step.document_id: (work.step.seq, work.step.last_batch) for work in works}, marks
        )
        works = [work for work in works if _suffices(work.step, marks[work.step.document_id].head_seq)]
        done = [work.step for work in works]
        works = [work for work in works if marks[work.step.document_id].head_seq <= work.step.seq]
        steps = [work.step for work in works]
        create_operations(
            [
                row
                for work in works
                for row in work.operations
                if seq_of(row) > marks[work.step.document_id].truncated_seq
            ]
        )
        reach("project.operations")
        for work in works:
            _flag_undone(work.step.document_id, work.targets, work.undone)
        drafts = [work.still_drafted(marks[work.step.document_id]) for work in works]
        write_objects([drafted for drafted in drafts if drafted is not None])
        write_what_differs(
            [objects_of(step) for step, drafted in zip(steps, drafts, strict=True) if drafted is None]
        )
        reach("project.objects")
        now = timezone.now()
        heads = [Document(pk=step.document_id, head_seq=step.seq, updated_at=now) for step in steps]
        update_rows(heads, ["head_seq", "updated_at"])
        for work in works:
            if work.epoch:
                note_epoch(work.step.document_id, work.epoch)
    return done


def _suffices(step: Step, head_seq: int) -> bool:
    """True unless somebody else has taken the rows beyond the step's `since`, and some that have been hidden or shown
    there are not among its nodes."""
    is_ahead = step.since is not None and step.since < head_seq < step.seq
    return not is_ahead or covers_flips(objects_of(step))


def note_epoch(document_id: UUID, number: int) -> None:
    """Afterwards the document's row counts that epoch, or a later one."""
    Document.objects.filter(pk=document_id, epoch__lt=number).update(epoch=number)


def _flag_undone(document_id: UUID, targets: Collection[str], undone: Collection[str]) -> None:
    for is_undone in (True, False):
        ids = [bounded(target) for target in targets if (target in undone) is is_undone]
        for some in chunks(ids):
            rows = Operation.objects.filter(document=document_id, message_id__in=some)
            rows.exclude(undone=is_undone).update(undone=is_undone)
