"""Keeps the rows of this process's sessions near the truth without a query per message."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from django.db import Error

from rooms.connection import Connection
from rooms.process import ProcessIdentity
from rooms.session import (
    End,
    close_sessions_of_dead_processes,
    is_away,
    save_ends,
    save_progress,
    touch_sessions,
)
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker

T = TypeVar("T")

logger = logging.getLogger(__name__)

END_DELAY_S = 0.05
"""Connections that end together are written together."""
LATER = "session rows could not be written, trying again later: %s"


class Register:
    """Progress and ends of sessions, gathered on the event loop and written in batches by a worker thread.

    What cannot be written is kept for the next time, while the database is away; what fails for any other reason is
    tried alone, and dropped, so that it never keeps the others from being written.
    """

    def __init__(self, process: ProcessIdentity, worker: Worker) -> None:
        self._process = process
        self._worker = worker
        self._progressed: dict[UUID, Connection] = {}
        self._ends: list[End] = []
        self._has_ends = asyncio.Event()

    def note_progress(self, connection: Connection) -> None:
        """`connection` has come further.  Cheap; called for every acknowledgement."""
        self._progressed[connection.admission.session_id] = connection

    def note_end(self, end: End) -> None:
        """A session has ended."""
        self._progressed.pop(end.progress.session_id, None)
        self._ends.append(end)
        self._has_ends.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_ends())
            group.create_task(self._every(lambda: settings.session_flush_s, self.write))
            group.create_task(self._every(lambda: settings.session_touch_s, self._touch))

    async def close_predecessors(self) -> None:
        """Close what crashed processes of this host left open."""
        try:
            count = await self._worker.run(close_sessions_of_dead_processes, self._process)
        except Error as error:
            logger.warning("sessions of crashed processes are left open: %s", error)
            return
        if count:
            logger.info("closed %d sessions of processes that crashed", count)

    async def write(self) -> None:
        """Afterwards every row is as true as the database allows; what it did not take is kept."""
        await self._save_progress()
        await self._save_ends()

    async def _every(self, interval_s: Callable[[], float], write: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s())
            await write()

    async def _write_ends(self) -> None:
        while True:
            await self._has_ends.wait()
            await asyncio.sleep(END_DELAY_S)
            self._has_ends.clear()
            await self._save_ends()

    async def _save_progress(self) -> None:
        connections, self._progressed = self._progressed, {}
        if connections:
            progress = [connection.progress for connection in connections.values()]
            if not await self._save(save_progress, progress):
                self._progressed = {**connections, **self._progressed}

    async def _save_ends(self) -> None:
        ends, self._ends = self._ends, []
        if ends and not await self._save(save_ends, ends):
            self._ends = ends + self._ends

    async def _touch(self) -> None:
        try:
            await self._worker.run(touch_sessions, self._process)
        except Exception as error:
            if is_away(error):
                logger.warning(LATER, error)
            else:
                tally.failures["session"] += 1
                logger.exception("sessions could not be touched")

    async def _save(self, save: Callable[[list[T]], None], those: list[T]) -> bool:
        """Afterwards they are written, or they cannot be; False while the database is away."""
        try:
            await self._worker.run(save, those)
        except Exception as error:
            if is_away(error):
                logger.warning(LATER, error)
                return False
            if len(those) == 1:
                tally.failures["session"] += 1
                logger.exception("a session's row cannot be written and stays as it is: %r", those[0])
                return True
            for one in those:
                if not await self._save(save, [one]):
                    return False
        return True
