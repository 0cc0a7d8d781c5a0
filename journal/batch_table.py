"""How rows of batches get into the database, and what the fence reads beside them: by SQL of our own, and by the ORM.

The SQL is what the ORM would write, built once: for one batch, Django's query compiler takes longer than the disk does.
"""

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from django.db import IntegrityError, transaction

from journal.durability import Connection
from journal.models import Document, JournalBatch

Marks = tuple[int, int]
"""A document's `truncated_seq` and `turns_wanted` (rules J8, J24)."""


class BatchTable(Protocol):
    """One way to write batches over one connection, inside a transaction."""

    def __init__(self, connection: Connection) -> None: ...
    def insert(self, rows: Sequence[JournalBatch]) -> set[uuid.UUID]:
        """Writes the rows that do not conflict; returns their keys."""

    def marks(self, document_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Marks]:
        """As others have committed them by now, of the documents that are there."""


def batch_table(connection: Connection) -> BatchTable:
    """The fast way where the database has it, the portable one elsewhere."""
    return (SqlTable if connection.vendor in ("sqlite", "postgresql") else OrmTable)(connection)


class SqlTable:
    """SQLite and PostgreSQL: one INSERT … ON CONFLICT DO NOTHING RETURNING for all rows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._has_uuids = connection.features.has_native_uuid_field

    def insert(self, rows: Sequence[JournalBatch]) -> set[uuid.UUID]:
        values = [value for row in rows for value in self._values(row)]
        with self._connection.cursor() as cursor:
            cursor.execute(_insert(len(rows)), values)
            return {self._uuid(key) for (key,) in cursor.fetchall()}

    def marks(self, document_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Marks]:
        with self._connection.cursor() as cursor:
            cursor.execute(_select_marks(len(document_ids)), [self._key(key) for key in document_ids])
            return {self._uuid(key): (truncated, turns) for key, truncated, turns in cursor.fetchall()}

    def _values(self, row: JournalBatch) -> tuple[Any, ...]:
        """In the order of `COLUMNS`, as the database takes them."""
        created_at = self._connection.ops.adapt_datetimefield_value(row.created_at)
        place = (row.first_seq, row.last_seq, row.message_count)
        keys = (self._key(row.pk), self._key(row.document_id))
        return (*keys, *place, row.payload, row.checksum, row.writer, created_at)

    def _key(self, key: uuid.UUID) -> Any:
        return key if self._has_uuids else key.hex

    def _uuid(self, value: Any) -> uuid.UUID:
        return value if self._has_uuids else uuid.UUID(value)


class OrmTable:
    """Any database: one INSERT per row, guarded by the unique index; the reference for the other way."""

    def __init__(self, connection: Connection) -> None:
        self._alias = connection.alias

    def insert(self, rows: Sequence[JournalBatch]) -> set[uuid.UUID]:
        written: set[uuid.UUID] = set()
        for row in rows:
            try:
                with transaction.atomic(using=self._alias):
                    row.save(force_insert=True, using=self._alias)
            except IntegrityError:
                continue
            written.add(row.pk)
        return written

    def marks(self, document_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Marks]:
        documents = Document.objects.using(self._alias).filter(pk__in=document_ids).order_by()
        found = documents.values_list("pk", "truncated_seq", "turns_wanted")
        return {key: (truncated, turns) for key, truncated, turns in found}


COLUMNS = (
    "_id",
    "document_id",
    "first_seq",
    "last_seq",
    "message_count",
    "payload",
    "checksum",
    "writer",
    "created_at",
)


@lru_cache
def _insert(rows: int) -> str:
    table, row = JournalBatch._meta.db_table, f"({_marks(len(COLUMNS))})"
    return (
        f'INSERT INTO "{table}" ({", ".join(COLUMNS)}) VALUES {", ".join([row] * rows)}'
        " ON CONFLICT DO NOTHING RETURNING _id"
    )


@lru_cache
def _select_marks(documents: int) -> str:
    table = Document._meta.db_table
    return f'SELECT _id, truncated_seq, turns_wanted FROM "{table}" WHERE _id IN ({_marks(documents)})'


def _marks(count: int) -> str:
    return ", ".join(["%s"] * count)
