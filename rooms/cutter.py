"""Folds the old messages of live rooms away, by cuts in their journals (rule J21)."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4
from weakref import WeakKeyDictionary

from journal.reader import Hydrated
from rooms.age import Ages, cut_of, is_heavy
from rooms.batch import Submission
from rooms.room import LiveRoom
from rooms.settings import settings
from vuer_rtc.crdt.message import SERVER_CLIENT, cut_record
from vuer_rtc.protocol.wire import Dialect, Framing, Outbound

RECORD_BYTES = 200
"""What a cut counts in the room's queue."""
RETRY_PAUSE_S = 5
"""After a cut that did not get into the journal."""
PAUSE_S = 0.05
"""Between two rounds of cuts when a room has more open messages than the settings allow: so it is cut as fast as
anybody writes, and others have their turns between."""


class Nobody:
    """Who sends the server's own records: nobody waits for an answer."""

    client = SERVER_CLIENT
    dialect = Dialect(Framing.MSGPACK)

    def send(self, outbound: Outbound) -> None:
        """An acknowledgement, or why there is none: the next cut will do."""

    def note_ack(self, seq: int) -> None:
        """The record is journalled; the graph knows."""

    def note_work(self, work_s: float) -> None:
        """Nobody's fault."""


@dataclass(slots=True)
class Progress:
    """How far one live room has got."""

    ages: Ages
    wanted_cut: int = 0
    """What was submitted last; the graph's cut says when it is journalled."""
    wanted_at: float = 0.0


class Cutter:
    """Which rooms have enough to be folded away, and the task that sees to it."""

    def __init__(self) -> None:
        self._progress: WeakKeyDictionary[LiveRoom, Progress] = WeakKeyDictionary()
        self._due: dict[LiveRoom, None] = {}
        self._has_due = asyncio.Event()
        self._has_overfull = asyncio.Event()
        """A room has more open messages than the settings allow: the next round does not wait."""

    def opened(self, room: LiveRoom, hydrated: Hydrated) -> None:
        """The room was hydrated."""
        self._progress[room] = Progress(Ages(hydrated.ages))
        self.note(room)

    def note(self, room: LiveRoom) -> None:
        """The room has changed.  Cheap; called for every commit."""
        progress = self._progress.get(room)
        if progress is None:
            return
        progress.ages.note(time.time(), room.graph.lt)
        open_count, is_too_heavy = room.graph.retained_count, is_heavy(room.graph)
        if is_too_heavy or open_count >= settings.open_messages + settings.fold_messages:
            self._due[room] = None
            self._has_due.set()
            if is_too_heavy or open_count >= settings.open_messages_max:
                self._has_overfull.set()

    def is_busy_with(self, room: LiveRoom) -> bool:
        """True when a cut of `room` is due."""
        return room in self._due

    async def run(self) -> None:
        """Cuts until cancelled."""
        while True:
            await self._has_due.wait()
            self._has_overfull.clear()
            while self._due:
                self._cut(self._due.popitem()[0])
            self._has_due.clear()  # not before: if one fails, the others are still due
            await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.snapshot_interval_s):
                    await self._has_overfull.wait()

    def _cut(self, room: LiveRoom) -> None:
        """The next batch of the room holds a cut, if there is enough to fold away."""
        progress, now = self._progress[room], time.time()
        if room.is_closed:
            return
        if progress.wanted_cut > room.graph.cut and now < progress.wanted_at + RETRY_PAUSE_S:
            return
        cut = cut_of(room.graph, progress.ages, now)
        if cut is not None:
            progress.wanted_cut, progress.wanted_at = cut, now
            record = cut_record(f"=server:{uuid4().hex}", cut, now)
            room.submit(Submission(record, Nobody(), None, None, received_at=now, size=RECORD_BYTES))
