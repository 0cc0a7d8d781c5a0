"""The storage contract on PostgreSQL."""

import pytest

from tests.postgresql import PostgreSQL
from tests.storage_contract import PATIENCE_S, run_contract

TESTS_MIN = 200
"""So many there are at least; fewer would mean that they were not found."""


@pytest.mark.timeout(PATIENCE_S)
def test_what_holds_on_sqlite_holds_on_postgresql(postgresql: PostgreSQL) -> None:
    assert run_contract(postgresql.url(), "storage", "tests/journal", "tests/rooms") >= TESTS_MIN
