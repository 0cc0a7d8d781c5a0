"""`manage.py close_sessions`: close the connections of a document, an account or a client, on every process."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand

from journal.management.argument import Senseless
from journal.models import Document
from rooms.models import Session
from rooms.moderation import kick


class Command(BaseCommand):
    help = (
        "Close open connections with the code `kicked`, whatever server process holds them; those that all options "
        "are true of. The servers do so within about a second. Who was sent away may come back, unless the right "
        "is taken away too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--document", metavar="SLUG")
        parser.add_argument("--user", metavar="NAME", help="the account's user name")
        parser.add_argument("--client", metavar="ID", help="client id")
        parser.add_argument("--session", metavar="KEY", help="primary key of one session")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

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
        if options["json"]:
            self.stdout.write(json.dumps({"outcome": "closing", "sessions": count}))
        elif options["verbosity"] > 1 or (options["verbosity"] == 1 and self.stdout.isatty()):
            self.stdout.write(f"closing {count} connection{'' if count == 1 else 's'}")


def _found(model: Any, **wanted: Any) -> Any:
    """The one row; None when it was not asked for."""
    [(name, value)] = wanted.items()
    if value is None:
        return None
    try:
        return model._default_manager.get(**wanted)
    except (model.DoesNotExist, ValidationError):
        raise Senseless(f"there is no {model._meta.verbose_name} whose {name} is {value}") from None
