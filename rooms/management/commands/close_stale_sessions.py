"""`manage.py close_stale_sessions`: mark sessions as closed whose process died with them."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from journal.management.argument import seconds
from rooms.session import close_sessions_unseen_for
from rooms.settings import settings

TOUCHES_MISSED = 5
"""Touches a living process may miss (a long pause, a database away) before its sessions count as stale."""


class Command(BaseCommand):
    help = (
        "Mark sessions as closed that no server process has touched for a while: their process crashed. A "
        "process that starts again on the same host does this for its own; this command covers hosts that "
        "never came back."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--unseen-for", type=seconds, metavar="SECONDS", help="default: five times SESSION_TOUCH_S"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["unseen_for"]
        age = timedelta(seconds=TOUCHES_MISSED * settings.session_touch_s if given is None else given)
        count = close_sessions_unseen_for(age, is_dry_run=options["dry_run"])
        if options["json"]:
            self.stdout.write(
                json.dumps({"outcome": "planned" if options["dry_run"] else "closed", "sessions": count})
            )
        elif options["verbosity"] > 1 or (options["verbosity"] == 1 and self.stdout.isatty()):
            verb = "would close" if options["dry_run"] else "closed"
            self.stdout.write(f"{verb} {count} stale session{'' if count == 1 else 's'}")
