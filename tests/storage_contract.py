"""One storage contract: every test that uses Django's database holds on each database, not on SQLite alone.

They run again here, in a process whose settings name the other database, as a site's do: writer (fast and ORM
path), reader, snapshots, compaction, projections, lease, verification, commands, admin, live rooms.  One of them by
itself: `VUER_RTC_TEST_DATABASE=postgresql .venv/bin/python -m pytest -k …`, or `mongodb`.

On MongoDB Django's transactions do nothing: what the tests show there is that the journal does without.  Each takes
ten times as long, so here are those that change what is stored; `make test-mongodb` runs them all, and with
`MONGO_URI=mongodb://…` on a real replica set.
"""

import os
import re
import subprocess
import sys

from tests.postgresql import PostgreSQL
from tests.server import ROOT

PATIENCE_S = 1500
TESTS_MIN = 200
TESTS_MIN_ON_MONGODB = 100
"""So many there are at least; fewer would mean that they were not found."""


ON_MONGODB = [
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


def run_contract(database: str, marks: str, *paths: str) -> int:
    """How many storage tests there are on another database; all have passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", marks, "-p", "no:cacheprovider", "--color=no"]
    environment = os.environ | {"VUER_RTC_TEST_DATABASE": database}
    done = subprocess.run(
        [*command, *paths],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    summary = re.search(r"^(\d+) passed(?:, (\d+) deselected)?.* in", done.stdout, re.MULTILINE)
    assert summary is not None, done.stdout[-8000:]
    return int(summary[1])


def test_what_holds_on_sqlite_holds_on_postgresql(postgresql: PostgreSQL) -> None:
    assert run_contract(postgresql.url(), "storage", "tests/journal", "tests/rooms") >= TESTS_MIN


def test_what_the_journal_promises_holds_on_mongodb() -> None:
    paths = [f"tests/journal/test_{subject}.py" for subject in ON_MONGODB]
    assert run_contract("mongodb", "storage and not sql", *paths) >= TESTS_MIN_ON_MONGODB
