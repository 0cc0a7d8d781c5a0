"""A WebSocket by hand: says what no library would, and costs so little that one process holds a thousand."""

import asyncio
import contextlib
import os
import socket
import struct
from typing import Any

import msgspec

from tests.server import HOST

TEXT, BINARY, CLOSE, CONTINUATION, PING, PONG = 0x1, 0x2, 0x8, 0x0, 0x9, 0xA
FINAL, RSV1, MASKED = 0x80, 0x40, 0x80
PATIENCE_S = 30


class RawSocket:
    """One connection, from its first byte on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader = asyncio.StreamReader()
        self.writer: asyncio.StreamWriter | None = None
        self.response = ""

    async def connect(self, *, receive_bytes: int | None = None) -> None:
        """A TCP connection; with `receive_bytes` its kernel buffer is that small."""
        plain = socket.socket()
        plain.setblocking(False)
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(plain, (HOST, self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=plain, limit=2**24)

    def request(self, path: str, *headers: str) -> bytes:
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
            *headers,
        )
        return "\r\n".join([*lines, "", ""]).encode()

    async def open(self, path: str, *headers: str, receive_bytes: int | None = None) -> None:
        """Afterwards the server has agreed to speak WebSocket; with `receive_bytes` nothing else is ever read: this
        end would read ahead up to 32 MiB."""
        await self.connect(receive_bytes=receive_bytes)
        self.write(self.request(path, *headers))
        self.response = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
        assert self.response.startswith("HTTP/1.1 101"), self.response
        if receive_bytes is not None:
            assert self.writer is not None
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    async def drain(self) -> None:
        assert self.writer is not None
        await self.writer.drain()

    async def send(self, payload: bytes, kind: int = TEXT, *, flags: int = FINAL) -> None:
        self.write(frame_of(payload, kind, flags=flags))
        await self.drain()

    async def receive(self) -> tuple[int, bytes]:
        """(kind, payload) of the next frame."""
        head = await self.reader.readexactly(2)
        length = head[1] & 0x7F
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
        return head[0] & 0x0F, await self.reader.readexactly(length)

    async def receive_message(self) -> dict[str, Any]:
        """The next frame that is a message."""
        while True:
            kind, payload = await asyncio.wait_for(self.receive(), PATIENCE_S)
            if kind in (TEXT, BINARY):
                codec = msgspec.json if kind == TEXT else msgspec.msgpack
                return dict(codec.decode(payload))

    async def close_code(self) -> int:
        """The code that the server closes with; 1006 when it only ends the connection."""
        try:
            while True:
                kind, payload = await asyncio.wait_for(self.receive(), PATIENCE_S)
                if kind == CLOSE:
                    return int(struct.unpack("!H", payload[:2])[0])
        except (EOFError, OSError):
            return 1006

    def abort(self) -> None:
        """Gone, without a word."""
        if self.writer is not None:
            self.writer.transport.abort()


def frame_of(payload: bytes, kind: int, *, flags: int = FINAL) -> bytes:
    """Masked with zeros: valid, and the payload stays readable."""
    return header_of(len(payload), kind, flags=flags) + payload


def close_frame() -> bytes:
    """Without a code."""
    return frame_of(b"", CLOSE)


def header_of(length: int, kind: int, *, flags: int = FINAL) -> bytes:
    if length < 126:
        size = bytes([MASKED | length])
    elif length < 65536:
        size = bytes([MASKED | 126]) + length.to_bytes(2)
    else:
        size = bytes([MASKED | 127]) + length.to_bytes(8)
    return bytes([flags | kind]) + size + bytes(4)


def resident_kib(pid: int) -> int:
    """Memory of a process that is really there."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def open_sockets(pid: int) -> int:
    """How many a process holds; database files do not count."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sum(link.startswith("socket:") for link in links)
