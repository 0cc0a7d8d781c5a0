"""What waits for the journal, in a live room whose connections are fakes that record."""

import asyncio
from typing import Any

import pytest

from journal.writer import Appended, Draft, Outcome
from rooms.committer import Committer
from rooms.room import LiveRoom
from vuer_rtc.protocol.codes import CloseCode

from .build import insert, message, submission
from .fake_room import Journal, Room


@pytest.fixture
def room() -> Room:
    return Room(Journal())


def test_what_waits_is_bounded_in_messages(settings: Any) -> None:
    settings.VUER_RTC = {"WAITING_MESSAGES_MAX": 2}
    room = Room(Journal())
    ann = room.enter("ann")
    for counter in (1, 2, 3):
        room.submit(submission(message("ann", counter), ann))
    assert ann.got[1:] == ["error ann:3 unavailable"]
    room.commit()
    room.submit(submission(message("ann", 3), ann))
    assert [m.id for m in room.commit().messages] == ["ann:3"]


def test_what_waits_is_bounded_in_bytes_of_all_rooms() -> None:
    room = Room(Journal(), budget=250)
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1), ann, size=251))
    room.submit(submission(message("ann", 2), ann, size=250))
    room.submit(submission(message("ann", 3), ann, size=1))
    assert ann.got[1:] == ["error ann:1 unavailable", "error ann:3 unavailable"]
    assert [m.id for m in room.commit().messages] == ["ann:2"]
    assert room.budget.bytes_left == 250


def test_what_needs_no_commit_does_not_count_any_more(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1), ann))
    room.commit()
    room.submit(submission(message("ann", 1), ann))
    room.submit(submission(message("ann", 1, insert("n")), ann))
    assert room.next_batch() is None
    assert ann.got[2:] == ["ack ann:1 1", "error ann:1 id-reused"]
    assert ann.acked == [1, 1]
    assert room.budget.bytes_left == 10_000
    room.close(CloseCode.GOING_AWAY)
    assert room.budget.bytes_left == 10_000


def test_what_is_known_is_acknowledged_behind_the_commit_that_looks_whether_it_is_there_still(
    room: Room,
) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1), ann))
    room.commit()
    for conclude, acks in ((room.put_back, 0), (room.settle, 2), (room.isolate, 1)):
        room.submit(submission(message("ann", 1), ann))
        room.submit(submission(message("bob", room.graph.head_seq), bob))
        before = len(ann.got)
        batch = room.next_batch()
        assert batch is not None
        assert len(ann.got) == before
        conclude(batch)
        assert ann.got[before:].count("ack ann:1 1") == acks
    assert bob.got[-1] == "error bob:2 bad-message"
    assert room.budget.bytes_left == 10_000


def test_who_waits_for_a_commit_that_takes_long_is_told_and_who_waits_behind_it(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1), ann))
    batch = room.next_batch()
    room.submit(submission(message("bob", 1), bob))
    room.warn()
    assert (ann.got[1:], bob.got[1:]) == ([], ["error bob:1 unavailable"])
    room.warn(batch)
    assert (ann.got[1:], bob.got[1:]) == (["error ann:1 unavailable"], ["error bob:1 unavailable"])


def test_senders_are_told_once_that_the_journal_is_away(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    for _ in range(2):
        batch = room.next_batch()
        assert batch is not None
        room.put_back(batch)
        room.warn()
    assert ann.got[1:] == ["error ann:1 unavailable"]
    room.commit()
    assert ann.got[2:] == ["ack ann:1 1"]


def test_what_was_put_back_goes_before_what_came_later(room: Room) -> None:
    ann = room.enter("ann")
    for counter in (1, 2):
        room.submit(submission(message("ann", counter), ann))
    batch = room.next_batch()
    assert batch is not None
    room.submit(submission(message("ann", 3), ann))
    room.put_back(batch)
    assert [m.id for m in room.commit().messages] == ["ann:1", "ann:2", "ann:3"]


def test_a_message_that_cannot_be_written_is_found_by_halving_and_refused(room: Room) -> None:
    ann = room.enter("ann")
    for counter in range(1, 5):
        room.submit(submission(message("ann", counter), ann))
    written: list[str] = []
    for _ in range(20):
        batch = room.next_batch()
        if batch is None:
            break
        if any(m.id == "ann:3" for m in batch.messages):
            room.isolate(batch)
        else:
            room.settle(batch)
            written += [m.id for m in batch.messages]
    assert written == ["ann:1", "ann:2", "ann:4"]
    assert "error ann:3 bad-message" in ann.got
    assert room.budget.bytes_left == 10_000
    for counter in range(5, 9):
        room.submit(submission(message("ann", counter), ann))
    assert [m.id for m in room.commit().messages] == ["ann:5", "ann:6", "ann:7", "ann:8"]


@pytest.mark.parametrize("failing", ["graph.identify", "draft", "graph.apply", "_fan_out", "_count"])
async def test_a_room_that_fails_over_a_batch_gives_back_all_it_held(
    room: Room, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Wherever between the queue and the acknowledgement: the budget is the whole process's."""

    async def append(drafts: list[Draft]) -> list[Outcome]:
        return [Appended(d.first_seq, d.first_seq + len(d.entries) - 1) for d in drafts]

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("injected")

    committer = Committer(append)
    room._notify = committer.notify
    ann = room.enter("ann")
    owner, _, name = failing.rpartition(".")
    monkeypatch.setattr(room.graph if owner else LiveRoom, name, fail)
    for counter in (1, 2, 3):
        room.submit(submission(message("ann", counter, insert(f"n{counter}")), ann, size=100))
    assert room.budget.bytes_left == 9_700
    running = asyncio.create_task(committer.run())
    async with asyncio.timeout(5):
        await committer.drained()
    running.cancel()
    assert room.budget.bytes_left == 10_000
    assert (ann.closed == [CloseCode.INTERNAL]) == room.is_closed


def test_a_batch_that_comes_back_to_a_closed_room_is_given_back_once(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1), ann))
    batch = room.next_batch()
    assert batch is not None
    room.close(CloseCode.GOING_AWAY)
    room.put_back(batch)
    room.isolate(batch)
    assert room.budget.bytes_left == 10_000
