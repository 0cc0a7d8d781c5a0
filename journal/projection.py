"""`Operation` and `SceneObject` rows: what the journal says, in a form that people and queries can read (rule
J16).

`Document.head_seq` is how far both have come.  Everything here may be repeated, interrupted and run by
several processes at once; what is written follows from the journal alone.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from journal.durability import journal_alias
from journal.entry import Entry
from journal.models import KEY_CHARS_MAX, Document, Operation, SceneObject
from journal.reader import Batch, answering, hydrate, read_batches, read_heads
from journal.settings import settings
from vuer_rtc.crdt.graph import NodeView
from vuer_rtc.crdt.message import UNSET, Op

Nodes = Mapping[str, NodeView | None]
"""Nodes by key; None: a node that is no longer part of the state, not even as a tombstone."""


def project(
    document_id: UUID, seq: int, undone: Collection[str], nodes: Nodes, since: int | None = None
) -> bool:
    """Afterwards the rows of `document_id` are at least those of the state at `seq`.

    `undone` and `nodes` are taken from the graph at `seq`.  With `since`, `nodes` are those that may differ
    from the state at `since`; without, they are all there are.  Idempotent.  False, and nothing written, when
    the rows have not come as far as `since`: call again with all nodes.

    Operation rows go in bounded transactions; nodes, undone flags and the head in a last one.

    Raises: JournalGap when a compaction has overtaken it (take the next occasion), CorruptJournal,
    JournalUnavailable.
    """
    with answering():
        reached = Document.objects.values_list("head_seq", flat=True).get(pk=document_id)
        if since is not None and not since <= reached < seq:
            return reached >= seq
        targets = _project_operations(document_id, reached, seq, undone)
        alias = journal_alias()
        with transaction.atomic(using=alias):
            document = _locked(alias, document_id)
            if document.head_seq > seq:
                return True  # another process has written a later state while we prepared ours
            _flag_undone(document_id, targets, undone)
            _write_objects(document_id, seq, nodes, is_whole=since is None)
            Document.objects.filter(pk=document_id).update(head_seq=seq, updated_at=timezone.now())
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
    project(document_id, hydrated.head_seq, hydrated.graph.undone_ids(), hydrated.graph.nodes())
    operations = Operation.objects.filter(document=document_id).count()
    return operations, SceneObject.objects.filter(document=document_id).count()


def catch_up(document_id: UUID) -> None:
    """Afterwards the projections are at the journal's head; reads heads only when they are there already.

    Raises: CorruptJournal, UnknownDocument, JournalUnavailable.
    """
    reached = Document.objects.values_list("head_seq", flat=True).get(pk=document_id)
    if read_heads([document_id]).get(document_id, 0) > reached:
        hydrated = hydrate(document_id)
        project(document_id, hydrated.head_seq, hydrated.graph.undone_ids(), hydrated.graph.nodes())


def delete_operations(document_id: UUID, upto: int | None = None) -> None:
    """Afterwards there are no operation rows up to that sequence (or at all), by bounded transactions."""
    rows = Operation.objects.filter(document=document_id)
    rows = rows if upto is None else rows.filter(server_seq__lte=upto)
    while some := list(
        rows.order_by("server_seq").values_list("pk", flat=True)[: settings.delete_messages_max]
    ):
        for start in range(0, len(some), 500):
            Operation.objects.filter(pk__in=some[start : start + 500]).delete()


def _locked(alias: str, document_id: UUID) -> Document:
    """The document's row; nobody else projects it until the transaction ends, where the database can lock
    rows."""
    documents = Document.objects.only("head_seq")
    if connections[alias].features.has_select_for_update:
        documents = documents.select_for_update()
    return documents.get(pk=document_id)


# Operations


def _project_operations(document_id: UUID, after: int, upto: int, undone: Collection[str]) -> set[str]:
    """Writes the rows of (after, upto]; ids of the messages that were undone or redone there."""
    targets: set[str] = set()
    pending: list[Operation] = []
    for batch in _batches(document_id, after, upto):
        for entry in batch.entries:
            if not after < entry.message.server_seq <= upto:
                continue
            rows = list(operation_rows(document_id, batch.id, entry, undone))
            targets.update(row.target_message_id for row in rows if row.target_message_id)
            pending += rows
        if len(pending) >= settings.projection_rows_max:
            _create_operations(pending)
            pending = []
    _create_operations(pending)
    return targets


def _batches(document_id: UUID, after: int, upto: int) -> Iterator[Batch]:
    """Batches of (after, upto] that are retained."""
    truncated_seq = Document.objects.values_list("truncated_seq", flat=True).get(pk=document_id)
    for batch in read_batches(document_id, max(after, truncated_seq)):
        if batch.first_seq > upto:
            return
        yield batch


def operation_rows(
    document_id: UUID, batch_id: UUID, entry: Entry, undone: Collection[str]
) -> Iterator[Operation]:
    """One row per op of a journalled message, not saved."""
    message = entry.message
    for index, op in enumerate(message.ops):
        key, path = subject_of(op)
        yield Operation(
            document_id=document_id,
            batch_id=batch_id,
            server_seq=message.server_seq,
            op_index=index,
            message_id=bounded(message.id),
            client=bounded(message.client),
            user_id=user_key(entry.user),
            session=(entry.session or "")[:64],
            otype=op.ot[:40],
            key=bounded(key),
            path=bounded(path),
            value=None if op.value is UNSET else storable(op.value),
            extra=storable(extra_of(op)),
            target_message_id=bounded(op.target) if type(op.target) is str else "",
            lt=message.lt,
            ts=float(message.ts),
            received_at=moment(entry.received_at) or timezone.now(),
            undone=message.id in undone,
        )


def subject_of(op: Op) -> tuple[str, str]:
    """Key of the node an op is about, and the property; for `node.*` that node and no property."""
    if not op.ot.startswith("node."):
        return op.key, op.path
    key = op.value
    if type(key) is dict:
        key = key.get("nodeKey") if op.ot == "node.move" else key.get("key")
    return (key if type(key) is str else op.key), ""


def extra_of(op: Op) -> dict[str, Any]:
    """The fields of an op that have no column; for `node.*` also the parent it names."""
    fields = msgspec.to_builtins(op)
    extra = {
        name: fields[name] for name in fields if name not in ("ot", "key", "path", "value", "targetMsgId")
    }
    if op.ot in ("node.insert", "node.upsert", "node.inset", "node.remove"):
        extra["parent"] = op.key
    return extra


def _create_operations(rows: Sequence[Operation]) -> None:
    """Writes the rows that are not there yet."""
    if not rows:
        return
    alias = journal_alias()
    if connections[alias].features.supports_ignore_conflicts:
        size = settings.projection_rows_max
        Operation.objects.bulk_create(rows, batch_size=size, ignore_conflicts=True)
        return
    for is_last_try in (False, True):
        there = Operation.objects.filter(
            document=rows[0].document_id,
            server_seq__gte=rows[0].server_seq,
            server_seq__lte=rows[-1].server_seq,
        )
        known = set(there.values_list("server_seq", "op_index"))
        missing = [row for row in rows if (row.server_seq, row.op_index) not in known]
        try:
            Operation.objects.bulk_create(missing, batch_size=settings.projection_rows_max)
            return
        except IntegrityError:
            if is_last_try:
                raise


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


# Values that every database takes


def bounded(text: str) -> str:
    """`text` if it fits a column, else its beginning with a hash of the whole: still unique."""
    text = storable(text)
    if len(text) <= KEY_CHARS_MAX:
        return text
    mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[: KEY_CHARS_MAX - 17]}…{mark}"


def storable(value: Any) -> Any:
    """`value` with the NUL character, which PostgreSQL does not store, replaced by its picture."""
    match value:
        case str():
            return value.replace("\x00", "␀") if "\x00" in value else value
        case dict():
            return {storable(name): storable(member) for name, member in value.items()}
        case list():
            return [storable(member) for member in value]
    return value


def moment(ts: float) -> datetime | None:
    """A raw `ts` (seconds below 1e11, else milliseconds) as a time; None when no calendar has it."""
    try:
        found = datetime.fromtimestamp(ts if ts < 1e11 else ts / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return found if django_settings.USE_TZ else found.replace(tzinfo=None)


def user_key(text: str | None) -> Any:
    """The primary key of an account from its text; None for none and for text that is no key."""
    if text is None:
        return None
    try:
        return get_user_model()._meta.pk.to_python(text)
    except ValidationError:
        return None


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), 500):
        yield items[start : start + 500]
