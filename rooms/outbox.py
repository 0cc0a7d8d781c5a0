"""What is on its way to one connection: bounded, and written out at most once per turn of the event loop."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rooms.server_extension import Write, write_nothing
from rooms.tally import tally
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Frame

Send = Callable[[dict[str, Any]], Awaitable[None]]

DOCUMENTS_MAX = 4
"""On their way at once without counting as the client's fault: one that asks for the document again and again, and
takes little, is behind like any other."""
WRITE_BYTES_MAX = 65_536
"""Handed over at once: as much as a transport buffers before it asks for a pause."""


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
        self,
        send: Send,
        write: Write = write_nothing,
        *,
        bytes_max: int,
        frames_max: int,
        on_overflow: Callable[[], None],
    ) -> None:
        self._send = send
        self._write = write
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._on_overflow = on_overflow
        self._loop = asyncio.get_running_loop()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._allowance = 0
        self._is_due = False
        """It is going to be flushed in the next turn."""
        self._waiter: asyncio.Task[None] | None = None
        """Waits for the socket to take more."""
        self._close_code: CloseCode | None = None

    def bound(self, bytes_max: int, frames_max: int) -> None:
        """From now on these are its bounds: what is queued already is dropped by the next push at the earliest."""
        self._bytes_max = bytes_max
        self._frames_max = frames_max

    @property
    def queued_bytes(self) -> int:
        """Size of what the socket has not taken yet; a character of a text frame counts as a byte."""
        return self._bytes

    def push(self, frames: Sequence[Frame], size: int) -> None:
        """Queue `frames`, `size` bytes together; nothing happens once the outbox is closed."""
        if self._close_code is not None:
            return
        self._frames.extend(frames)
        self._bytes += size
        if self._bytes > self._bytes_max + self._allowance or len(self._frames) > self._frames_max:
            self.abandon()
            self._on_overflow()
        else:
            self._flush_soon()

    def push_document(self, frames: Sequence[Frame], size: int) -> None:
        """Queue frames whose size is the document's, not the client's fault: it does not count against the
        bound, `DOCUMENTS_MAX` times."""
        self._allowance = max(self._allowance, min(self._allowance + size, DOCUMENTS_MAX * size))
        self.push(frames, size)

    def close(self, code: CloseCode) -> None:
        """Write what is queued, then close the socket with `code`.  Idempotent: the first code stands."""
        if self._close_code is None:
            self._close_code = code
            self._flush_soon()

    def abandon(self) -> None:
        """Drop what is queued, and stop waiting for the peer to take what is being written."""
        self._frames.clear()
        self._bytes = 0
        if self._waiter is not None:
            self._waiter.cancel()
            self._waiter = None

    def release(self) -> None:
        """The socket is gone: drop what is queued and the ways to the owner, who goes without the garbage collector."""
        self.abandon()
        self._on_overflow = _nothing
        self._write = write_nothing

    # Writing

    def _flush_soon(self) -> None:
        if self._waiter is None and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        self._write_at_once()
        if self._frames or self._close_code is not None:
            self._waiter = self._loop.create_task(self._write_rest())

    def _write_at_once(self) -> None:
        """Afterwards the socket has as much as it takes without anybody's waiting."""
        while self._frames:
            frames, size = self._next_piece()
            if not self._write(frames):
                return
            self._took(len(frames), size)

    def _next_piece(self) -> tuple[Sequence[Frame], int]:
        """The oldest frames, up to `WRITE_BYTES_MAX` or one, and their size."""
        if self._bytes <= WRITE_BYTES_MAX:
            return self._frames, self._bytes
        size, piece = 0, list[Frame]()
        for frame in self._frames:
            if piece and size + len(frame) > WRITE_BYTES_MAX:
                break
            piece.append(frame)
            size += len(frame)
        return piece, size

    async def _write_rest(self) -> None:
        """One frame as ASGI has it, which waits until the socket takes it; then again what goes without waiting."""
        try:
            while self._frames:
                frame = self._frames[0]
                kind = "bytes" if isinstance(frame, bytes) else "text"
                await self._send({"type": "websocket.send", kind: frame})
                self._took(1, len(frame))
                self._write_at_once()
            if self._close_code is not None:
                await self._send(close_event(self._close_code))
        except (OSError, RuntimeError):
            pass  # the peer is gone or the server closed the socket; whoever reads from it is being told
        finally:
            if self._waiter is asyncio.current_task():
                self._waiter = None

    def _took(self, count: int, size: int) -> None:
        """The socket has the oldest frames."""
        tally.sent_frames += count
        tally.sent_bytes += size
        self._bytes -= size
        if count == len(self._frames):
            self._frames.clear()
            self._allowance = 0
        else:
            for _ in range(count):
                self._frames.popleft()
