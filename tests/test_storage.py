"""One storage contract: every test that uses Django's database holds on each database, not on SQLite alone.

They run again here, in a process whose settings name the other database, as a site's do: writer (fast and ORM
path), reader, snapshots, compaction, projections, lease, verification, commands, admin, live rooms.  One of them by
itself: `VUER_RTC_TEST_DATABASE=postgresql .venv/bin/python -m pytest -k …`.
"""

import os
import re
import subprocess
import sys

from tests.postgresql import PostgreSQL
from tests.server import ROOT

PATIENCE_S = 1500
TESTS_MIN = 200
"""So many there are at least; fewer would mean that they were not found."""


def run_contract(database: str) -> str:
    """The report of the storage tests on another database; all have passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "storage", "-p", "no:cacheprovider", "--color=no"]
    environment = os.environ | {"VUER_RTC_TEST_DATABASE": database}
    done = subprocess.run(
        [*command, "tests/journal", "tests/rooms"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def test_what_holds_on_sqlite_holds_on_postgresql(postgresql: PostgreSQL) -> None:
    report = run_contract(postgresql.url())
    summary = re.search(r"^(\d+) passed(?:, (\d+) deselected)? in", report, re.MULTILINE)
    assert summary is not None, report[-8000:]
    assert int(summary[1]) >= TESTS_MIN
