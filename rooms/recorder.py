"""Who joined while the database took no rows, or lost theirs: writes them as soon as it does.

They may look at once, because rights are read, not written.  They edit from when their row is there: it is what makes
a client id its account's.
"""

import asyncio
import logging
from collections.abc import Collection
from uuid import UUID

from django.db import Error

from rooms.connection import Connection
from rooms.record import NotRecorded, forget_sessions, record_session
from rooms.session import is_away, sessions_there
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker
from vuer_rtc.protocol.codes import CloseCode

logger = logging.getLogger(__name__)

TRIES_MAX = 3
"""Failures of one row, while the database answers, before it is given up."""
LEFT_MAX = 1000
"""Sessions that are over of which it is remembered that a row may be there; of more, it stays open as long as this
process lives."""


class Recorder:
    """The connections of this process that have no row yet, and the task that writes them."""

    def __init__(self, worker: Worker, connections: Collection[Connection]) -> None:
        self._worker = worker
        self._connections = connections
        self._due: dict[Connection, int] = {}
        """How often each has failed for a reason of its own."""
        self._left: set[UUID] = set()
        """Sessions that are over, and of which nobody knows whether a try that failed has written the row."""
        self._has_due = asyncio.Event()

    def joined(self, connection: Connection) -> None:
        """The connection is in, with a row or without."""
        if not connection.is_recorded:
            self._due[connection] = 0
            self._has_due.set()

    def left(self, connection: Connection) -> None:
        """The connection is gone: nobody waits for its row, which is not to be there."""
        self._due.pop(connection, None)
        if not connection.is_recorded and len(self._left) < LEFT_MAX:
            self._left.add(connection.admission.session_id)
            self._has_due.set()

    async def run(self) -> None:
        """Looks and writes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_due())
            group.create_task(self._look_again())

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(settings.session_touch_s)
            try:
                await self.look()
            except Error as error:
                logger.warning("nobody knows whether the rows of sessions are there: %s", error)

    async def look(self) -> None:
        """Afterwards those whose rows are not there any more, for the database was put back (rule J66), are to get them
        again.  Raises: django.db.Error."""
        recorded = [connection for connection in self._connections if connection.is_recorded]
        keys = [connection.admission.session_id for connection in recorded]
        there = await self._worker.run(sessions_there, keys)
        for connection in recorded:
            is_here = connection in self._connections and connection.close_code is None
            if is_here and connection.admission.session_id not in there:
                connection.is_recorded = False
                self.joined(connection)

    async def _write_due(self) -> None:
        while True:
            await self._has_due.wait()
            await asyncio.sleep(settings.retry_delay_max_ms / 1000)
            for step in (self._try_all, self._forget_left):
                try:
                    await step()
                except (NotRecorded, Error) as error:
                    told = "%d sessions have no rows yet, %d that are over may have some: %s"
                    logger.warning(told, len(self._due), len(self._left), error)
            if not self._due and not self._left:  # or somebody has joined, or left, meanwhile
                self._has_due.clear()

    async def _try_all(self) -> None:
        """Not inside `run`, whose variables would keep the last connection, and its room, alive until the next."""
        for connection in list(self._due):
            if connection in self._due:  # or it has left meanwhile
                await self._try(connection)

    async def _forget_left(self) -> None:
        """Afterwards a row that was written although the connection to the database broke is not there any more."""
        if left := frozenset(self._left):
            await self._worker.run(forget_sessions, left)
            self._left -= left

    async def _try(self, connection: Connection) -> None:
        """Afterwards its row is there, or is not to be, or will be tried again behind the others.

        Raises: NotRecorded, django.db.Error while the database takes no rows.
        """
        try:
            await self._record(connection)
        except Exception as error:
            if isinstance(error, NotRecorded) or is_away(error):
                self._put_off(connection.admission.document_id)
                raise
            tally.failures["session"] += 1
            logger.exception("the session of client %s could not be written", connection.client)
            tries = self._due.get(connection, TRIES_MAX) + 1
            if tries < TRIES_MAX:
                self._due[connection] = tries
                return
            connection.close(CloseCode.INTERNAL)  # it may come back, and be let in anew
        self.left(connection)

    def _put_off(self, document_id: UUID) -> None:
        """Afterwards those of other documents come first: perhaps it is this one's row that somebody holds."""
        for connection in list(self._due):
            if connection.admission.document_id == document_id:
                self._due[connection] = self._due.pop(connection)

    async def _record(self, connection: Connection) -> None:
        session = connection.admission.row
        assert session is not None, "it was let in"
        if not await self._worker.run(record_session, session):
            connection.close(CloseCode.CLIENT_TAKEN)
        elif connection in self._connections:
            connection.is_recorded = True
        else:
            await self._worker.run(session.delete)
