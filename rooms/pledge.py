"""What an acknowledgement means here: asked of the database itself; nobody is served when it breaks the promise."""

import logging

from journal.durability import (
    Durability,
    journal_connection,
    read_durability,
    refuse_unless_durable,
)
from journal.stored_row import answering
from rooms.thread import Worker
from vuer_rtc.protocol.wire import Promise

logger = logging.getLogger(__name__)


class Pledge:
    """The promise of this process, asked once, on the connection that journals are written with."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._promise: Promise | None = None

    async def given(self) -> Promise:
        """What clients are told.

        Raises: NotDurable; JournalUnavailable.
        """
        if self._promise is None:
            found = await self._worker.run(_read)
            refuse_unless_durable(found)
            if not found.is_full:
                logger.warning("acknowledged messages may be lost in a power cut: %s", found.detail)
            self._promise = Promise(found.is_full, found.detail)
        return self._promise


def _read() -> Durability:
    with answering():
        return read_durability(journal_connection())
