"""Two people who just work while others misbehave; how long each of their messages takes is what counts."""

import asyncio
import secrets
import time
from types import TracebackType
from typing import Any, Self

from tests.rooms.build import insert, put
from tests.rooms.client import Client
from tests.server import ServerProcess

PAUSE_S = 0.02
MESSAGES_MIN = 100


class Listener(Client):
    """Remembers when each broadcast came."""

    def __init__(self, *args: Any, **query: str) -> None:
        super().__init__(*args, **query)
        self.seen_at: dict[str, float] = {}

    def _take(self, wire: dict[str, Any]) -> None:
        if wire["mtype"] == "broadcast":
            self.seen_at[wire["msg"]["id"]] = time.perf_counter()
        super()._take(wire)


class Bystanders:
    """One edits fifty times a second, the other sees it; inside the block."""

    def __init__(self, server: ServerProcess, slug: str) -> None:
        mark = secrets.token_hex(3)  # another pair each time: ids are used once
        self.ann = Client(server, slug, f"ann-{mark}")
        self.bob = Listener(server, slug, f"bob-{mark}")
        self.sent_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.ann.open()
        await self.bob.open()
        await self.ann.edit(insert("n"))
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for client in (self.ann, self.bob):
            await client.leave()

    async def _work(self) -> None:
        while True:
            message = await self.ann.send(put(value=self.ann.counter))
            self.sent_at[message.id] = time.perf_counter()
            await asyncio.sleep(PAUSE_S)

    async def p99_ms(self) -> float:
        """From sending to the other's receiving; every message so far has arrived."""
        await self.ann.until(lambda: len(self.sent_at) >= MESSAGES_MIN)
        sent = dict(self.sent_at)
        await self.bob.until(lambda: self.bob.seen_at.keys() >= sent.keys())
        delays = sorted(self.bob.seen_at[message_id] - at for message_id, at in sent.items())
        return delays[int(len(delays) * 0.99)] * 1000
