"""Other server processes of the same site, as far as the database tells: for advice, never to decide anything."""

import asyncio
import logging
from datetime import timedelta

from django.db import Error
from django.utils import timezone

from rooms.bus import Bus
from rooms.models import Session
from rooms.process import ProcessIdentity
from rooms.settings import settings
from rooms.thread import Worker

logger = logging.getLogger(__name__)

PROCESSES_MAX = 20

ADVICE = (
    "other server processes are at work on this database (%s), and there is no channel layer between them: what they "
    "commit is noticed by polling, up to %s s late, and people there are not seen. Nothing is lost. Give every process "
    "the same REDIS_URL (CHANNEL_LAYERS in your own settings), or run one process"
)


class NeighbourWatch:
    """Says once, when several processes run without a channel layer, what that means and what to do."""

    def __init__(self, process: ProcessIdentity, worker: Worker, bus: Bus) -> None:
        self._process = process
        self._worker = worker
        self._bus = bus

    async def run(self) -> None:
        """Returns when there is nothing to look for, or it has been said."""
        while not self._bus.has_others:
            try:
                others = await self._worker.run(neighbours_of, self._process)
            except Error as error:
                logger.info("nobody knows whether other processes run: %s", error)
                others = []
            if others:
                logger.warning(ADVICE, ", ".join(map(str, others)), settings.head_poll_s or "unlimited")
                return
            await asyncio.sleep(settings.session_touch_s)


def neighbours_of(process: ProcessIdentity) -> list[ProcessIdentity]:
    """The other processes that hold connections now; those of this host that are gone do not count."""
    since = timezone.now() - timedelta(seconds=2 * settings.session_touch_s)
    rows = Session.objects.connected().filter(last_seen_at__gte=since).exclude(process=str(process))
    names = rows.order_by("process").values_list("process", flat=True).distinct()[:PROCESSES_MAX]
    found = (ProcessIdentity.parse(name) for name in names)
    return [other for other in found if other is not None and not process.is_known_dead(other)]
