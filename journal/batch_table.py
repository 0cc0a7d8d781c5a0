"""How rows of batches get into the database, and what the fence reads beside them: by the ORM, here; by SQL of our own
in `journal.batch_sql`."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

import msgspec
from django.db import IntegrityError, transaction

from journal.durability import Connection
from journal.failpoint import reach
from journal.models import Document, JournalBatch

Marks = tuple[int, int] | None
"""A document's `truncated_seq` and `turns_wanted` (rules J8, J24); None: the document is gone."""


class BatchRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `JournalBatch` before it is written: the fields of the model, in the order of `COLUMNS`.

    Django takes longer to make one of its objects than to write it.
    """

    id: uuid.UUID
    document_id: uuid.UUID
    first_seq: int
    last_seq: int
    message_count: int
    payload: bytes
    checksum: str
    writer: str
    created_at: datetime

    def as_model(self) -> JournalBatch:
        """The object of Django; not saved yet."""
        return JournalBatch(**msgspec.structs.asdict(self))


class BatchTable(Protocol):
    """One way to write batches over one connection."""

    def __init__(self, connection: Connection) -> None: ...
    def append(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks]:
        """One transaction, durable when this returns: writes the rows that do not conflict, and takes back those that
        the fence finds (`is_fenced`).  The marks of both, by the keys of the rows.

        Raises: as Django's `atomic(durable=True)` does.
        """

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks]:
        """Writes the rows that do not conflict, as part of the caller's transaction.  By their keys: the marks of their
        documents, as others have committed them when the rows are in."""


def is_fenced(row: BatchRow, marks: Marks) -> bool:
    """True for a row that went in only because the one that was there has been deleted: its writer had slept through a
    compaction (rule J8)."""
    return marks is None or row.first_seq <= marks[0]


class TableByStep(ABC):
    """A transaction, an insert and a look at the fence, one after the other."""

    def append(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks]:
        with self.transaction():
            reach("append.begun")
            marks = self.insert(rows)
            if fenced := [row.id for row in rows if row.id in marks and is_fenced(row, marks[row.id])]:
                self.delete(fenced)
            reach("append.fenced")
        return marks

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Any]:
        """What is written inside the block is there together, and durable, when the block has ended."""

    @abstractmethod
    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks]:
        """See `BatchTable`."""

    @abstractmethod
    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        """Takes rows back."""


class OrmTable(TableByStep):
    """Any database: one INSERT per row, guarded by the unique index; the reference for the other ways."""

    def __init__(self, connection: Connection) -> None:
        self._alias = connection.alias

    def transaction(self) -> AbstractContextManager[Any]:
        return transaction.atomic(using=self._alias, durable=True)

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks]:
        written = [row for row in rows if self._is_inserted(row)]
        reach("append.inserted")
        documents = Document.objects.using(self._alias).filter(pk__in=[row.document_id for row in written])
        found = documents.order_by().values_list("pk", "truncated_seq", "turns_wanted")
        marks = {key: (truncated, turns) for key, truncated, turns in found}
        return {row.id: marks.get(row.document_id) for row in written}

    def _is_inserted(self, row: BatchRow) -> bool:
        try:
            with transaction.atomic(using=self._alias):
                row.as_model().save(force_insert=True, using=self._alias)
        except IntegrityError:
            return False
        return True

    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        JournalBatch.objects.using(self._alias).filter(pk__in=keys).delete()
