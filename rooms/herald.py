"""Sends signals off the event loop, in order."""

import asyncio
import logging
from collections import deque
from typing import Any

from django.dispatch import Signal

from journal.models import Document
from journal.writer import Appended, Draft
from rooms.connection import Connection
from rooms.models import Session
from rooms.signals import batch_committed, document_opened, session_joined, session_left
from rooms.thread import Worker

logger = logging.getLogger(__name__)

WAITING_MAX = 10_000
"""Signals that wait for slow receivers; beyond it new ones are dropped."""


class Herald:
    """What the hub tells the site's receivers.  Without receivers each call is one look at an empty list."""

    def __init__(self) -> None:
        self._worker = Worker("vuer-signals")
        self._waiting: deque[tuple[Signal, type, dict[str, Any]]] = deque()
        self._has_work = asyncio.Event()
        self._has_drained = asyncio.Event()
        self._has_drained.set()
        self.dropped = 0
        """Signals nobody was told of, since the start."""

    def opened(self, document_id: Any, head_seq: int) -> None:
        if document_opened.receivers:
            self._note(document_opened, Document, document_id=document_id, head_seq=head_seq)

    def committed(self, draft: Draft, outcome: Appended) -> None:
        if batch_committed.receivers:
            told = committed(draft.document_id, outcome.first_seq, draft.entries)
            self._note(batch_committed, Document, **told)

    def joined(self, connection: Connection) -> None:
        if session_joined.receivers:
            self._note(session_joined, Session, **_session(connection))

    def left(self, connection: Connection, code: int) -> None:
        if session_left.receivers:
            self._note(session_left, Session, **_session(connection), code=code)

    def _note(self, signal: Signal, sender: type, **told: Any) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # the first, the second, the fourth…
                logger.error("receivers are too slow: %d signals dropped so far", self.dropped)
            return
        self._waiting.append((signal, sender, told))
        self._has_drained.clear()
        self._has_work.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                batch, self._waiting = self._waiting, deque()
                await self._worker.run(_send, batch)
            self._has_drained.set()

    async def close(self, timeout_s: float) -> None:
        """Afterwards everything has been told, or the time is over; the thread ends."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_drained.wait()
                await self._worker.close()
        except TimeoutError:
            logger.error("receivers are too slow: shutting down with %d signals untold", len(self._waiting))


def committed(document_id: Any, first_seq: int, entries: Any) -> dict[str, Any]:
    """What `batch_committed` tells."""
    numbered = list(entries)
    last_seq = first_seq + len(numbered) - 1
    return {"document_id": document_id, "first_seq": first_seq, "last_seq": last_seq, "entries": numbered}


def _session(connection: Connection) -> dict[str, Any]:
    admission = connection.admission
    return {
        "document_id": admission.document_id,
        "session_id": admission.session_id,
        "client": connection.client,
        "user": admission.user,
    }


def _send(batch: deque[tuple[Signal, type, dict[str, Any]]]) -> None:
    """Django logs what receivers raise."""
    for signal, sender, told in batch:
        signal.send_robust(sender, **told)
