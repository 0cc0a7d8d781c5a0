"""Many rows changed by one statement."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from django.db import connections, models, router

from journal.chunk import chunks

ROWS_MAX = 50
"""Rows of one statement."""


def update_rows(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Afterwards the rows of those objects (of one model) have their values of those fields; rows that are gone stay
    gone.

    Django's `bulk_update` takes 0.4 ms a row, all of it in Python, while everybody else waits for its lock.  SQLite and
    PostgreSQL take a statement of our own at a hundredth of that.
    """
    if not rows:
        return
    model = type(rows[0])
    alias = router.db_for_write(model)
    if connections[alias].vendor in ("sqlite", "postgresql"):
        for some in chunks(rows, ROWS_MAX):
            _update(alias, model, some, fields)
    else:
        model._base_manager.using(alias).bulk_update(rows, fields, batch_size=ROWS_MAX)


def _update(
    alias: str, model: type[models.Model], rows: Sequence[models.Model], names: Sequence[str]
) -> None:
    connection = connections[alias]
    key: Any = model._meta.pk
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    quote = connection.ops.quote_name
    table, has_types = quote(model._meta.db_table), connection.vendor == "postgresql"

    def given(place: int, field: Any) -> str:
        column = f"v.column{place}"  # as both databases name them
        return f"CAST({column} AS {field.db_type(connection)})" if has_types else column

    assignments = ", ".join(
        f"{quote(field.column)} = {given(place, field)}" for place, field in enumerate(fields, 2)
    )
    marks = f"({', '.join(['%s'] * (1 + len(fields)))})"
    statement = (
        f"UPDATE {table} SET {assignments} FROM (VALUES {', '.join([marks] * len(rows))}) AS v"
        f" WHERE {table}.{quote(key.column)} = {given(1, key)}"
    )
    values = [
        [field.get_db_prep_save(getattr(row, field.attname), connection) for field in (key, *fields)]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, list(chain.from_iterable(values)))
