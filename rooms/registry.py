"""The live rooms of this process: opened once however many ask, and let go when they have been empty for a while."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from journal.error import CorruptJournal
from journal.reader import Hydrated, hydrate, read_after
from rooms.admission import Admission
from rooms.bus import Bus
from rooms.committer import Committer
from rooms.cutter import Cutter
from rooms.damage import DamageWatch, view_of
from rooms.foreign import Batches, bytes_of
from rooms.herald import Herald
from rooms.lookout import Lookout
from rooms.memory import Tidier
from rooms.projector import Projector
from rooms.reviewer import Reviewer
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.snapshotter import Snapshotter
from rooms.tally import tally
from rooms.thread import Worker
from rooms.waiting import Budget
from vuer_rtc.protocol.codes import CloseCode


class Registry:
    """Opens rooms, tells whoever serves them what has changed, and evicts them."""

    def __init__(
        self,
        worker: Worker,
        rooms: dict[UUID, LiveRoom],
        bus: Bus,
        *,
        budget: Budget,
        committer: Committer,
        projector: Projector,
        cutter: Cutter,
        snapshotter: Snapshotter,
        herald: Herald,
        reviewer: Reviewer,
        lookout: Lookout,
    ) -> None:
        """`rooms` is written here, and read by everybody else."""
        self.damages = DamageWatch(worker, self._follow)
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self._rooms = rooms
        self._bus = bus
        self._budget = budget
        self._committer = committer
        self._projector = projector
        self._cutter = cutter
        self._snapshotter = snapshotter
        self._herald = herald
        self._reviewer = reviewer
        self._lookout = lookout
        self._tidier = Tidier(worker)
        self._opening: dict[UUID, asyncio.Task[None]] = {}
        self._idle: dict[UUID, asyncio.TimerHandle] = {}

    async def open_room(self, admission: Admission) -> LiveRoom:
        """The live room of a document, hydrated once however many ask at the same time.

        Raises: JournalError.
        """
        document_id = admission.document_id
        while (room := self._rooms.get(document_id)) is None:
            opening = self._opening.get(document_id)
            if opening is None:
                opening = self._opening[document_id] = asyncio.create_task(self._open(admission))
                opening.add_done_callback(lambda _: self._opening.pop(document_id, None))
            await asyncio.shield(opening)  # who gives up waiting does not take the room from the others
        return room

    async def _open(self, admission: Admission) -> None:
        begun_at = self._loop.time()
        hydrated, damage = await self._read(admission.document_id)
        tally.hydration_s.note(self._loop.time() - begun_at)
        room = LiveRoom(
            admission.document_id,
            hydrated,
            limits=admission.limits,
            reader=self,
            budget=self._budget,
            presence=self._lookout.over(admission.document_id, admission.limits),
            notify=self._committer.notify,
            read_on=self._committer.look,
            on_change=self._changed,
            on_empty=self._room_is_empty,
            on_put_back=self._follow,
            damage=damage,
        )
        self._rooms[room.document_id] = room
        self._bus.opened(room.document_id)
        self._herald.opened(room.document_id, hydrated.head_seq)
        self.damages.note(room)
        if damage is None:
            self._follow(room, hydrated)
        self._room_is_empty(room)

    async def _read(self, document_id: UUID) -> tuple[Hydrated, CorruptJournal | None]:
        """The document, or what can be read of it, and what is wrong with it."""
        try:
            return await self.hydrate(document_id), None
        except CorruptJournal as damage:
            return await self._worker.run(view_of, document_id, damage), damage

    def _follow(self, room: LiveRoom, hydrated: Hydrated) -> None:
        """The room is in order: what follows from its journal is written from now on."""
        self._projector.opened(room)
        self._cutter.opened(room, hydrated)
        self._snapshotter.opened(room, hydrated)

    def _changed(self, room: LiveRoom) -> None:
        if room.damage is not None:
            self.damages.note(room)
            return
        self._projector.note(room)
        self._cutter.note(room)
        self._snapshotter.note(room)

    def _room_is_empty(self, room: LiveRoom) -> None:
        """A room that has failed is forgotten now, one that is merely empty after a while."""
        timer = self._idle.pop(room.document_id, None)
        if timer is not None:
            timer.cancel()
        if room.is_closed:
            self._forget(room)
        else:
            self._idle[room.document_id] = self._loop.call_later(settings.room_idle_s, self._evict, room)

    def _evict(self, room: LiveRoom) -> None:
        del self._idle[room.document_id]
        if room.connections:
            return  # it will be empty again
        parts = (self._committer, self._projector, self._cutter, self._snapshotter)
        if any(part.is_busy_with(room) for part in parts) or self._snapshotter.part_with(room):
            self._room_is_empty(room)
        else:
            room.close(CloseCode.GOING_AWAY)
            self._forget(room)

    def _forget(self, room: LiveRoom) -> None:
        if self._rooms.get(room.document_id) is room:
            del self._rooms[room.document_id]
            self._bus.forgotten(room.document_id)
            self._reviewer.forgotten(room.document_id)
            self.damages.forget(room)
            self._tidier.note_gone()

    def stop(self) -> None:
        """Afterwards no room leaves by itself."""
        self._tidier.stop()
        for timer in self._idle.values():
            timer.cancel()

    # The journal, from the event loop

    async def hydrate(self, document_id: UUID) -> Hydrated:
        return await self._worker.run(hydrate, document_id)

    async def read_after(
        self, document_id: UUID, seq: int, last_batch: UUID | None
    ) -> AsyncIterator[Batches]:
        while True:
            batches = await self.read_part_after(document_id, seq, last_batch)
            yield batches
            if bytes_of(batches) < settings.since_bytes_max:
                return
            seq, last_batch = batches[-1].last_seq, batches[-1].id

    async def read_part_after(self, document_id: UUID, seq: int, last_batch: UUID | None = None) -> Batches:
        """The first of these parts.  Raises: as `journal.reader.read_after`."""
        bytes_max = settings.since_bytes_max
        return await self._worker.run(read_after, document_id, seq, None, bytes_max, last_batch)

    async def read_id_at(self, document_id: UUID, seq: int) -> str | None:
        """Id of the message that the journal holds at that sequence.  Raises: as `journal.reader.read_after`."""
        batches = await self._worker.run(read_after, document_id, seq - 1, 1)
        return batches[0].entries[0].message.id if batches else None
