"""`manage.py purge_document`: true deletion."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from journal.management.per_document import JournalCommand, Result
from journal.models import Document
from journal.purge import purge_document


class Command(JournalCommand):
    help = (
        "Delete a document for good: journal, snapshots, labels, rows, sessions, archives. There is no way back. "
        "Killed, run it again: it goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--document", required=True, metavar="SLUG", help="Which document.")
        parser.add_argument(
            "--yes", action="store_true", help="Yes, delete it. Without this nothing is done."
        )
        parser.add_argument(
            "--force", action="store_true", help="Although people are in it; they are sent away."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["document"]
        document = Document.objects.filter(slug=slug).first()
        if document is None:
            raise CommandError(f"no such document: {slug}")
        if not options["yes"]:
            raise CommandError(f"{slug}: nothing was done; with --yes it is deleted for good")
        if not self.attempt(slug, lambda: self.purge(document, is_forced=options["force"]), options):
            raise CommandError(f"not well: {slug}")

    def purge(self, document: Document, *, is_forced: bool) -> tuple[Result, bool]:
        deleted = purge_document(document, is_forced=is_forced, tell=self.progress.tell)
        return {"slug": document.slug, "outcome": "purged", "deleted": deleted}, True

    def describe(self, result: Result) -> Iterator[str]:
        counted = ", ".join(f"{count} {kind}" for kind, count in result["deleted"].items())
        yield f"deleted for good: {counted or 'nothing but its row'}"
