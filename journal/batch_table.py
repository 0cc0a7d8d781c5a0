"""How rows of batches get into the database, and what the fence reads beside them: by the ORM, here; by SQL of our own
in `journal.batch_sql`."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
from django.db import IntegrityError, transaction

from journal.durability import Connection
from journal.failpoint import reach
from journal.models import Document, JournalBatch
from journal.position import is_lost

MARKS = ("truncated_seq", "turns_wanted", "truncated_batch")
"""Columns of a document that a writer reads."""


class Marks(NamedTuple):
    """What a writer reads after its insert and before its commit."""

    truncated_seq: int
    """Of the document (rule J8)."""
    turns_wanted: int
    """Of the document (rule J24)."""
    has_predecessor: bool
    """False when the batch that the row is to follow is lost (rule J66)."""


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
    predecessor: uuid.UUID | None = None
    """No column: key of the batch that it is to follow; None: its writer does not know."""

    @property
    def values(self) -> tuple[Any, ...]:
        """In the order of `COLUMNS`."""
        return msgspec.structs.astuple(self)[:-1]

    def as_model(self) -> JournalBatch:
        """The object of Django; not saved yet."""
        return JournalBatch(**dict(zip(self.__struct_fields__, self.values, strict=False)))


class BatchTable(Protocol):
    """One way to write batches over one connection."""

    def __init__(self, connection: Connection) -> None: ...
    def append(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        """One transaction, durable when this returns: writes the rows that do not conflict, and takes back those that
        the fence finds (`is_fenced`).  The marks of both, by the keys of the rows; None: the document is gone.

        Raises: as Django's `atomic(durable=True)` does.
        """

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        """Writes the rows that do not conflict, as part of the caller's transaction.  By their keys: the marks of their
        documents, as others have committed them when the rows are in."""


def is_fenced(row: BatchRow, marks: Marks | None) -> bool:
    """True for a row that went in only because the one that was there has been deleted: its writer had slept through a
    compaction (rule J8).  And for one that would follow what is not there: the database has been put back (J66)."""
    return marks is None or row.first_seq <= marks.truncated_seq or not marks.has_predecessor


class TableByStep(ABC):
    """A transaction, an insert and a look at the fence, one after the other."""

    def append(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
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
    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        """See `BatchTable`."""

    @abstractmethod
    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        """Takes rows back."""


def predecessors_of(rows: Iterable[BatchRow]) -> list[uuid.UUID]:
    """Keys of the batches that the rows are to follow, as far as these are known."""
    return [row.predecessor for row in rows if row.predecessor is not None]


def marks_of(
    rows: Iterable[BatchRow], documents: Iterable[tuple[Any, ...]], batches: Iterable[uuid.UUID]
) -> dict[uuid.UUID, Marks | None]:
    """By the keys of the rows, from what is there: of documents the key and the columns of `MARKS`; of the rows'
    predecessors the keys."""
    found = {key: marks for key, *marks in documents}
    there = set(batches)
    return {
        row.id: marks_for(row, there, *found[row.document_id]) if row.document_id in found else None
        for row in rows
    }


def marks_for(
    row: BatchRow,
    there: Container[uuid.UUID],
    truncated_seq: int,
    turns_wanted: int,
    truncated_batch: uuid.UUID | None,
) -> Marks:
    """From the predecessors that are there, and the columns of `MARKS`."""
    has_lost = is_lost(row.predecessor, row.first_seq - 1, truncated_seq, truncated_batch, there)
    return Marks(truncated_seq, turns_wanted, not has_lost)


class OrmTable(TableByStep):
    """Any database: one INSERT per row, guarded by the unique index; the reference for the other ways."""

    def __init__(self, connection: Connection) -> None:
        self._alias = connection.alias

    def transaction(self) -> AbstractContextManager[Any]:
        return transaction.atomic(using=self._alias, durable=True)

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        written = [row for row in rows if self._is_inserted(row)]
        reach("append.inserted")
        documents = Document.objects.using(self._alias).filter(pk__in=[row.document_id for row in written])
        marks = documents.order_by().values_list("pk", *MARKS)
        batches = JournalBatch.objects.using(self._alias).filter(pk__in=predecessors_of(written))
        return marks_of(written, marks, batches.order_by().values_list("pk", flat=True))

    def _is_inserted(self, row: BatchRow) -> bool:
        try:
            with transaction.atomic(using=self._alias):
                row.as_model().save(force_insert=True, using=self._alias)
        except IntegrityError:
            return False
        return True

    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        JournalBatch.objects.using(self._alias).filter(pk__in=keys).delete()
