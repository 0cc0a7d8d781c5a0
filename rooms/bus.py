"""News between processes: one message per room and commit, through the channel layer.

A message says only how far a document is; what was written is read from the journal.  So messages may be lost,
doubled or late: the next one, a conflict or the poll of the heads (`head_poll_s`) tells the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)

PAUSE_S = 1
"""After a failure of the layer."""
PATIENCE_S = 5
"""How long the layer may take for one message before it counts as failed."""


def group_of(document_id: UUID) -> str:
    return f"vuer-room.{document_id.hex}"


class Bus:
    """What this process tells of its commits, and hears of the others', for the rooms that are open here."""

    def __init__(self, process: str, on_news: Callable[[UUID, int], None]) -> None:
        self._process = process
        self._on_news = on_news
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._heads: dict[UUID, int] = {}
        """What is to be told, by document; a newer head replaces an older one that was not told yet."""
        self._wanted: set[UUID] = set()
        self._subscribed: set[UUID] = set()
        self._has_work = asyncio.Event()

    @property
    def has_others(self) -> bool:
        """False without a channel layer that reaches other processes: then there is nothing to do."""
        return self._layer is not None and not isinstance(self._layer, InMemoryChannelLayer)

    def opened(self, document_id: UUID) -> None:
        """Afterwards, soon, news of the document are heard."""
        if self.has_others:
            self._wanted.add(document_id)
            self._has_work.set()

    def forgotten(self, document_id: UUID) -> None:
        """Afterwards, soon, no news of the document come."""
        self._wanted.discard(document_id)
        self._has_work.set()

    def announce(self, document_id: UUID, head_seq: int) -> None:
        """Tell the others that we have committed up to there.  Never waits."""
        if self.has_others:
            self._heads[document_id] = head_seq
            self._has_work.set()

    async def run(self) -> None:
        """Tells and hears until cancelled."""
        if self.has_others:
            self._channel = await self._layer.new_channel("vuer-process")
            await asyncio.gather(self._work(), self._listen())

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            if not (await self._subscribe() and await self._tell()):
                self._has_work.set()
                await asyncio.sleep(PAUSE_S)

    async def _subscribe(self) -> bool:
        """Afterwards the layer sends what is wanted; False when it failed."""
        for document_id in self._wanted - self._subscribed:
            if not await self._try(self._layer.group_add(group_of(document_id), self._channel)):
                return False
            self._subscribed.add(document_id)
        for document_id in self._subscribed - self._wanted:
            if not await self._try(self._layer.group_discard(group_of(document_id), self._channel)):
                return False
            self._subscribed.discard(document_id)
        return True

    async def _tell(self) -> bool:
        """Afterwards the others know, or the layer failed; what could not be told is not told again."""
        heads, self._heads = self._heads, {}
        for document_id, head_seq in heads.items():
            news = {"process": self._process, "document": str(document_id), "seq": head_seq}
            if not await self._try(self._layer.group_send(group_of(document_id), news)):
                return False
        return True

    async def _try(self, request: Awaitable[Any]) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await request
        except Exception as error:
            logger.warning("the channel layer does not answer, news come by polling: %r", error)
            return False
        return True

    async def _listen(self) -> None:
        while True:
            try:
                news = await self._layer.receive(self._channel)
                if news["process"] != self._process:
                    self._on_news(UUID(news["document"]), int(news["seq"]))
            except Exception as error:
                logger.warning("the channel layer is not heard, news come by polling: %r", error)
                await asyncio.sleep(PAUSE_S)
