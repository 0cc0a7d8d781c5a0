"""Kills writers and compactions, and looks after each death whether everything acknowledged is there, once.

    python -m tests.journal.crash --minutes 10 --seed 7     random kills, then a summary
    python -m tests.journal.crash --kills 60                so many
    python -m tests.journal.crash --points                  one death at every failpoint
    python -m tests.journal.crash --point compact.cut       at that one

Everything happens in a data folder that is made anew; a failure prints it, and leaves it there.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from typing import Any

SETTINGS = {
    "PROJECTION_INTERVAL_S": 0.02,
    "JOURNAL_DELETE_MESSAGES_MAX": 20,
    "JOURNAL_ARCHIVE": True,
    "JOURNAL_PROJECTION_ROWS_MAX": 20,
    "RETRY_DELAY_MAX_MS": 100,
    "LIMITS": {"messages_per_second_max": 1_000_000},
}
"""Small bounds, so that there is something between the steps."""


def prepare() -> str:
    """Afterwards Django works on an empty database in a new folder; the folder."""
    folder = tempfile.mkdtemp(prefix="vuer-rtc-crash-")
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
    options = parser.parse_args()
    folder = prepare()
    from journal.failpoint import AT_COMMANDS, POINTS
    from tests.journal.torture import Torture

    torture = Torture(options.seed)
    try:
        if options.points or options.point:
            points = [point for point in POINTS if point not in AT_COMMANDS]
            for point in [options.point] if options.point else points:
                torture.die_at(point)
        else:
            deadline = time.monotonic() + 60 * (options.minutes or 1e6)
            while torture.summary.kills < (options.kills or 1e9) and time.monotonic() < deadline:
                torture.kill_at_random()
    except BaseException:
        print(f"seed {options.seed}, after {torture.summary.kills} kills; data in {folder}", file=sys.stderr)
        raise
    summary: dict[str, Any] = {"seed": options.seed, **torture.summary.of_all()}
    print(json.dumps(summary))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
