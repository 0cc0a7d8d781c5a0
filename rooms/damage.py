"""Rooms whose journal is damaged: open for looking, and in order again as soon as the journal is (rule J23)."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from django.db import Error

from journal.damage import clear_damage, finding_of, hydrate_readable, is_said_damaged, note_damage
from journal.error import CorruptJournal, JournalError
from journal.models import Document
from journal.reader import Hydrated, hydrate
from journal.verification import verify_document
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.thread import Worker

logger = logging.getLogger(__name__)


class DamageWatch:
    """Looks after the damaged rooms of this process."""

    def __init__(self, worker: Worker, on_repair: Callable[[LiveRoom, Hydrated], None]) -> None:
        self._worker = worker
        self._on_repair = on_repair
        self._rooms: dict[LiveRoom, float] = {}
        """When each is to be looked at, by the event loop's clock."""
        self._has_rooms = asyncio.Event()

    def note(self, room: LiveRoom) -> None:
        """The room was opened, or is damaged now.  Idempotent."""
        if room not in self._rooms:
            self._rooms[room] = 0
            self._has_rooms.set()

    async def run(self) -> None:
        """Looks at new rooms at once, at damaged ones every so many seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._rooms.values(), default=None)):
                    await self._has_rooms.wait()
            self._has_rooms.clear()
            await self._look(loop.time())

    async def _look(self, now: float) -> None:
        """At the rooms that are due.  Not inside `run`, whose variables would keep the last alive until the next."""
        for room in [room for room, due in self._rooms.items() if due <= now]:
            self._rooms[room] = now + settings.damage_recheck_s
            try:
                if await self._is_well(room):
                    del self._rooms[room]
            except (Error, JournalError) as error:
                logger.warning("document %s cannot be read now: %s", room.document_id, error)
            except Exception:
                logger.exception("document %s cannot be looked after", room.document_id)

    async def _is_well(self, room: LiveRoom) -> bool:
        """Afterwards the room is in order if its journal is, and what is known of that stands in the document's
        row; True when there is no more to do."""
        if room.is_closed:
            return True
        if room.damage is not None:
            try:
                hydrated = await self._worker.run(hydrate, room.document_id)
            except CorruptJournal as damage:
                await self._worker.run(note_damage, room.document_id, finding_of(damage))
                return False
            if room.is_closed:
                return True
            room.recover(hydrated)
            self._on_repair(room, hydrated)
        await self._worker.run(look_again, room.document_id)
        return True


def view_of(document_id: UUID, damage: CorruptJournal) -> Hydrated:
    """What can be read of a damaged document; the operators will see that it is.

    Raises: UnknownDocument; JournalUnavailable.
    """
    with contextlib.suppress(Error):  # a disk that is broken or full does not keep people from looking
        note_damage(document_id, finding_of(damage))
    return hydrate_readable(document_id)


def look_again(document_id: UUID) -> None:
    """Afterwards a document that opens, but is said to be damaged, is found to be intact, or still damaged."""
    if is_said_damaged(document_id):
        verdict = verify_document(Document.objects.get(pk=document_id))
        if verdict.is_damaged:
            note_damage(document_id, verdict.damage)
        else:
            clear_damage(document_id)
