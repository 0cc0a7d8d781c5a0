"""The live side of one process: who is connected, what serves the rooms, and how that starts and ends.

There is one hub per process (and, in tests, per event loop).  Under a server without the lifespan protocol it
starts with the first connection.
"""

import asyncio
import logging
from uuid import UUID

from journal.durability import NotDurable
from journal.error import JournalUnavailable
from journal.writer import Appended, Draft, Outcome, append_batches
from rooms.address import Scope
from rooms.bus import Bus
from rooms.committer import Committer
from rooms.connection import Connection
from rooms.cutter import Cutter
from rooms.gate import Gate
from rooms.head import HeadWatch
from rooms.herald import Herald
from rooms.lookout import Lookout
from rooms.memory import calm_garbage_collector
from rooms.metrics import expose
from rooms.neighbour import NeighbourWatch
from rooms.news import Committed, Entered, Kicked, RightsChanged
from rooms.outbox import Send
from rooms.pledge import Pledge
from rooms.process import ProcessIdentity
from rooms.projector import Projector
from rooms.recorder import Recorder
from rooms.register import Register
from rooms.registry import Registry
from rooms.resetter import Resetter
from rooms.reviewer import Reviewer
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.snapshotter import Snapshotter
from rooms.supervision import supervised
from rooms.tally import tally
from rooms.termination import before_termination
from rooms.thread import Worker
from rooms.vitals import Vitals
from rooms.waiting import Budget
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Edition, Promise

logger = logging.getLogger(__name__)

ASIDE_THREADS = 4
"""Threads for what may wait: joins, hydration, sessions, projections.  Each keeps a database connection."""


class Hub:
    """The connections of one process, its live rooms, and the tasks that serve them all."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.process = ProcessIdentity.of_this_process()
        self.rooms: dict[UUID, LiveRoom] = {}
        self.connections: set[Connection] = set()
        self.is_leaving = False
        """It is about to stop: load balancers should send nobody more."""
        self._aside = Worker("vuer-aside", ASIDE_THREADS)
        self._journal = Worker("vuer-journal")
        self._register = Register(self.process, self._aside)
        self._projector = Projector(self._aside)
        self._reviewer = Reviewer(self._aside, self.connections)
        self._resetter = Resetter(self._aside)
        self._recorder = Recorder(self._aside, self.connections)
        self._cutter = Cutter()
        self._snapshotter = Snapshotter(self._aside)
        self._committer = Committer(self._append)
        self._herald = Herald()
        self.bus = Bus(str(self.process))
        self.bus.on(RightsChanged, self._reviewer.take)
        self.bus.on(Kicked, self._reviewer.kick)
        self.bus.on(Entered, self._replace_older)
        self._lookout = Lookout(self.bus, str(self.process), self.rooms)
        self._pledge = Pledge(self._journal)
        self._budget = Budget(settings.waiting_bytes_max)
        self._registry = Registry(
            self._aside,
            self.rooms,
            self.bus,
            budget=self._budget,
            committer=self._committer,
            projector=self._projector,
            cutter=self._cutter,
            snapshotter=self._snapshotter,
            herald=self._herald,
            reviewer=self._reviewer,
            lookout=self._lookout,
        )
        self._heads = HeadWatch(
            self._aside, self.rooms, self._committer, self._reviewer, self._registry.damages
        )
        self.bus.on(Committed, self._heads.take)
        self._gate = Gate(
            self._aside,
            self.process,
            registry=self._registry,
            register=self._register,
            heads=self._heads,
            pledge=self._pledge,
            on_reset=self._resetter.request,
            on_life=self._tell_entered,
        )
        self._has_emptied = asyncio.Event()
        self._has_stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # Connections

    async def join(self, scope: Scope, send: Send) -> Connection:
        """A member of the room that the scope's address names; its `state` is on the way.

        Raises: Refused.
        """
        connection = await self._gate.enter(scope, send)
        self.connections.add(connection)
        self._reviewer.joined(connection)
        self._recorder.joined(connection)
        self._herald.joined(connection)
        return connection

    def _tell_entered(self, connection: Connection) -> None:
        """Not as soon as it has joined: its client may have given it up, while this process stood still, and be well at
        another one."""
        document_id = connection.admission.document_id
        self.bus.tell(Entered(document_id, {connection.client: connection.arrived_at}))

    def _replace_older(self, news: Entered) -> None:
        if (room := self.rooms.get(news.document)) is not None:
            room.replace_older(news.clients)

    def leave(self, connection: Connection, code: int) -> None:
        """The connection's socket is gone.  Idempotent."""
        if connection in self.connections:
            self.connections.remove(connection)
            end = connection.ended(code)
            if connection.is_recorded:
                self._register.note_end(end)
            self._recorder.left(connection)
            self._herald.left(connection, end.close_code)
            tally.closed[end.close_code, end.closed_by] += 1
            if not self.connections:
                self._has_emptied.set()

    async def pledged(self) -> Promise:
        """What an acknowledgement means here.

        Raises: NotDurable; JournalUnavailable.
        """
        return await self._pledge.given()

    async def _append(self, drafts: list[Draft]) -> list[Outcome]:
        outcomes = await self._journal.run(self._write, drafts)
        for draft, outcome in zip(drafts, outcomes, strict=True):
            if isinstance(outcome, Appended):
                self.bus.tell(Committed(draft.document_id, outcome.last_seq))
                self._herald.committed(draft, outcome)
        return outcomes

    def _write(self, drafts: list[Draft]) -> list[Outcome]:
        """In the journal's thread."""
        self._pledge.renew()
        return append_batches(drafts, str(self.process))

    # Life

    def vitals(self) -> Vitals:
        """How the process is now, for metrics and readiness."""
        rooms, connections = list(self.rooms.values()), list(self.connections)
        native = sum(connection.dialect.edition is Edition.NATIVE for connection in connections)
        queued = [connection.queued_bytes for connection in connections]
        return Vitals(
            is_leaving=self.is_leaving,
            stuck_s=self._committer.stuck_s,
            unanswered_s=self._committer.unanswered_s,
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
        parts = (
            self._committer.run,
            self._register.run,
            self._register.close_predecessors,
            self._projector.run,
            self._recorder.run,
            self._cutter.run,
            self._snapshotter.run,
            self._registry.damages.run,
            self._heads.run,
            self._reviewer.run,
            self._herald.run,
            self._lookout.run,
            NeighbourWatch(self.process, self._aside, self.bus).run,
            self.bus.run,
        )
        self._tasks = [self.loop.create_task(supervised(part)) for part in parts]

    async def stop(self) -> None:
        """Afterwards everything that could be journalled is, every socket has been told `going away`, and the
        rows of their sessions are closed.  Idempotent."""
        if self.is_leaving:
            await self._has_stopped.wait()
            return
        self.is_leaving = True
        try:
            await self._finish()
        finally:
            await self._end()

    async def _finish(self) -> None:
        await asyncio.sleep(settings.shutdown_notice_s)
        self._gate.is_closed = True
        is_answering = await self._drain()
        rooms = list(self.rooms.values())
        for room in rooms:
            room.close(CloseCode.GOING_AWAY)
        await self._see_off()
        await self.bus.drained()
        is_answering = await self._write_rows(
            settings.shutdown_timeout_s if is_answering else settings.close_timeout_s
        )
        await self._herald.close(settings.close_timeout_s)
        if is_answering:
            await self._snapshotter.finish(rooms)

    async def _write_rows(self, timeout_s: float) -> bool:
        """Afterwards the rows of sessions and projections are as true as could be had in time; no acknowledgement
        depends on them, and the next start makes up for what they lack.  False when there was too little time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._register.write()
                await self._projector.write()
        except TimeoutError:
            logger.warning("shutting down although the database does not answer; some rows are behind")
            return False
        return True

    async def _end(self) -> None:
        """Afterwards nothing runs any more, and whoever else waits for the end goes on."""
        self._registry.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close_workers()
        self._has_stopped.set()

    async def _close_workers(self) -> None:
        """Afterwards their threads have ended, or wait for a database that may take long to say no: these end with
        the process."""
        closing = [asyncio.ensure_future(worker.close()) for worker in (self._journal, self._aside)]
        _, late = await asyncio.wait(closing, timeout=settings.close_timeout_s)
        for task in late:
            task.cancel()

    async def _drain(self) -> bool:
        """Afterwards what waited is journalled; False when the journal does not answer in time."""
        for room in self.rooms.values():
            room.is_taking = False
        try:
            async with asyncio.timeout(settings.shutdown_timeout_s):
                await self._committer.drained()
        except TimeoutError:
            logger.error("shutting down although the journal does not answer; what it lacks was not acked")
            return False
        return True

    async def _see_off(self) -> None:
        """Wait for the sockets to close, and for who was just coming in, whose row may be there; those that do not
        close in time count as gone."""
        try:
            async with asyncio.timeout(settings.close_timeout_s):
                await self._gate.emptied()
                while self.connections:
                    self._has_emptied.clear()
                    await self._has_emptied.wait()
        except TimeoutError:
            for connection in list(self.connections):
                self.leave(connection, CloseCode.GOING_AWAY)


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
