"""`manage.py import_journal`: a document out of an export, or out of another server's messages."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.core.management.base import CommandError

from journal.imported import Accounts, Imported
from journal.intake import import_lines
from journal.management.argument import Senseless
from journal.management.per_document import JournalCommand, Result
from journal.packed import opened
from journal.projection import catch_up
from journal.transfer_line import Line, joined, looks_like_export, raw_lines, read_lines
from rooms.dump import one_document, read_dump
from rooms.dump_intake import import_dump

STANDARD_INPUT = "-"


class Command(JournalCommand):
    help = (
        "Make a document of what export_journal wrote, or of a dump of another vuer-rtc server's messages (JSON "
        "lines). All or nothing: until the end nobody can enter it, and a run that was killed is forgotten by the next."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "file",
            nargs="+",
            help="The export or dump; -: the standard input. May be packed (Zstandard, gzip). Several: archives of "
            "one document, each following the one before, perhaps an export of the rest at the end.",
        )
        parser.add_argument(
            "--document",
            metavar="SLUG",
            help="Name of the new document (default: as exported; a dump has none).",
        )
        parser.add_argument(
            "--accounts",
            choices=Accounts.values,
            default=Accounts.KEEP.value,
            help="Of an export. " + "; ".join(f"{choice.value}: {choice.label}" for choice in Accounts),
        )
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="Of a dump: leave out what cannot be taken over, and say what; exit status 1 if there was any.",
        )
        parser.add_argument(
            "--source",
            metavar="ID",
            help="Of a dump: only what names this document or room; refused when nothing does. Lines that name none "
            "are taken, too, unless others name another one: then the dump is refused.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        first, *others = options["file"]
        slug = options["document"] or first
        for name in others:
            _look(name)
        with source(first) as file:
            if not self.attempt(slug, lambda: self.take_in(opened(file), options), options):
                raise CommandError(f"not well: {slug}")

    def take_in(self, file: IO[bytes], options: dict[str, Any]) -> tuple[Result, bool]:
        report = self.import_all(file, options)
        catch_up(UUID(report.document_id))
        return asdict(report), not report.refused_count

    def import_all(self, file: IO[bytes], options: dict[str, Any]) -> Imported:
        """`file`: the first one; the others are opened when it is their turn, for there may be thousands."""
        slug, (first, *others) = options["document"], options["file"]
        if looks_like_export(file):
            if options["source"] is not None:
                raise Senseless("--source is about dumps; this is an export of ours, of one document")
            lines = joined([(first, read_lines(file)), *((name, lines_of(name)) for name in others)])
            return import_lines(lines, slug, Accounts(options["accounts"]), self.tell)
        if slug is None:
            raise Senseless("this is no export of ours; a dump needs --document SLUG")
        if others:
            raise Senseless("several files are archives and exports of ours, or one dump alone")
        found = one_document(read_dump(raw_lines(file)), options["source"])
        return import_dump(found, slug, skip_bad=options["skip_bad"], tell=self.tell)

    def tell(self, done: int, total: int) -> None:
        self.progress.tell("messages", done, total)

    def describe(self, result: Result) -> Iterator[str]:
        yield (
            f"{result['outcome']}: {result['messages']} messages in {result['batches']} batches and "
            f"{result['snapshots']} snapshots, head {result['head_seq']}"
        )
        if result["duplicates"]:
            yield f"{result['duplicates']} messages were there twice"
        for refused in result["refused"]:
            yield f"left out, line {refused['line']}: {refused['code']}: {refused['detail']}"
        if untold := result["refused_count"] - len(result["refused"]):
            yield f"and {untold} more"


@contextmanager
def source(name: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, or of the standard input.  Raises: Senseless."""
    with ExitStack() as stack:
        try:
            file = sys.stdin.buffer if name == STANDARD_INPUT else stack.enter_context(open(name, "rb"))
        except OSError as error:
            raise Senseless(str(error)) from error
        yield file


def lines_of(name: str) -> Iterator[tuple[int, Line]]:
    """The lines of an export or archive, which is opened for the first of them.  Raises: Senseless; TransferRefused."""
    with source(name) as file:
        yield from read_lines(opened(file))


def _look(name: str) -> None:
    """Returns when there is such a file.  Raises: Senseless."""
    try:
        if name != STANDARD_INPUT:
            Path(name).stat()
    except OSError as error:
        raise Senseless(str(error)) from error
