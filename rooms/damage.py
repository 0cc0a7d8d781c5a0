"""Rooms whose journal is damaged: open for looking, and in order again as soon as the journal is (rule J23)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from uuid import UUID

from django.db import Error

from journal.damage import (
    finding_of,
    hydrate_readable,
    is_said_damaged,
    note_damage,
    note_verdict,
    what_stops,
)
from journal.error import CorruptJournal, JournalError, SnapshotTooLarge
from journal.models import Document
from journal.reader import Hydrated, hydrate
from journal.verification import verify_document
from rooms.rescue import rescue
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.thread import Worker

logger = logging.getLogger(__name__)

PAUSE_TIMES = 20
"""While people edit a document that is said to be damaged, it is verified whole now and then; that takes a twentieth of
the time at most."""


class DamageWatch:
    """Looks after the rooms of this process that are damaged, or whose documents are said to be."""

    def __init__(self, worker: Worker, on_repair: Callable[[LiveRoom, Hydrated], None]) -> None:
        self._worker = worker
        self._on_repair = on_repair
        self._rooms: dict[LiveRoom, float] = {}
        """When each is to be looked at, by the event loop's clock."""
        self._has_rooms = asyncio.Event()

    def note(self, room: LiveRoom) -> None:
        """The room was opened, or is damaged now, or its document is said to be.  Idempotent."""
        due = self._rooms.get(room)
        if due is None:
            self._rooms[room] = 0
        elif room.damage is not None:  # and while people edited it, it may have been put off for long
            self._rooms[room] = min(due, asyncio.get_running_loop().time() + settings.damage_recheck_s)
        if self._rooms[room] != due:
            self._has_rooms.set()

    def forget(self, room: LiveRoom) -> None:
        """The room has left memory."""
        self._rooms.pop(room, None)

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
            begun_at = time.monotonic()
            try:
                if await self._is_well(room):
                    self.forget(room)
                elif room.damage is None and room in self._rooms:
                    self._rooms[room] += PAUSE_TIMES * (time.monotonic() - begun_at)
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
        elif await self._worker.run(is_said_damaged, room.document_id):
            await self._secure(room)
        return room.damage is None and await self._worker.run(look_again, room.document_id)

    async def _secure(self, room: LiveRoom) -> None:
        """Afterwards the document of a room that people edit can be opened anew, or they edit it no more: what is
        acknowledged can be read again."""
        if await self._worker.run(what_stops, room.document_id) is None:
            return
        try:
            await rescue(room, self._worker)
        except SnapshotTooLarge as error:
            logger.error("%s", error)
        damage = await self._worker.run(what_stops, room.document_id)
        if damage is None:
            logger.warning("document %s is damaged; its room has been written from memory", room.document_id)
        elif not room.is_closed and room.damage is None:
            room.suffer(damage)
            await self._worker.run(note_damage, room.document_id, finding_of(damage))


def view_of(document_id: UUID, damage: CorruptJournal) -> Hydrated:
    """What can be read of a damaged document; the operators will see that it is.

    Raises: UnknownDocument; JournalUnavailable.
    """
    with contextlib.suppress(Error):  # a disk that is broken or full does not keep people from looking
        note_damage(document_id, finding_of(damage))
    return hydrate_readable(document_id)


def look_again(document_id: UUID) -> bool:
    """Afterwards a document that opens, but is said to be damaged, is found to be intact, or still damaged; True when
    it is intact."""
    if is_said_damaged(document_id):
        verdict = verify_document(Document.objects.get(pk=document_id))
        note_verdict(document_id, verdict.damage)
        return not verdict.is_damaged
    return True
