"""One storage contract: every test that uses Django's database holds on each database, not on SQLite alone.

`test_storage_postgresql` and `test_storage_mongodb` run them again, in a process whose settings name the other
database, as a site's do: writer (fast and ORM path), reader, snapshots, compaction, projections, lease, verification,
commands, admin, live rooms.  By hand, for `mongodb` likewise: `VUER_RTC_TEST_DATABASE=postgresql .venv/bin/python -m
pytest -k …`.
"""

import os
import re
import subprocess
import sys

from tests.server import ROOT

PATIENCE_S = 1500


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
