"""J16: what is acknowledged waits for the disk, also on a connection that has just written rows that need not."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection

from journal.durability import derived_rows

pytestmark = pytest.mark.django_db(transaction=True)


def synchronous() -> Any:
    """What SQLite says of this connection's commits."""
    if connection.vendor != "sqlite":
        pytest.skip("elsewhere the setting ends with its transaction")
    with connection.cursor() as cursor:
        return cursor.execute("PRAGMA synchronous").fetchone()[0]


def refusing(statement: str, error: type[BaseException]) -> Any:
    """A database that fails at one statement."""

    def execute(go_on: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql == statement:
            raise error(sql)
        return go_on(sql, *args)

    return connection.execute_wrapper(execute)


def test_j16_a_connection_that_cannot_be_put_back_is_closed() -> None:
    before = synchronous()
    with (
        refusing(f"PRAGMA synchronous = {before}", OperationalError),
        pytest.raises(OperationalError),
        derived_rows("default"),
    ):
        assert synchronous() == 1
    assert synchronous() == before == 2


def test_j16_it_is_put_back_whatever_ends_the_transaction() -> None:
    before = synchronous()
    for statement in ("PRAGMA synchronous = NORMAL", "SELECT 1"):
        with (
            refusing(statement, KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
            derived_rows("default"),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")
        assert synchronous() == before


def test_j16_it_is_put_back_when_the_connection_is_lost() -> None:
    before = synchronous()
    with pytest.raises(ProgrammingError, match="closed"), derived_rows("default"):
        connection.connection.close()
    assert synchronous() == before
