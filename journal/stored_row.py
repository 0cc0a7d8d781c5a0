"""Rows as the database gives them, and what it says of those that it cannot give any more (rule J23)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.db import Error, models

from journal.error import CorruptJournal, JournalUnavailable
from journal.models import JournalBatch, Snapshot

PAGE_ROWS = 100
"""Batches that one query reads, at most."""
PAGE_ROWS_FIRST = 10
"""The same of the first one, which tells how large they are."""
PAGE_BYTES = 8_388_608
"""Of payloads that one query reads, about: one batch may have a few MB."""

SQLITE_DAMAGED = {11, 26}
"""SQLITE_CORRUPT, SQLITE_NOTADB."""
SQLITE_NO_TEXT = "Could not decode to UTF-8"
"""How Python's own error begins, which has no code: a payload has become text, or a text is none any more."""
POSTGRESQL_DAMAGED = {"XX001", "XX002"}
"""data_corrupted, index_corrupted."""

Row = TypeVar("Row", JournalBatch, Snapshot)
Told = TypeVar("Told")


class Unreadable(Exception):
    """A row, or the page that it is on, is not what was written."""


@dataclass(frozen=True, slots=True)
class LostRow:
    """Stands where the row of a batch was."""

    document_id: UUID
    first_seq: int
    """Where reading stopped: behind the row before."""
    last_seq: int
    """As the index says; `first_seq` when not even that can be read."""
    problem: str


def tells_damage(error: BaseException) -> bool:
    """True when a database error says that what is stored is damaged; false when the database merely does not answer:
    locked, full, away, or a disk that does not read."""
    cause = error.__cause__ or error
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in SQLITE_DAMAGED
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith(SQLITE_NO_TEXT)
    return getattr(cause, "sqlstate", None) in POSTGRESQL_DAMAGED


def told(error: BaseException) -> str:
    """What the error says, without the content that it could not decode."""
    return f"the database says: {str(error).partition(' with text ')[0]}"


@contextmanager
def answering(
    document_id: UUID | None = None, seq: int = 0, model: type[models.Model] = JournalBatch
) -> Iterator[None]:
    """Database errors inside the block come out as JournalUnavailable; of the document that is read, if one is named,
    those that tell damage as CorruptJournal, at `seq` when nobody knows better, of the table of `model`."""
    try:
        yield
    except Error as error:
        if document_id is not None and tells_damage(error):
            hint = backup_hint(document_id, seq, model)
            raise CorruptJournal(document_id, seq, told(error), hint) from error
        raise JournalUnavailable(f"the journal could not be read: {error}") from error


def stored(rows: models.QuerySet[Row]) -> list[Row]:
    """The rows, all their columns readable.

    Raises: Unreadable; other database errors as they are.
    """
    try:
        found = list(rows)
    except Error as error:
        if tells_damage(error):
            raise Unreadable(told(error)) from error
        raise
    except (AttributeError, TypeError, ValueError) as error:  # of Django: no UUID, no time
        raise Unreadable(f"a column does not hold what it should: {error}") from error
    for row in found:
        if not isinstance(row.payload, bytes | bytearray | memoryview):
            raise Unreadable(f"the payload of row {row.pk} is not of bytes")
        if row.created_at is None:  # what Django makes of a text that is no time
            raise Unreadable(f"the time of row {row.pk} is none")
    return found


def backup_hint(document_id: UUID, seq: int, model: type[models.Model] = JournalBatch) -> str:
    """What operators do about rows that are lost from `seq` on."""
    is_batch = model is JournalBatch
    column = "first_seq" if is_batch else "seq"
    way_out = f". Without a backup: export_journal --to-seq {seq - 1}" if is_batch and seq > 1 else ""
    return (
        f"Put the rows back from a backup: table {model._meta.db_table}, document_id {document_id.hex}, {column} from "
        f"{seq} on. Rows that are left stay as they are; other documents need not be touched{way_out}"
    )


def readable(
    rows: models.QuerySet[Snapshot, Told], document_id: UUID, seq: int = 0, count: int | None = None
) -> list[Told]:
    """Those of these rows of a document's snapshots that can be read; the newest `count` of them, if it is given.

    What they are chosen by, and most of what is asked of them, stands behind the payload: where that of one is broken,
    the database gives none of them, and each is asked for by itself.  In the order asked for unless that happens.

    Raises: CorruptJournal, at `seq`, when not even their keys can be read; other database errors as they are.
    """
    try:
        return list(rows[:count])
    except Error as error:
        if not tells_damage(error):
            raise
    found: list[Told] = []
    for pk in _keys(document_id, seq):
        try:
            found += rows.filter(pk=pk)
        except Error as error:
            if not tells_damage(error):
                raise
    return found[:count]


def _keys(document_id: UUID, seq: int) -> list[UUID]:
    """Those of a document's snapshots, the newest first: the index, and how each row begins, tell them."""
    rows = Snapshot.objects.filter(document=document_id).order_by("-seq")
    try:
        return list(rows.values_list("pk", flat=True))
    except Error as error:
        if tells_damage(error):
            hint = backup_hint(document_id, seq, Snapshot)
            raise CorruptJournal(document_id, seq, told(error), hint) from error
        raise


def batch_rows(document_id: UUID, seq: int) -> Iterator[JournalBatch | LostRow]:
    """The rows of the batches that reach beyond `seq`, in order, not verified.

    No cursor stays open between two of them: who reads may write meanwhile.  (On SQLite a connection that is in the
    middle of a read cannot write once somebody else has.)
    """
    rows = JournalBatch.objects.filter(document=document_id).order_by("last_seq")
    count = PAGE_ROWS_FIRST
    while True:
        found: list[JournalBatch] | list[JournalBatch | LostRow]
        try:
            found = stored(rows.filter(last_seq__gt=seq)[:count])
        except Unreadable as error:
            found = _one_by_one(rows, document_id, seq, count, str(error))
        yield from found
        if len(found) < count:
            return
        seq = found[-1].last_seq
        size = sum(len(row.payload) for row in found if not isinstance(row, LostRow))
        count = max(1, min(PAGE_ROWS, count * PAGE_BYTES // max(1, size)))


def _one_by_one(
    rows: models.QuerySet[JournalBatch], document_id: UUID, seq: int, count: int, problem: str
) -> list[JournalBatch | LostRow]:
    """The same page: where the rows are is in the index, each is then read by itself."""
    try:
        ends = list(rows.filter(last_seq__gt=seq).values_list("last_seq", flat=True)[:count])
    except Error as error:
        if tells_damage(error):
            return [LostRow(document_id, seq + 1, seq + 1, problem)]
        raise
    found: list[JournalBatch | LostRow] = []
    for last_seq in dict.fromkeys(ends):
        try:
            found += stored(rows.filter(last_seq=last_seq))
        except Unreadable as error:
            found.append(LostRow(document_id, seq + 1, last_seq, str(error)))
        seq = last_seq
    return found
