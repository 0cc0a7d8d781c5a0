"""The command that forgets whoever made an edit or a connection, as pages name it."""

from typing import Any

from django.contrib.auth import get_user_model

from journal.admin_text import command_line
from journal.models import KEY_CHARS_MAX, Document
from vuer_rtc.crdt.canonical import SERVER_PREFIX


def forget_command(document: Document, client: str, user_key: Any, account: Any) -> str:
    """Of the person, in all documents; where no account can be named, of the client in this one; empty of nobody.

    `account`: None for an anonymous visitor, and when that of `user_key` is deleted.
    """
    name = _name(user_key, account)
    if name is not None:
        return command_line("redact_user", None, user=name)
    if not _is_whole(client) or client.startswith(SERVER_PREFIX):
        return ""
    return command_line("redact_user", document.slug, client=client)


def _name(user_key: Any, account: Any) -> str | None:
    if account is not None:
        return str(account.get_username())
    if user_key is None:
        return None
    model = get_user_model()
    is_taken = model._default_manager.filter(**{model.USERNAME_FIELD: str(user_key)}).exists()
    return None if is_taken else str(user_key)  # the command would take it for somebody else's name


def _is_whole(client: str) -> bool:
    """False for what a column has cut or altered: it is the id of no client."""
    return len(client) < KEY_CHARS_MAX and "\u2400" not in client
