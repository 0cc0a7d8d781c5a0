"""`manage.py close_sessions`: close the connections of a document, an account or a client, on every process."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from journal.management.argument import Senseless
from journal.management.per_document import JournalCommand, Result
from journal.models import Document
from rooms.models import Session
from rooms.moderation import kick


class Command(JournalCommand):
    help = (
        "Close open connections with the code `kicked`, whatever server process holds them; those that all options "
        "are true of. The servers do so within about a second. Who was sent away may come back, unless the right "
        "is taken away too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--document", metavar="SLUG")
        parser.add_argument("--user", metavar="NAME", help="the account's user name")
        parser.add_argument("--client", metavar="ID", help="client id")
        parser.add_argument("--session", metavar="KEY", help="primary key of one session")

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model()
        wanted = {
            "document": _found(Document, slug=options["document"]),
            "user": _found(user, **{user.USERNAME_FIELD: options["user"]}),
            "session": _found(Session, pk=options["session"]),
        }
        try:
            count = kick(**wanted, client=options["client"])
        except ValueError as error:
            raise Senseless(str(error)) from None
        self.show({"outcome": "closing", "sessions": count}, True, options)

    def describe(self, result: Result) -> Iterator[str]:
        yield f"closing {result['sessions']} connection{'' if result['sessions'] == 1 else 's'}"


def _found(model: Any, **wanted: Any) -> Any:
    """The one row; None when it was not asked for."""
    [(name, value)] = wanted.items()
    if value is None:
        return None
    try:
        return model._default_manager.get(**wanted)
    except (model.DoesNotExist, ValidationError):
        raise Senseless(f"there is no {model._meta.verbose_name} whose {name} is {value}") from None
