"""The committer alone: rooms and journal are fakes, time is the event loop's."""

import asyncio
import gc
import uuid
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from journal.error import JournalUnavailable
from journal.writer import Appended, Conflict, Draft, Fenced, Outcome
from rooms.batch import Batch, Submission
from rooms.committer import Committer

from .build import message, submission


class FakeRoom:
    """A room that records what becomes of its messages."""

    def __init__(self, number: int = 1) -> None:
        self.document_id = uuid.UUID(int=number)
        self.conflicts_in_a_row = 0
        self.rival_until = 0.0
        self.turns_wanted: int | None = None
        self.is_closed = False
        self.waiting: list[Submission] = []
        self.head = 0
        self.settled: list[list[str]] = []
        self.warnings = 0
        self.caught_up = 0
        self.isolated = 0
        self.fault: Exception | None = None
        self.catch_up_faults: list[Exception] = []

    def add(self, counter: int) -> None:
        self.waiting.append(submission(message("ann", counter)))

    @property
    def has_waiting(self) -> bool:
        return bool(self.waiting)

    def next_batch(self) -> Batch | None:
        batch = Batch(self.head + 1, accepted=self.waiting)
        self.waiting = []
        return batch if batch.accepted else None

    def draft(self, batch: Batch) -> Draft:
        return Draft(self.document_id, batch.first_seq, batch.accepted)  # type: ignore[arg-type]

    def settle(self, batch: Batch) -> None:
        if self.fault:
            raise self.fault
        self.head += len(batch.accepted)
        self.settled.append([item.message.id for item in batch.accepted])

    def put_back(self, batch: Batch) -> None:
        self.waiting = batch.accepted + self.waiting

    def warn(self, batch: Batch | None = None) -> None:
        self.warnings += 1

    def isolate(self, batch: Batch) -> None:
        self.isolated += 1

    async def catch_up(self) -> None:
        self.caught_up += 1
        if self.catch_up_faults:
            raise self.catch_up_faults.pop()

    def fail(self) -> None:
        self.is_closed = True


class FakeJournal:
    """Appends in its own time: every commit waits for `finish` unless `is_quick`."""

    def __init__(self, *, is_quick: bool = False) -> None:
        self.is_quick = is_quick
        self.begun: list[list[tuple[int, int]]] = []
        self.finish: Callable[[Any], None] = lambda result: None
        self.results: list[Any] = []

    async def append(self, drafts: list[Draft]) -> list[Outcome]:
        self.begun.append([(draft.document_id.int, len(draft.entries)) for draft in drafts])
        if self.results:
            result = self.results.pop(0)
        elif self.is_quick:
            result = None
        else:
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self.finish = done.set_result
            result = await done
        if isinstance(result, Exception):
            raise result
        if result is not None:
            return list(result)
        return [Appended(draft.first_seq, draft.first_seq + len(draft.entries) - 1) for draft in drafts]


@asynccontextmanager
async def running(journal: FakeJournal) -> AsyncIterator[Committer]:
    committer = Committer(journal.append)
    task = asyncio.create_task(committer.run())
    yield committer
    task.cancel()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")


@pytest.fixture(autouse=True)
def short_pauses(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_FIRST_MS": 1, "RETRY_DELAY_MAX_MS": 5}


async def test_an_idle_committer_commits_within_a_few_turns_of_the_loop() -> None:
    journal, room = FakeJournal(), FakeRoom()
    async with running(journal) as committer:
        await asyncio.sleep(0)
        room.add(1)
        committer.notify(room)
        for _ in range(5):
            await asyncio.sleep(0)
        assert journal.begun == [[(1, 1)]]


async def test_nothing_is_settled_before_the_commit_has_returned() -> None:
    journal, room = FakeJournal(), FakeRoom()
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: journal.begun)
        assert room.settled == []
        assert not committer.is_idle
        journal.finish(None)
        await until(lambda: room.settled == [["ann:1"]])
        await until(lambda: committer.is_idle)


async def test_what_arrives_during_a_commit_is_the_next_batch_of_all_rooms_in_document_order() -> None:
    journal, one, two = FakeJournal(), FakeRoom(1), FakeRoom(2)
    async with running(journal) as committer:
        two.add(1)
        committer.notify(two)
        await until(lambda: journal.begun)
        for counter in (2, 3):
            two.add(counter)
            committer.notify(two)
        one.add(1)
        committer.notify(one)
        await asyncio.sleep(0.01)
        assert len(journal.begun) == 1
        journal.finish(None)
        await until(lambda: len(journal.begun) == 2)
        assert journal.begun[1] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("commit_s", "window_ms", "least_s"), [(0.02, 1000, 0.015), (5.0, 20, 0.015), (0.0, 1000, 0.0)]
)
async def test_a_flood_closes_the_batch_after_as_long_as_a_commit_takes_or_at_the_end_of_the_window(
    settings: Any, commit_s: float, window_ms: float, least_s: float
) -> None:
    settings.VUER_RTC = {"GROUP_COMMIT_WINDOW_MS": window_ms}
    journal, room = FakeJournal(), FakeRoom()
    async with running(journal) as committer:
        committer._last_commit_s = commit_s
        loop = asyncio.get_running_loop()
        start = loop.time()
        counter = 0
        while not journal.begun and loop.time() - start < 2:
            counter += 1
            room.add(counter)
            committer.notify(room)
            await asyncio.sleep(0)
        assert least_s < loop.time() - start < 0.5


async def test_a_conflict_is_caught_up_with_and_the_same_messages_go_again() -> None:
    journal, one, two = FakeJournal(is_quick=True), FakeRoom(1), FakeRoom(2)
    journal.results = [[Conflict(), Appended(1, 1)]]
    async with running(journal) as committer:
        for room in (one, two):
            room.add(1)
            committer.notify(room)
        await until(lambda: one.settled)
        assert two.settled == one.settled == [["ann:1"]]
        assert one.caught_up == 1
        assert journal.begun == [[(1, 1), (2, 1)], [(1, 1)]]
        assert one.conflicts_in_a_row == 0


async def test_a_room_that_has_lost_a_race_lets_its_rival_go_first_after_each_commit_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rooms.committer.RIVAL_TURN_MS", 300)  # longer than a busy machine pauses
    journal, shared, own = FakeJournal(is_quick=True), FakeRoom(1), FakeRoom(2)
    journal.results = [[Conflict()]]
    async with running(journal) as committer:
        shared.add(1)
        committer.notify(shared)
        await until(lambda: shared.settled)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        for room in (shared, own):
            room.add(2)
            committer.notify(room)
        assert not committer.is_idle
        await until(lambda: own.settled)
        assert len(shared.settled) == 1, "its rival's turn"
        await until(lambda: len(shared.settled) == 2)
        assert loop.time() - begun_at > 0.1
        await asyncio.wait_for(committer.drained(), 5)
        shared.rival_until = 0.0
        for counter in (3, 4):
            shared.add(counter)
            committer.notify(shared)
            await until(lambda counter=counter: len(shared.settled) == counter)
        assert not committer.is_busy_with(shared)


async def test_j24_a_room_whose_rival_asks_for_a_turn_lets_it_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rooms.committer.RIVAL_TURN_MS", 300)
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    journal.results = [[Appended(1, 1, 7)], [Appended(2, 2, 8)]]
    async with running(journal) as committer:
        for counter in (1, 2):
            room.add(counter)
            committer.notify(room)
            await until(lambda counter=counter: len(room.settled) == counter)
            assert (room.rival_until > asyncio.get_running_loop().time()) is (counter == 2)
        room.add(3)
        committer.notify(room)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(room.settled) == 2, "its rival's turn"
        await until(lambda: len(room.settled) == 3)


async def test_a_room_that_lost_takes_part_again_when_it_has_caught_up_whatever_came_in_meanwhile() -> None:
    journal, room = FakeJournal(), FakeRoom()
    may_go_on = asyncio.Event()

    async def slow() -> None:
        room.caught_up += 1
        await may_go_on.wait()

    room.catch_up = slow  # type: ignore[method-assign]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: journal.begun)
        room.add(2)
        committer.notify(room)
        journal.finish([Conflict()])
        await until(lambda: room.caught_up)
        for _ in range(20):
            await asyncio.sleep(0)
        assert journal.begun == [[(1, 1)]]
        may_go_on.set()
        await until(lambda: len(journal.begun) == 2)
        journal.finish(None)
        await until(lambda: committer.is_idle)
    assert room.caught_up == 1
    assert room.settled == [["ann:1", "ann:2"]]


async def test_a_room_that_keeps_losing_commits_alone() -> None:
    journal, one, two = FakeJournal(is_quick=True), FakeRoom(1), FakeRoom(2)
    one.conflicts_in_a_row = 2
    async with running(journal) as committer:
        for room in (one, two):
            room.add(1)
            committer.notify(room)
        await until(lambda: one.settled and two.settled)
        assert journal.begun == [[(1, 1)], [(2, 1)]]


async def test_while_the_journal_is_unavailable_senders_are_warned_and_messages_wait() -> None:
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    journal.results = [JournalUnavailable("disk"), JournalUnavailable("disk")]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.settled)
        assert room.settled == [["ann:1"]]
        assert room.warnings == 2
        assert journal.begun == [[(1, 1)]] * 3


async def test_who_waits_for_a_commit_that_takes_long_is_told(settings: Any) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "COMMIT_PATIENCE_S": 0.01}
    journal, room = FakeJournal(), FakeRoom()
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.warnings > 1)
        assert room.settled == []
        journal.finish(None)
        await until(lambda: committer.is_idle)
        assert room.settled == [["ann:1"]]
        told = room.warnings
        await asyncio.sleep(0.03)
        assert room.warnings == told


async def test_who_waits_behind_a_commit_of_others_that_takes_long_is_told(settings: Any) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "COMMIT_PATIENCE_S": 0.01}
    journal, one, two = FakeJournal(), FakeRoom(1), FakeRoom(2)
    async with running(journal) as committer:
        one.add(1)
        committer.notify(one)
        await until(lambda: journal.begun)
        two.add(1)
        committer.notify(two)
        await until(lambda: two.warnings)
        assert two.settled == []
        journal.finish(None)
        await until(lambda: len(journal.begun) == 2)
        journal.finish(None)
        await until(lambda: two.settled == [["ann:1"]])


async def test_who_waits_while_its_room_reads_for_long_what_others_wrote_is_told(settings: Any) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "COMMIT_PATIENCE_S": 0.01}
    journal, room, may_read = FakeJournal(is_quick=True), FakeRoom(), asyncio.Event()
    journal.results = [[Conflict()]]

    async def read_slowly() -> None:
        await may_read.wait()

    room.catch_up = read_slowly  # type: ignore[method-assign]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.warnings)
        may_read.set()
        await until(lambda: room.settled == [["ann:1"]])


async def test_a_journal_that_stays_away_is_asked_less_and_less_often_up_to_a_bound(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_FIRST_MS": 1, "RETRY_DELAY_MAX_MS": 16}
    journal, room, times = FakeJournal(is_quick=True), FakeRoom(), []
    journal.results = [JournalUnavailable("disk")] * 12

    async def append(drafts: list[Draft]) -> list[Outcome]:
        times.append(asyncio.get_running_loop().time())
        return await journal.append(drafts)

    committer = Committer(append)
    task = asyncio.create_task(committer.run())
    room.add(1)
    committer.notify(room)
    async with asyncio.timeout(2):
        await committer.drained()
    task.cancel()
    assert room.settled == [["ann:1"]]
    assert min(after - before for before, after in pairwise(times[5:])) >= 0.012


async def test_a_room_is_busy_as_long_as_something_of_it_waits() -> None:
    journal, room, other = FakeJournal(), FakeRoom(1), FakeRoom(2)
    room.rival_until = asyncio.get_running_loop().time() + 60
    committer = Committer(journal.append)
    room.add(1)
    committer.notify(room)
    assert [committer.is_busy_with(each) for each in (room, other)] == [True, False]
    task = asyncio.create_task(committer.run())
    await until(lambda: journal.begun)
    assert committer.is_busy_with(room)
    journal.finish(None)
    await until(lambda: room.settled)
    assert [committer.is_busy_with(each) for each in (room, other)] == [True, False], "it gives way"
    await committer.drained()
    assert not committer.is_busy_with(room)
    task.cancel()


async def test_a_lock_that_was_in_the_way_once_is_told_nobody() -> None:
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    journal.results = [[Conflict(was_locked=True)]]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.settled)
        assert room.warnings == 0


async def test_a_lock_that_stays_in_the_way_is_told() -> None:
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    journal.results = [[Conflict(was_locked=True)], [Conflict(was_locked=True)]]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.settled)
        assert room.warnings == 1


async def test_a_lock_that_stays_in_the_way_of_one_room_is_tried_less_and_less_often(settings: Any) -> None:
    """Each time all rooms of the process wait for it."""
    settings.VUER_RTC = {"RETRY_DELAY_FIRST_MS": 10, "RETRY_DELAY_MAX_MS": 80}
    room, times = FakeRoom(), []

    async def append(drafts: list[Draft]) -> list[Outcome]:
        times.append(asyncio.get_running_loop().time())
        return [Conflict(was_locked=True)]

    journal = FakeJournal()
    journal.append = append  # type: ignore[method-assign]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: len(times) == 6)
        assert committer.stuck_s > 0.2
        assert committer.unanswered_s < committer.stuck_s / 2, "who edits other documents is welcome"
    pauses = [after - before for before, after in pairwise(times)]
    assert min(pauses[3:]) >= 0.06


async def test_catching_up_goes_on_when_the_journal_is_back() -> None:
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    journal.results = [[Fenced()]]
    room.catch_up_faults = [JournalUnavailable("disk")]
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: room.settled)
        assert room.caught_up == 2
        assert room.warnings == 1
        await until(lambda: committer.is_idle)


async def test_a_fault_in_one_room_ends_that_room_only() -> None:
    journal, one, two = FakeJournal(is_quick=True), FakeRoom(1), FakeRoom(2)
    one.fault = RuntimeError("engine")
    async with running(journal) as committer:
        for room in (one, two):
            room.add(1)
            committer.notify(room)
        await until(lambda: two.settled)
        assert one.is_closed
        two.add(2)
        committer.notify(two)
        await until(lambda: len(two.settled) == 2)


async def test_a_batch_that_cannot_be_written_is_isolated_and_its_neighbours_commit() -> None:
    """A room whose only message is good must not be told that it is not: nobody would send it again."""
    journal, one, two = FakeJournal(is_quick=True), FakeRoom(1), FakeRoom(2)
    journal.results = [ValueError("cannot encode"), ValueError("cannot encode")]
    async with running(journal) as committer:
        for room in (one, two):
            room.add(1)
            committer.notify(room)
        await until(lambda: one.isolated and two.settled)
        assert journal.begun == [[(1, 1), (2, 1)], [(1, 1)], [(2, 1)]]
        assert (one.settled, two.settled) == ([], [["ann:1"]])
        assert (one.isolated, two.isolated) == (1, 0)


async def test_a_room_reads_what_others_wrote_between_its_commits() -> None:
    room, journal = FakeRoom(), FakeJournal()
    async with running(journal) as committer:
        reading = committer.refresh(room)
        assert reading is not None
        assert committer.refresh(room) is reading
        assert committer.is_busy_with(room)
        room.add(1)
        committer.notify(room)
        await reading
        assert room.caught_up == 1
        await until(lambda: journal.begun)
        assert committer.refresh(room) is None, "it is being written, and reads after that"
        journal.finish(None)
        await until(lambda: room.settled == [["ann:1"]])
        await committer.drained()
        assert room.caught_up == 2


async def test_a_room_that_is_ready_reads_first_and_is_written_then() -> None:
    room, journal = FakeRoom(), FakeJournal(is_quick=True)
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        committer.refresh(room)
        await asyncio.wait_for(committer.drained(), 5)
        assert room.caught_up == 1
        assert room.settled == [["ann:1"]]


async def test_a_room_that_is_to_look_again_and_again_is_written_in_between() -> None:
    """Somebody sends what is known five hundred times a second: whoever else edits there goes on."""
    room, journal = FakeRoom(), FakeJournal(is_quick=True)
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        async with asyncio.timeout(5):
            while not room.settled:
                committer.look(room)
                await asyncio.sleep(0)
            await committer.drained()
        assert room.caught_up == 1


async def test_who_waits_for_what_others_wrote_waits_for_the_commit_that_is_in_the_way() -> None:
    room, journal = FakeRoom(), FakeJournal()
    async with running(journal) as committer:
        room.add(1)
        committer.notify(room)
        await until(lambda: journal.begun)
        reading = asyncio.create_task(committer.refreshed(room))
        await asyncio.sleep(0.01)
        assert not reading.done()
        assert not room.caught_up
        journal.finish(None)
        await asyncio.wait_for(reading, 5)
        assert room.caught_up == 1


async def test_a_closed_room_reads_nothing() -> None:
    room = FakeRoom()
    room.is_closed = True
    async with running(FakeJournal()) as committer:
        assert committer.refresh(room) is None
        await asyncio.wait_for(committer.refreshed(room), 5)


async def test_what_is_on_disk_is_let_go_of_at_once() -> None:
    """Not when garbage is collected: that takes minutes where messages are few and large."""
    journal, room = FakeJournal(is_quick=True), FakeRoom()
    async with running(journal) as committer:
        gc.disable()
        try:
            sender = FakeRoom()
            room.waiting.append(submission(message("ann", 1), origin=sender))
            sender_of = weakref.ref(sender)
            del sender
            committer.notify(room)
            await until(lambda: room.settled)
            await asyncio.sleep(0)
            assert sender_of() is None
        finally:
            gc.enable()
