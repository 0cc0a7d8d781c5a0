"""Follows one document through its journal, for one handler of a broker."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container
from uuid import UUID

from journal.error import (
    JournalError,
    JournalPutBack,
    JournalTruncated,
    JournalUnavailable,
    UnknownDocument,
)
from journal.position import Position, newest_of, read_positions, truncated_seq_of
from journal.reader import batch_at, read_after
from rooms.thread import Worker
from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)

BATCHES_MAX = 100
"""Read at once for one subscription, however far it is behind."""
PAUSE_S = 1
"""After a failure of the journal."""
TRAIL_BATCHES = 500
"""Read last and remembered: behind the newest of them that is left it goes on when the database was put back."""

Handler = Callable[[Message], Awaitable[None] | None]
"""Called with every message, its `server_seq` in it, the server's own records (client `=server`) among them; a
coroutine is awaited before the next one."""
OnGap = Callable[[int, int], None]
"""Called with the first and the last of the sequences that were folded away before they were read."""


class Subscription:
    """One handler, and how far it has come; each reads the journal for itself, so a slow one delays nobody."""

    def __init__(
        self, reader: Worker, room: UUID, handler: Handler, after: int | None, on_gap: OnGap | None
    ) -> None:
        self._reader = reader
        self._room = room
        self._handler = handler
        self._on_gap = on_gap
        self._seq = after
        self._trail: deque[UUID] = deque(maxlen=TRAIL_BATCHES)
        """Keys of the batches that were read last; the last of them ended at `_seq`, if it is known which did."""
        self.has_begun = asyncio.Event()
        """Its place in the sequence is known."""
        self.has_news = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    def end(self) -> None:
        """Afterwards the handler is not called any more.  Idempotent."""
        self.has_begun.set()
        self.task.cancel()

    def is_behind(self, position: Position, there: Container[UUID]) -> bool:
        """True when there is something to read, or what was read last is not among the batches there (rule J66)."""
        if self._seq is None:
            return False
        return self._seq < position.head_seq or position.lacks(self._seq, self.last_batch, there)

    @property
    def last_batch(self) -> UUID | None:
        return self._trail[-1] if self._trail else None

    async def _run(self) -> None:
        try:
            while True:
                self.has_news.clear()
                try:
                    while await self._read():
                        pass
                except JournalUnavailable as error:
                    logger.warning("a subscription to document %s waits: %s", self._room, error)
                    await asyncio.sleep(PAUSE_S)
                else:
                    self.has_begun.set()
                    await self.has_news.wait()
        except JournalError:
            logger.exception("a subscription to document %s ends", self._room)
        finally:
            self.has_begun.set()

    async def _read(self) -> bool:
        """Deliver some of what is there; False when that was all."""
        seq = self._seq
        if seq is None or not self.has_begun.is_set():
            seq = await self._begin()
        place = self._room, seq, BATCHES_MAX, None, self.last_batch
        try:
            batches = await self._reader.run(read_after, *place)
        except JournalPutBack:
            await self._go_back()
            return True
        except JournalTruncated:
            await self._skip()
            return True
        for batch in batches:
            for entry in batch.entries:
                await self._deliver(entry.message)
            self._trail.append(batch.id)
        return len(batches) == BATCHES_MAX

    async def _deliver(self, message: Message) -> None:
        self._seq = message.server_seq
        try:
            answer = self._handler(message)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            logger.exception("a subscriber of document %s failed with message %r", self._room, message.id)

    async def _skip(self) -> None:
        """What was folded away cannot be told; go on behind it."""
        first = (self._seq or 0) + 1
        last = self._seq = await self._reader.run(truncated_seq_of, self._room)
        if (batch := await self._reader.run(batch_at, self._room, last, last)) is not None:
            self._trail.append(batch)
        logger.warning("document %s: messages %d to %d were folded away", self._room, first, last)
        if self._on_gap is not None:
            try:
                self._on_gap(first, last)
            except Exception:
                logger.exception("a subscriber of document %s failed with a gap", self._room)

    async def _go_back(self) -> None:
        """What was read last is not there any more (rule J66): go on behind what is, or behind all there is."""
        found = await self._reader.run(newest_of, self._room, list(self._trail))
        self._log_going_back("the head" if found is None else f"seq {found[0]}")
        if found is None:
            self._seq = None
            return
        self._seq = found[0]
        while self._trail[-1] != found[1]:
            self._trail.pop()

    def _log_going_back(self, place: str) -> None:
        problem = (
            "document %s: the database was put back; a subscription that had come to seq %d goes on from %s"
        )
        logger.error(problem, self._room, self._seq, place)

    async def _begin(self) -> int:
        """From now on it is behind what it had come to elsewhere, or behind all there is; the sequence."""
        position = (await self._reader.run(read_positions, [self._room])).get(self._room)
        if position is None:
            raise UnknownDocument(f"{self._room}")
        seq = position.head_seq if self._seq is None else self._seq
        if seq > position.head_seq:
            self._log_going_back("the head")
            seq = position.head_seq
        batch = await self._reader.run(batch_at, self._room, seq, position.truncated_seq)
        self._seq = seq
        self._trail.clear()
        if batch is not None:
            self._trail.append(batch)
        self.has_begun.set()
        return seq
