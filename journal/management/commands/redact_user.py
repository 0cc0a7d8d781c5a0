"""`manage.py redact_user`: forget one person."""

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.db import Error

from journal.column import user_key
from journal.lease import lease
from journal.management.argument import Senseless
from journal.management.per_document import DocumentCommand, Found, Result
from journal.models import Document, Operation
from journal.projection import catch_up
from journal.redaction import (
    Person,
    Redacted,
    begin_secure_deletion,
    bring_rows_up_to_date,
    documents_of,
    redact_document,
    scrub,
)
from vuer_rtc.crdt.canonical import SERVER_PREFIX

UNNAMED = "no row of this document names this person: who never was there, a name that is misspelt, or rows long gone"


class Command(DocumentCommand):
    help = (
        "Take what a person wrote and nobody sees any more, and the person's accounts, addresses and programs, out of "
        "the documents the person was in. Their history, labels and archives go with it, for everybody."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--user", metavar="NAME", help="User name of the account; key of a deleted one.")
        parser.add_argument("--client", metavar="ID", help="A client id, with or without an account.")
        parser.add_argument(
            "--content",
            action="store_true",
            help="Empty what the person wrote and everybody still sees, as well.",
        )
        parser.add_argument(
            "--vacuum",
            action="store_true",
            help="SQLite: write the file anew afterwards, without what earlier deletions left in it.",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Also in a document of which no row names the person (any more).",
        )
        parser.add_argument(
            "--yes", action="store_true", help="Yes, do it. Without this it says what it would do."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.person = self.find_person(options)
        self.unread = bring_rows_up_to_date()
        self.clients = documents_of(self.person)
        self.is_chosen = options["document"] is not None
        self.is_anywhere = False
        if options["yes"]:
            begin_secure_deletion()
        is_scrubbed = False
        try:
            super().handle(*args, **options)
            if not self.is_anywhere:
                self.note_nobody(options)
        finally:
            if options["yes"] and not (is_scrubbed := scrub(is_thorough=options["vacuum"])):
                self.note_remains(options)
        if options["yes"] and options["vacuum"] and not is_scrubbed:
            raise CommandError("not well: --vacuum")

    def find_person(self, options: dict[str, Any]) -> Person:
        if options["client"] == "" or (options["user"] is None and options["client"] is None):
            raise Senseless("say who: --user NAME or --client ID")
        if (options["client"] or "").startswith(SERVER_PREFIX):
            raise Senseless(f"{options['client']} writes for everybody: name the account")
        if options["user"] is None:
            return Person(None, options["client"])
        model: Any = get_user_model()
        try:
            account = model._default_manager.get_by_natural_key(options["user"])
        except model.DoesNotExist as error:
            key = user_key(options["user"])
            is_deleted = key is not None and not model._default_manager.filter(pk=key).exists()
            if not is_deleted or not Operation.objects.filter(user=key).exists():
                raise Senseless(f"no such account: {options['user']}") from error
            return Person(str(key), options["client"])
        return Person(str(account.pk), options["client"])

    def note_nobody(self, options: dict[str, Any]) -> None:
        """Silence would look as if it had been done."""
        if not options["json"] and options["verbosity"] and self.is_listened_to(options):
            self.stdout.write(
                "no document names this person: nothing to do. Where no row does any more: --document, --client."
            )

    def note_remains(self, options: dict[str, Any]) -> None:
        """On a terminal only, where nobody asked for more than databases do by themselves."""
        if options["vacuum"]:
            self.stderr.write(
                "--vacuum: NOT done. The database's files may hold deleted bytes still: another process reads or "
                "writes them, or it is not SQLite. Run it again; see docs/operate.md."
            )
        elif options["verbosity"] and self.stderr.isatty():
            self.stderr.write("The database may keep deleted bytes for a while; see docs/operate.md.")

    def documents(self, slugs: list[str] | None) -> Iterator[Found]:
        for slug, found in super().documents(slugs):
            if isinstance(found, Error):
                yield slug, found  # nobody knows whether it names the person
            elif self.is_chosen or found.pk in self.clients or found.pk in self.unread:
                self.is_anywhere = True
                yield slug, found
        if slugs is None:
            for document in list(
                Document.objects.exclude(condition=Document.Condition.WHOLE).order_by("slug")
            ):
                yield document.slug, document

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        if document.condition:
            return self.tell_leftover(document)
        if document.pk in self.unread:
            catch_up(document.pk)  # it raises again: told, not passed over
            self.clients = documents_of(self.person)
            if not self.is_chosen and document.pk not in self.clients:
                return {"slug": document.slug, "outcome": "nothing to do"}, True
        own = {self.person.client} if self.person.client is not None else set()
        clients = self.clients.get(document.pk, set()) | own
        is_named = document.pk in self.clients
        if not options["yes"]:
            return asdict(Redacted(document.slug, "planned", sorted(clients), is_named)), True
        if not is_named and not options["force"]:
            detail = (
                f"NOT redacted: {UNNAMED}. Its history would be gone for nothing. If it is to go: --force"
            )
            return {"slug": document.slug, "outcome": "failed", "detail": detail, "code": "not-named"}, False
        report = redact_document(
            document, self.person, clients, empties_content=options["content"], tell=self.progress.tell
        )
        return asdict(report), report.left == 0

    def tell_leftover(self, document: Document) -> tuple[Result, bool]:
        """What a killed import or purge has left may hold the person's work, and no rows tell.

        Raises: JournalBusy while one is at work.
        """
        with lease(document.pk):
            detail = (
                f"{document.get_condition_display()}, and nobody is at it: whose work is in it is not known. Import it "
                "again, or purge_document"
            )
        return {"slug": document.slug, "outcome": "failed", "detail": detail}, False

    def describe(self, result: Result) -> Iterator[str]:
        if result["outcome"] == "nothing to do":
            yield result["outcome"]
            return
        clients = ", ".join(result["clients"]) or "none"
        if result["outcome"] == "planned":
            yield f"would be redacted (clients: {clients}); its history, labels and archives would go. Say --yes."
            if not result["is_named"]:
                yield f"but {UNNAMED}; if it is to be done all the same, say --yes --force."
            return
        told = result["blanked"]
        yield (
            f"{result['outcome']} (clients: {clients}): {told['characters']} characters, {told['values']} values, "
            f"{told['waiting']} waiting operations, {result['sessions']} sessions; {result['emptied']} edits of content"
        )
        if result["left"]:
            yield (
                f"NOT emptied: {result['left']} properties that may be the person's; the site wrote or restored them, "
                "or others have added to them, and nothing tells whose they are, or their characters cannot be named"
            )
        if result["labels"]:
            yield f"labels deleted: {', '.join(result['labels'])}"
        if result["archives"]:
            yield f"{result['archives']} archives deleted"
