"""What moderators do, from any process: close connections, reset documents.

A request to close is told through the bus, and stands in the session's row: so it reaches the process that holds the
socket with or without a channel layer, and is not lost when that process is busy or the layer away.
"""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.db.models import QuerySet
from django.utils import timezone

from journal.models import Document
from journal.reset import reset_document
from rooms.access import tell_once_committed, touch
from rooms.bus import announce
from rooms.member import disconnect_members
from rooms.models import Session, SessionQuerySet
from rooms.news import Committed, Kicked
from vuer_rtc.crdt.message import epoch_of
from vuer_rtc.protocol.codes import CloseCode


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
    """The same for those of `sessions` that are open.  Members that site code has set have no socket that a server
    could close: they count as gone at once."""
    opened = list(sessions.connected())
    keys = [session.pk for session in opened]
    _log(Session.objects.filter(pk__in=keys), None if by is None else by.pk, "Closed the connection.")
    Session.objects.filter(pk__in=keys).update(close_requested_at=timezone.now())
    disconnect_members(keys, CloseCode.KICKED)
    tell_once_committed(Kicked(document=each.document_id, session=each.pk) for each in opened)
    touch({each.document_id for each in opened})
    return len(keys)


def reset(document: Document, by: Any = None) -> int:
    """Afterwards the document is empty, for everybody, and in a new epoch; its number.  The journal stays.

    Connected clients get the empty document; what they have not had acknowledged is refused (`stale-epoch`).

    Raises: OpenTransaction inside an atomic block; JournalBusy, CorruptJournal, JournalUnavailable.
    """
    return reset_by(document.pk, None if by is None else str(by.pk))


def reset_by(document_id: UUID, user: str | None, epoch: int | None = None) -> int:
    """The same, if the document is in that epoch still; `user`: primary key, as text.  Raises: StaleEpoch too."""
    record = reset_document(document_id, user=user, epoch=epoch)
    announce(Committed(document_id, record.server_seq))
    begun = epoch_of(record)
    assert begun is not None
    _log(Document.objects.filter(pk=document_id), user, f"Reset the document: epoch {begun.number}.")
    return begun.number


def _log(rows: QuerySet[Any], user: Any, text: str) -> None:
    """Afterwards the admin's log has it, where there is one."""
    if user is not None and apps.is_installed("django.contrib.admin"):
        from django.contrib.admin.models import CHANGE, LogEntry

        LogEntry.objects.log_actions(user, rows, CHANGE, text)
