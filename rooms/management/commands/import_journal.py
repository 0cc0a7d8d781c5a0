"""`manage.py import_journal`: a document out of an export, or out of another server's messages."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, Any
from uuid import UUID

from django.core.management.base import CommandError

from journal.imported import Accounts, Imported
from journal.intake import import_lines
from journal.management.argument import Senseless
from journal.management.per_document import JournalCommand, Result
from journal.packed import opened
from journal.projection import catch_up
from journal.transfer_line import joined, looks_like_export, raw_lines, read_lines
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
        slug = options["document"] or options["file"][0]
        with ExitStack() as stack:
            sources = [opened(self.source(name, stack)) for name in options["file"]]
            if not self.attempt(slug, lambda: self.take_in(sources, options), options):
                raise CommandError(f"not well: {slug}")

    def source(self, name: str, stack: ExitStack) -> IO[bytes]:
        if name == STANDARD_INPUT:
            return sys.stdin.buffer
        try:
            return stack.enter_context(open(name, "rb"))
        except OSError as error:
            raise Senseless(str(error)) from error

    def take_in(self, sources: list[IO[bytes]], options: dict[str, Any]) -> tuple[Result, bool]:
        report = self.import_all(sources, options)
        catch_up(UUID(report.document_id))
        return asdict(report), not report.refused_count

    def import_all(self, sources: list[IO[bytes]], options: dict[str, Any]) -> Imported:
        slug = options["document"]
        if all(looks_like_export(source) for source in sources):
            if options["source"] is not None:
                raise Senseless("--source is about dumps; this is an export of ours, of one document")
            parts = [read_lines(source) for source in sources]
            lines = parts[0] if len(parts) == 1 else joined(parts)
            return import_lines(lines, slug, Accounts(options["accounts"]), self.tell)
        if slug is None:
            raise Senseless("this is no export of ours; a dump needs --document SLUG")
        if len(sources) > 1:
            raise Senseless("several files are archives and exports of ours, or one dump alone")
        found = one_document(read_dump(raw_lines(sources[0])), options["source"])
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
