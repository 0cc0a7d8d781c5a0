"""One end of a WebSocket inside the process: what an ASGI server would do for the consumer."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import msgspec

from rooms.consumer import RoomConsumer
from tests.rooms.build import message as build_message
from vuer_rtc.crdt.message import Op

PATIENCE_S = 10


class Socket:
    """A connection to the consumer, with a peer that reads, until it is told not to."""

    def __init__(self, slug: str, client: str, user: Any = None, query: str = "&format=json") -> None:
        self.scope = {
            "type": "websocket",
            "query_string": f"client={client}{query}".encode(),
            "url_route": {"kwargs": {"slug": slug}},
            "client": ("127.0.0.1", 1),
            "headers": [],
            "user": user,
        }
        self.client = client
        self.counter = 0
        self.frames: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self._arrived = asyncio.Event()
        self._inbound: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbound.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(RoomConsumer()(self.scope, self._inbound.get, self._send))

    async def __aenter__(self) -> Self:
        await self.until(lambda: self.frames or self.close_code)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()

    async def hang_up(self, code: int = 1000) -> None:
        self._inbound.put_nowait({"type": "websocket.disconnect", "code": code})
        await asyncio.wait_for(asyncio.shield(self.task), PATIENCE_S)

    async def _send(self, event: dict[str, Any]) -> None:
        await self.is_reading.wait()
        match event["type"]:
            case "websocket.send":
                self.frames.append(json.loads(event["text"]))
            case "websocket.close":
                self.close_code = event["code"]
                self._inbound.put_nowait({"type": "websocket.disconnect", "code": event["code"]})
        self._arrived.set()

    def send_raw(self, frame: Any) -> None:
        self._inbound.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    def edit(self, *ops: Op) -> str:
        """Send a message; its id."""
        self.counter += 1
        sent = build_message(self.client, self.counter, *ops)
        fields: Any = json.loads(
            json.dumps({"id": sent.id, "clock": sent.clock, "lt": sent.lt, "ts": sent.ts})
        )
        fields["client"] = self.client
        fields["ops"] = msgspec.to_builtins(sent.ops)
        self.send_raw({"mtype": "crdt", "msg": fields})
        return sent.id

    @property
    def acks(self) -> dict[str, int]:
        return {f["msgId"]: f["serverSeq"] for f in self.frames if f["mtype"] == "ack"}

    @property
    def seen(self) -> list[str]:
        """Ids of the messages it was sent, in order."""
        return [f["msg"]["id"] for f in self.frames if f["mtype"] == "broadcast"]

    @property
    def errors(self) -> list[str]:
        return [f["code"] for f in self.frames if f["mtype"] == "error"]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()
