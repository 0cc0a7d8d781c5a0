"""Rows of operations: made of journalled messages, written once, deleted with their batches (rule J16)."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from journal.chunk import chunks
from journal.column import bounded, moment, storable, user_key
from journal.durability import Connection, journal_alias
from journal.entry import Entry
from journal.models import Operation
from journal.models.row import new_key
from journal.pace import Pace
from journal.row_insert import Row, Table, is_fast
from journal.settings import settings
from vuer_rtc.crdt.message import UNSET, Op

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

ROWS_DELETED = 1000
"""Rows that one statement deletes, beside the others of their last message."""

TABLE = Table(Operation, COLUMNS, "DO NOTHING")

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


def seq_of(row: Row) -> int:
    """The sequence of its message."""
    seq: int = row[COLUMNS.index("server_seq")]
    return seq


def adapted_operations(rows: Sequence[Row]) -> list[Row]:
    """The rows as `create_operations` takes them."""
    connection = connections[journal_alias()]
    return TABLE.adapted(connection, rows) if is_fast(connection) else list(rows)


def create_operations(rows: Sequence[Row]) -> None:
    """Writes those of the rows (adapted; of each document together, in order) that are not there yet."""
    connection = connections[journal_alias()]
    create = TABLE.insert if is_fast(connection) else create_by_object
    for some in chunks(rows, settings.projection_rows_max):
        create(connection, some)


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


def delete_operations(document_id: UUID, upto: int | None = None) -> None:
    """Afterwards there are no operation rows up to that sequence (or at all), by bounded statements."""
    rows = Operation.objects.filter(document=document_id)
    going = rows if upto is None else rows.filter(server_seq__lte=upto)
    seqs = going.order_by("server_seq").values_list("server_seq", flat=True)
    connection, pace = connections[journal_alias()], Pace(ROWS_DELETED)
    while (seq := seqs[pace.rows :].first()) is not None:
        with pace.step(connection):
            rows.filter(server_seq__lte=seq).delete()  # one bound: of two, SQLite uses the wrong one
    going.delete()
