"""A client of ours over a real socket: sends what it is told, remembers what it gets, keeps a replica."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.rooms.build import message as build_message
from tests.rooms.fake_room import NativeReplica
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op

PATIENCE_S = 20
IN_FLIGHT_MAX = 500
"""More would be refused as a flood where the disk is slow."""


class Address(Protocol):
    """Where a room is: a server, or a link to one."""

    def url(self, slug: str, client: str, **query: str) -> str: ...


class Client:
    """One client in one room; JSON frames unless it was asked for msgpack."""

    def __init__(self, server: Address, slug: str, name: str, **query: str) -> None:
        self.name = name
        self.url = server.url(slug, name, **{"format": "json", **query})
        self.is_json = "format=json" in self.url
        self.counter = 0
        self.lt = 0
        self.states: list[dict[str, Any]] = []
        self.welcomes: list[dict[str, Any]] = []
        self.batches = 0
        self.room_resets = 0
        self.present: dict[str, dict[str, Any]] = {}
        self.broadcasts: list[dict[str, Any]] = []
        self.acks: dict[str, int | None] = {}
        self.errors: list[dict[str, Any]] = []
        self.statuses: list[dict[str, Any]] = []
        self.sent: dict[str, Message] = {}
        self.close_code: int | None = None
        self._connection: ClientConnection | None = None
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def open(self) -> None:
        """Connect, and wait for the `state`, for what it missed or for the refusal."""
        self.close_code = None
        known = len(self.states) + self.resumed
        self._connection = await connect(self.url, max_size=None, compression=None)
        self._pump = asyncio.create_task(self._read(self._connection))
        await self.until(lambda: len(self.states) + self.resumed > known or self.close_code is not None)

    @property
    def resumed(self) -> int:
        """How often it came back without a `state`."""
        return sum(welcome["resumed"] for welcome in self.welcomes)

    async def leave(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        if self._pump is not None:
            await self._pump

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                self._take(json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame))
        except ConnectionClosed:
            pass
        self.close_code = connection.close_code

    def _take(self, wire: dict[str, Any]) -> None:
        match wire["mtype"]:
            case "state":
                self.states.append(wire)
                self.lt = max(
                    self.lt, wire.get("snapshot", {}).get("lt", 0), *(m["lt"] for m in wire["journal"]), 0
                )
            case "broadcast":
                self.broadcasts.append(wire["msg"])
                self.lt = max(self.lt, wire["msg"]["lt"])
            case "ack":
                assert wire["msgId"] not in self.acks or self.acks[wire["msgId"]] == wire.get("serverSeq")
                self.acks[wire["msgId"]] = wire.get("serverSeq")
            case "error":
                self.errors.append(wire)
            case "welcome":
                self.welcomes.append(wire)
                self.present.clear()
            case "room-reset":
                self.room_resets += 1
            case "rights":
                self.welcomes[-1]["rights"] = wire["rights"]
            case "presence":
                for entry in wire["clients"]:
                    self.present.pop(entry["client"], None)
                    if entry["data"] is not None:
                        self.present[entry["client"]] = entry["data"]
            case "batch":
                self.batches += 1
                for inner in wire["messages"]:
                    self._take(inner)
            case "sync-status":
                self.statuses.append(wire["status"])
            case mtype:
                raise AssertionError(f"unexpected {mtype}")

    # Sending

    async def send_raw(self, frame: bytes | str | dict[str, Any]) -> None:
        assert self._connection is not None
        if isinstance(frame, dict):
            frame = json.dumps(frame) if self.is_json else msgspec.msgpack.encode(frame)
        await self._connection.send(frame)

    async def send(self, *ops: Op, id: str | None = None) -> Message:
        """Send a message of those operations; it has been sent, not acknowledged."""
        self.counter += 1
        self.lt += 1
        message = build_message(self.name, self.counter, *ops, lt=self.lt, id=id)
        self.sent[message.id] = message
        await self.resend(message)
        return message

    async def resend(self, message: Message) -> None:
        await self.send_raw({"mtype": "crdt", "msg": msgspec.to_builtins(message)})

    async def hammer(self, op_of: Callable[[int], Op]) -> None:
        """Send a message of the operation for 0, for 1, and so on, until the connection is gone."""
        for value in count():
            await self.until(
                lambda: len(self.sent) - len(self.acks) <= IN_FLIGHT_MAX or self.close_code is not None
            )
            await self.send(op_of(value))

    async def show(self, data: dict[str, Any] | None) -> None:
        """Send a presence; it has been sent."""
        await self.send_raw({"mtype": "presence", "data": data})

    async def edit(self, *ops: Op) -> int:
        """Send, and wait for the acknowledgement; the sequence."""
        message = await self.send(*ops)
        return await self.acked(message)

    async def acked(self, message: Message) -> int:
        await self.until(lambda: message.id in self.acks)
        seq = self.acks[message.id]
        assert seq is not None
        return seq

    async def status(self) -> dict[str, Any]:
        """The server's clock and digest."""
        known = len(self.statuses)
        await self.send_raw({"mtype": "sync-check", "requestId": "r"})
        await self.until(lambda: len(self.statuses) > known)
        return self.statuses[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(PATIENCE_S * 200):
            if condition():
                return
            await asyncio.sleep(0.005)
        seen = f"{len(self.acks)} acks, {len(self.broadcasts)} broadcasts, last errors {self.errors[-3:]}"
        raise AssertionError(f"{self.name} waited in vain: {seen}, close code {self.close_code}")

    # What it knows

    @property
    def unacked(self) -> list[Message]:
        return [message for id, message in self.sent.items() if id not in self.acks]

    def replica(self) -> Graph:
        """The fold of everything acknowledged and received; for a client that joined an empty document."""
        graph = Graph()
        for message in self.sent.values():
            if message.id in self.acks:
                graph.apply(message)
        for received in self.broadcasts:
            graph.apply(canonical_message(received))
        return graph

    def seqs(self) -> list[int]:
        """Server sequences of all it was told of, in order of number."""
        own = [seq for seq in self.acks.values() if seq is not None]
        return sorted(own + [received["serverSeq"] for received in self.broadcasts])


class NativeClient(Client):
    """A client of the second version, whose replica is told what the socket says."""

    def __init__(self, server: Address, slug: str, name: str, **query: str) -> None:
        super().__init__(server, slug, name, **{"v": "2", **query})
        self.plain_url = self.url
        self.native = NativeReplica(name)
        self.native.sent = self.sent

    def _take(self, wire: dict[str, Any]) -> None:
        if wire["mtype"] != "batch":
            self.native.take(wire)
        super()._take(wire)

    async def come_back(self) -> None:
        """Connect again, from where it was."""
        self.url = f"{self.plain_url}&since={self.native.seq}"
        await self.open()

    async def assert_same(self) -> None:
        """Its document is the server's, as the server says itself."""
        status = await self.status()
        await self.until(lambda: self.native.seq >= status["serverSeq"])
        assert self.native.seq == status["serverSeq"], "nobody else writes meanwhile"
        assert self.native.graph.digest() == status["digest"]
