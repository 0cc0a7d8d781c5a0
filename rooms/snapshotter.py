"""Keeps the recovery of live rooms short: writes snapshots behind what their cuts have folded away (rule J22).

Everything that touches a graph is one step of the event loop, a few milliseconds at most; compressing and
writing is done elsewhere.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import Error

from journal.error import JournalError
from journal.models import Snapshot
from journal.reader import Hydrated
from journal.snapshot import SnapshotDraft, covered_seq_of, prune_snapshots, take_snapshot
from rooms.native import snapshot_in_turns
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker
from vuer_rtc.crdt.graph import SnapshotOvertaken

logger = logging.getLogger(__name__)

NODES_PER_TURN = 500
"""Nodes of a snapshot that are encoded in one turn of the event loop: a millisecond."""
RETRY_PAUSE_S = 5
"""After a failure: snapshots may wait, the journal does not need them."""
GAIN_PER_NODE = 0.25
"""Messages that a snapshot must spare the next recovery per node that it writes: restoring a node takes about as
long as replaying one message, so that a large document's recovery takes a quarter longer than it must, and
its snapshots do not take more room than its journal."""
GAIN_PER_BYTE = 0.25
"""The same in bytes: of messages, per byte of the document."""


@dataclass(slots=True)
class Course:
    """How far one live room has got."""

    covered_seq: int
    """How far the newest snapshot covers the journal: a recovery reads what is behind it."""
    folded_bytes: int = 0
    """What the room's graph had folded away when it was written."""
    parted_seq: int = -1
    """Head at which the room was last about to leave memory."""


class Snapshotter:
    """Which rooms are due for a snapshot, and the task that sees to it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._courses: WeakKeyDictionary[LiveRoom, Course] = WeakKeyDictionary()
        self._due: dict[LiveRoom, None] = {}
        self._current: LiveRoom | None = None
        self._has_due = asyncio.Event()

    def opened(self, room: LiveRoom, hydrated: Hydrated) -> None:
        """The room was hydrated from a snapshot that covered the journal so far."""
        self._courses[room] = Course(hydrated.covered_seq)
        self.note(room)

    def note(self, room: LiveRoom) -> None:
        """The room has changed.  Cheap; called for every commit."""
        if self._is_worth_it(room, settings.snapshot_messages):
            self._due[room] = None
            self._has_due.set()

    def is_busy_with(self, room: LiveRoom) -> bool:
        """True when a snapshot of `room` is due or being written."""
        return room in self._due or room is self._current

    def part_with(self, room: LiveRoom) -> bool:
        """True when the room, which is about to leave memory, is worth a snapshot, which is due now; it is not
        asked for twice."""
        course = self._courses.get(room)
        if course is None or course.parted_seq == room.graph.head_seq:
            return False
        course.parted_seq = room.graph.head_seq
        if not self._is_worth_it(room, self._messages_of(room)):
            return False
        self._due[room] = None
        self._has_due.set()
        return True

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._has_due.wait()
            is_done = await self._round()
            await asyncio.sleep(settings.snapshot_interval_s if is_done else RETRY_PAUSE_S)

    async def _round(self) -> bool:
        """Write what is due; False when some failed.  Not inside `run`, whose variables would keep the last rooms, and
        all that is in them, alive until the next round."""
        self._has_due.clear()
        due, self._due = self._due, {}
        failed = []
        for room in due:
            is_worth_it = self._is_worth_it(room, self._messages_of(room))
            if is_worth_it and not await self._write(room, Snapshot.Reason.COUNT):
                failed.append(room)
        for room in failed:
            if room.connections:  # else it may leave
                self.note(room)
        return not failed

    async def finish(self, rooms: Iterable[LiveRoom]) -> None:
        """For a shutdown: afterwards the next recovery of these rooms is short, as far as that can be had in
        time."""
        try:
            async with asyncio.timeout(settings.shutdown_timeout_s):
                for room in rooms:
                    if self._is_worth_it(room, settings.snapshot_messages // 10):
                        await self._write(room, Snapshot.Reason.SHUTDOWN)
        except TimeoutError:
            logger.warning("not every room was written as a snapshot; the next recovery reads more messages")

    def _messages_of(self, room: LiveRoom) -> int:
        """How many a snapshot must spare: less when the room is about to leave memory."""
        is_parting = self._courses[room].parted_seq == room.graph.head_seq
        return settings.snapshot_messages // 10 if is_parting else settings.snapshot_messages

    def _is_worth_it(self, room: LiveRoom, messages: int) -> bool:
        """True when a snapshot would spare the next recovery that many messages, and more than it costs."""
        course = self._courses.get(room)
        graph = room.graph
        if course is None or not graph.cut:
            return False
        spared = graph.head_seq - graph.retained_count - course.covered_seq
        if spared >= max(1, messages, GAIN_PER_NODE * graph.node_count):
            return True
        if graph.folded_bytes < course.folded_bytes:  # another graph: the room was hydrated anew
            course.folded_bytes = 0
        spared_bytes = graph.folded_bytes - course.folded_bytes
        return spared_bytes >= max(settings.snapshot_bytes, GAIN_PER_BYTE * graph.content_bytes)

    async def _write(self, room: LiveRoom, reason: Snapshot.Reason) -> bool:
        """Afterwards the newest snapshot is one of this room; False when it could not be written."""
        self._current = room
        try:
            folded_bytes = room.graph.folded_bytes
            draft = await draft_in_turns(room)
            if draft is not None:
                covered_seq = await self._worker.run(save, room.document_id, draft, reason)
                tally.snapshots += 1
                course = self._courses[room]
                course.covered_seq, course.folded_bytes = covered_seq, folded_bytes
        except (Error, JournalError) as error:
            logger.warning("document %s: its snapshot waits: %s", room.document_id, error)
            return False
        except Exception:
            tally.failures["snapshot"] += 1
            logger.exception("document %s: its snapshot was not written", room.document_id)
            return False
        finally:
            self._current = None
        return True


async def draft_in_turns(room: LiveRoom) -> SnapshotDraft | None:
    """The state of a room as it is now, encoded a few nodes at a time; None when something was folded away
    meanwhile."""
    graph = room.graph
    seq, cut, covered_seq, last_batch = graph.head_seq, graph.cut, graph.folded_seq, room.last_batch
    try:
        state = await snapshot_in_turns(graph, NODES_PER_TURN)
    except SnapshotOvertaken:
        return None
    return SnapshotDraft(seq, cut, state, covered_seq=covered_seq, last_batch=last_batch)


def save(document_id: UUID, draft: SnapshotDraft, reason: Snapshot.Reason) -> int:
    """Afterwards a snapshot covers the journal as far as `draft` does, if it may be written at all; how far the
    newest does.

    Another process may have written as good a one.
    """
    if covered_seq_of(document_id) < draft.covered_seq:
        take_snapshot(document_id, draft, reason)
        prune_snapshots(document_id)
    return max(draft.covered_seq, covered_seq_of(document_id))
