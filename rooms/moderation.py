"""What moderators do, from any process: close connections, cluster-wide.

A request to close is told through the bus, and stands in the session's row: so it reaches the process that holds the
socket with or without a channel layer, and is not lost when that process is busy or the layer away.
"""

from typing import Any

from django.apps import apps
from django.utils import timezone

from journal.models import Document
from rooms.access import tell_once_committed, touch
from rooms.models import Session, SessionQuerySet
from rooms.news import Kicked


def kick(
    *,
    session: Session | None = None,
    document: Document | None = None,
    user: Any = None,
    client: str | None = None,
    by: Any = None,
) -> int:
    """Afterwards the open connections that everything given is true of are closed within about a second, with
    `kicked`, whatever process holds them; how many there are.

    Who was sent away may come back: take the right away as well where that is meant.  `by`: the account that the
    admin's log is to name.

    Raises: ValueError when nothing is given.
    """
    given = {"pk": session and session.pk, "document": document, "user": user, "client": client}
    criteria = {name: value for name, value in given.items() if value is not None}
    if not criteria:
        raise ValueError("say whose connections: session, document, user or client")
    return close_sessions(Session.objects.filter(**criteria), by)


def close_sessions(sessions: SessionQuerySet, by: Any = None) -> int:
    """The same for those of `sessions` that are open."""
    opened = list(sessions.connected())
    keys = [session.pk for session in opened]
    if by is not None and keys and apps.is_installed("django.contrib.admin"):
        _log(keys, by)
    Session.objects.filter(pk__in=keys).update(close_requested_at=timezone.now())
    tell_once_committed(Kicked(document=each.document_id, session=each.pk) for each in opened)
    touch({each.document_id for each in opened})
    return len(keys)


def _log(keys: list[Any], by: Any) -> None:
    from django.contrib.admin.models import CHANGE, LogEntry

    LogEntry.objects.log_actions(by.pk, Session.objects.filter(pk__in=keys), CHANGE, "Closed the connection.")
