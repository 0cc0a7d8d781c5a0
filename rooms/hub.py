"""The live rooms of this process, and its life: joins, idle rooms, shutdown.

There is one hub per process (and, in tests, per event loop).  Under a server without the lifespan protocol it
starts with the first connection.
"""

import asyncio
import gc
import itertools
import logging
from uuid import UUID

from journal.durability import NotDurable
from journal.entry import Entry
from journal.error import CorruptJournal, JournalError, JournalTruncated, JournalUnavailable
from journal.reader import Hydrated, hydrate, read_after
from journal.writer import Appended, Draft, Outcome, append_batches
from rooms.address import Scope, read_address
from rooms.admission import Admission, admit
from rooms.bus import Bus
from rooms.committer import Committer
from rooms.connection import Connection
from rooms.damage import DamageWatch, view_of
from rooms.head import HeadWatch
from rooms.herald import Herald
from rooms.lookout import Lookout
from rooms.memory import Tidier
from rooms.metrics import expose
from rooms.neighbour import NeighbourWatch
from rooms.news import Committed, Kicked, RightsChanged
from rooms.outbox import Send
from rooms.peer import Overtaken, RoomFull
from rooms.pledge import Pledge
from rooms.process import ProcessIdentity
from rooms.projector import Projector
from rooms.recorder import Recorder
from rooms.refusal import Refused
from rooms.register import Register
from rooms.resetter import Resetter
from rooms.reviewer import Reviewer
from rooms.room import LiveRoom
from rooms.session import End, Progress
from rooms.settings import settings
from rooms.snapshotter import Snapshotter
from rooms.tally import tally
from rooms.termination import before_termination
from rooms.thread import Worker
from rooms.vitals import Vitals
from rooms.waiting import Budget
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Edition, Promise

logger = logging.getLogger(__name__)

ASIDE_THREADS = 4
"""Threads for what may wait: joins, hydration, sessions, projections.  Each keeps a database connection."""


class Hub:
    """Registry of the live rooms and connections of one process, and the tasks that serve them all."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.process = ProcessIdentity.of_this_process()
        self.rooms: dict[UUID, LiveRoom] = {}
        self.connections: set[Connection] = set()
        self.is_leaving = False
        """It is about to stop: load balancers should send nobody more."""
        self.is_stopping = False
        self._arrivals = itertools.count(1)
        self._aside = Worker("vuer-aside", ASIDE_THREADS)
        self._journal = Worker("vuer-journal")
        self._register = Register(self.process, self._aside)
        self._projector = Projector(self._aside)
        self._tidier = Tidier(self._aside)
        self._reviewer = Reviewer(self._aside, self.connections)
        self._resetter = Resetter(self._aside)
        self._recorder = Recorder(self._aside, self.connections)
        self._snapshotter = Snapshotter(self._aside)
        self._damages = DamageWatch(self._aside, self._follow)
        self._committer = Committer(self._append)
        self._herald = Herald()
        self.bus = Bus(str(self.process))
        self._heads = HeadWatch(self._aside, self.rooms, self._committer, self._reviewer)
        self.bus.on(Committed, self._heads.take)
        self.bus.on(RightsChanged, self._reviewer.take)
        self.bus.on(Kicked, self._reviewer.kick)
        self._lookout = Lookout(self.bus, str(self.process), self.rooms)
        self._pledge = Pledge(self._journal)
        self._budget = Budget(settings.waiting_bytes_max)
        self._opening: dict[UUID, asyncio.Task[None]] = {}
        self._idle: dict[UUID, asyncio.TimerHandle] = {}
        self._has_emptied = asyncio.Event()
        self._has_stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # Connections

    async def join(self, scope: Scope, send: Send) -> Connection:
        """A member of the room that the scope's address names; its `state` is on the way.

        Raises: Refused.
        """
        if self.is_stopping:
            raise Refused(CloseCode.GOING_AWAY)
        arrival = next(self._arrivals)
        address = read_address(scope)
        admission = await self._aside.run(admit, address, scope, self.process)
        try:
            promise = await self._promised()
            room = await self._room_for(admission)
            read = await self._read_missing(room, address.since) if address.since is not None else ()
            room = await self._room_for(admission)  # another one, when it was evicted meanwhile
            if self.is_stopping:
                raise Refused(CloseCode.GOING_AWAY)
            connection = Connection(
                address,
                admission,
                room,
                send,
                on_progress=self._register.note_progress,
                promise=promise,
                on_reset=self._resetter.request,
                arrival=arrival,
            )
            room.limits = admission.limits  # the newest there are
            room.join(connection, address.since, read)
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
        self.connections.add(connection)
        self._reviewer.joined(connection)
        self._recorder.joined(connection)
        self._herald.joined(connection)
        return connection

    def leave(self, connection: Connection, code: int) -> None:
        """The connection's socket is gone.  Idempotent."""
        if connection in self.connections:
            self.connections.remove(connection)
            end = connection.ended(code)
            self._register.note_end(end)
            self._herald.left(connection, end.close_code)
            tally.closed[end.close_code] += 1
            if not self.connections:
                self._has_emptied.set()

    async def _room_for(self, admission: Admission) -> LiveRoom:
        try:
            return await self.open_room(admission)
        except JournalError as error:
            logger.warning("document %s cannot be opened now: %s", admission.document_id, error)
            raise Refused(CloseCode.UNAVAILABLE) from error

    async def _read_missing(self, room: LiveRoom, since: int) -> list[Message]:
        """What the journal holds behind `since`, when the room does not; nothing when that is too much."""
        if since > room.graph.head_seq:
            await self._heads.refresh(room)
        missed = room.graph.head_seq - since
        if not 0 < missed <= settings.since_messages_max or room.holds_after(since):
            return []
        try:
            batches = await self.read_after(room.document_id, since)
        except (JournalTruncated, CorruptJournal):
            return []  # it gets the state
        except JournalError as error:
            logger.warning("document %s cannot be read now: %s", room.document_id, error)
            raise Refused(CloseCode.UNAVAILABLE) from error
        return [entry.message for _, entries in batches for entry in entries]

    async def pledged(self) -> Promise:
        """What an acknowledgement means here.

        Raises: NotDurable; JournalUnavailable.
        """
        return await self._pledge.given()

    async def _promised(self) -> Promise:
        try:
            return await self.pledged()
        except NotDurable as error:
            # Under a server without lifespan nobody has asked before; then every client that comes is told.
            logger.critical("nobody is served: %s", error)
            raise Refused(CloseCode.UNAVAILABLE) from error
        except JournalError as error:
            raise Refused(CloseCode.UNAVAILABLE) from error

    def _note_refusal(self, admission: Admission, code: CloseCode) -> None:
        self._register.note_end(End(Progress(admission.session_id, {}, 0), code))

    # Rooms

    async def open_room(self, admission: Admission) -> LiveRoom:
        """The live room of a document, hydrated once however many ask at the same time.

        Raises: JournalError.
        """
        document_id = admission.document_id
        while (room := self.rooms.get(document_id)) is None:
            opening = self._opening.get(document_id)
            if opening is None:
                opening = self._opening[document_id] = asyncio.create_task(self._open(admission))
                opening.add_done_callback(lambda _: self._opening.pop(document_id, None))
            await asyncio.shield(opening)  # who gives up waiting does not take the room from the others
        return room

    async def _open(self, admission: Admission) -> None:
        begun_at = self.loop.time()
        hydrated, damage = await self._read(admission.document_id)
        tally.hydration_s.note(self.loop.time() - begun_at)
        room = LiveRoom(
            admission.document_id,
            hydrated,
            limits=admission.limits,
            reader=self,
            budget=self._budget,
            presence=self._lookout.over(admission.document_id, admission.limits),
            notify=self._committer.notify,
            on_change=self._changed,
            on_empty=self._room_is_empty,
            damage=damage,
        )
        self.rooms[room.document_id] = room
        self.bus.opened(room.document_id)
        self._herald.opened(room.document_id, hydrated.head_seq)
        self._damages.note(room)
        if damage is None:
            self._follow(room, hydrated)
        self._room_is_empty(room)

    async def _read(self, document_id: UUID) -> tuple[Hydrated, CorruptJournal | None]:
        """The document, or what can be read of it, and what is wrong with it."""
        try:
            return await self.hydrate(document_id), None
        except CorruptJournal as damage:
            return await self._aside.run(view_of, document_id, damage), damage

    def _follow(self, room: LiveRoom, hydrated: Hydrated) -> None:
        """The room is in order: what follows from its journal is written from now on."""
        self._projector.opened(room)
        self._snapshotter.opened(room, hydrated)

    def _changed(self, room: LiveRoom) -> None:
        if room.damage is not None:
            self._damages.note(room)
            return
        self._projector.note(room)
        self._snapshotter.note(room)

    def _room_is_empty(self, room: LiveRoom) -> None:
        """A room that has failed is forgotten now, one that is merely empty after a while."""
        timer = self._idle.pop(room.document_id, None)
        if timer is not None:
            timer.cancel()
        if room.is_closed:
            self._forget(room)
        else:
            self._idle[room.document_id] = self.loop.call_later(settings.room_idle_s, self._evict, room)

    def _evict(self, room: LiveRoom) -> None:
        del self._idle[room.document_id]
        if room.connections:
            return  # it will be empty again
        parts = (self._committer, self._projector, self._snapshotter)
        if any(part.is_busy_with(room) for part in parts) or self._snapshotter.part_with(room):
            self._room_is_empty(room)
        else:
            room.close(CloseCode.GOING_AWAY)
            self._forget(room)

    def _forget(self, room: LiveRoom) -> None:
        if self.rooms.get(room.document_id) is room:
            del self.rooms[room.document_id]
            self.bus.forgotten(room.document_id)
            self._reviewer.forgotten(room.document_id)
            self._tidier.note_gone()

    # The journal, from the event loop

    async def hydrate(self, document_id: UUID) -> Hydrated:
        return await self._aside.run(hydrate, document_id)

    async def read_after(self, document_id: UUID, seq: int) -> list[tuple[int, list[Entry]]]:
        return await self._aside.run(read_after, document_id, seq)

    async def _append(self, drafts: list[Draft]) -> list[Outcome]:
        outcomes = await self._journal.run(append_batches, drafts, str(self.process))
        for draft, outcome in zip(drafts, outcomes, strict=True):
            if isinstance(outcome, Appended):
                self.bus.tell(Committed(draft.document_id, outcome.last_seq))
                self._herald.committed(draft, outcome)
        return outcomes

    # Life

    def vitals(self) -> Vitals:
        """How the process is now, for metrics and readiness."""
        rooms, connections = list(self.rooms.values()), list(self.connections)
        native = sum(connection.dialect.edition is Edition.NATIVE for connection in connections)
        queued = [connection.queued_bytes for connection in connections]
        return Vitals(
            is_leaving=self.is_leaving,
            stuck_s=self._committer.stuck_s,
            rooms=len(rooms),
            native_sessions=native,
            published_sessions=len(connections) - native,
            presences=sum(len(room.presence.board) for room in rooms),
            waiting_messages=sum(room.waiting_count for room in rooms),
            waiting_bytes=self._budget.bytes_max - self._budget.bytes_left,
            queued_bytes=sum(queued),
            queued_bytes_of_slowest=max(queued, default=0),
            projection_messages_behind=max(map(self._projector.messages_behind, rooms), default=0),
            news_told=self.bus.told,
            news_heard=self.bus.heard,
            news_lost=self.bus.lost,
            signals_dropped=self._herald.dropped,
        )

    def start(self) -> None:
        """Afterwards connections may join."""
        steps = (
            self._committer.run(),
            self._register.run(),
            self._register.close_predecessors(),
            self._projector.run(),
            self._recorder.run(),
            self._snapshotter.run(),
            self._damages.run(),
            self._heads.run(),
            self._reviewer.run(),
            self._herald.run(),
            self._lookout.run(),
            NeighbourWatch(self.process, self._aside, self.bus).run(),
            self.bus.run(),
        )
        self._tasks = [self.loop.create_task(step) for step in steps]
        for task in self._tasks:
            task.add_done_callback(_tell_death)

    async def stop(self) -> None:
        """Afterwards everything that could be journalled is, every socket has been told `going away`, and the
        rows of their sessions are closed.  Idempotent."""
        if self.is_leaving:
            await self._has_stopped.wait()
            return
        self.is_leaving = True
        await asyncio.sleep(settings.shutdown_notice_s)
        self.is_stopping = True
        await self._drain()
        rooms = list(self.rooms.values())
        for room in rooms:
            room.close(CloseCode.GOING_AWAY)
        await self._see_off()
        await self.bus.drained()
        await self._register.write()
        await self._projector.write()
        await self._herald.close(settings.close_timeout_s)
        await self._snapshotter.finish(rooms)
        self._tidier.stop()
        for timer in self._idle.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._journal.close(), self._aside.close())
        self._has_stopped.set()

    async def _drain(self) -> None:
        for room in self.rooms.values():
            room.is_taking = False
        try:
            async with asyncio.timeout(settings.shutdown_timeout_s):
                await self._committer.drained()
        except TimeoutError:
            logger.error("shutting down although the journal does not answer; what it lacks was not acked")

    async def _see_off(self) -> None:
        """Wait for the sockets to close; those that do not in time count as gone."""
        try:
            async with asyncio.timeout(settings.close_timeout_s):
                while self.connections:
                    self._has_emptied.clear()
                    await self._has_emptied.wait()
        except TimeoutError:
            for connection in list(self.connections):
                self.leave(connection, CloseCode.GOING_AWAY)


def _tell_death(task: asyncio.Task[None]) -> None:
    """Of a task that serves all: nobody waits for it before the server stops."""
    if not task.cancelled() and (error := task.exception()) is not None:
        tally.failures["task"] += 1
        logger.critical("a part of this server has ended, and must be restarted with it", exc_info=error)


_hub: Hub | None = None


def hub_of_this_process() -> Hub | None:
    """The hub, if there is one yet."""
    return _hub


def current_hub() -> Hub:
    """The hub of this process, started."""
    global _hub
    if _hub is None or _hub.loop is not asyncio.get_running_loop():
        _hub = Hub()
        _hub.start()
        expose(_hub.vitals)
    return _hub


async def startup() -> None:
    """For the server's lifespan: afterwards connections may join, and SIGTERM lets them finish.

    Raises: NotDurable: the server is not to serve.
    """
    hub = current_hub()
    try:
        await hub.pledged()
    except JournalUnavailable as error:
        logger.warning("the journal's database does not answer yet: %s", error)
    except NotDurable:
        await hub.stop()
        raise
    before_termination(hub.stop)
    calm_garbage_collector()


async def shutdown() -> None:
    """For the server's lifespan: afterwards nothing is left undone."""
    if _hub is not None and _hub.loop is asyncio.get_running_loop():
        await _hub.stop()


def calm_garbage_collector() -> None:
    """What is loaded now stays for ever, and messages come and go by the thousand: look at both less
    often."""
    if settings.gc_threshold_objects:
        gc.collect()
        gc.freeze()
        gc.set_threshold(settings.gc_threshold_objects, 20, 50)
