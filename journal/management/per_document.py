"""What the commands share: they treat documents one after another, and one that fails does not stop the
others."""

import json
from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from journal.error import JournalBusy, JournalError
from journal.models import Document


class DocumentCommand(BaseCommand):
    """Progress on a terminal; silence elsewhere (cron) unless something is wrong; exit status 1 if something
    is."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--document",
            action="append",
            metavar="SLUG",
            help="Only this document; may be given several times.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object per document.")

    @abstractmethod
    def treat(self, document: Document, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """What was done, for JSON, and whether all is well."""

    @abstractmethod
    def describe(self, result: dict[str, Any]) -> Iterator[str]:
        """The same for people, as lines."""

    def handle(self, *args: Any, **options: Any) -> None:
        failed = []
        for document in self.documents(options["document"]):
            try:
                result, is_well = self.treat(document, options)
            except JournalBusy as error:
                result, is_well = {"slug": document.slug, "outcome": "busy", "detail": str(error)}, True
            except JournalError as error:
                result, is_well = {"slug": document.slug, "outcome": "failed", "detail": str(error)}, False
            self.show(result, is_well, options)
            if not is_well:
                failed.append(document.slug)
        if failed:
            raise CommandError(f"not well: {', '.join(failed)}")

    def documents(self, slugs: list[str] | None) -> Iterator[Document]:
        """The documents asked for, in order of their slugs; all of them without a choice."""
        if slugs is None:
            yield from Document.objects.order_by("slug").iterator(chunk_size=100)
            return
        found = {document.slug: document for document in Document.objects.filter(slug__in=slugs)}
        if unknown := sorted(set(slugs) - found.keys()):
            raise CommandError(f"no such document: {', '.join(unknown)}")
        for slug in sorted(found):
            yield found[slug]

    def show(self, result: dict[str, Any], is_well: bool, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(result, ensure_ascii=False))
            return
        detail = [result["detail"]] if "detail" in result else self.describe(result)
        if not is_well:
            self.stderr.write("\n".join(f"{result['slug']}: {line}" for line in detail))
        elif options["verbosity"] > 1 or (options["verbosity"] == 1 and self.stdout.isatty()):
            self.stdout.write("\n".join(f"{result['slug']}: {line}" for line in detail))
