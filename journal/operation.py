"""Rows of operations: made of journalled messages, written once, deleted with their batches (rule J16)."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, models, transaction
from django.utils import timezone

from journal.chunk import chunks
from journal.column import bounded, moment, storable, user_key
from journal.durability import Connection, journal_alias
from journal.entry import Entry
from journal.models import Operation
from journal.models.row import new_key
from journal.settings import settings
from vuer_rtc.crdt.message import UNSET, Op

Row = tuple[Any, ...]
"""Values in the order of `COLUMNS`."""

ROWS_PER_STATEMENT = 100
"""Rows of one INSERT; SQLite takes 32,766 parameters and PostgreSQL 65,535."""

IF_NEW = "ON CONFLICT DO NOTHING"

COLUMNS = (
    "id",
    "document_id",
    "batch_id",
    "server_seq",
    "op_index",
    "message_id",
    "client",
    "user_id",
    "session",
    "otype",
    "key",
    "path",
    "value",
    "extra",
    "target_message_id",
    "lt",
    "ts",
    "received_at",
    "undone",
)

EXTRAS = (
    ("separator", "separator"),
    ("order", "order"),
    ("intrinsic", "intrinsic"),
    ("alpha", "alpha"),
    ("from_", "from"),
    ("to", "to"),
    ("id", "id"),
    ("seq", "seq"),
    ("ts", "ts"),
    ("rm", "rm"),
)
"""Fields of an op that have no column, with their names on the wire."""


def operation_rows(document_id: UUID, batch_id: UUID, entry: Entry, undone: Collection[str]) -> Iterator[Row]:
    """One row per op of a journalled message."""
    message = entry.message
    message_id, client, user_id = bounded(message.id), bounded(message.client), user_key(entry.user)
    received_at = moment(entry.received_at) or timezone.now()
    is_undone = message.id in undone
    for index, op in enumerate(message.ops):
        key, path = subject_of(op)
        yield (
            new_key(),
            document_id,
            batch_id,
            message.server_seq,
            index,
            message_id,
            client,
            user_id,
            (entry.session or "")[:64],
            op.ot[:40],
            bounded(key),
            bounded(path),
            None if op.value is UNSET else storable(op.value),
            storable(extra_of(op)),
            bounded(op.target) if type(op.target) is str else "",
            message.lt,
            float(message.ts),
            received_at,
            is_undone,
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
    extra = {name: value for field, name in EXTRAS if (value := getattr(op, field)) is not UNSET}
    if op.ot in ("node.insert", "node.upsert", "node.inset", "node.remove"):
        extra["parent"] = op.key
    return extra


def create_operations(rows: Sequence[Row]) -> None:
    """Writes those of the rows (of each document together, in order) that are not there yet."""
    connection = connections[journal_alias()]
    create = way_to_create(connection)
    for some in chunks(rows, settings.projection_rows_max):
        create(connection, some)


def way_to_create(connection: Connection) -> Callable[[Connection, Sequence[Row]], None]:
    """The fastest that the database has."""
    match connection.vendor:
        case "sqlite":
            return create_by_values
        case "postgresql":
            return create_by_arrays
    return create_by_object


def create_by_values(connection: Connection, rows: Sequence[Row]) -> None:
    """SQLite: no model instances, a third of the processor time; and straight to the driver, for Django reads through
    each statement for its marks.

    Not one statement for each row: a thread that executes one lets go of Python's lock, and behind a busy event loop it
    has that back some milliseconds later, while everybody waits for the transaction.
    """
    columns = _adapted(connection, rows)
    connection.ensure_connection()
    with connection.wrap_database_errors:
        for some in chunks(list(zip(*columns, strict=True)), ROWS_PER_STATEMENT):
            connection.connection.execute(_insert_values(len(some)), list(chain.from_iterable(some)))


def create_by_arrays(connection: Connection, rows: Sequence[Row]) -> None:
    """PostgreSQL: an array for each column, half the time of a value for each field."""
    columns = _adapted(connection, rows)
    types = [str(field.db_type(connection)).partition("(")[0] for field in _fields()]
    arrays = ", ".join(f"%s::{each}[]" for each in types)
    with connection.cursor() as cursor:
        cursor.execute(f"{_insert()} SELECT * FROM unnest({arrays}) {IF_NEW}", list(map(list, columns)))


def _adapted(connection: Connection, rows: Sequence[Row]) -> list[Sequence[Any]]:
    """The columns of the rows, as the database takes them."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for index, adapt in _adapters(connection):
        columns[index] = tuple(map(adapt, columns[index]))
    return columns


@lru_cache
def _insert_values(rows: int) -> str:
    marks = f"({', '.join('?' * len(COLUMNS))})"
    return f"{_insert()} VALUES {', '.join([marks] * rows)} {IF_NEW}"


@lru_cache
def _insert() -> str:
    names = ", ".join(f'"{field.column}"' for field in _fields())
    return f'INSERT INTO "{Operation._meta.db_table}" ({names})'


def create_by_object(connection: Connection, rows: Sequence[Row]) -> None:
    """Any database; the reference for the other way."""
    for _, those in groupby(rows, itemgetter(COLUMNS.index("document_id"))):
        _create_objects(connection, list(those))


def _create_objects(connection: Connection, rows: Sequence[Row]) -> None:
    """Those of one document.  A rival that writes the same rows meanwhile is let win."""
    for is_last_try in (False, True):
        there = Operation.objects.filter(
            document=rows[0][1], server_seq__gte=rows[0][3], server_seq__lte=rows[-1][3]
        )
        known = set(there.values_list("server_seq", "op_index"))
        missing = [Operation(**dict(zip(COLUMNS, row, strict=True))) for row in rows if row[3:5] not in known]
        try:
            with transaction.atomic(using=connection.alias):
                Operation.objects.bulk_create(missing)
        except IntegrityError:
            if is_last_try:
                raise
        else:
            return


def _field_name(column: str) -> str:
    return column.removesuffix("_id") if column in ("document_id", "batch_id", "user_id") else column


def _fields() -> list[Any]:
    return [Operation._meta.get_field(_field_name(column)) for column in COLUMNS]


def _adapters(connection: Connection) -> list[tuple[int, Callable[[Any], Any]]]:
    """Of the columns that the database does not take as they are: their places, and how it takes them."""
    found = ((index, _adapter(field, connection)) for index, field in enumerate(_fields()))
    return [(index, adapt) for index, adapt in found if adapt is not None]


def _adapter(field: Any, connection: Connection) -> Callable[[Any], Any] | None:
    """How the database takes a Python value of this field; None: as it is."""
    match field:
        case models.ForeignKey():
            return _or_none(_adapter(field.target_field, connection))
        case models.UUIDField():
            return None if connection.features.has_native_uuid_field else _hex
        case models.JSONField():
            empty = connection.ops.adapt_json_value({}, field.encoder)  # most have nothing extra
            return _or_none(
                lambda value: connection.ops.adapt_json_value(value, field.encoder) if value != {} else empty
            )
        case models.DateTimeField():
            adapt: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
            return adapt
    return None


def _hex(value: UUID) -> str:
    return value.hex


def _or_none(adapt: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if adapt is None else lambda value: None if value is None else adapt(value)


def delete_operations(document_id: UUID, upto: int | None = None) -> None:
    """Afterwards there are no operation rows up to that sequence (or at all), by bounded transactions."""
    rows = Operation.objects.filter(document=document_id)
    rows = rows if upto is None else rows.filter(server_seq__lte=upto)
    while some := list(
        rows.order_by("server_seq").values_list("pk", flat=True)[: settings.delete_messages_max]
    ):
        for keys in chunks(some):
            Operation.objects.filter(pk__in=keys).delete()
