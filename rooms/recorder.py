"""Who joined while the database took no rows: writes theirs as soon as it does.

They may look at once, because rights are read, not written.  They edit from when their row is there: it is what makes
a client id its account's.
"""

import asyncio
import logging
from collections.abc import Collection
from uuid import UUID

from django.db import Error

from rooms.connection import Connection
from rooms.record import NotRecorded, record_session
from rooms.session import is_away
from rooms.settings import settings
from rooms.tally import tally
from rooms.thread import Worker
from vuer_rtc.protocol.codes import CloseCode

logger = logging.getLogger(__name__)

TRIES_MAX = 3
"""Failures of one row, while the database answers, before it is given up."""


class Recorder:
    """The connections of this process that have no row yet, and the task that writes them."""

    def __init__(self, worker: Worker, connections: Collection[Connection]) -> None:
        self._worker = worker
        self._connections = connections
        self._due: dict[Connection, int] = {}
        """How often each has failed for a reason of its own."""
        self._has_due = asyncio.Event()

    def joined(self, connection: Connection) -> None:
        """The connection is in, with a row or without."""
        if not connection.is_recorded:
            self._due[connection] = 0
            self._has_due.set()

    def left(self, connection: Connection) -> None:
        """The connection is gone: nobody waits for its row."""
        self._due.pop(connection, None)

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._has_due.wait()
            await asyncio.sleep(settings.retry_delay_max_ms / 1000)
            try:
                await self._try_all()
            except (NotRecorded, Error) as error:
                logger.warning("%d sessions have no rows yet: %s", len(self._due), error)
            if not self._due:  # or somebody has joined meanwhile
                self._has_due.clear()

    async def _try_all(self) -> None:
        """Not inside `run`, whose variables would keep the last connection, and its room, alive until the next."""
        for connection in list(self._due):
            if connection in self._due:  # or it has left meanwhile
                await self._try(connection)

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
        session = connection.admission.unrecorded
        if session is None or connection not in self._connections:
            return
        if not await self._worker.run(record_session, session):
            connection.close(CloseCode.CLIENT_TAKEN)
        elif connection in self._connections:
            connection.is_recorded = True
        else:
            await self._worker.run(session.delete)
