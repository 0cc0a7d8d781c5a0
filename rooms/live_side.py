"""What commands of the durable side ask of the rooms (`journal.live_side`)."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from rooms.hub import hub_of_this_process
from rooms.models import Session
from rooms.moderation import close_sessions
from rooms.settings import settings

TOUCHES_MISSED = 3
"""A session that its process has not touched so many times is a dead process's."""


class RoomsLive:
    """The rooms, as their sessions' rows tell."""

    def connected(self, document_id: UUID) -> int:
        since = timezone.now() - timedelta(seconds=TOUCHES_MISSED * settings.session_touch_s)
        opened = Session.objects.connected().filter(document=document_id, last_seen_at__gte=since)
        return opened.count()

    def close_all(self, document_id: UUID) -> None:
        close_sessions(Session.objects.filter(document=document_id))

    def clients_of(self, user: str | None, client: str | None) -> set[tuple[UUID, str]]:
        found = Session.objects.order_by().filter(_of(user, [client] if client is not None else []))
        return set(found.values_list("document_id", "client").distinct())

    def is_ending(self) -> bool:
        hub = hub_of_this_process()
        return hub is not None and hub.is_leaving and hub.loop.is_running()

    def forget(self, document_id: UUID, user: str | None, clients: Collection[str]) -> int:
        theirs = Session.objects.filter(_of(user, clients), document=document_id)
        return theirs.update(user=None, remote_address="", user_agent="")


def _of(user: str | None, clients: Collection[str]) -> Q:
    """Sessions of the account or of one of the clients."""
    those = Q(client__in=list(clients))
    return those if user is None else those | Q(user_id=user)
