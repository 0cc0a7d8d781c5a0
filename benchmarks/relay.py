"""What sockets alone cost: a bare ASGI relay that knows rooms, stores nothing and merges nothing.

Every frame goes to the others in the room as it came, the sender gets a short answer; with `COALESCE=1` everything that
a turn of the event loop has for a socket goes in one frame.
"""

import asyncio
import os
from typing import Any

COALESCE = os.environ.get("COALESCE") == "1"
ACK = b"\x81\xa5mtype\xa3ack"


class Socket:
    def __init__(self, send: Any) -> None:
        self.send = send
        self.queue: list[bytes] = []
        self.writer: asyncio.Task[None] | None = None

    def push(self, frame: bytes) -> None:
        self.queue.append(frame)
        if self.writer is None:
            self.writer = asyncio.get_running_loop().create_task(self.write())

    async def write(self) -> None:
        while self.queue:
            frames, self.queue = self.queue, []
            for frame in [b"".join(frames)] if COALESCE else frames:
                await self.send({"type": "websocket.send", "bytes": frame})
        self.writer = None


rooms: dict[str, set[Socket]] = {}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    room = rooms.setdefault(scope["path"], set())
    socket = Socket(send)
    room.add(socket)
    while (event := await receive())["type"] == "websocket.receive":
        for other in room:
            if other is not socket:
                other.push(event["bytes"])
        socket.push(ACK)
    room.discard(socket)
