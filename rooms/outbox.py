"""What is on its way to one connection: bounded, and written out at most once per turn of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rooms.tally import tally
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Frame

Send = Callable[[dict[str, Any]], Awaitable[None]]


def close_event(code: CloseCode) -> dict[str, Any]:
    """The ASGI event that closes a socket."""
    return {"type": "websocket.close", "code": int(code), "reason": code.reason}


def _nothing() -> None:
    pass


class Outbox:
    """A queue of frames in front of one socket.

    `push` never waits.  When the peer does not keep up and the queue passes its bounds, what is queued is
    dropped and `on_overflow` called, once; the owner then closes.  The close frame is the last thing
    written.
    """

    def __init__(
        self, send: Send, *, bytes_max: int, frames_max: int, on_overflow: Callable[[], None]
    ) -> None:
        self._send = send
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._on_overflow = on_overflow
        self._frames: list[Frame] = []
        self._bytes = 0
        self._allowance = 0
        self._writer: asyncio.Task[None] | None = None
        self._close_code: CloseCode | None = None

    @property
    def queued_bytes(self) -> int:
        """Size of what the socket has not taken yet; a character of a text frame counts as a byte."""
        return self._bytes

    @property
    def is_closed(self) -> bool:
        """True from the call of `close` on: nothing more is taken."""
        return self._close_code is not None

    def push(self, frames: Sequence[Frame], size: int) -> None:
        """Queue `frames`, `size` bytes together; nothing happens once the outbox is closed."""
        if self._close_code is not None:
            return
        self._frames.extend(frames)
        self._bytes += size
        if self._bytes > self._bytes_max + self._allowance or len(self._frames) > self._frames_max:
            self.abandon()
            self._on_overflow()
        elif self._writer is None:
            self._start()

    def push_document(self, frames: Sequence[Frame], size: int) -> None:
        """Queue frames whose size is the document's, not the client's fault: it does not count against the
        bound."""
        self._allowance += size
        self.push(frames, size)

    def close(self, code: CloseCode) -> None:
        """Write what is queued, then close the socket with `code`.  Idempotent: the first code stands."""
        if self._close_code is None:
            self._close_code = code
            if self._writer is None:
                self._start()

    def abandon(self) -> None:
        """Drop what is queued, and stop waiting for the peer to take what is being written."""
        self._frames.clear()
        self._bytes = 0
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    def release(self) -> None:
        """The socket is gone: drop what is queued and the way to the owner, who goes without the garbage collector."""
        self.abandon()
        self._on_overflow = _nothing

    def _start(self) -> None:
        self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._frames:
                await self._write_frames()
            if self._close_code is not None:
                await self._send(close_event(self._close_code))
        except (OSError, RuntimeError):
            pass  # the peer is gone or the server closed the socket; whoever reads from it is being told
        finally:
            if self._writer is asyncio.current_task():
                self._writer = None

    async def _write_frames(self) -> None:
        frames, self._frames = self._frames, []
        tally.sent_frames += len(frames)
        tally.sent_bytes += sum(map(len, frames))
        send = self._send
        for frame in frames:
            kind = "bytes" if isinstance(frame, bytes) else "text"
            await send({"type": "websocket.send", kind: frame})
            self._bytes -= len(frame)
        if not self._frames:
            self._allowance = 0
