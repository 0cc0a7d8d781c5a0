"""What an acknowledgement means here: asked of the database itself; nobody is served when it breaks the promise."""

import logging

from journal.durability import (
    NotDurable,
    journal_connection,
    read_durability,
    refuse_unless_durable,
)
from journal.error import JournalUnavailable
from journal.stored_row import answering
from rooms.thread import Worker
from vuer_rtc.protocol.wire import Promise

logger = logging.getLogger(__name__)


class Pledge:
    """The promise of this process, asked once of each session with the database that journals are written with: behind
    a new one there may be another server, which was configured otherwise."""

    def __init__(self, worker: Worker) -> None:
        """`worker`: has the thread that writes journals."""
        self._worker = worker
        self._promise: Promise | None = None
        self._session: object = None
        """The driver's, of which it was asked."""

    async def given(self) -> Promise:
        """What clients are told.

        Raises: NotDurable; JournalUnavailable.
        """
        promise = self._promise
        return promise if promise is not None else await self._worker.run(self._ask)

    def renew(self) -> None:
        """Returns when what is committed next by this thread, the worker's, is as durable as clients are told.  Costs
        nothing while the session is the same.

        Raises: JournalUnavailable.
        """
        try:
            self._ask()
        except NotDurable as error:
            raise JournalUnavailable(str(error)) from error

    def _ask(self) -> Promise:
        with answering():
            connection = journal_connection()
            connection.ensure_connection()
            if self._promise is not None and connection.connection is self._session:
                return self._promise
            self._promise, self._session = None, connection.connection
            found = read_durability(connection)
        refuse_unless_durable(found)
        if not found.is_full:
            logger.warning("acknowledged messages may be lost in a power cut: %s", found.detail)
        promise = self._promise = Promise(found.is_full, found.detail)
        return promise
