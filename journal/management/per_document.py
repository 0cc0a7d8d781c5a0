"""What the commands share: they treat documents one after another, one that fails does not stop the others, and two
of them never change one document at the same time.

Exit status: 0, done, or busy (another command is at work on the document: nothing was done, the next run will), or
gone (in a run over all documents one was deleted meanwhile); 1, something is wrong, and the error stream says what; 2,
the arguments make no sense (`Senseless`); 130, ended by Ctrl-C.
"""

import json
import logging
import signal
import sys
import time
from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, OperationalError
from django.db.models import QuerySet

from journal.collector import calm_collector
from journal.durability import journal_connection
from journal.error import JournalBusy, JournalError, UnknownDocument
from journal.lease import lease
from journal.management.argument import Once, Senseless, refuse_what_is_no_text
from journal.management.pipe import open_closed, write_anything, written_out
from journal.management.progress import Progress
from journal.management.visible import visible
from journal.models import Document
from journal.position import load_document
from journal.renewal import renew_if_dead
from journal.stored_row import tells_damage

Result = dict[str, Any]

logger = logging.getLogger(__name__)

RECONNECT_PAUSES_S = (0.5, 1, 2, 4, 8)

Found = tuple[str, Document | Error]
"""A slug, and the document, or why its row cannot be read."""


class JournalCommand(BaseCommand):
    """Progress on a terminal; silence elsewhere (cron) unless something is wrong, or it was only asked what would be
    done; exit status 1 if something is wrong."""

    progress: Progress

    def __init__(self, *args: Any, **options: Any) -> None:
        open_closed()
        super().__init__(*args, **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="Print JSON: one object per document (of sessions: one)."
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.progress = Progress(self.stderr, is_shown=options["verbosity"] > 0 and self.stderr.isatty())
        write_anything(sys.stdout)
        with written_out():
            try:
                refuse_what_is_no_text(options)
                with calm_collector():
                    return super().execute(*args, **options)
            except (Senseless, Error, JournalError) as error:
                self.progress.clear()
                if options["json"]:
                    self.write_json(asked_of(options) | {"outcome": "failed", "detail": str(error)})
                if isinstance(error, Senseless):
                    raise
                raise CommandError(str(error)) from error
            except KeyboardInterrupt:
                self.progress.clear()
                self.stderr.write("ended by Ctrl-C: run it again, it goes on or begins again")
                sys.exit(128 + signal.SIGINT)

    @abstractmethod
    def describe(self, result: Result) -> Iterator[str]:
        """What was done, for people, as lines."""

    def attempt(self, slug: str, treat: Callable[[], tuple[Result, bool]], options: dict[str, Any]) -> bool:
        """What `treat` did of a document is shown; true when all is well, and that could be told."""
        try:
            result, is_well = treat()
        except JournalBusy as error:
            result, is_well = {"slug": slug, "outcome": "busy", "detail": str(error)}, True
        except (Error, JournalError) as error:
            result, is_well = {"slug": slug, "outcome": "failed", "detail": str(error)} | coded(error), False
        except CommandError:
            raise
        except Exception as error:
            # A defect of ours, for which the documents behind this one need not wait.
            logger.exception("document %s: nobody foresaw this", slug)
            result, is_well = {"slug": slug, "outcome": "failed", "detail": f"unforeseen: {error!r}"}, False
        try:
            self.progress.clear()
            self.show(result, is_well, options)
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:  # a full disk, say: what is left is written when a document has given room
            is_well = False
            with suppress(OSError):
                self.stderr.write(f"{slug}: what was done could not be told: {error}")
        return is_well

    def show(self, result: Result, is_well: bool, options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json(result)
            return
        detail = result["detail"].rstrip().split("\n") if "detail" in result else self.describe(result)
        text = "\n".join(
            visible(f"{result['slug']}: {line}" if "slug" in result else line) for line in detail
        )
        if not is_well:
            self.stderr.write(text)
        elif options["verbosity"] > 1 or (options["verbosity"] == 1 and self.is_listened_to(options)):
            self.stdout.write(text)

    def write_json(self, result: Result) -> None:
        """For programs: in ASCII, which every locale has."""
        self.stdout.write(json.dumps(result))

    def is_listened_to(self, options: dict[str, Any]) -> bool:
        """On a terminal; anywhere, when to be told is all that was asked for."""
        is_only_asked = options.get("dry_run", False) or options.get("yes") is False
        return is_only_asked or self.stdout.isatty()


class NamedDocumentCommand(JournalCommand):
    """One that treats the one document that is named."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--document", action=Once, required=True, metavar="SLUG", help="Which document.")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["document"]
        if not self.attempt(slug, lambda: self.treat(self.named_document(options), options), options):
            raise CommandError(f"not well: {slug}")

    def named_document(self, options: dict[str, Any]) -> Document:
        """The document asked for, which is whole.  Raises: Senseless; JournalUnavailable."""
        try:
            return load_document(options["document"])
        except UnknownDocument as error:
            raise unknown([options["document"]]) from error

    @abstractmethod
    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        """What was done, for JSON, and whether all is well."""


class DocumentCommand(JournalCommand):
    """One that does the same to every document, or to those that are named."""

    is_exclusive: ClassVar[bool] = False
    """True for a command that holds the document's lease while it treats it; compaction takes it by itself, when there
    is something to do."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--document",
            action="append",
            metavar="SLUG",
            help="Only this document; may be given several times.",
        )
        super().add_arguments(parser)

    @abstractmethod
    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        """What was done, for JSON, and whether all is well."""

    def handle(self, *args: Any, **options: Any) -> None:
        failed = []
        for number, (slug, found) in enumerate(self.documents(options["document"]), 1):
            self.progress.tell(f"{slug}, document", number)

            def treat(found: Document | Error = found) -> tuple[Result, bool]:
                document = _read(found)
                try:
                    with lease(document.pk) if self.is_exclusive else nullcontext():
                        return self.treat(document, options)
                except UnknownDocument:
                    if options["document"] is not None:
                        raise
                    return {"slug": document.slug, "outcome": "gone", "detail": "deleted meanwhile"}, True

            if not self.attempt(slug, treat, options):
                failed.append(slug)
                _reconnect()
        if failed:
            raise CommandError(f"not well: {', '.join(failed)}")

    def documents(self, slugs: list[str] | None) -> Iterator[Found]:
        """The documents asked for, in order of their slugs; all of them without a choice.  Those that are being
        imported or purged are none yet, or none any more."""
        if slugs is None:
            for slug in _all_slugs():
                if (found := _found(slug)) is not None:
                    yield slug, found
            return
        rows = {slug: _found(slug) for slug in sorted(set(slugs))}
        if missing := [slug for slug, row in rows.items() if row is None]:
            raise unknown(missing)
        yield from ((slug, row) for slug, row in rows.items() if row is not None)


def _reconnect() -> None:
    """Afterwards the documents behind one that failed find a session with the database, should theirs have ended: it
    may start again.  Raises: OperationalError when it stays away, in which case all of them would only fail.
    """
    connection = journal_connection()
    if connection.in_atomic_block:
        return
    renew_if_dead(connection)
    for pause_s in RECONNECT_PAUSES_S:
        with suppress(OperationalError):
            connection.ensure_connection()
            return
        time.sleep(pause_s)
    connection.ensure_connection()


def _whole() -> QuerySet[Document]:
    return Document.objects.filter(condition=Document.Condition.WHOLE)


def _all_slugs() -> list[str]:
    """No cursor is open over what is done; where a page of the table is broken, the index tells them."""
    try:
        return list(_whole().order_by("slug").values_list("slug", flat=True))
    except Error as error:
        if not tells_damage(error):
            raise
        return list(Document.objects.order_by("slug").values_list("slug", flat=True))


def _found(slug: str) -> Document | Error | None:
    try:
        return _whole().filter(slug=slug).first()
    except Error as error:
        return error


def _read(found: Document | Error) -> Document:
    if isinstance(found, Error):
        raise found
    return found


def asked_of(options: dict[str, Any]) -> Result:
    """The document that a command was asked about, if it is a single one."""
    slug = options.get("document")
    return {"slug": slug} if isinstance(slug, str) else {}


def coded(error: Exception) -> Result:
    """What a program may want to know of an error."""
    return {name: told for name in ("code", "line") if (told := getattr(error, name, None))}


def unknown(slugs: list[str]) -> Senseless:
    """That these cannot be treated: there are no such documents, or not yet, or no longer."""
    rows = Document.objects.filter(slug__in=slugs)
    conditions = {row.slug: f" ({row.get_condition_display()})" for row in rows if row.condition}
    return Senseless(f"no such document: {', '.join(slug + conditions.get(slug, '') for slug in slugs)}")
