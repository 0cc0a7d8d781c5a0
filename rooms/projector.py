"""Brings `Operation` and `SceneObject` rows after what live rooms committed: off the hot path, a room at most once
a second, as many commits at once as there were, and quiet rooms several at a time."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import Error

from journal.error import CorruptJournal, JournalError, JournalGap, UnknownDocument
from journal.models import Document, SceneObject
from journal.projection import Step, project_together
from journal.stored_row import answering
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker
from vuer_rtc.crdt.graph import Graph, NodeView
from vuer_rtc.crdt.view import Shown

logger = logging.getLogger(__name__)

RETRY_PAUSE_S = 5
"""After a failure: rows may wait, the journal does not need them."""

ROOMS_MAX = 25
MESSAGES_MAX = 100
"""Of rooms that are written in one transaction, together: then it ends soon, and what it costs beside the rows is
shared."""

Nodes = dict[str, NodeView | None]


@dataclass(slots=True)
class Reached:
    """How far the rows of one room have come."""

    seq: int
    hidden: set[str] | None = None
    """Keys of the nodes whose rows say hidden; None: not read yet.  A change names a node, not those below it,
    which may be hidden or shown with it."""
    cut: int | None = None
    """Of the graph then: at the same cut, nothing that came since is folded.  None: not known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What takes the rows of a room to its head."""

    step: Step
    hidden: set[str]
    """Keys of the nodes that are hidden there."""
    cut: int

    @property
    def end(self) -> Reached:
        """How far the rows are afterwards."""
        return Reached(self.step.seq, self.hidden, self.cut)


class Projector:
    """What each room's rows lack, and the task that writes it.

    Failures are logged and tried again: the rows follow from the journal, so nothing is lost.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._due: dict[LiveRoom, None] = {}
        self._reached: WeakKeyDictionary[LiveRoom, Reached] = WeakKeyDictionary()
        self._missed: WeakKeyDictionary[LiveRoom, int] = WeakKeyDictionary()
        """Heads at which batches were missing that rows are made from."""
        self._current: list[LiveRoom] = []
        self._has_due = asyncio.Event()

    def opened(self, room: LiveRoom) -> None:
        """The room was hydrated at its head; whether its rows were there is found out."""
        self._reached[room] = Reached(room.graph.head_seq)
        self.note(room)

    def note(self, room: LiveRoom) -> None:
        """The room has changed.  Cheap; called for every commit."""
        self._due[room] = None
        self._has_due.set()

    def is_busy_with(self, room: LiveRoom) -> bool:
        """True when rows of `room` wait or are being written."""
        return room in self._due or room in self._current

    def messages_behind(self, room: LiveRoom) -> int:
        """How many messages the rows of `room` lack."""
        reached = self._reached.get(room)
        return room.graph.head_seq - reached.seq if reached is not None else 0

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._has_due.wait()
            room_count = max(1, len(self._due))  # none, when a stop has written them all just now
            pause_s = settings.projection_interval_s / room_count
            if not await self.write(pause_s):
                await asyncio.sleep(RETRY_PAUSE_S)

    async def write(self, pause_s: float = 0) -> bool:
        """Afterwards the rows of all rooms that were due are at their heads; False when some could not be
        written and wait for the next time.

        With a pause for each room: all at once, they would keep the event loop from Python's lock for as long as they
        take, and everybody's messages with it.
        """
        failed: list[LiveRoom] = []
        waiting = deque(self._due)
        while rooms := self._take(waiting):
            failed += await self._try(rooms)
            await asyncio.sleep(pause_s * len(rooms))
        if not self._due:
            self._has_due.clear()
        for room in failed:
            self.note(room)
        return not failed

    def _take(self, waiting: deque[LiveRoom]) -> list[LiveRoom]:
        """The first of those that are due still, off the list: one, or as many as lack few messages together."""
        rooms: list[LiveRoom] = []
        messages = 0
        while waiting and len(rooms) < ROOMS_MAX:
            room = waiting[0]
            if room in self._due:  # else somebody else has written it meanwhile
                messages += self._weight(room)
                if rooms and messages > MESSAGES_MAX:
                    break
                del self._due[room]
                rooms.append(room)
            waiting.popleft()
        return rooms

    def _weight(self, room: LiveRoom) -> int:
        """How many messages its rows lack; a room of which not all is known goes alone, so it is too many for two."""
        reached = self._reached.get(room)
        return MESSAGES_MAX + 1 if reached is None or reached.hidden is None else self.messages_behind(room)

    async def _try(self, rooms: list[LiveRoom]) -> list[LiveRoom]:
        """Those of the rooms whose rows wait for the next time."""
        self._current = rooms
        try:
            alone = rooms if len(rooms) == 1 else await self._project_together(rooms)
            return [room for room in alone if not await self._try_alone(room)]
        finally:
            self._current = []

    async def _project_together(self, rooms: list[LiveRoom]) -> list[LiveRoom]:
        """Those whose rows have not been written: each may have a reason of its own."""
        plans = {
            room: plan
            for room in rooms
            if (plan := plan_of(room.graph, room.document_id, self._reached[room], room.last_batch))
        }
        try:
            outcomes = await self._worker.run(project_together, [plan.step for plan in plans.values()])
        except Exception as error:
            logger.info("rows of %d documents are written one by one: %s", len(rooms), error)
            return rooms
        missed = [room for room in rooms if room not in plans]
        for (room, plan), is_done in zip(plans.items(), outcomes, strict=True):
            if is_done:
                self._reached[room] = plan.end
            else:
                missed.append(room)
        return missed

    async def _try_alone(self, room: LiveRoom) -> bool:
        """False when its rows wait for the next time."""
        try:
            await self._project(room)
        except UnknownDocument:
            self._reached.pop(room, None)  # nobody will ask for its rows
        except (Error, JournalError) as error:
            logger.warning("rows of document %s wait: %s", room.document_id, error)
            return isinstance(error, JournalGap | CorruptJournal) and self._is_missed_again(room)
        except Exception:
            tally.failures["projection"] += 1
            logger.exception("rows of document %s were not written", room.document_id)
            self._reached.pop(room, None)  # the next projection is a whole one
        return True

    def _is_missed_again(self, room: LiveRoom) -> bool:
        """True when what rows of this room are made from was not there at its last try either, at the same head: no
        compaction came between, it is lost, and a snapshot may hold what it held.  The next change is another occasion.
        """
        seq, self._missed[room] = self._missed.get(room), room.graph.head_seq
        return seq == room.graph.head_seq

    async def _project(self, room: LiveRoom) -> None:
        reached = self._reached.get(room)
        if reached is not None and reached.hidden is None:
            reached.hidden = await self._worker.run(read_hidden, room.document_id)
        if not await self._write(room, reached):
            await self._write(room, None)

    async def _write(self, room: LiveRoom, reached: Reached | None) -> bool:
        """What is written is taken from the graph in one step of the event loop, so it is one state."""
        document = room.document_id
        plan = plan_of(room.graph, document, reached, room.last_batch) if reached else None
        plan = plan or plan_of_all(room.graph, document, room.last_batch)
        [is_done] = await self._worker.run(project_together, [plan.step])
        if is_done:
            self._reached[room] = plan.end
        return is_done


def plan_of(graph: Graph, document_id: UUID, reached: Reached, last_batch: UUID | None = None) -> Plan | None:
    """How rows that have come so far come to the graph's head, where that batch ends if it is known; None when what has
    changed since is not known any more."""
    nodes = nodes_since(graph, reached)
    if nodes is None:
        return None
    retained = None if graph.cut == reached.cut else graph.retained_ids()  # which copies every id
    step = Step(document_id, graph.head_seq, graph.undone_ids(), nodes, reached.seq, retained, last_batch)
    return Plan(step, hidden_after(reached.hidden or set(), nodes), graph.cut)


def plan_of_all(graph: Graph, document_id: UUID, last_batch: UUID | None = None) -> Plan:
    """How rows come to the graph's head, whatever they are."""
    nodes: Nodes = dict(graph.nodes())
    retained = graph.retained_ids()
    step = Step(
        document_id, graph.head_seq, graph.undone_ids(), nodes, retained=retained, last_batch=last_batch
    )
    return Plan(step, hidden_after(set(), nodes), graph.cut)


def project_graph(document_id: UUID, graph: Graph, last_batch: UUID | None) -> None:
    """Afterwards the rows are at least those of a graph that nobody else changes meanwhile, at whose head that batch
    ends if it is known; what its last messages did not change is not looked at, where that is known.

    Raises: as `journal.projection.project`.
    """
    with answering():
        since = Document.objects.values_list("head_seq", flat=True).get(pk=document_id)
        hidden = read_hidden(document_id)
    if since >= graph.head_seq:
        return
    plan = plan_of(graph, document_id, Reached(since, hidden), last_batch)
    if plan is None or project_together([plan.step]) == [False]:
        project_together([plan_of_all(graph, document_id, last_batch).step])


def nodes_since(graph: Graph, reached: Reached) -> Nodes | None:
    """The nodes whose rows may differ from the graph, those hidden or shown with a node above included, be it removed,
    gone or new; None when that is not known any more."""
    changed = graph.changed_since(reached.seq)
    if changed is None:
        return None
    hidden = reached.hidden or set()
    nodes: Nodes = {}
    keys = list(changed)
    scene, shown = graph.scene, Shown(graph.scene)
    while keys:
        nodes.update(graph.views(keys))
        children = [(child, key in shown) for key in keys for child in scene.children.get(key, ())]
        keys = [child for child, is_shown in children if (child in hidden) is is_shown and child not in nodes]
    return nodes


def hidden_after(hidden: set[str], nodes: Nodes) -> set[str]:
    """The hidden keys once the rows of `nodes` are written."""
    return (hidden - nodes.keys()) | {key for key, view in nodes.items() if view is not None and view.hidden}


def read_hidden(document_id: UUID) -> set[str]:
    """Keys of the nodes whose rows say hidden."""
    rows = SceneObject.objects.filter(document=document_id, is_hidden=True).order_by()
    return set(rows.values_list("key", flat=True))
