"""`manage.py close_stale_sessions`: mark sessions as closed whose process died with them, and forget onlookers."""

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from journal.management.argument import days, seconds
from journal.management.per_document import JournalCommand, Result
from rooms.session import close_sessions_unseen_for, forget_onlookers
from rooms.settings import settings

TOUCHES_MISSED = 5
"""Touches a living process may miss (a long pause, a database away) before its sessions count as stale."""


class Command(JournalCommand):
    help = (
        "Mark sessions as closed that no server process has touched for a while: their process crashed. A "
        "process that starts again on the same host does this for its own; this command covers hosts that "
        "never came back. With --forget-after it also deletes rows that tell nobody anything any more."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--unseen-for", type=seconds, metavar="SECONDS", help="default: five times SESSION_TOUCH_S"
        )
        parser.add_argument(
            "--forget-after",
            type=days,
            metavar="DAYS",
            help="delete the rows of anonymous connections that ended so long ago and wrote nothing",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["unseen_for"]
        age = timedelta(seconds=TOUCHES_MISSED * settings.session_touch_s if given is None else given)
        is_dry_run, kept = options["dry_run"], options["forget_after"]
        count, gone = close_sessions_unseen_for(age, is_dry_run=is_dry_run), None
        if kept is not None:
            gone = forget_onlookers(timedelta(days=kept), is_dry_run=is_dry_run)
        told = {"outcome": "planned" if is_dry_run else "closed", "sessions": count}
        self.show(told if gone is None else told | {"forgotten": gone}, True, options)

    def describe(self, result: Result) -> Iterator[str]:
        would = result["outcome"] == "planned"
        yield f"{'would close' if would else 'closed'} {_sessions(result['sessions'], 'stale')}"
        if "forgotten" in result:
            yield f"{'would forget' if would else 'forgot'} {_sessions(result['forgotten'], 'anonymous')}"


def _sessions(count: int, kind: str) -> str:
    return f"{count} {kind} session{'' if count == 1 else 's'}"
