"""Group commit: one journal transaction for everybody who waits, in all rooms of this process.

Idle, it commits at once.  While a commit runs, the next batch gathers.  It is closed when a turn of the event
loop brings nothing more, at the latest after as long again as the last commit took: waiting costs nobody more
than that, and never more than `group_commit_window_ms`.  What is in a batch is decided by
`rooms.batch`, what an outcome means for a room by the room; here is only the waiting.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol
from uuid import UUID

from journal.error import JournalUnavailable
from journal.writer import Appended, Conflict, Draft, Fenced, Outcome
from rooms.batch import Batch
from rooms.settings import settings
from rooms.tally import tally

logger = logging.getLogger(__name__)

CONFLICTS_BEFORE_ALONE = 2
"""Lost races in a row after which a room commits in a transaction of its own: another room may be what
fails it."""
CONFLICT_JITTER_MS = 2
"""Two processes that keep colliding in one room step apart by up to this, times the number of collisions."""
CONFLICT_JITTER_TIMES_MAX = 10
RIVAL_REMEMBERED_S = 1.0
"""A room in which another process has won a race, or asked for a turn (rule J24), counts as shared for so long: after
each commit of its own it lets the other go first.  Otherwise whoever loses goes on losing, for reading on takes longer
than the next commit."""
RIVAL_TURN_MS = 5.0
"""How long it waits then, beside three times the last commit: the other reads on and commits meanwhile."""


class CommittingRoom(Protocol):
    """What the committer needs of a room."""

    document_id: UUID
    conflicts_in_a_row: int
    rival_until: float
    """Until when, by the loop's clock, another process counts as writing it too."""
    turns_wanted: int | None
    """As of its last commit; None: there was none yet."""
    last_batch: UUID | None
    """Key of the batch that ends at its head; None: not known."""
    is_closed: bool

    @property
    def has_waiting(self) -> bool: ...
    def next_batch(self) -> Batch | None:
        """The next batch, off the queue; what is refused, and without a batch what is known, has been answered."""

    def draft(self, batch: Batch) -> Draft: ...
    def settle(self, batch: Batch) -> None:
        """The batch is on disk: apply, acknowledge, fan out."""

    def put_back(self, batch: Batch) -> None:
        """The batch is not on disk, or nobody knows: its messages wait again, before all others."""

    def warn(self, batch: Batch | None = None) -> None:
        """Tell senders, once per message, that the journal is unavailable; those of a batch on its way, too."""

    def isolate(self, batch: Batch) -> None:
        """The batch cannot be written as it is: narrow down which message is at fault."""

    async def catch_up(self) -> None:
        """Afterwards the room holds what others wrote.  Raises: JournalUnavailable."""

    def fail(self) -> None:
        """The room cannot go on: it closes, and the next join hydrates it anew."""


class Patience:
    """Inside this block, those who wait for something that takes long are told: `warn` is called every so often.

    A timer that is cancelled lets go of what it was to call, so nothing here is a cycle: batches are large, and
    garbage is collected rarely (`rooms.memory`).
    """

    def __init__(self, warn: Callable[[], None]) -> None:
        self._warn = warn

    def __enter__(self) -> None:
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(settings.commit_patience_s, self._lose)

    def _lose(self) -> None:
        self._warn()
        self._begin()


Append = Callable[[list[Draft]], Awaitable[list[Outcome]]]


class Committer:
    """Turns what rooms have waiting into journal batches, one transaction after the other."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._ready: dict[CommittingRoom, None] = {}
        self._arrivals = 0
        self._has_ready = asyncio.Event()
        self._is_committing = False
        self._in_round: frozenset[CommittingRoom] = frozenset()
        self._has_round_ended = asyncio.Event()
        self._after_round: dict[CommittingRoom, None] = {}
        self._has_drained = asyncio.Event()
        self._has_drained.set()
        self._catching_up: dict[CommittingRoom, asyncio.Task[None]] = {}
        self._giving_way: dict[CommittingRoom, asyncio.TimerHandle] = {}
        self._pause_ms = 0.0
        self._last_commit_s = 0.0
        self._progressed_at = 0.0
        """When a transaction last met no lock of others, or the first message came that waits."""
        self._answered_at = 0.0
        """The same, of any transaction that returned."""

    def notify(self, room: CommittingRoom) -> None:
        """`room` has messages waiting.  Cheap; called for every message."""
        self._arrivals += 1
        self._begin()
        if room not in self._catching_up and room not in self._giving_way:
            self._ready[room] = None
            self._has_ready.set()

    def refresh(self, room: CommittingRoom) -> "asyncio.Task[None] | None":
        """Has the room read what others wrote, between two of its commits; the task that does.

        None when it is being written just now; it reads after that.
        """
        if room.is_closed:
            return None
        if room in self._in_round:
            self._after_round[room] = None
            return None
        if room not in self._catching_up:
            self._start_catching_up(room)
        return self._catching_up[room]

    def look(self, room: CommittingRoom) -> None:
        """As `refresh`, but what the room has ready is written first: who sends what is known again and again keeps
        nobody from writing."""
        if room in self._ready:
            self._after_round[room] = None
        else:
            self.refresh(room)

    async def refreshed(self, room: CommittingRoom) -> None:
        """Returns when the room, if it lives, has read what others wrote: between two commits, as with `refresh`."""
        while (reading := self.refresh(room)) is None and not room.is_closed:
            await self._has_round_ended.wait()
        if reading is not None:
            await asyncio.shield(reading)

    def _start_catching_up(self, room: CommittingRoom, *, was_locked: bool = False) -> None:
        """Until it has caught up, the room takes part in no round, whatever came in while it was in one."""
        self._withdraw(room)
        self._after_round.pop(room, None)
        self._begin()
        task = asyncio.get_running_loop().create_task(self._catch_up(room, was_locked=was_locked))
        self._catching_up[room] = task

    def _withdraw(self, room: CommittingRoom) -> None:
        self._ready.pop(room, None)
        if not self._ready:
            self._has_ready.clear()

    def _begin(self) -> None:
        """From now on there is something to do."""
        if self._has_drained.is_set():
            self._has_drained.clear()
            self._progressed_at = self._answered_at = time.monotonic()

    @property
    def stuck_s(self) -> float:
        """How long nothing has been written although something waits, in seconds."""
        return self._waiting_since(self._progressed_at)

    @property
    def unanswered_s(self) -> float:
        """As `stuck_s`, but the database's word that somebody's lock is in the way counts: whatever is not locked would
        be written."""
        return self._waiting_since(self._answered_at)

    def _waiting_since(self, moment: float) -> float:
        return 0.0 if self._has_drained.is_set() else time.monotonic() - moment

    @property
    def is_idle(self) -> bool:
        """True when nothing waits and nothing is being written."""
        return not (self._ready or self._is_committing or self._catching_up or self._giving_way)

    async def drained(self) -> None:
        """Returns when nothing waits and nothing is being written."""
        await self._has_drained.wait()

    def is_busy_with(self, room: CommittingRoom) -> bool:
        """True when something of `room` waits or is being written."""
        return (
            self._is_committing
            or room in self._ready
            or room in self._catching_up
            or room in self._giving_way
        )

    def _note_if_drained(self) -> None:
        if self.is_idle:
            self._has_drained.set()

    async def run(self) -> None:
        """Commits until cancelled."""
        while True:
            await self._has_ready.wait()
            await self._gather()
            await self._round()
            self._note_if_drained()

    async def _round(self) -> None:
        """One commit.  Not inside `run`, whose variables would keep the last rooms alive until the next."""
        rooms = self._take()
        self._is_committing, self._in_round = True, frozenset(rooms)
        self._has_round_ended.clear()
        try:
            await self._commit(rooms)
        finally:
            self._is_committing, self._in_round = False, frozenset()
            self._has_round_ended.set()
        while self._after_round:
            self.refresh(self._after_round.popitem()[0])

    async def _gather(self) -> None:
        """Returns after a turn of the loop without a new message, or when waiting longer would not pay."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(self._last_commit_s, settings.group_commit_window_ms / 1000)
        seen = -1
        while seen != self._arrivals:
            seen = self._arrivals
            await asyncio.sleep(0)
            if loop.time() >= end:
                return

    def _take(self) -> list[CommittingRoom]:
        """The rooms of this round, in document order: one alone when it keeps losing, else all."""
        alone = next(
            (room for room in self._ready if room.conflicts_in_a_row >= CONFLICTS_BEFORE_ALONE), None
        )
        rooms = [alone] if alone is not None else sorted(self._ready, key=lambda room: room.document_id)
        for room in rooms:
            del self._ready[room]
        if not self._ready:
            self._has_ready.clear()
        return rooms

    async def _commit(self, rooms: list[CommittingRoom]) -> None:
        batches = []
        for room in rooms:
            with self._guard(room):
                if (batch := room.next_batch()) is not None:
                    batches.append((room, batch))
        if batches:
            await self._write(batches)
        for room in rooms:
            if room.has_waiting:
                self.notify(room)

    @contextmanager
    def _guard(self, room: CommittingRoom) -> Iterator[None]:
        """A fault in one room ends that room's life in memory, never the committer's."""
        try:
            yield
        except JournalUnavailable:
            raise
        except Exception:
            tally.failures["room"] += 1
            logger.exception("room %s failed", room.document_id)
            room.fail()

    async def _write(self, batches: list[tuple[CommittingRoom, Batch]]) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        try:
            with Patience(partial(self._warn_of_commit, batches)):
                outcomes = await self._append([room.draft(batch) for room, batch in batches])
        except JournalUnavailable as error:
            tally.failures["journal"] += 1
            await self._wait_for_journal(batches, error)
        except Exception:
            tally.failures["commit"] += 1
            logger.exception("a commit of %d rooms failed in a way nobody foresaw", len(batches))
            for room, batch in batches:
                if len(batches) > 1:  # one of them is at fault; alone, each shows whether it is
                    room.put_back(batch)
                    room.conflicts_in_a_row = CONFLICTS_BEFORE_ALONE
                else:
                    room.isolate(batch)
        else:
            self._pause_ms = 0.0
            self._answered_at = time.monotonic()
            if any(outcome != Conflict(was_locked=True) for outcome in outcomes):
                self._progressed_at = self._answered_at
            self._last_commit_s = loop.time() - begun_at
            tally.commit_s.note(self._last_commit_s)
            for (room, batch), outcome in zip(batches, outcomes, strict=True):
                self._conclude(room, batch, outcome)

    def _warn_of_commit(self, batches: list[tuple[CommittingRoom, Batch]]) -> None:
        """It takes long: whoever is in it is told, and whoever waits for the next."""
        logger.warning("a commit of %d rooms takes long", len(batches))
        for room, batch in batches:
            room.warn(batch)
        for room in self._ready.keys() - self._in_round:
            room.warn()

    def _conclude(self, room: CommittingRoom, batch: Batch, outcome: Outcome) -> None:
        match outcome:
            case Appended(turns_wanted=turns_wanted, batch=key):
                room.conflicts_in_a_row = 0
                if turns_wanted != room.turns_wanted is not None:
                    self._note_rival(room)
                room.turns_wanted, room.last_batch = turns_wanted, key
                with self._guard(room):
                    room.settle(batch)
                if room.rival_until > asyncio.get_running_loop().time():
                    self._give_way(room)
            case Conflict() | Fenced():
                tally.conflicts += 1
                room.conflicts_in_a_row += 1
                room.put_back(batch)
                was_locked = outcome == Conflict(was_locked=True)
                if not was_locked:
                    self._note_rival(room)
                elif room.conflicts_in_a_row > 1:
                    logger.warning("document %s: a lock is in the way of its commits", room.document_id)
                    room.warn()
                self._start_catching_up(room, was_locked=was_locked)

    def _note_rival(self, room: CommittingRoom) -> None:
        room.rival_until = asyncio.get_running_loop().time() + RIVAL_REMEMBERED_S

    def _give_way(self, room: CommittingRoom) -> None:
        """Keeps a shared room out of the next rounds until its rival has had a turn."""
        pause_s = RIVAL_TURN_MS / 1000 + 3 * self._last_commit_s
        self._withdraw(room)
        self._giving_way[room] = asyncio.get_running_loop().call_later(pause_s, self._go_on, room)

    def _go_on(self, room: CommittingRoom) -> None:
        del self._giving_way[room]
        if room.has_waiting:
            self.notify(room)
        self._note_if_drained()

    async def _catch_up(self, room: CommittingRoom, *, was_locked: bool) -> None:
        """The room reads what others wrote, however long the journal is away, and then takes part again."""
        collisions = min(max(0, room.conflicts_in_a_row - 1), CONFLICT_JITTER_TIMES_MAX)
        await asyncio.sleep(random.random() * collisions * CONFLICT_JITTER_MS / 1000)
        if was_locked:  # all wait when it tries again
            await self._pause(min(settings.retry_delay_first_ms * 2**collisions, settings.retry_delay_max_ms))
        pause_ms = settings.retry_delay_first_ms
        try:
            while not room.is_closed:
                try:
                    with self._guard(room), Patience(room.warn):
                        await room.catch_up()
                    break
                except JournalUnavailable:
                    room.warn()
                    pause_ms = await self._pause(pause_ms)
        finally:
            del self._catching_up[room]
        if room.has_waiting:
            self.notify(room)
        self._note_if_drained()

    async def _wait_for_journal(
        self, batches: list[tuple[CommittingRoom, Batch]], error: JournalUnavailable
    ) -> None:
        """Whether the commit happened may be unknown: the same messages are tried again at the same
        sequence, and the conflict will show our own batch if it did."""
        for room, batch in batches:
            room.put_back(batch)
            room.warn()
        logger.warning("the journal is unavailable, %d rooms wait: %s", len(batches), error)
        self._pause_ms = await self._pause(self._pause_ms or settings.retry_delay_first_ms)

    async def _pause(self, pause_ms: float) -> float:
        """Waits about `pause_ms`; returns how long to wait the next time."""
        await asyncio.sleep(pause_ms * random.uniform(0.75, 1.25) / 1000)
        return min(pause_ms * 2, settings.retry_delay_max_ms)
