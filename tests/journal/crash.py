"""Kills writers and compactions, and looks after each death whether everything acknowledged is there, once.

    python -m tests.journal.crash --minutes 10 --seed 7     random kills, then a summary
    python -m tests.journal.crash --kills 60                so many
    python -m tests.journal.crash --points                  one death at every failpoint
    python -m tests.journal.crash --point compact.cut       at that one
    … --database postgresql                                 on a PostgreSQL server of its own

Live rooms, snapshots, projections, compaction and archiving are all at work. Everything happens in a data folder that
is made anew; a failure prints it, and leaves it there.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

from tests.postgresql import PostgreSQL

SETTINGS = {
    "PROJECTION_INTERVAL_S": 0.02,
    "JOURNAL_DELETE_MESSAGES_MAX": 20,
    "JOURNAL_ARCHIVE": True,
    "JOURNAL_PROJECTION_ROWS_MAX": 20,
    "RETRY_DELAY_MAX_MS": 100,
    "LIMITS": {"messages_per_second_max": 1_000_000},
}
"""Small bounds, so that there is something between the steps."""


def prepare(database_url: str) -> str:
    """Afterwards Django works on an empty database, SQLite's in a new folder; the folder."""
    folder = tempfile.mkdtemp(prefix="vuer-rtc-crash-")
    os.environ["DATABASE_URL"] = database_url
    os.environ["VUER_RTC_DATA_DIR"] = folder
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.server_settings"
    os.environ["VUER_RTC_TEST_SETTINGS"] = json.dumps(SETTINGS)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--minutes", type=float)
    amount.add_argument("--kills", type=int)
    amount.add_argument("--points", action="store_true")
    amount.add_argument("--point", help="a failpoint of journal/failpoint.py")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(PostgreSQL()).url() if options.database == "postgresql" else ""
        summary = {"seed": options.seed, "database": options.database, **torment(options, prepare(url))}
        print(json.dumps(summary))
    return 0


def torment(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Does what was asked for; the summary."""
    from tests.journal.torture import VICTIMS_POINTS, Torture, disconnect

    torture = Torture(options.seed)
    try:
        if options.points or options.point:
            for point in [options.point] if options.point else VICTIMS_POINTS:
                torture.die_at(point)
        else:
            deadline = time.monotonic() + 60 * (options.minutes or 1e6)
            while torture.summary.kills < (options.kills or 1e9) and time.monotonic() < deadline:
                torture.die()
    except BaseException:
        print(f"seed {options.seed}, after {torture.summary.kills} kills; data in {folder}", file=sys.stderr)
        raise
    disconnect()
    shutil.rmtree(folder)
    return torture.summary.of_all()


if __name__ == "__main__":
    sys.exit(main())
