"""`Operation` and `SceneObject` rows: what the journal says, in a form that people and queries can read (rule
J16).

`Document.head_seq` is how far both have come.  Everything here may be repeated, interrupted and run by
several processes at once; what is written follows from the journal alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connections
from django.utils import timezone

from journal.column import bounded, moment, storable
from journal.durability import derived_rows, journal_alias
from journal.error import CorruptJournal, OutOfReach, UnknownDocument
from journal.failpoint import reach
from journal.history import state_before
from journal.models import Document, Operation, SceneObject
from journal.operation import Row, create_operations, delete_operations, operation_rows
from journal.reader import (
    Batch,
    answering,
    hydrate,
    oldest_start,
    read_batches,
    read_heads,
    retained,
    still_there,
    while_retained,
)
from journal.settings import settings
from vuer_rtc.crdt.graph import Graph, NodeView
from vuer_rtc.crdt.message import Epoch, epoch_of
from vuer_rtc.crdt.undo import targets_of

Nodes = Mapping[str, NodeView | None]
"""Nodes by key; None: a node that is no longer part of the state, not even as a tombstone."""


def project(
    document_id: UUID,
    seq: int,
    undone: Collection[str],
    nodes: Nodes,
    since: int | None = None,
    folded_seq: int = 0,
) -> bool:
    """Afterwards the rows of `document_id` are at least those of the state at `seq`.

    `undone` and `nodes` are taken from the graph at `seq`.  With `since`, `nodes` are those that may differ
    from the state at `since`; without, they are all there are.  Idempotent.  False, and nothing written, when
    the rows have not come as far as `since`: call again with all nodes.

    The graph has folded all up to `folded_seq`: where the rows have not come as far, a replay tells what is undone.

    Operation rows go in bounded transactions; the last of them, nodes, undone flags and the head in a last one.

    Raises: JournalGap when a compaction has overtaken it (take the next occasion), CorruptJournal,
    UnknownDocument, JournalUnavailable.
    """
    alias = journal_alias()
    with answering():
        reached = reached_seq(document_id)
        if since is not None and not since <= reached < seq:
            return reached >= seq
        pending, targets, epoch = _project_operations(document_id, reached, seq, undone)
        if targets and reached < folded_seq:
            undone = undone_in(document_id)
        with derived_rows(alias):
            document = _locked(alias, document_id)
            if document is None:
                raise UnknownDocument(str(document_id))
            if document.head_seq > seq:
                return True  # another process has written a later state while we prepared ours
            create_operations(pending)
            reach("project.operations")
            _flag_undone(document_id, targets, undone)
            _write_objects(document_id, seq, nodes, is_whole=since is None)
            reach("project.objects")
            Document.objects.filter(pk=document_id).update(head_seq=seq, updated_at=timezone.now())
            if epoch:
                note_epoch(document_id, epoch)
    reach("project.done")
    return True


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
    project(document_id, hydrated.head_seq, undone_in(document_id), hydrated.graph.nodes())
    note_epoch(document_id, hydrated.graph.epoch.number)  # its record may be folded away
    operations = Operation.objects.filter(document=document_id).count()
    return operations, SceneObject.objects.filter(document=document_id).count()


def catch_up(document_id: UUID) -> None:
    """Afterwards the projections are at the journal's head; reads heads only when they are there already.

    Raises: CorruptJournal, UnknownDocument, JournalUnavailable.
    """
    reached = reached_seq(document_id)
    if read_heads([document_id]).get(document_id, 0) > reached:
        hydrated = hydrate(document_id)
        graph = hydrated.graph
        undone, folded_seq = graph.undone_ids(), graph.folded_seq
        project(document_id, hydrated.head_seq, undone, graph.nodes(), folded_seq=folded_seq)
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


def _locked(alias: str, document_id: UUID) -> Document | None:
    """The document's row, None when it is gone; nobody else projects it until the transaction ends, where the
    database can lock rows."""
    documents = still_there().only("head_seq")
    if connections[alias].features.has_select_for_update:
        documents = documents.select_for_update()
    return documents.filter(pk=document_id).first()


# Operations


def _project_operations(
    document_id: UUID, after: int, upto: int, undone: Collection[str]
) -> tuple[list[Row], set[str], int]:
    """Writes the rows of (after, upto] but for the last; these, ids of the messages that were undone or redone there,
    and the highest epoch that began there."""
    targets: set[str] = set()
    epoch = Epoch()
    pending: list[Row] = []
    for batch in _batches(document_id, after, upto):
        for entry in batch.entries:
            if after < entry.message.server_seq <= upto:
                targets.update(targets_of(entry.message))
                epoch = max(epoch, epoch_of(entry.message) or epoch, key=lambda found: found.number)
                pending += operation_rows(document_id, batch.id, entry, undone)
        if len(pending) >= settings.projection_rows_max:
            with derived_rows(journal_alias()):
                create_operations(pending)
            pending = []
    return pending, targets, epoch.number


def _batches(document_id: UUID, after: int, upto: int) -> Iterator[Batch]:
    """Batches of (after, upto] that are retained."""
    truncated_seq = Document.objects.values_list("truncated_seq", flat=True).get(pk=document_id)
    for batch in read_batches(document_id, max(after, truncated_seq)):
        if batch.first_seq > upto:
            return
        yield batch


def note_epoch(document_id: UUID, number: int) -> None:
    """Afterwards the document's row counts that epoch, or a later one."""
    Document.objects.filter(pk=document_id, epoch__lt=number).update(epoch=number)


def _flag_undone(document_id: UUID, targets: Collection[str], undone: Collection[str]) -> None:
    for is_undone in (True, False):
        ids = [bounded(target) for target in targets if (target in undone) is is_undone]
        for some in _chunks(ids):
            rows = Operation.objects.filter(document=document_id, message_id__in=some)
            rows.exclude(undone=is_undone).update(undone=is_undone)


# Objects

OBJECT_FIELDS = (
    "tag",
    "name",
    "parent",
    "properties",
    "is_tombstone",
    "is_hidden",
    "lt",
    "updated_at",
    "seq",
)


def _write_objects(document_id: UUID, seq: int, nodes: Nodes, *, is_whole: bool) -> None:
    """Afterwards the rows of `nodes` are these; with `is_whole` there are no others."""
    wanted = {bounded(key): view for key, view in nodes.items()}
    there = _objects(document_id, None if is_whole else list(wanted))
    changed = [
        row
        for key, view in wanted.items()
        if view is not None
        and (row := object_row(document_id, key, view, seq))
        and not _is_same(there.get(key), row)
    ]
    gone = [row.pk for key, row in there.items() if wanted.get(key) is None]
    for some in _chunks(gone):
        SceneObject.objects.filter(pk__in=some).delete()
    _upsert(changed, there)


def _objects(document_id: UUID, keys: Sequence[str] | None) -> dict[str, SceneObject]:
    rows = SceneObject.objects.filter(document=document_id).order_by()
    if keys is None:
        return {row.key: row for row in rows.iterator(chunk_size=1000)}
    return {row.key: row for some in _chunks(keys) for row in rows.filter(key__in=some)}


def object_row(document_id: UUID, key: str, view: NodeView, seq: int) -> SceneObject:
    """The row of one node, not saved."""
    return SceneObject(
        document_id=document_id,
        key=key,
        tag=bounded(view.tag),
        name=storable(view.name),
        parent=bounded(view.parent),
        properties=storable(view.properties),
        is_tombstone=view.deleted,
        is_hidden=view.hidden,
        lt=view.lt,
        updated_at=moment(view.updated_at),
        seq=seq,
    )


def _is_same(there: SceneObject | None, row: SceneObject) -> bool:
    """True when only `seq` differs: such rows are left alone."""
    return there is not None and all(
        getattr(there, name) == getattr(row, name) for name in OBJECT_FIELDS if name != "seq"
    )


def _upsert(rows: Sequence[SceneObject], there: Mapping[str, SceneObject]) -> None:
    alias, size = journal_alias(), settings.projection_rows_max
    objects = SceneObject.objects
    if connections[alias].features.supports_update_conflicts_with_target:
        objects.bulk_create(
            rows, size, update_conflicts=True, update_fields=OBJECT_FIELDS, unique_fields=("document", "key")
        )
        return
    for row in rows:
        if row.key in there:
            row.pk = there[row.key].pk
    objects.bulk_create([row for row in rows if row.key not in there], size)
    objects.bulk_update([row for row in rows if row.key in there], OBJECT_FIELDS, size)


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), 500):
        yield items[start : start + 500]
