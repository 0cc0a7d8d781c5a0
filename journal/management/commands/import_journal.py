"""`manage.py import_journal`: a document out of an export, archives, or another server's messages."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, Any
from uuid import UUID

from django.core.management.base import CommandError

from journal.intake import Accounts, import_lines
from journal.management.per_document import JournalCommand, Result
from journal.projection import catch_up
from journal.transfer_line import opened, read_lines

STANDARD_INPUT = "-"


class Command(JournalCommand):
    help = (
        "Make a document of what export_journal wrote. All or nothing: until the end nobody can enter it, and a run "
        "that was killed is forgotten by the next."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="The export; -: the standard input. May be packed (.zst).")
        parser.add_argument(
            "--document", metavar="SLUG", help="Name of the new document (default: as exported)."
        )
        parser.add_argument(
            "--accounts",
            choices=Accounts.values,
            default=Accounts.KEEP.value,
            help="; ".join(f"{choice.value}: {choice.label}" for choice in Accounts),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["document"] or options["file"]
        with ExitStack() as stack:
            source = opened(self.source(options["file"], stack))
            if not self.attempt(slug, lambda: self.take_in(source, options), options):
                raise CommandError(f"not well: {slug}")

    def source(self, name: str, stack: ExitStack) -> IO[bytes]:
        if name == STANDARD_INPUT:
            return sys.stdin.buffer
        try:
            return stack.enter_context(open(name, "rb"))
        except OSError as error:
            raise CommandError(str(error)) from error

    def take_in(self, source: IO[bytes], options: dict[str, Any]) -> tuple[Result, bool]:
        def tell(done: int, total: int) -> None:
            self.progress.tell("messages", done, total)

        report = import_lines(read_lines(source), options["document"], Accounts(options["accounts"]), tell)
        catch_up(UUID(report.document_id))
        return asdict(report), True

    def describe(self, result: Result) -> Iterator[str]:
        yield (
            f"{result['outcome']}: {result['messages']} messages in {result['batches']} batches and "
            f"{result['snapshots']} snapshots, head {result['head_seq']}"
        )
