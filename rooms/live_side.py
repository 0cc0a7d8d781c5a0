"""What commands of the durable side ask of the rooms (`journal.live_side`)."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

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
