"""`manage.py compact_journals`: for cron.  Exit status 1 also when a document is known to be damaged."""

from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from journal.compaction import KeepRules, compact_document
from journal.management.argument import count, days
from journal.management.per_document import DocumentCommand
from journal.models import Document
from journal.projection import catch_up
from journal.size import size_of


class Command(DocumentCommand):
    help = (
        "Fold old messages into snapshots, prove the snapshots equal to what they replace, then delete the "
        "old"
        " batches. Safe beside running servers, and after having been killed: run it again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--keep",
            type=count,
            metavar="N",
            help="Leave the newest N messages alone (default: document or settings).",
        )
        parser.add_argument(
            "--older-than",
            type=days,
            metavar="DAYS",
            help="Leave messages younger than DAYS alone, as well.",
        )
        parser.add_argument(
            "--archive",
            action=BooleanOptionalAction,
            help="Keep what is deleted as files in the storage for archives (default: the setting JOURNAL_ARCHIVE).",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Say how much each document holds, and what would be done; write nothing.",
        )

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        keep = KeepRules.of(document, options["keep"], options["older_than"])
        report = compact_document(
            document,
            keep,
            is_dry_run=options["dry_run"],
            is_archiving=options["archive"],
            tell=self.progress.tell,
        )
        result = asdict(report) | {"damage": document.damage}
        if options["dry_run"]:
            size = size_of(document.pk)
            result["size"] = {"about_bytes": size.about_bytes} | asdict(size)
        else:
            catch_up(document.pk)
        return result, not document.damage

    def describe(self, result: dict[str, Any]) -> Iterator[str]:
        if size := result.get("size"):
            yield (
                f"{size['about_bytes']} bytes or so: {size['journal_bytes']} of {size['batches']} batches, "
                f"{size['snapshot_bytes']} of {size['snapshots']} snapshots, {size['operations']} rows of operations"
            )
        yield from (f"damaged, {line}" for line in result["damage"].splitlines())
        if result["leftover_batches"]:
            yield f"{result['leftover_batches']} batches of an interrupted run"
        match result["outcome"]:
            case "compacted":
                yield (
                    f"{result['messages']} messages in {result['batches']} batches folded into a snapshot of"
                    f" {result['snapshot_bytes']} bytes at seq {result['snapshot_seq']}; the journal begins "
                    f"at seq"
                    f" {result['truncated_seq'] + 1}; {result['seconds']} s"
                )
                yield from (f"archived in {name}" for name in result["archives"])
            case "planned":
                yield (
                    f"would fold {result['messages']} messages in {result['batches']} batches, up to seq"
                    f" {result['truncated_seq']}, cut {result['cut']}"
                )
            case outcome:
                yield outcome
