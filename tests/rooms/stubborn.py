"""Plain WebSocket clients that come back, ask for what they missed and send again what was not acknowledged."""

import asyncio
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.rooms.client import Client, NativeClient
from vuer_rtc.crdt.message import Message

PAUSE_S = 0.05


class Stubborn(Client):
    """What every client of its own has to do over a network that breaks; the two editions ask differently."""

    is_online = False
    is_leaving = False
    connections = 0
    _stay: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Connect, and from now on again whenever the connection breaks."""
        self._stay = asyncio.create_task(self._stay_connected())

    async def end(self) -> None:
        self.is_leaving = True
        await self.leave()
        if self._stay is not None:
            self._stay.cancel()
            await asyncio.gather(self._stay, return_exceptions=True)

    async def _stay_connected(self) -> None:
        while not self.is_leaving:
            try:
                self.aim()
                await self.open()
                if self.close_code is None:
                    await self.come_online()
                assert self._pump is not None
                await self._pump
            except (OSError, InvalidHandshake, ConnectionClosed, EOFError, TimeoutError):
                pass
            self.is_online = False
            self.lost()
            await asyncio.sleep(PAUSE_S)

    async def come_online(self) -> None:
        self.connections += 1
        await self.ask()
        for message in list(self.unacked):
            await super().resend(message)
        self.is_online = True

    async def resend(self, message: Message) -> None:
        """Messages travel in order: while those before it have not been sent again, it waits with them."""
        if self.is_online:
            try:
                await super().resend(message)
            except ConnectionClosed:
                self.is_online = False

    def aim(self) -> None:
        """Address of the next connection."""

    async def ask(self) -> None:
        """The connection stands: ask for what was missed."""

    def lost(self) -> None:
        """The connection is gone."""


class StubbornNative(NativeClient, Stubborn):
    """Comes back with `since`, and finds that nothing is missing."""

    def aim(self) -> None:
        self.url = f"{self.plain_url}&since={self.native.seq}"

    def known(self) -> set[str]:
        """Ids of all messages it has."""
        return {message.id for message in self.native.graph.retained_messages()}

    def digest(self) -> str:
        return self.native.graph.digest()


class StubbornPublished(Stubborn):
    """Asks with `sync` for what its clock lacks, and counts as seen only what came while nothing was missing."""

    def __init__(self, *args: Any, **query: str) -> None:
        super().__init__(*args, **query)
        self.whole_clock: dict[str, int] = {}
        self.is_whole = True

    def aim(self) -> None:
        self.is_whole = self.connections == 0  # the document was empty

    async def ask(self) -> None:
        if self.connections == 1:
            return
        if self.whole_clock:
            await self.send_raw({"mtype": "sync", "vectorClock": self.whole_clock, "count": 0})
        await self.send_raw({"mtype": "sync-check", "requestId": f"whole-{self.connections}"})

    def _take(self, wire: dict[str, Any]) -> None:
        super()._take(wire)
        if wire["mtype"] == "sync-status" and wire["requestId"] == f"whole-{self.connections}":
            self.is_whole = True

    def lost(self) -> None:
        if self.is_whole:
            self.whole_clock = self.clock()

    def clock(self) -> dict[str, int]:
        clock = {
            self.name: max((m.clock[self.name] for m in self.sent.values() if m.id in self.acks), default=0)
        }
        for received in self.broadcasts:
            client = received["client"]
            clock[client] = max(clock.get(client, 0), received["clock"][client])
        return {client: counter for client, counter in clock.items() if counter}

    def digest(self) -> str:
        return self.replica().digest()

    def known(self) -> set[str]:
        """Ids of all messages it has."""
        return set(self.acks) | {received["id"] for received in self.broadcasts}
