"""The presence of all live rooms of this process: news in and out, and what ends by silence."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from rooms.bus import Bus
from rooms.news import PresenceAsked, PresenceTold
from rooms.whereabouts import Whereabouts
from vuer_rtc.protocol.limit import Limits

logger = logging.getLogger(__name__)

SWEEP_S = 1
"""How much longer than its limit a silent presence may be shown."""


class PresentRoom(Protocol):
    """What is needed of a live room."""

    presence: Whereabouts


class Lookout:
    """Connects the rooms' presence with the bus and the clock."""

    def __init__(self, bus: Bus, process: str, rooms: Mapping[UUID, PresentRoom]) -> None:
        self._bus = bus
        self._process = process
        self._rooms = rooms
        bus.on(PresenceTold, self._take)
        bus.on(PresenceAsked, self._answer)

    def over(self, document_id: UUID, limits: Limits) -> Whereabouts:
        """The presence of a room that is being opened."""
        return Whereabouts(document_id, self._process, limits, self._bus.tell)

    def _take(self, news: PresenceTold) -> None:
        if (room := self._rooms.get(news.document)) is not None:
            room.presence.take(news)

    def _answer(self, news: PresenceAsked) -> None:
        if (room := self._rooms.get(news.document)) is not None:
            room.presence.answer()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep(time.monotonic())

    def _sweep(self, now: float) -> None:
        """Not inside `run`, whose variables would keep the last room alive when there is none any more."""
        for room in list(self._rooms.values()):
            try:
                room.presence.sweep(now)
            except Exception:
                logger.exception("a presence could not be swept")
