"""A client in a room: a live scene graph that survives broken connections and killed servers.

Errors: `RoomError`, and below it `RoomClosed` (the server does not want this client back) and `CommitRefused`.
"""

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .answer import Refusal, Status, Welcome
from .connection import BACKOFF, Backoff, Connection
from .error import CommitRefused, RoomClosed, RoomError
from .graph_store import GraphStore
from .handshake import Handshake, Token, room_url
from .message import CRDTMessage, Operation
from .node import SceneGraph, SceneNode
from .outbox import Outbox, OutboxError
from .scene import Scene
from .syncer import Syncer, Wire
from .watcher import Watchers

if TYPE_CHECKING:
    from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)

ANSWER_MAX_S = 3.0
"""A question that is not answered so long is asked again."""


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
        backoff: Backoff = BACKOFF,
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
        that may differ, `on_refused` with every commit that the server does not take; an exception of theirs ends the
        room, or comes out of the call that edits.  Seconds: `backoff` between attempts to connect, `retry_pause_s`
        after a refusal for now, `heartbeat_s` between signs of life.

        Raises: OutboxError when the file is in use, another client's, or damaged.
        """
        self._outbox = Outbox(outbox) if outbox is not None else None
        known = self._outbox.client if self._outbox is not None else None
        self.client = client or known or f"py-{uuid.uuid4().hex[:16]}"
        address = self._address = room_url(url)
        self._on_change = on_change
        self._retry_pause_s = retry_pause_s
        self._has_left = False
        self._thread: int | None = None
        self.store = _RoomStore(self.client, self._committed)
        """The store behind it; for what the room does not offer itself."""
        self.scene = Scene(self)
        """The scene graph as objects."""
        try:
            if self._outbox is not None:
                self._outbox.claim(self.client, address)
            self._syncer = Syncer(self.store, self._outbox)
        except OutboxError:
            assert self._outbox is not None
            self._outbox.close()  # or whoever keeps the exception keeps the file
            raise
        self._asking = asyncio.Lock()
        self._watchers = Watchers(lambda: self._connection.end is not None)
        self._connection = Connection(
            Handshake(address, self.client, token, dict(headers or {})),
            self._syncer,
            backoff=backoff,
            retry_pause_s=retry_pause_s,
            heartbeat_s=heartbeat_s,
            on_refused=on_refused,
            on_end=self._watchers.wake,
        )
        self.presence = self._connection.presence
        """Where the others are and what they look at, and what they are told of us."""
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
        """Begin to connect, in the background; edits may be made at once, from now on in this thread."""
        self._connection.start()
        self._thread = threading.get_ident()

    async def joined(self) -> None:
        """Returns when the room's state has come.

        Raises: RoomClosed.
        """
        await self._connection.until(lambda: self._syncer.is_joined and self._syncer.is_live)

    async def close(self) -> None:
        """Leave.  What is not acknowledged stays in the outbox, if there is one; otherwise it is lost, and the log says
        so."""
        if self.pending_count and self._outbox is None and not self._has_left:
            count = self.pending_count
            logger.warning(
                "%s: left before %d commits were acknowledged; they may be lost", self._address, count
            )
        self._has_left = True
        try:
            await self._connection.close(RoomClosed(None, "the room was closed by the program"))
        finally:
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

        Raises: InvalidMessage, a ValueError; RoomError in another thread than the room's.
        """
        self._check_thread()
        self.store.edit(op)

    def commit(self, description: str | None = None) -> CRDTMessage | None:
        """Send the edit buffer as one commit; None when it is empty.  Does not wait, `synced` does.

        The description does not travel, as in the published client: the protocol has no field for it (rule C1).

        Raises: RoomClosed when the room has ended, and there is no outbox to keep it: the edits stay in the buffer.
        OutboxError when the outbox cannot be written: the edits are taken back.  RoomError in another thread than the
        room's.
        """
        self._check_use()
        return self.store.commit()

    def _check_use(self) -> None:
        """Raises: RoomClosed when nobody would ever hear of a commit; RoomError in another thread than the room's."""
        self._check_thread()
        end = self._connection.end
        if end is not None and (self._outbox is None or self._has_left):
            raise end.with_traceback(None)

    def _check_thread(self) -> None:
        """Raises: RoomError in another thread than the room's: an edit could meet a message, and both go wrong."""
        if self._thread not in (None, threading.get_ident()):
            raise RoomError(
                "the room belongs to another thread; loop.call_soon_threadsafe brings an edit there"
            )

    def cancel(self) -> None:
        self.store.cancel()

    def undo(self) -> CRDTMessage | None:
        """Undo the newest of one's own commits in force; raises as `commit` does."""
        self._check_use()
        return self.store.undo()

    def redo(self) -> CRDTMessage | None:
        """Redo what was undone last; raises as `commit` does."""
        self._check_use()
        return self.store.redo()

    @property
    def pending_count(self) -> int:
        """Commits that the server has not acknowledged."""
        return len(self._syncer.waiting)

    # Waiting

    async def synced(self, *, verify: bool = False) -> Status:
        """Returns when everything committed before is on the server's disk and everything it had then is here.

        With `verify` the answer says whether the scene here is the server's, by digest; that reads all of it.

        Raises: CommitRefused when it refused commits since the last call (of more than a thousand, it tells the
        newest), RoomClosed.
        """
        mine = set(self._syncer.waiting)
        answer = None
        while answer is None:
            await self._connection.until(
                lambda: self._syncer.is_live and mine.isdisjoint(self._syncer.waiting)
            )
            answer = await self._answer(verify)
        refusals, self._syncer.refusals = self._syncer.refusals, []
        if refusals:
            raise CommitRefused(refusals)
        return answer

    async def _answer(self, verify: bool) -> Status | None:
        """How far the server says it is; None when no answer came, be it for a break or for asking too often.

        One question is on the way at a time: its answer is everybody's who came before it was asked.
        """
        syncer, before = self._syncer, self._syncer.asked
        async with self._asking:
            if syncer.answered > before and verify <= syncer.is_verified:
                return syncer.answer
            fault, question = None, syncer.ask(verify=verify)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_MAX_S):
                    fault = await self._say(question, lambda: syncer.answered == syncer.asked)
            if syncer.answered == syncer.asked:
                return syncer.answer
            if fault is not None:  # it was asked too often
                await asyncio.sleep(self._retry_pause_s)
        return None

    async def _say(self, wire: Wire, is_done: Callable[[], bool]) -> Wire | None:
        """Returns when it is done, the server refuses such a message, or the connection has broken; the error, if it
        was refused."""
        syncer, mtype = self._syncer, wire["mtype"]
        former = syncer.faults.get(mtype)
        self._connection.put([wire])
        await self._connection.until(
            lambda: is_done() or syncer.faults.get(mtype) is not former or not syncer.is_live
        )
        fault = syncer.faults.get(mtype)
        return None if fault is former else fault

    async def refresh(self) -> None:
        """Returns when the document has begun anew from the server's present state; commits and pending edits stay.

        Raises: RoomClosed.
        """
        syncer, before = self._syncer, self._syncer.beginnings
        while syncer.beginnings == before:
            await self._connection.until(lambda: syncer.is_live)
            sync = {"mtype": "sync", "filter": b"", "count": 0}
            if (
                await self._say(sync, lambda: syncer.beginnings > before) is not None
            ):  # it was asked for too often
                await asyncio.sleep(self._retry_pause_s)
        await self.joined()

    async def reset(self) -> None:
        """Returns when the document is empty, for everybody; what is not acknowledged is dropped.  Needs the right
        `moderate`.

        Raises: RoomError when the server refuses, or the connection breaks meanwhile; RoomClosed.
        """
        syncer = self._syncer
        await self._connection.until(lambda: syncer.is_live)
        before = syncer.epoch
        reset = {"mtype": "room-reset", "epoch": before}
        fault = await self._say(reset, lambda: syncer.epoch > before)
        if syncer.epoch == before:
            broken = "the connection broke; perhaps the document has been reset"
            raise RoomError(broken if fault is None else str(fault.get("error", "")))

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Keys of the nodes that may differ since the last turn, at first since this call, as often as there are any;
        ends with the room."""
        return self._watchers.changes()

    def _tell(self) -> None:
        changed = self.store.inner.changed
        if not changed:
            return
        keys = frozenset(changed)
        changed.clear()
        self._watchers.tell(keys)
        if self._on_change is not None:
            self._on_change(keys)

    def _committed(self, message: "Message") -> None:
        self._connection.committed(message)


class _RoomStore(GraphStore):
    """A store whose commits travel."""

    def __init__(self, client: str, on_commit: "Callable[[Message], None]") -> None:
        super().__init__(client)
        self._on_commit = on_commit

    def _made(self, message: "Message") -> None:
        self._on_commit(message)


__all__ = ["Backoff", "CommitRefused", "RoomClient", "RoomClosed", "RoomError"]
