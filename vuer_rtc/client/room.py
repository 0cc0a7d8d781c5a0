"""A client in a room: a live scene graph that survives broken connections and killed servers.

Errors: `RoomError`, and below it `RoomClosed` (the server does not want this client back) and `CommitRefused`.
"""

import asyncio
import contextlib
import inspect
import logging
import math
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from vuer_rtc.protocol.codes import CloseCode

from .graph_store import GraphStore
from .message import CRDTMessage, Operation
from .node import SceneGraph, SceneNode
from .outbox import Outbox
from .presence import FEATURE as PRESENCE
from .presence import Presence
from .scene import Scene
from .syncer import NotNative, Refusal, Status, Syncer, Welcome, Wire
from .watcher import Watchers

if TYPE_CHECKING:
    from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)


Token = str | Callable[[], str | Awaitable[str]]
"""A room token, or what gives one."""

FEATURES = f"batch,{PRESENCE}"
"""What it asks the server for, beyond what every native client gets."""

PRESENCE_PAUSE_S = 0.05
"""Between two presences sent: as often as the server tells the others."""

ANSWER_MAX_S = 3.0
"""A question that is not answered so long is asked again."""


class RoomError(RuntimeError):
    """Something about the room went wrong."""


class RoomClosed(RoomError):
    """The room is closed for this client; `code` is the close code, None when the program closed it."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{reason} ({code})" if code is not None else reason)
        self.code = code


class CommitRefused(RoomError):
    """The server refused commits; they have been taken back."""

    def __init__(self, refusals: list[Refusal]) -> None:
        super().__init__("; ".join(refusal.text for refusal in refusals))
        self.refusals = refusals


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts to connect: doubling, each a random part of what it may be."""

    first_s: float = 0.5
    max_s: float = 30.0

    def pause_s(self, attempt: int) -> float:
        """The pause before attempt 0, 1, 2…; at least a tenth of the longest."""
        return min(self.max_s, self.first_s * 2.0 ** min(attempt, 30)) * random.uniform(0.1, 1)


class RoomClient:
    """One client in one room.

    Enter it (`async with`) to join; edit `room.scene`, or with `edit` and `commit`; every commit travels by itself,
    through breaks, until the server has it on disk.  `graph` is live.  All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        url: str,
        client: str | None = None,
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        outbox: str | Path | None = None,
        backoff: Backoff = Backoff(),
        retry_pause_s: float = 0.5,
        heartbeat_s: float = 20.0,
        on_change: Callable[[frozenset[str]], object] | None = None,
        on_refused: Callable[[Refusal], object] | None = None,
    ) -> None:
        """`url` is the room's, `ws://host/ws/rooms/<slug>/` (http and https are read as ws and wss).

        `client` has to be unique among the room's clients; without one an id is made up, or read from the outbox.
        With `outbox`, a file, commits that are not acknowledged outlive the process.  Where the room wants an account:
        `token`, a room token, or a function (of asyncio or not) that is asked for a fresh one at every connection; or
        a session cookie in `headers`, which go with the handshake.  `on_change` is called with the keys of the nodes
        that may differ, `on_refused` with every commit that the server does not take.

        Raises: OutboxError when the file is in use, or another client's.
        """
        self._outbox = Outbox(outbox) if outbox is not None else None
        known = self._outbox.client if self._outbox is not None else None
        self.client = client or known or f"py-{uuid.uuid4().hex[:16]}"
        self._url = room_url(url)
        if self._outbox is not None:
            self._outbox.claim(self.client, self._url)
        self._token = token
        self._headers = dict(headers or {})
        self._backoff = backoff
        self._retry_pause_s = retry_pause_s
        self._heartbeat_s = heartbeat_s
        self._on_change = on_change
        self._on_refused = on_refused
        self.store = _RoomStore(self.client, self._committed)
        """The store behind it; for what the room does not offer itself."""
        self.scene = Scene(self)
        """The scene graph as objects."""
        self._syncer = Syncer(self.store, self._outbox)
        self._queue: asyncio.Queue[Wire] = asyncio.Queue()
        self._progress = asyncio.Event()
        self._watchers = Watchers(lambda: self._end is not None)
        self.presence = Presence(self._present, Watchers(lambda: self._end is not None))
        """Where the others are and what they look at, and what they are told of us."""
        self._is_presenting = False
        self._task: asyncio.Task[None] | None = None
        self._end: RoomClosed | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.store.subscribe(self._tell)

    # Life

    async def __aenter__(self) -> Self:
        """Join: returns when the room's state is there.

        Raises: RoomClosed when the server refuses this client for good.
        """
        self.start()
        try:
            await self.joined()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect, in the background; edits may be made at once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def joined(self) -> None:
        """Returns when the room's state has come.

        Raises: RoomClosed.
        """
        await self._until(lambda: self._syncer.is_joined and self._syncer.is_live)

    async def close(self) -> None:
        """Leave.  What is not acknowledged stays in the outbox, if there is one; otherwise it is lost."""
        self._finish(RoomClosed(None, "the room was closed by the program"))
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._outbox is not None:
            self._outbox.close()

    @property
    def is_live(self) -> bool:
        """True while connected and caught up."""
        return self._syncer.is_live

    @property
    def welcome(self) -> Welcome:
        """What the server told at the last join: rights, limits, what an ack promises, what can be undone."""
        return self._syncer.welcome

    # Editing

    @property
    def graph(self) -> SceneGraph:
        """The scene graph now; the same object every time, valid until the next change."""
        return self.store.graph

    def node(self, key: str) -> SceneNode | None:
        return self.store.node(key)

    def edit(self, op: Operation) -> None:
        """Put an operation into the edit buffer; it shows here at once.

        Raises: InvalidMessage, a ValueError.
        """
        self.store.edit(op)

    def commit(self) -> CRDTMessage | None:
        """Send the edit buffer as one commit; None when it is empty.  Does not wait, `synced` does."""
        return self.store.commit()

    def cancel(self) -> None:
        self.store.cancel()

    def undo(self) -> CRDTMessage | None:
        return self.store.undo()

    def redo(self) -> CRDTMessage | None:
        return self.store.redo()

    @property
    def pending_count(self) -> int:
        """Commits that the server has not acknowledged."""
        return len(self._syncer.waiting)

    # Waiting

    async def synced(self, *, verify: bool = False) -> Status:
        """Returns when everything committed before is on the server's disk and everything it had then is here.

        With `verify` the answer says whether the scene here is the server's, by digest; that reads all of it.

        Raises: CommitRefused when it refused commits since the last call, RoomClosed.
        """
        mine = set(self._syncer.waiting)
        answer = None
        while answer is None:
            await self._until(lambda: self._syncer.is_live and mine.isdisjoint(self._syncer.waiting))
            answer = await self._answer(verify)
        refusals, self._syncer.refusals = self._syncer.refusals, []
        if refusals:
            raise CommitRefused(refusals)
        return answer

    async def _answer(self, verify: bool) -> Status | None:
        """How far the server says it is; None when no answer came, be it for a break or for asking too often."""
        request, question = self._syncer.ask(verify=verify)
        self._put([question])
        with contextlib.suppress(TimeoutError):
            has_come = self._until(lambda: request in self._syncer.answers or not self._syncer.is_live)
            await asyncio.wait_for(has_come, ANSWER_MAX_S)
        return self._syncer.answers.pop(request, None)

    async def refresh(self) -> None:
        """Returns when the document has begun anew from the server's present state; commits and pending edits stay.

        Raises: RoomClosed.
        """
        before = self._syncer.beginnings
        await self._until(lambda: self._syncer.is_live)
        self._put([{"mtype": "sync", "filter": b"", "count": 0}])
        await self._until(lambda: self._syncer.beginnings > before or not self._syncer.is_live)
        await self.joined()

    async def reset(self) -> None:
        """Returns when the document is empty, for everybody; what is not acknowledged is dropped.  Needs the right
        `moderate`.

        Raises: RoomError when the server refuses, or the connection breaks meanwhile; RoomClosed.
        """
        await self._until(lambda: self._syncer.is_live)
        before, self._syncer.fault = self._syncer.epoch, ""
        self._put([{"mtype": "room-reset", "epoch": before}])
        await self._until(
            lambda: self._syncer.epoch > before or bool(self._syncer.fault) or not self._syncer.is_live
        )
        if self._syncer.epoch == before:
            raise RoomError(self._syncer.fault or "the connection broke; perhaps the document has been reset")

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Keys of the nodes that may differ since the last turn, as often as there are any; ends with the room."""
        return self._watchers.changes()

    async def _until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            if self._end is not None:
                raise self._end
            await self._progress.wait()

    def _progressed(self) -> None:
        """Wake whoever waits."""
        self._progress.set()
        self._progress = asyncio.Event()

    def _tell(self) -> None:
        changed = self.store.inner.changed
        if not changed:
            return
        keys = frozenset(changed)
        changed.clear()
        self._watchers.tell(keys)
        if self._on_change is not None:
            self._on_change(keys)

    # The connection

    def _committed(self, message: "Message") -> None:
        self._put(self._syncer.committed(message))

    def _put(self, wires: Iterable[Wire]) -> None:
        for wire in wires:
            self._queue.put_nowait(wire)

    async def _run(self) -> None:
        attempt = 0
        while self._end is None:
            try:
                await self._attend()
            except ConnectionClosed as closed:
                self._consider(closed)
            except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
                logger.info("%s cannot be reached: %s", self._url, error)
            except (InvalidURI, NotNative) as error:
                self._finish(RoomClosed(None, str(error)))
            except Exception as error:
                logger.exception("the connection to %s failed", self._url)
                self._finish(RoomClosed(None, f"the client failed: {error!r}"))
            attempt = 0 if self._syncer.is_live else attempt + 1
            self._lost()
            if self._end is None:
                await asyncio.sleep(self._backoff.pause_s(attempt))

    async def _attend(self) -> None:
        """One connection, from handshake to end."""
        headers = {**self._headers, **await self._credential()}
        async with connect(
            self._address(), additional_headers=headers, max_size=None, compression=None, close_timeout=1
        ) as socket:
            self._queue = asyncio.Queue()
            self._syncer.connected()
            self._end_pause()
            works = (self._read(socket), self._write(socket), self._beat())
            tasks = [asyncio.create_task(work) for work in works]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()

    async def _credential(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        token = await token if inspect.isawaitable(token) else token
        return {"Authorization": f"Bearer {token}"} if token is not None else {}

    def _address(self) -> str:
        query = {"client": self.client, "format": "msgpack", "v": "2", "features": FEATURES}
        if self._syncer.since is not None:
            query["since"] = str(self._syncer.since)
        return f"{self._url}?{urlencode(query)}"

    async def _read(self, socket: ClientConnection) -> None:
        """Takes in frames; returns when this connection is of no more use, and another may be."""
        while not self._syncer.has_lost_track:
            wire = msgspec.msgpack.decode(await socket.recv(decode=False))
            if wire.get("mtype") == "presence":
                self.presence.take(wire)
                continue
            told = len(self._syncer.refusals)
            self._put(self._syncer.receive(wire))
            self._after(self._syncer.refusals[told:])
            if wire.get("mtype") == "welcome":
                self.presence.welcomed(self._syncer.welcome.features)
        logger.info("%s: something was lost on the way; connecting again", self._url)

    def _after(self, refused: list[Refusal]) -> None:
        for refusal in refused:
            logger.warning("%s: %s", self._url, refusal.text)
            if self._on_refused is not None:
                self._on_refused(refusal)
        if self._syncer.must_pause and self._pause is None:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(self._retry_pause_s, self._again, self._queue)
        self._progressed()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._pause = None

    def _again(self, queue: asyncio.Queue[Wire]) -> None:
        self._end_pause()
        if queue is self._queue and self._syncer.must_pause:
            self._put(self._syncer.again())

    async def _write(self, socket: ClientConnection) -> None:
        queue = self._queue
        while True:
            await socket.send(msgspec.msgpack.encode(await queue.get()))

    def _present(self) -> None:
        """Presence has changed: send it now, and for a moment no more."""
        wires = [] if self._is_presenting else self.presence.to_send()
        if wires:
            self._put(wires)
            self._is_presenting = True
            asyncio.get_running_loop().call_later(PRESENCE_PAUSE_S, self._present_again)

    def _present_again(self) -> None:
        self._is_presenting = False
        self._present()

    async def _beat(self) -> None:
        """Shows that this client is alive, often enough for its presence."""
        await self._until(lambda: self._syncer.is_welcome)
        while True:
            silence_s = self._syncer.welcome.limits.get("presence_silence_s_max", math.inf)
            await asyncio.sleep(min(self._heartbeat_s, silence_s / 3))
            clock = self.store.inner.replica.sync_clock
            self._put([{"mtype": "heartbeat", "client": self.client, "vectorClock": clock}])

    def _consider(self, closed: ConnectionClosed) -> None:
        """End for good when the server has said so; otherwise try again."""
        code = closed.rcvd.code if closed.rcvd is not None else None
        if (code is not None and code >= 4000) or code == CloseCode.TOO_BIG:
            known = CloseCode(code) if code in CloseCode._value2member_map_ else None
            if known is CloseCode.TOKEN_EXPIRED and callable(self._token):
                return
            if known is None or not known.is_retryable:
                reason = known.reason if known is not None else closed.rcvd.reason  # type: ignore[union-attr]
                self._finish(RoomClosed(code, f"the server closed the room: {reason}"))

    def _finish(self, end: RoomClosed) -> None:
        if self._end is None:
            self._end = end
        self._lost()
        self._watchers.wake()
        self.presence.wake()

    def _lost(self) -> None:
        self._syncer.lost()
        self.presence.lost()
        self._progressed()


class _RoomStore(GraphStore):
    """A store whose commits travel."""

    def __init__(self, client: str, on_commit: "Callable[[Message], None]") -> None:
        super().__init__(client)
        self._on_commit = on_commit

    def _send(self, message: "Message", msg: CRDTMessage) -> None:
        self._on_commit(message)
        super()._send(message, msg)


def room_url(url: str) -> str:
    """A room's WebSocket address, without query."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


__all__: list[Any] = ["Backoff", "CommitRefused", "RoomClient", "RoomClosed", "RoomError"]
