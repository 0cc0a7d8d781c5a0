"""uvicorn's WebSocket protocol with many frames in one system call, large messages in fragments, messages handed over
as they are read, a bound on how long a closed connection may take to be gone, a rate for what is no message, another
code for one that was lost than for one that its peer closed without a code, and a log without tokens."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame
from websockets.protocol import State

from vuer_rtc.protocol.codes import CloseCode as RoomCloseCode
from vuer_rtc.protocol.limit import TokenBucket

GONE_MAX_S = 15
"""After the application is done with a connection: longer than uvicorn's ten seconds for the peer's close frame."""
LOST = 1006
"""As RFC 6455 has it; uvicorn's own 1005 says that there was a close frame."""

EXTENSION = "vuer_rtc.frames"
"""In the scope's `extensions`: `{"write": WebSocketProtocol.write_frames, "read": WebSocketProtocol.read_frames}`."""
CHUNK_BYTES_MAX = 16_384
"""Of more that was read at once, nothing else is read in the same turn of the event loop: uvloop would go on, up to 32
times 256 kB, and everybody would wait for one who floods."""
PIECE_BYTES_MAX = 4096
"""Parsed at once: a chunk holds forty thousand empty frames, all of which would be parsed before one is looked at."""
BARE_PER_SECOND_MAX = 500
BARE_BURST_MAX = 2000
"""Frames that no rate of the room's counts (rule L10), in the long run and at once.  Each costs as much as a short
message does before it is looked at; a peer that means well sends a few a minute."""
FRAGMENT_BYTES_MIN = 1024
"""Of a fragment that is not one of these: libraries cut at 4096."""
SENT_SIZE_MAX = 131_072
"""Bytes, or characters, of one frame that is sent.  More go in fragments, each when the peer has taken most of what was
before: in one piece a document would be copied into the buffer of each of those who do not read it."""
BINARY, TEXT = 0x82, 0x81
"""First byte of a whole frame."""


def _without_query(record: logging.LogRecord) -> bool:
    """Have the record keep to itself what stands behind the question mark of an address: it may be a room token."""
    if record.levelno == logging.INFO and isinstance(record.args, tuple):
        record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
    return True


logger = logging.getLogger("uvicorn.error.websocket")
"""Without access log, too, uvicorn tells of each handshake."""
logger.addFilter(_without_query)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Closing a transport waits until the peer has taken what is buffered.

    One that never reads, and keeps its side open, would hold the socket and the buffer for ever.
    """

    _gone_timer: asyncio.TimerHandle | None = None
    _take: Callable[[bytes | str], object] | None = None
    _pong = b""
    """To the newest pings, of which the peer has not taken the answer yet."""
    frames: list[bytes | bytearray]  # type: ignore[assignment]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = logger
        self._bare = TokenBucket(BARE_PER_SECOND_MAX, BARE_BURST_MAX)

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = {"write": self.write_frames, "read": self.read_frames}
        await super().run_asgi()
        self._take = None
        del extensions[EXTENSION]  # cycles: they would keep the connection until garbage is collected
        self._gone_timer = self.loop.call_later(GONE_MAX_S, self.transport.abort)

    def write_frames(self, frames: Sequence[bytes | str]) -> bool:
        """Hands whole messages to the transport in one piece; False, and nothing is written, when the peer takes
        nothing now or something is to be done to them first: `send` waits, raises or does it then."""
        is_ready = self.conn.state is State.OPEN and not self.conn.extensions and self.writable.is_set()
        if self.conn.expect_continuation_frame or (len(frames) == 1 and len(frames[0]) > SENT_SIZE_MAX):
            return False
        if not is_ready or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(b"".join(_framed(frames)))
        return True

    async def send(self, message: Any) -> None:
        """A large message goes in fragments; others have their turns between them."""
        data = message.get("text") if message.get("bytes") is None else message["bytes"]
        if message["type"] != "websocket.send" or len(data) <= SENT_SIZE_MAX:
            await super().send(message)
            return
        for start in range(0, len(data), SENT_SIZE_MAX):
            await self.writable.wait()
            if self.disconnected:
                raise ClientDisconnected
            if self.close_sent:
                return
            piece, is_last = data[start : start + SENT_SIZE_MAX], start + SENT_SIZE_MAX >= len(data)
            self._write_fragment(piece, is_first=not start, is_last=is_last)
            await asyncio.sleep(0)

    def _write_fragment(self, piece: bytes | str, *, is_first: bool, is_last: bool) -> None:
        payload = piece if isinstance(piece, bytes) else piece.encode()
        try:
            if not is_first:
                self.conn.send_continuation(payload, fin=is_last)
            elif isinstance(piece, bytes):
                self.conn.send_binary(payload, fin=is_last)
            else:
                self.conn.send_text(payload, fin=is_last)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))

    def read_frames(self, take: Callable[[bytes | str], object]) -> None:
        """From now on `take`, which must not raise, is called with every message as soon as it has been read, first
        with those that wait to be received; `receive` tells of the end alone.

        Through the queue a message costs two system calls (reading is paused for it) and a turn of the event loop.
        """
        self._take = take
        for _ in range(self.queue.qsize()):
            event: Any = self.queue.get_nowait()
            if event["type"] == "websocket.receive":
                text = event.get("text")
                take(event["bytes"] if text is None else text)
            else:
                self.queue.put_nowait(event)
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()  # RFC 6455, 4.1: a client waits; until then no close frame can be sent
            return
        if len(data) <= PIECE_BYTES_MAX:
            super().data_received(data)
            return
        for start in range(0, len(data), PIECE_BYTES_MAX):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + PIECE_BYTES_MAX])
        if self._take is not None and len(data) > CHUNK_BYTES_MAX:
            self.transport.pause_reading()
            self.loop.call_soon(self.transport.resume_reading)

    def handle_events(self) -> None:
        """A handshake that cannot be read, such as one with a header line of more than 8 KiB, has no event: its answer
        is what `websockets` would say, or nothing.  Nobody would send it, and who asked would wait for ever."""
        super().handle_events()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        if self.close_sent:
            self._takes_bare_frame()
            super().send_receive_event_to_app()  # which drops it
            return
        message = b"".join(self.frames)
        try:
            frame = message if self.curr_msg_data_type == "bytes" else message.decode()
        except UnicodeDecodeError:
            self.frames = []
            self.conn.send_close(
                CloseCode.INVALID_DATA
            )  # RFC 6455, 8.1; uvicorn would log a traceback as well
            self.handle_parser_exception()
            return
        if self._take is None:
            super().send_receive_event_to_app()
        else:
            self.frames = []
            self._take(frame)

    def _takes_bare_frame(self) -> bool:
        """False, and the connection ends, when that is one too many (rule L10)."""
        if self.transport.is_closing():
            return False
        if self._bare.take(time.monotonic()):
            return True
        if self.close_sent:
            self.transport.abort()
        else:
            self.conn.fail(RoomCloseCode.RATE, RoomCloseCode.RATE.reason)
            self.handle_parser_exception()
        return False

    def handle_cont(self, event: Frame) -> None:
        """What has come of a message is kept in one piece: in pieces of a byte it would take forty times as much."""
        if len(event.data) < FRAGMENT_BYTES_MIN and not self._takes_bare_frame():
            return
        [message] = self.frames
        if not isinstance(message, bytearray):
            self.frames = [message := bytearray(message)]
        message += event.data
        if event.fin:
            self.frames = [bytes(message)]
            self.send_receive_event_to_app()

    def handle_pong(self, event: Frame) -> None:
        if self._takes_bare_frame():
            super().handle_pong(event)

    def handle_ping(self) -> None:
        """Who pings and does not read is answered once, when they read again (RFC 6455, 5.5.3): pongs would pile up."""
        if not self._takes_bare_frame():
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            # Those to all pings that were read together; nothing for the second of them.
            self._pong = b"".join(self.conn.data_to_send()) or self._pong

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pong and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone_timer is not None:
            self._gone_timer.cancel()
        if self.handshake_complete:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": LOST, "reason": ""})
        super().connection_lost(exc)


def _framed(frames: Iterable[bytes | str]) -> Iterator[bytes]:
    for frame in frames:
        kind, payload = (BINARY, frame) if isinstance(frame, bytes) else (TEXT, frame.encode())
        yield _head(kind, len(payload))
        yield payload


@lru_cache(4096)
def _head(kind: int, size: int) -> bytes:
    """Of an unmasked frame (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((kind, size))
    if size < 65_536:
        return bytes((kind, 126)) + size.to_bytes(2)
    return bytes((kind, 127)) + size.to_bytes(8)
