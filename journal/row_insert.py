"""Many rows inserted by one statement, of values instead of Django's objects: a third of the processor time."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import models

from journal.chunk import chunks, kept_chunks
from journal.durability import Connection

Row = tuple[Any, ...]
"""Values of one row, in the order of a table's columns."""

ROWS_PER_STATEMENT = 100
"""Rows of one INSERT; SQLite takes 32,766 parameters and PostgreSQL 65,535."""


def is_fast(connection: Connection) -> bool:
    """True where a `Table` can write; elsewhere Django's objects have to."""
    return connection.vendor in ("sqlite", "postgresql")


class Table:
    """One model's rows.

    To adapt them takes longer than to insert them, and needs no transaction: whoever else writes need not wait for it.
    """

    def __init__(self, model: type[models.Model], columns: Sequence[str], if_there: str) -> None:
        """`columns` as attributes of the model are called; `if_there`: what follows ON CONFLICT."""
        self._model, self._columns, self._if_there = model, columns, if_there
        self._statements: dict[int, str] = {}

    def adapted(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """The rows as the database takes them."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for index, adapt in self._adapters(connection) if rows else ():
            columns[index] = tuple(map(adapt, columns[index]))
        return list(zip(*columns, strict=True))

    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Writes rows that `adapted` has made.

        Not one statement for each row: a thread that executes one lets go of Python's lock, and behind a busy event
        loop it has that back some milliseconds later, while everybody waits for the transaction.
        """
        if connection.vendor == "sqlite":
            for some in kept_chunks(rows, ROWS_PER_STATEMENT, _size):
                self._insert_values(connection, some)
        else:
            for some in chunks(rows, ROWS_PER_STATEMENT):
                self._insert_arrays(connection, some)

    def _insert_values(self, connection: Connection, rows: Sequence[Row]) -> None:
        """SQLite, straight to the driver: Django reads through each statement for its marks."""
        if (statement := self._statements.get(len(rows))) is None:
            marks = f"({', '.join('?' * len(self._columns))})"
            statement = f"{self._head} VALUES {', '.join([marks] * len(rows))} {self._tail}"
            self._statements[len(rows)] = statement
        connection.ensure_connection()
        with connection.wrap_database_errors:
            connection.connection.execute(statement, list(chain.from_iterable(rows)))

    def _insert_arrays(self, connection: Connection, rows: Sequence[Row]) -> None:
        """PostgreSQL: an array for each column, half the time of a value for each field."""
        types = [str(field.db_type(connection)).partition("(")[0] for field in self._fields]
        arrays = ", ".join(f"%s::{each}[]" for each in types)
        statement = f"{self._head} SELECT * FROM unnest({arrays}) {self._tail}"
        with connection.cursor() as cursor:
            cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])

    @cached_property
    def _fields(self) -> list[Any]:
        fields = {field.attname: field for field in self._model._meta.concrete_fields}
        return [fields[column] for column in self._columns]

    @cached_property
    def _head(self) -> str:
        names = ", ".join(f'"{field.column}"' for field in self._fields)
        return f'INSERT INTO "{self._model._meta.db_table}" ({names})'

    @cached_property
    def _tail(self) -> str:
        return f"ON CONFLICT {self._if_there}"

    def _adapters(self, connection: Connection) -> list[tuple[int, Callable[[Any], Any]]]:
        """Of the columns that the database does not take as they are: their places, and how it takes them."""
        found = ((index, _adapter(field, connection)) for index, field in enumerate(self._fields))
        return [(index, adapt) for index, adapt in found if adapt is not None]


def _adapter(field: Any, connection: Connection) -> Callable[[Any], Any] | None:
    """How the database takes a Python value of this field; None: as it is."""
    match field:
        case models.ForeignKey():
            return _or_none(_adapter(field.target_field, connection))
        case models.UUIDField():
            return None if connection.features.has_native_uuid_field else _hex
        case models.JSONField():
            empty = connection.ops.adapt_json_value({}, field.encoder)  # what most have
            return _or_none(
                lambda value: connection.ops.adapt_json_value(value, field.encoder) if value != {} else empty
            )
        case models.DateTimeField():
            adapt: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
            return adapt
    return None


def _size(row: Row) -> int:
    """Characters and bytes of an adapted row."""
    return sum(len(value) for value in row if type(value) in (str, bytes))


def _hex(value: UUID) -> str:
    return value.hex


def _or_none(adapt: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if adapt is None else lambda value: None if value is None else adapt(value)
