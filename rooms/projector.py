"""Brings `Operation` and `SceneObject` rows after what live rooms committed: off the hot path, a room at most once
a second, as many commits at once as there were."""

import asyncio
import logging
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import Error

from journal.error import JournalError, UnknownDocument
from journal.models import Document, SceneObject
from journal.projection import project
from journal.reader import answering
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker
from vuer_rtc.crdt.graph import Graph, NodeView

logger = logging.getLogger(__name__)

RETRY_PAUSE_S = 5
"""After a failure: rows may wait, the journal does not need them."""

Nodes = dict[str, NodeView | None]


@dataclass(slots=True)
class Reached:
    """How far the rows of one room have come."""

    seq: int
    hidden: set[str] | None = None
    """Keys of the nodes whose rows say hidden; None: not read yet.  A change names a node, not those below it,
    which may be hidden or shown with it."""


class Projector:
    """What each room's rows lack, and the task that writes it.

    Failures are logged and tried again: the rows follow from the journal, so nothing is lost.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._due: dict[LiveRoom, None] = {}
        self._reached: WeakKeyDictionary[LiveRoom, Reached] = WeakKeyDictionary()
        self._current: LiveRoom | None = None
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
        return room in self._due or room is self._current

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

        With a pause after each room: all at once, they would keep the event loop from Python's lock for as long as they
        take, and everybody's messages with it.
        """
        failed: list[LiveRoom] = []
        for room in list(self._due):
            if room in self._due:  # else somebody else has written it meanwhile
                del self._due[room]
                if not await self._try(room):
                    failed.append(room)
                await asyncio.sleep(pause_s)
        if not self._due:
            self._has_due.clear()
        for room in failed:
            self.note(room)
        return not failed

    async def _try(self, room: LiveRoom) -> bool:
        """False when its rows wait for the next time."""
        self._current = room
        try:
            await self._project(room)
        except UnknownDocument:
            self._reached.pop(room, None)  # nobody will ask for its rows
        except (Error, JournalError) as error:
            logger.warning("rows of document %s wait: %s", room.document_id, error)
            return False
        except Exception:
            tally.failures["projection"] += 1
            logger.exception("rows of document %s were not written", room.document_id)
            self._reached.pop(room, None)  # the next projection is a whole one
        finally:
            self._current = None
        return True

    async def _project(self, room: LiveRoom) -> None:
        reached = self._reached.get(room)
        if reached is not None and reached.hidden is None:
            reached.hidden = await self._worker.run(read_hidden, room.document_id)
        if not await self._write(room, reached):
            await self._write(room, None)

    async def _write(self, room: LiveRoom, reached: Reached | None) -> bool:
        """What is written is taken from the graph in one step of the event loop, so it is one state."""
        graph = room.graph
        nodes = nodes_since(graph, reached) if reached else None
        since = reached.seq if reached and nodes is not None else None
        hidden = reached.hidden or set() if reached and since is not None else set()
        folded_seq = 0  # what is new is not folded yet
        if nodes is None:
            nodes, folded_seq = dict(graph.nodes()), graph.folded_seq
        seq, undone = graph.head_seq, graph.undone_ids()
        is_done = await self._worker.run(project, room.document_id, seq, undone, nodes, since, folded_seq)
        if is_done:
            self._reached[room] = Reached(seq, hidden_after(hidden, nodes))
        return is_done


def project_graph(document_id: UUID, graph: Graph) -> None:
    """Afterwards the rows are at least those of a graph that nobody else changes meanwhile; what its last messages did
    not change is not looked at, where that is known.

    Raises: as `journal.projection.project`.
    """
    seq, undone = graph.head_seq, graph.undone_ids()
    with answering():
        since = Document.objects.values_list("head_seq", flat=True).get(pk=document_id)
        hidden = read_hidden(document_id)
    if since >= seq:
        return
    nodes, folded_seq = nodes_since(graph, Reached(since, hidden)), graph.folded_seq
    if nodes is None or not project(document_id, seq, undone, nodes, since, folded_seq):
        project(document_id, seq, undone, dict(graph.nodes()), folded_seq=folded_seq)


def nodes_since(graph: Graph, reached: Reached) -> Nodes | None:
    """The nodes whose rows may differ from the graph, those hidden or shown with a node above included; None when
    that is not known any more."""
    changed = graph.changed_since(reached.seq)
    if changed is None:
        return None
    hidden = reached.hidden or set()
    nodes: Nodes = {}
    keys = list(changed)
    while keys:
        views = graph.views(keys)
        nodes.update(views)
        flipped = [view for key, view in views.items() if view is not None and view.hidden != (key in hidden)]
        keys = [child for view in flipped for child in view.children if child not in nodes]
    return nodes


def hidden_after(hidden: set[str], nodes: Nodes) -> set[str]:
    """The hidden keys once the rows of `nodes` are written."""
    return (hidden - nodes.keys()) | {key for key, view in nodes.items() if view is not None and view.hidden}


def read_hidden(document_id: UUID) -> set[str]:
    """Keys of the nodes whose rows say hidden."""
    rows = SceneObject.objects.filter(document=document_id, is_hidden=True).order_by()
    return set(rows.values_list("key", flat=True))
