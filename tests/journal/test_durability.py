"""J16: what is acknowledged waits for the disk, also on a connection that has just written rows that need not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connections

from journal.durability import Connection, derived_rows
from tests.journal.sqlite import sqlite_connection


@pytest.fixture
def connection(tmp_path: Path, django_db_blocker: Any) -> Iterator[Connection]:
    """To SQLite: elsewhere the setting ends with its transaction."""
    connection = connections["own"] = sqlite_connection(tmp_path)
    with django_db_blocker.unblock():
        yield connection
        connection.close()
    del connections["own"]


def synchronous(connection: Connection) -> Any:
    """What SQLite says of this connection's commits."""
    with connection.cursor() as cursor:
        return cursor.execute("PRAGMA synchronous").fetchone()[0]


def refusing(connection: Connection, statement: str, error: type[BaseException]) -> Any:
    """A database that fails at one statement."""

    def execute(go_on: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql == statement:
            raise error(sql)
        return go_on(sql, *args)

    return connection.execute_wrapper(execute)


def test_j16_a_connection_that_cannot_be_put_back_is_closed(connection: Connection) -> None:
    before = synchronous(connection)
    with (
        refusing(connection, f"PRAGMA synchronous = {before}", OperationalError),
        pytest.raises(OperationalError),
        derived_rows("own"),
    ):
        assert synchronous(connection) == 1
    assert synchronous(connection) == before == 2


def test_j16_it_is_put_back_whatever_ends_the_transaction(connection: Connection) -> None:
    before = synchronous(connection)
    for statement in ("PRAGMA synchronous = NORMAL", "SELECT 1"):
        with (
            refusing(connection, statement, KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
            derived_rows("own"),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")
        assert synchronous(connection) == before


def test_j16_it_is_put_back_when_the_connection_is_lost(connection: Connection) -> None:
    before = synchronous(connection)
    with pytest.raises(ProgrammingError, match="closed"), derived_rows("own"):
        connection.connection.close()
    assert synchronous(connection) == before
