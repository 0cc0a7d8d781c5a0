"""Brings `Operation` and `SceneObject` rows after what live rooms committed: off the hot path, a room at
most once a second, as many commits at once as there were."""

import asyncio
import logging
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from django.db import Error

from journal.error import JournalError
from journal.projection import Nodes, project
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.thread import Worker

logger = logging.getLogger(__name__)

RETRY_PAUSE_S = 5
"""After a failure: rows may wait, the journal does not need them."""


class Projector:
    """What each room's rows lack, and the task that writes it.  Failures are logged and tried again: the
    rows follow from the journal, so nothing is lost."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._due: dict[LiveRoom, set[str] | None] = {}
        self._reached: WeakKeyDictionary[LiveRoom, int] = WeakKeyDictionary()
        self._current: LiveRoom | None = None
        self._has_due = asyncio.Event()

    def opened(self, room: LiveRoom) -> None:
        """The room was hydrated at its head; whether its rows were there is found out."""
        self._reached[room] = room.graph.head_seq
        self.note(room, ())

    def note(self, room: LiveRoom, changed: Iterable[str] | None) -> None:
        """Nodes with those keys may look different now; None: any may.  Cheap; called for every commit."""
        keys = self._due.setdefault(room, set())
        if changed is None:
            self._due[room] = None
        elif keys is not None:
            keys.update(changed)
        self._has_due.set()

    def is_busy_with(self, room: LiveRoom) -> bool:
        """True when rows of `room` wait or are being written."""
        return room in self._due or room is self._current

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._has_due.wait()
            is_done = await self.write()
            await asyncio.sleep(settings.projection_interval_s if is_done else RETRY_PAUSE_S)

    async def write(self) -> bool:
        """Afterwards all rows are as they were due when this was called; False when some could not be
        written and wait for the next time."""
        due, self._due = self._due, {}
        self._has_due.clear()
        failed: list[tuple[LiveRoom, set[str] | None]] = []
        for room, changed in due.items():
            self._current = room
            try:
                await self._project(room, changed)
            except (Error, JournalError) as error:
                logger.warning("rows of document %s wait: %s", room.document_id, error)
                failed.append((room, changed))
            except Exception:
                logger.exception("rows of document %s were not written", room.document_id)
                self._reached.pop(room, None)  # the next projection is a whole one
            finally:
                self._current = None
        for room, changed in failed:
            self.note(room, changed)
        return not failed

    async def _project(self, room: LiveRoom, changed: set[str] | None) -> None:
        """What is written is taken from the graph in one step of the event loop, so it is one state."""
        since = None if changed is None else self._reached.get(room)
        if not await self._write(room, since, changed or ()):
            await self._write(room, None, ())

    async def _write(self, room: LiveRoom, since: int | None, changed: Iterable[str]) -> bool:
        graph = room.graph
        seq, undone = graph.head_seq, graph.undone_ids()
        nodes: Nodes = {}
        if since is None:
            nodes = graph.nodes()
        elif changed:
            views = graph.nodes()
            nodes = {key: views.get(key) for key in changed}
        is_done = await self._worker.run(project, room.document_id, seq, undone, nodes, since)
        if is_done:
            self._reached[room] = seq
        return is_done
