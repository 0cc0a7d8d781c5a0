"""How far the documents of live rooms are in the journal, whoever writes them."""

import asyncio
import logging
from collections.abc import Mapping
from uuid import UUID

from journal.error import JournalError
from journal.position import look
from rooms.committer import Committer
from rooms.damage import DamageWatch
from rooms.news import Committed
from rooms.reviewer import Reviewer
from rooms.room import LiveRoom
from rooms.settings import settings
from rooms.thread import Worker

logger = logging.getLogger(__name__)


class HeadWatch:
    """Has rooms read what other writers have journalled: told by news, or found by one query for all rooms."""

    def __init__(
        self,
        worker: Worker,
        rooms: Mapping[UUID, LiveRoom],
        committer: Committer,
        reviewer: Reviewer,
        damages: DamageWatch,
    ) -> None:
        self._worker = worker
        self._rooms = rooms
        self._committer = committer
        self._reviewer = reviewer
        self._damages = damages

    def take(self, news: Committed) -> None:
        """Another process has written."""
        self._note(news.document, news.seq)

    async def refresh(self, room: LiveRoom, seq: int) -> None:
        """Afterwards the room holds everything up to that sequence, as far as the journal did."""
        for _ in range(2):  # a reading that is under way may have begun too early
            if room.graph.head_seq < seq:
                await self._committer.refreshed(room)

    async def run(self) -> None:
        """Asks every `head_poll_s`, until cancelled."""
        while settings.head_poll_s:
            await asyncio.sleep(settings.head_poll_s)
            places = {pk: (room.graph.head_seq, room.last_batch) for pk, room in self._rooms.items()}
            if not places:
                continue
            try:
                batches = [batch for _, batch in places.values()]
                positions, there = await self._worker.run(look, list(places), batches)
            except JournalError as error:
                logger.warning("nobody knows how far the documents are: %s", error)
                continue
            except Exception:
                logger.exception("nobody knows how far the documents are")
                continue
            for document_id, position in positions.items():
                if position is None or document_id not in self._rooms:
                    continue  # what is noted of a room that has left memory meanwhile nobody would ever take out
                self._note(document_id, position.head_seq)
                if position.lacks(*places[document_id], there):  # the room will find out (rule J66)
                    self._committer.refresh(self._rooms[document_id])
                self._reviewer.note_version(document_id, position.access_version)
                if position.is_damaged and (room := self._rooms.get(document_id)) is not None:
                    self._damages.note(room)
            self._reviewer.request(places.keys() - positions.keys())

    def _note(self, document_id: UUID, head_seq: int) -> None:
        room = self._rooms.get(document_id)
        if room is not None and head_seq > room.graph.head_seq:
            self._committer.refresh(room)
