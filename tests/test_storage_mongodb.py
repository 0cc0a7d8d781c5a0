"""The storage contract on MongoDB, as far as CI has time for it.

Django's transactions do nothing there: what the tests show is that the journal does without.  Each takes ten times as
long, so here are those that change what is stored; `make test-mongodb` runs them all, and with `MONGO_URI=mongodb://…`
on a real replica set.
"""

import pytest

from tests.storage_contract import PATIENCE_S, run_contract

TESTS_MIN = 100
"""So many there are at least; fewer would mean that they were not found."""

SUBJECTS = [
    "compaction",
    "concurrency",
    "custody_race",
    "projection",
    "purge",
    "reader",
    "redaction",
    "reset",
    "restore",
    "snapshot",
    "writer",
]


@pytest.mark.timeout(PATIENCE_S)
def test_what_the_journal_promises_holds_on_mongodb() -> None:
    paths = [f"tests/journal/test_{subject}.py" for subject in SUBJECTS]
    assert run_contract("mongodb", "storage and not sql", *paths) >= TESTS_MIN
