"""A client's connection to its room, made again whenever it breaks, until there is no more use in that.

What the frames mean is decided in `syncer` and `presence`; here is only the waiting.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codes import CloseCode

from .answer import Refusal
from .error import RoomClosed, RoomError
from .handshake import Handshake, NoToken
from .presence import Presence
from .syncer import FRAME_LIMIT, NotNative, Syncer, Wire
from .watcher import Watchers

logger = logging.getLogger(__name__)

PRESENCE_PAUSE_S = 0.05
"""Between two presences sent: as often as the server tells the others."""
REFUSALS_MAX = 1000
"""That are kept for `synced`, which a program need never call; the newest."""
PASSING = frozenset({408, 425, 429})
"""Statuses below 500 with which servers and proxies ask to come again."""


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts to connect: doubling, each a random part of what it may be (rule E4)."""

    first_s: float = 1.0
    max_s: float = 30.0

    def pause_s(self, attempt: int) -> float:
        """The pause before attempt 0, 1, 2…; at least a tenth of the longest."""
        return min(self.max_s, self.first_s * 2.0 ** min(attempt, 30)) * random.uniform(0.1, 1)


BACKOFF = Backoff()


class Connection:
    """Carries what a syncer and a presence say, and brings them what the server says."""

    def __init__(
        self,
        handshake: Handshake,
        syncer: Syncer,
        *,
        backoff: Backoff,
        retry_pause_s: float,
        heartbeat_s: float,
        on_refused: Callable[[Refusal], object] | None,
        on_end: Callable[[], object],
    ) -> None:
        self.end: RoomClosed | None = None
        """Why there will be no more connections."""
        self.presence = Presence(self._present, Watchers(lambda: self.end is not None))
        self._handshake = handshake
        self._syncer = syncer
        self._backoff = backoff
        self._retry_pause_s = retry_pause_s
        self._heartbeat_s = heartbeat_s
        self._on_refused = on_refused
        self._on_end = on_end
        self._queue: asyncio.Queue[Wire] = asyncio.Queue()
        self._progress = asyncio.Event()
        self._is_presenting = False
        self._refused_row = (0, "")
        """What the log was told last of refusals: how many commits had been taken before, and why."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect, in the background.  Idempotent."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self, end: RoomClosed) -> None:
        """Afterwards there is no connection, and will be none."""
        self._finish(end)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])  # awaiting the task itself would hide that we are cancelled, too

    def put(self, wires: Iterable[Wire]) -> None:
        """Send these, in order, if the connection lasts."""
        for wire in wires:
            self._queue.put_nowait(wire)

    def committed(self, message: Message) -> None:
        """The store has made a commit: send it, in its turn."""
        self._take_turn(lambda: self._syncer.committed(message))

    def _take_turn(self, act: Callable[[], list[Wire]]) -> None:
        """Send what the syncer has to say now, and tell of the commits that were refused meanwhile.  A listener may
        commit in the middle of it, which is a turn in this one."""
        self.put(act())
        fresh, self._syncer.untold = self._syncer.untold, []
        del self._syncer.refusals[:-REFUSALS_MAX]
        self._after(fresh)

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Returns when it is true; looked at whenever something has come.

        Raises: RoomClosed; RoomError when nothing will ever come.
        """
        while not is_true():
            if self.end is not None:
                raise self.end.with_traceback(None)  # it is raised again and again, and would keep them all
            if self._task is None:
                raise RoomError("the room was not started: enter it with `async with`, or call `start`")
            await self._progress.wait()

    # One after the other

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except asyncio.CancelledError:
            self._finish(RoomClosed(None, "the task that kept the connection was cancelled"))
            raise

    async def _keep_connected(self) -> None:
        attempt, url = 0, self._handshake.url
        while self.end is None:
            try:
                await self._attend()
            except ConnectionClosed as closed:
                self._consider(closed, is_first=attempt == 0)
            except (OSError, InvalidHandshake, InvalidURI, TimeoutError, EOFError, NoToken) as error:
                self._consider_failure(error, is_first=attempt == 0)
            except NotNative as error:
                self._finish(RoomClosed(None, str(error)))
            except Exception as error:
                logger.exception("the connection to %s failed", url)
                self._finish(RoomClosed(None, f"the client failed: {error!r}"))
            attempt = 0 if self._syncer.is_live else attempt + 1
            self._lost()
            if self.end is None:
                await asyncio.sleep(self._backoff.pause_s(attempt))

    async def _attend(self) -> None:
        """One connection, from handshake to end."""
        headers = await self._handshake.all_headers()
        syncer = self._syncer
        address = self._handshake.address(syncer.since, syncer.at, syncer.welcome.arrived_at)
        async with connect(
            address, additional_headers=headers, max_size=None, compression=None, close_timeout=1
        ) as socket:
            self._queue = asyncio.Queue()
            self._syncer.connected()
            works = (self._read(socket), self._write(socket), self._beat(), self._go_on())
            tasks = [asyncio.create_task(work) for work in works]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if self.end is not None:
                    # Left by a cancellation, the block would close it with 1011: that we have failed.
                    await socket.close()
            for task in done:
                task.result()

    def _consider_failure(self, error: Exception, *, is_first: bool) -> None:
        """End for good when there has never been a room at that address, and what is there says that it is no fault
        of the moment; otherwise try again, and warn once that this goes on."""
        status = error.response.status_code if isinstance(error, InvalidStatus) else None
        if not self._syncer.beginnings:
            if status is not None and status < 500 and status not in PASSING:
                reason = (
                    f"there is no room at {self._handshake.url}: the answer is HTTP {status}, no WebSocket"
                )
                self._finish(RoomClosed(None, reason))
                return
            if isinstance(error, InvalidURI):  # this one, or where a redirection leads
                self._finish(RoomClosed(None, str(error)))
                return
        self._try_on(str(error) or type(error).__name__, is_first=is_first)

    def _try_on(self, problem: str, *, is_first: bool) -> None:
        level = logging.WARNING if is_first else logging.INFO
        logger.log(level, "%s cannot be reached, trying on: %s", self._handshake.url, problem)

    def _consider(self, closed: ConnectionClosed, *, is_first: bool) -> None:
        """End for good when the server has said so; otherwise try again, and warn once that it lets nobody in."""
        code = closed.rcvd.code if closed.rcvd is not None else None
        if (code is not None and code >= 4000) or code == CloseCode.TOO_BIG:
            known = CloseCode(code) if code in CloseCode._value2member_map_ else None
            is_renewed = known is CloseCode.TOKEN_EXPIRED and self._handshake.can_renew
            if not is_renewed and (known is None or not known.is_retryable):
                reason = known.reason if known is not None else closed.rcvd.reason  # type: ignore[union-attr]
                self._finish(RoomClosed(code, f"the server closed the room: {reason}"))
                return
        if not self._syncer.is_live:
            self._try_on(str(closed), is_first=is_first)

    def _finish(self, end: RoomClosed) -> None:
        if self.end is None:
            self.end = end
        self._lost()
        self._on_end()
        self.presence.wake()

    def _lost(self) -> None:
        self._syncer.lost()
        self.presence.lost()
        self._progressed()

    def _progressed(self) -> None:
        """Wake whoever waits."""
        self._progress.set()
        self._progress = asyncio.Event()

    # What one does

    async def _read(self, socket: ClientConnection) -> None:
        """Takes in frames; returns when this connection is of no more use, and another may be."""
        while not self._syncer.has_lost_track:
            wire = msgspec.msgpack.decode(await socket.recv(decode=False))
            if wire.get("mtype") == "presence":
                self.presence.take(wire)
                continue
            self._take_turn(partial(self._syncer.receive, wire))
            if wire.get("mtype") == "error" and not wire.get("msgId") and not wire.get("retry"):
                logger.warning("%s: %s", self._handshake.url, wire.get("error"))
            if wire.get("mtype") == "welcome":
                self.presence.welcomed(self._syncer.welcome.features)
        logger.info("%s: something was lost on the way; connecting again", self._handshake.url)

    async def _write(self, socket: ClientConnection) -> None:
        queue = self._queue
        while True:
            wire = await queue.get()
            frame = msgspec.msgpack.encode(wire)
            if len(frame) > self._syncer.welcome.limits.get(FRAME_LIMIT, math.inf):
                url, kind = self._handshake.url, wire["mtype"]
                logger.warning("%s: a %s of %d bytes is too large to be sent", url, kind, len(frame))
                continue
            await socket.send(frame)

    async def _beat(self) -> None:
        """Shows that this client is alive: at once, for servers that hold an older connection of it (rule A6), and
        often enough for its presence."""
        await self.until(lambda: self._syncer.is_welcome)
        while True:
            self.put([self._syncer.heartbeat()])
            silence_s = self._syncer.welcome.limits.get("presence_silence_s_max", math.inf)
            await asyncio.sleep(min(self._heartbeat_s, silence_s / 3))

    async def _go_on(self) -> None:
        """Sends everything again, a while after a refusal for now."""
        while True:
            await self.until(lambda: self._syncer.must_pause)
            await asyncio.sleep(self._retry_pause_s)
            self._take_turn(self._syncer.again)

    def _after(self, refused: list[Refusal]) -> None:
        for refusal in refused:
            self._warn(refusal)
            if self._on_refused is not None:
                self._on_refused(refusal)
        self._progressed()

    def _warn(self, refusal: Refusal) -> None:
        """Warn once of all that are refused for one reason, until the server takes one again."""
        row = self._syncer.taken, refusal.code
        level = logging.INFO if row == self._refused_row else logging.WARNING
        self._refused_row = row
        logger.log(level, "%s: %s", self._handshake.url, refusal.text)

    def _present(self) -> None:
        """Presence has changed: send it now, and for a moment no more."""
        wires = [] if self._is_presenting else self.presence.to_send()
        if wires:
            self.put(wires)
            self._is_presenting = True
            assert self._task is not None
            # The loop need not run now: a program may drive it with `run_until_complete`, and edit in between.
            self._task.get_loop().call_later(PRESENCE_PAUSE_S, self._present_again)

    def _present_again(self) -> None:
        self._is_presenting = False
        self._present()


__all__ = ["BACKOFF", "Backoff", "Connection"]
