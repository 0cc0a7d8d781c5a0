"""Batches by SQL of our own, straight to the drivers of SQLite and PostgreSQL.

A commit of one message is two statements.  Through Django's transactions, cursors and objects they take as long in
Python as the disk takes to keep them; on PostgreSQL each is a way to the server and back beside.  What Django adds
there (savepoints, hooks on commit, a log of queries) no batch needs.  Inside a transaction of Django's they are part of
that.
"""

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import Any

from django.db import Error, transaction

from journal.batch_table import (
    MARKS,
    BatchRow,
    BatchTable,
    Marks,
    OrmTable,
    TableByStep,
    marks_for,
    marks_of,
    predecessors_of,
)
from journal.chunk import chunks, kept_chunks
from journal.durability import Connection
from journal.failpoint import reach
from journal.lock_wait import COMMIT_MS
from journal.models import Document, JournalBatch
from journal.position import TRUNCATED
from journal.settings import settings
from journal.sqlite_file import refuse_moved

ROWS_MAX = 100
"""Rows of one statement; bounds its parameters."""
COLUMNS = ("_id", *BatchRow.__struct_fields__[1:-1])
BATCHES, DOCUMENTS = JournalBatch._meta.db_table, Document._meta.db_table


def batch_table(connection: Connection) -> BatchTable:
    """The fast way where the database and its driver have it, the portable one elsewhere."""
    connection.ensure_connection()
    if connection.vendor == "sqlite" and connection.features.can_return_columns_from_insert:
        return SqliteTable(connection)
    if connection.vendor == "postgresql" and has_pipelines():
        return PostgresTable(connection)
    return OrmTable(connection)


class DriverTable(TableByStep):
    """What the two have in common."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver = connection.connection

    @property
    def _is_free(self) -> bool:
        """True when no transaction of Django's is around this one."""
        return not self._connection.in_atomic_block

    def transaction(self) -> AbstractContextManager[Any]:
        if self._is_free:
            return self._own_transaction()
        return transaction.atomic(using=self._connection.alias, durable=True)

    @abstractmethod
    def _own_transaction(self) -> AbstractContextManager[Any]:
        """Without Django."""


class SqliteTable(DriverTable):
    """One statement writes and reads: nobody else writes in this transaction's time."""

    @contextmanager
    def _own_transaction(self) -> Iterator[None]:
        with self._connection.wrap_database_errors:
            self._driver.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._commit()
            except BaseException:
                self._driver.rollback()
                raise

    def _commit(self) -> None:
        refuse_moved(self._connection)
        self._driver.execute("COMMIT")

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        marks: dict[uuid.UUID, Marks | None] = {}
        with self._connection.wrap_database_errors:
            for some in kept_chunks(rows, ROWS_MAX, lambda row: len(row.payload)):
                values = [value for row in some for value in self._values(row)]
                inserted = self._driver.execute(_insert_and_read(len(some)), values).fetchall()
                predecessors = [key.hex for key in predecessors_of(some)]
                there = (
                    self._driver.execute(_select(len(predecessors), "?"), predecessors)
                    if predecessors
                    else ()
                )
                found = {uuid.UUID(key) for (key,) in there}
                rows_of = {row.id.hex: row for row in some}
                for key, truncated_seq, turns_wanted, ended in inserted:
                    row, place = (
                        rows_of[key],
                        (truncated_seq, turns_wanted, uuid.UUID(ended) if ended else None),
                    )
                    marks[row.id] = marks_for(row, found, *place) if truncated_seq is not None else None
        reach("append.inserted")
        return marks

    def _values(self, row: BatchRow) -> tuple[Any, ...]:
        """In the order of `COLUMNS`, as Django stores them."""
        _, _, *plain, created_at = row.values
        moment = self._connection.ops.adapt_datetimefield_value(created_at)
        return (row.id.hex, row.document_id.hex, *plain, moment)

    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        with self._connection.wrap_database_errors:
            for some in chunks(keys, ROWS_MAX):
                self._driver.execute(_delete(len(some), "?"), [key.hex for key in some])


class PostgresTable(DriverTable):
    """All statements of a transaction go out without a wait for their answers: there and back once, wherever the server
    is."""

    def __init__(self, connection: Connection) -> None:
        from psycopg import Cursor  # Django's own puts the values into the text of the statement

        super().__init__(connection)
        self._cursor = Cursor

    def append(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        """With a fence that fails, and the transaction with it, when it finds a row; then step by step."""
        if not self._is_free or len(rows) > ROWS_MAX:
            return super().append(rows)
        try:
            with self.transaction():
                reach("append.begun")
                written = self._insert(rows)
                reach("append.inserted")
                places = [v for row in rows for v in (row.document_id, row.first_seq, row.predecessor)]
                read = self._execute(_fence(len(rows)), places)
                reach("append.fenced")
        except Error as error:
            from psycopg.errors import DivisionByZero, ForeignKeyViolation

            if isinstance(error.__cause__, DivisionByZero | ForeignKeyViolation):  # or the document is gone
                return super().append(rows)
            raise
        found = {document_id: Marks(truncated, turns, True) for document_id, truncated, turns, _ in read}
        return {row.id: found.get(row.document_id) for row in _those(rows, written)}

    @contextmanager
    def _own_transaction(self) -> Iterator[None]:
        with self._connection.wrap_database_errors:
            try:
                with self._driver.pipeline():
                    self._execute("BEGIN ISOLATION LEVEL READ COMMITTED")  # whatever the site's is: J8
                    self._execute(LASTING if settings.durability == "full" else BRIEF)
                    yield
                    self._commit()
            except BaseException:
                with suppress(self._connection.Database.Error):  # the connection is gone
                    self._driver.rollback()
                raise

    def _commit(self) -> None:
        self._execute("COMMIT")

    def insert(self, rows: Sequence[BatchRow]) -> dict[uuid.UUID, Marks | None]:
        marks: dict[uuid.UUID, Marks | None] = {}
        with self._connection.wrap_database_errors:
            for some in chunks(rows, ROWS_MAX):
                inserted = self._insert(some)
                reach("append.inserted")
                read = self._execute(_select_marks(len(some)), [row.document_id for row in some])
                predecessors = predecessors_of(some)
                there = self._execute(_select(len(predecessors)), predecessors) if predecessors else ()
                marks |= marks_of(_those(some, inserted), read, (key for (key,) in there))
        return marks

    def _insert(self, rows: Sequence[BatchRow]) -> Any:
        return self._execute(_insert(len(rows)), [value for row in rows for value in row.values])

    def delete(self, keys: Sequence[uuid.UUID]) -> None:
        with self._connection.wrap_database_errors:
            for some in chunks(keys, ROWS_MAX):
                self._execute(_delete(len(some), "%s"), some)

    def _execute(self, statement: str, values: Sequence[Any] | None = None) -> Any:
        return self._cursor(self._driver).execute(statement, values)


BRIEF = f"SELECT set_config('lock_timeout', '{COMMIT_MS}', true)"
LASTING = (
    f"{BRIEF}, set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, true)"
)
"""Whatever somebody has told the server since it was asked at the start."""


def _those(rows: Sequence[BatchRow], inserted: Any) -> list[BatchRow]:
    """The rows that went in, by the cursor of `_insert`."""
    keys = {key for (key,) in inserted}
    return [row for row in rows if row.id in keys]


@lru_cache
def has_pipelines() -> bool:
    """False for psycopg2, and for libpq before 14."""
    try:
        from psycopg import Pipeline
    except ImportError:
        return False
    return Pipeline.is_supported()


@lru_cache
def _insert(rows: int, mark: str = "%s") -> str:
    names, row = ", ".join(COLUMNS), f"({_marks(len(COLUMNS), mark)})"
    return (
        f'INSERT INTO "{BATCHES}" ({names}) VALUES {", ".join([row] * rows)}'
        " ON CONFLICT DO NOTHING RETURNING _id"
    )


@lru_cache
def _insert_and_read(rows: int) -> str:
    return _insert(rows, "?") + "".join(
        f', (SELECT {column} FROM "{DOCUMENTS}" WHERE _id = document_id)' for column in MARKS
    )


@lru_cache
def _select_marks(documents: int) -> str:
    return f'SELECT _id, {", ".join(MARKS)} FROM "{DOCUMENTS}" WHERE _id IN ({_marks(documents, "%s")})'


@lru_cache
def _fence(rows: int) -> str:
    """PostgreSQL's: `_select_marks` for documents, each with a first_seq and a predecessor, which fails where one is
    fenced."""
    values = ", ".join(["(%s::uuid, %s::bigint, %s::uuid)"] * rows)
    there = f'(SELECT count(*) FROM "{BATCHES}" AS before WHERE before._id = v.column3)'
    folded = (
        f"truncated_seq = v.column2 - 1 AND coalesce(v.column3 IN (truncated_batch, '{TRUNCATED}'), true)"
    )
    return (
        "SELECT _id, truncated_seq, turns_wanted, 1 / (truncated_seq < v.column2 AND"
        f" (v.column3 IS NULL OR {there} = 1 OR {folded}))::int"
        f' FROM "{DOCUMENTS}" JOIN (VALUES {values}) AS v ON _id = v.column1'
    )


def _select(rows: int, mark: str = "%s") -> str:
    """What is asked for is in the index: a row that cannot be read keeps nobody from writing."""
    return f'SELECT _id FROM "{BATCHES}" WHERE _id IN ({_marks(rows, mark)})'


def _delete(rows: int, mark: str) -> str:
    return f'DELETE FROM "{BATCHES}" WHERE _id IN ({_marks(rows, mark)})'


def _marks(count: int, mark: str) -> str:
    return ", ".join([mark] * count)
