"""Many cheap WebSocket clients in one process: they count what comes, and look into one frame stream per room only."""

import asyncio
import os
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec

HOST = "127.0.0.1"
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACK, BROADCAST, CRDT = b"\xa3ack", b"\xa9broadcast", b"\xa4crdt"
"""Their `mtype` in msgpack: counted without decoding."""
SENT_AT = b"\xa2at\xcb"
"""The key in front of the double that `edit` writes."""
PADDING = "p" * 60
encode = msgspec.msgpack.encode


class Room:
    """What the clients of one room share."""

    def __init__(self) -> None:
        self.lt = 0
        self.delays_s: list[float] = []


class Client(asyncio.Protocol):
    """Sends messages of about 250 bytes and counts answers; `is_observer` decodes what it gets and measures delays."""

    def __init__(
        self, name: str, room: Room, *, is_observer: bool, on_ack: Callable[["Client"], None]
    ) -> None:
        self.name, self.room, self.is_observer, self.on_ack = name, room, is_observer, on_ack
        self.counter = self.acks = self.heard = self.frames = 0
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.joined: asyncio.Future[None] = loop.create_future()
        self.transport: Any = None
        self.path = ""
        self._buffer = bytearray()
        self._is_open = False
        self._fragments = b""

    # What it sends

    def edit(self) -> None:
        """A message that carries the time it was sent at."""
        self.counter += 1
        self.room.lt += 1
        name, counter = self.name, self.counter
        op = {"ot": "object.set", "key": name, "path": "pose", "value": {"at": time.perf_counter(), "p": PADDING,
              "position": [1.25, counter * 0.5, -3.75]}}  # fmt: skip
        message = {"id": f"{name}:{counter}", "client": name, "clock": {name: counter}, "lt": self.room.lt,
                   "ts": 1.75e9 + counter, "ops": [op]}  # fmt: skip
        self.send({"mtype": "crdt", "msg": message})

    def insert(self) -> None:
        """Its own node is there."""
        self.counter += 1
        self.room.lt += 1
        op = {"ot": "node.insert", "key": "", "path": "children", "value": {"key": self.name, "tag": "Mesh"}}
        message = {"id": f"{self.name}:1", "client": self.name, "clock": {self.name: 1}, "lt": self.room.lt,
                   "ts": 1.75e9, "ops": [op]}  # fmt: skip
        self.send({"mtype": "crdt", "msg": message})

    def greet(self) -> None:
        """The connection stands: nothing has to be said."""

    def send(self, wire: dict[str, Any]) -> None:
        self.send_bytes(encode(wire))

    def send_bytes(self, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x82, 0x80 | size]) if size < 126 else bytes([0x82, 0xFE]) + size.to_bytes(2)
        self.transport.write(head + b"\0\0\0\0" + payload)

    # What it gets

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        port = transport.get_extra_info("peername")[1]
        transport.write(HANDSHAKE.format(path=self.path, port=port).encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._buffer.startswith(b"HTTP/1.1 101"), self._buffer[:200]
            del self._buffer[: end + 4]
            self._is_open = True
            self.opened.set_result(None)
            self.greet()
        self._read_frames()

    def _read_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if end < start + length:
                break
            self._take(buffer[at], bytes(buffer[start : start + length]))
            at = start + length
        del buffer[:at]

    def _take(self, head: int, payload: bytes) -> None:
        kind, is_last = head & 0x0F, head & 0x80
        if kind == 0x9:
            self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + b"\0\0\0\0" + payload)
            return
        assert kind != 0x8, f"{self.name} was closed: {payload!r}"
        self.frames += 1
        self._fragments += payload
        if is_last:
            message, self._fragments = self._fragments, b""
            self.take_message(message)

    def take_message(self, payload: bytes) -> None:
        if not self.joined.done():
            self.joined.set_result(None)
            if b"state" in payload[:20] or b"welcome" in payload[:20]:
                return
        self.heard += payload.count(BROADCAST) + payload.count(CRDT)
        if self.is_observer:
            self.observe(payload, SENT_AT)
        for _ in range(payload.count(ACK)):
            self.acks += 1
            self.on_ack(self)

    def observe(self, payload: bytes, marker: bytes) -> None:
        """Behind each marker stands a big-endian double: when that edit was sent."""
        now = time.perf_counter()
        at = payload.find(marker)
        while at >= 0:
            [sent_at] = struct.unpack_from(">d", payload, at + len(marker))
            self.room.delays_s.append(now - sent_at)
            at = payload.find(marker, at + len(marker) + 8)


async def connect(port: int, path: str, client: Client) -> Client:
    """The client, once the handshake is over."""
    client.path = path
    await asyncio.get_running_loop().create_connection(lambda: client, HOST, port)
    await client.opened
    return client


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, all threads."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
