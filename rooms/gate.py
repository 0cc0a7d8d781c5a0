"""Lets clients into live rooms, or says why not."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from journal.durability import NotDurable
from journal.error import CorruptJournal, JournalError, JournalTruncated
from rooms.address import Address, Scope, read_address
from rooms.admission import Admission, admit
from rooms.connection import Connection
from rooms.debt import Ledger
from rooms.head import HeadWatch
from rooms.models import Session
from rooms.outbox import Send
from rooms.peer import Overtaken, RoomFull
from rooms.pledge import Pledge
from rooms.process import ProcessIdentity
from rooms.refusal import Refused
from rooms.register import Register
from rooms.registry import Registry
from rooms.resumption import Resumptions
from rooms.room import LiveRoom
from rooms.server_extension import write_of
from rooms.session import End, Progress
from rooms.settings import settings
from rooms.thread import Worker
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Promise

logger = logging.getLogger(__name__)

ADMISSIONS_MAX = 8
"""Asked for at once: when a thousand come back together, everything else that those threads do (opening rooms for who
has been admitted, reading what other processes wrote, rights, kicks) waits behind so many and not behind all."""

SKEW_S_MAX = 3600
"""How far the clock of another process may be ahead; who claims more, to be the newest for ever, is not believed."""


class Gate:
    """Where everybody comes in; a refusal behind the admission is written into the session's row."""

    def __init__(
        self,
        worker: Worker,
        process: ProcessIdentity,
        *,
        registry: Registry,
        register: Register,
        heads: HeadWatch,
        pledge: Pledge,
        on_reset: Callable[[Connection, int], None],
        on_life: Callable[[Connection], None],
    ) -> None:
        self.is_closed = False
        """Nobody gets in any more."""
        self._worker = worker
        self._process = process
        self._registry = registry
        self._register = register
        self._heads = heads
        self._pledge = pledge
        self._on_reset = on_reset
        self._on_life = on_life
        self._arrived_at = 0.0
        """Of the last handshake."""
        self._admissions = asyncio.Semaphore(ADMISSIONS_MAX)
        self._resumptions = Resumptions()
        self._ledger = Ledger()
        self._entering = 0
        self._has_emptied = asyncio.Event()

    async def enter(self, scope: Scope, send: Send) -> Connection:
        """A member of the room that the scope's address names; its `state` is on the way.

        Raises: Refused.
        """
        self._entering += 1
        try:
            return await self._enter(scope, send)
        finally:
            self._entering -= 1
            if not self._entering:
                self._has_emptied.set()

    async def emptied(self) -> None:
        """Returns when nobody is on the way in."""
        while self._entering:
            self._has_emptied.clear()
            await self._has_emptied.wait()

    async def _enter(self, scope: Scope, send: Send) -> Connection:
        arrived_at = self._arrived_at = max(time.time(), math.nextafter(self._arrived_at, math.inf))
        address = read_address(scope)
        if address.after < arrived_at + SKEW_S_MAX:
            arrived_at = max(arrived_at, math.nextafter(address.after, math.inf))
        async with self._admissions:
            if self.is_closed:
                raise Refused(CloseCode.GOING_AWAY)
            admission = await self._worker.run(admit, address, scope, self._process)
        try:
            promise = await self._promised()
            room = await self._room_for(admission)
            # Its client may have been told more by another process, and builds on that (rule A7).
            await self._heads.refresh(room, max(admission.head_seq, address.since or 0))
            graph = room.graph
            since = await self._known_since(room, address)
            read = await self._read_missing(room, since) if since is not None else ()
            if not read and not (since is not None and room.holds_after(since)):
                await room.prepare(address.client, address.dialect)
            room = await self._room_for(admission)  # another one, when it was evicted meanwhile
            if room.graph is not graph:  # and it may have gone back behind what its client holds (J66)
                since = None
            if self.is_closed:
                raise Refused(CloseCode.GOING_AWAY)
            connection = Connection(
                address,
                admission,
                room,
                send,
                write_of(scope),
                on_progress=self._register.note_progress,
                promise=promise,
                on_reset=self._on_reset,
                on_life=self._on_life,
                arrived_at=arrived_at,
                debt=self._ledger.debt_of(admission, address.remote_address),
            )
            room.take_limits(admission.limits)  # the newest there are
            if since is not None and (
                read or room.holds_after(since)
            ):  # else it gets a state, which all share
                self._resumptions.note(connection)
            room.join(connection, since, read)
        except RoomFull:
            self._note_refusal(admission, CloseCode.ROOM_FULL)
            raise Refused(CloseCode.ROOM_FULL) from None
        except Overtaken:
            self._note_refusal(admission, CloseCode.REPLACED)
            raise Refused(CloseCode.REPLACED) from None
        except Refused as refusal:
            self._note_refusal(admission, refusal.code)
            raise
        except BaseException:
            self._note_refusal(admission, CloseCode.INTERNAL)
            raise
        return connection

    async def _room_for(self, admission: Admission) -> LiveRoom:
        try:
            return await self._registry.open_room(admission)
        except JournalError as error:
            logger.warning("document %s cannot be opened now: %s", admission.document_id, error)
            raise Refused(CloseCode.UNAVAILABLE) from error

    async def _known_since(self, room: LiveRoom, address: Address) -> int | None:
        """How far the client holds what the journal holds; None: not at all, or nobody can tell any more, or the
        journal has been put back (J66), or too much is on its way to others who came back."""
        since, at = address.since, address.at
        if since is not None and since < room.graph.head_seq and self._resumptions.is_full:
            return None
        if since is None or at is None or not 0 < since <= room.graph.head_seq:
            return since
        found = room.message_id_at(since)
        if found is None:
            with self._reading(room):
                found = await self._registry.read_id_at(room.document_id, since)
        return since if found == at else None

    @contextmanager
    def _reading(self, room: LiveRoom) -> Iterator[None]:
        """What is folded away or damaged is passed over: who asks for it gets the state.  Raises: Refused."""
        try:
            yield
        except (JournalTruncated, CorruptJournal):
            pass
        except JournalError as error:
            logger.warning("document %s cannot be read now: %s", room.document_id, error)
            raise Refused(CloseCode.UNAVAILABLE) from error

    async def _read_missing(self, room: LiveRoom, since: int) -> list[Message]:
        """What the journal holds behind `since`, when the room does not; nothing, or not all, when that is too much."""
        missed = room.graph.head_seq - since
        if not 0 < missed <= settings.since_messages_max or room.holds_after(since):
            return []
        with self._reading(room), self._resumptions.reading():
            batches = await self._registry.read_part_after(room.document_id, since)
            return [message for batch in batches for message in batch.messages]
        return []

    async def _promised(self) -> Promise:
        try:
            return await self._pledge.given()
        except NotDurable as error:
            # Under a server without lifespan nobody has asked before; then every client that comes is told.
            logger.critical("nobody is served: %s", error)
            raise Refused(CloseCode.UNAVAILABLE) from error
        except JournalError as error:
            raise Refused(CloseCode.UNAVAILABLE) from error

    def _note_refusal(self, admission: Admission, code: CloseCode) -> None:
        self._register.note_end(End(Progress(admission.session_id, {}, 0), code, Session.ClosedBy.SERVER))
