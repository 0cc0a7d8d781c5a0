"""`manage.py purge_document`: true deletion."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from journal.management.argument import Senseless
from journal.management.per_document import NamedDocumentCommand, Result, unknown
from journal.models import Document
from journal.purge import purge_document
from journal.stored_row import answering


class Command(NamedDocumentCommand):
    help = (
        "Delete a document for good: journal, snapshots, labels, rows, sessions, archives. There is no way back. "
        "Killed, run it again: it goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--yes", action="store_true", help="Yes, delete it. Without this nothing is done."
        )
        parser.add_argument(
            "--force", action="store_true", help="Although people are in it; they are sent away."
        )

    def named_document(self, options: dict[str, Any]) -> Document:
        """In whatever condition: what an import or an interrupted purge has left can be deleted, too."""
        with answering():
            document = Document.objects.filter(slug=options["document"]).first()
        if document is None:
            raise unknown([options["document"]])
        if not options["yes"]:
            raise Senseless(f"{document.slug}: nothing was done; with --yes it is deleted for good")
        return document

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        deleted = purge_document(document, is_forced=options["force"], tell=self.progress.tell)
        return {"slug": document.slug, "outcome": "purged", "deleted": deleted}, True

    def describe(self, result: Result) -> Iterator[str]:
        counted = ", ".join(f"{count} {kind}" for kind, count in result["deleted"].items())
        yield f"deleted for good: {counted or 'nothing but its row'}"
