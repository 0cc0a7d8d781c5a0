"""Members of rooms: rows of `Session`, those of this server's connections and those that site code adds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid5

from django.db.models import Q, QuerySet
from django.utils import timezone

from journal.column import as_column
from rooms.models import Session
from rooms.process import ProcessIdentity
from rooms.session import CLOSED_ABNORMALLY, MEMBER_TRANSPORT
from vuer_rtc.protocol.codes import CloseCode


@dataclass(frozen=True, slots=True)
class Member:
    """Who is in a room, and how far they are."""

    session: str
    """Client id."""
    vector_clock: Mapping[str, int] = field(default_factory=dict)
    last_seen: float | None = None
    """Seconds since the epoch; None, when it is set: now."""
    connected: bool = True


def save_member(document_id: UUID, member: Member, process: ProcessIdentity) -> None:
    """Afterwards the member is there as it is given, whatever was known of it."""
    now = timezone.now()
    seen_at = now if member.last_seen is None else as_column(datetime.fromtimestamp(member.last_seen, UTC))
    given = {
        "document_id": document_id,
        "client": member.session,
        "transport": MEMBER_TRANSPORT,
        "process": str(process),
        "vector_clock": dict(member.vector_clock),
        "last_seen_at": seen_at,
        "closed_at": None if member.connected else now,
        "close_code": None if member.connected else CLOSED_ABNORMALLY,
        "closed_by": Session.ClosedBy.NOBODY,
        "close_requested_at": None,
    }
    key = uuid5(document_id, member.session)  # of two processes that set one member, neither makes a second
    Session.objects.update_or_create(pk=key, defaults=given, create_defaults={**given, "connected_at": now})


def delete_member(document_id: UUID, session: str) -> None:
    """Afterwards it is no member, if it was one that `save_member` made."""
    _saved(document_id).filter(client=session).delete()


def delete_members(document_id: UUID) -> None:
    """Afterwards there are no members but the server's connections."""
    _saved(document_id).delete()


def disconnect_members(keys: Collection[UUID], code: CloseCode) -> None:
    """Afterwards those of these sessions that are members that were saved are disconnected."""
    theirs = Session.objects.connected().filter(pk__in=keys, transport=MEMBER_TRANSPORT)
    theirs.update(closed_at=timezone.now(), close_code=code, closed_by=Session.ClosedBy.SERVER)


def read_members(document_id: UUID) -> dict[str, Member]:
    """Those that were saved, connected or not, and the server's open connections, by client id."""
    rows = Session.objects.filter(Q(transport=MEMBER_TRANSPORT) | Q(closed_at=None), document=document_id)
    known = rows.order_by("last_seen_at").values_list("client", "vector_clock", "last_seen_at", "closed_at")
    found: dict[str, Member] = {}
    for client, vector_clock, last_seen_at, closed_at in known:
        member = Member(client, vector_clock, last_seen_at.timestamp(), closed_at is None)
        former = found.get(client)
        if former is None or member.connected or not former.connected:
            found[client] = member
    return found


def _saved(document_id: UUID) -> QuerySet[Session]:
    return Session.objects.filter(document=document_id, transport=MEMBER_TRANSPORT)
