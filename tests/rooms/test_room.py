"""A live room alone: connections are fakes that record, the journal is a list, nothing waits."""

import msgspec
import pytest

from rooms.batch import Submission
from vuer_rtc.crdt.message import cut_record
from vuer_rtc.protocol.codes import CloseCode

from .build import insert, message, submission
from .fake_room import Journal, Room


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def room(journal: Journal) -> Room:
    return Room(journal)


def test_after_the_state_come_acks_to_the_author_and_broadcasts_to_the_others(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.submit(submission(message("bob", 1), bob))
    assert room.notified == 2
    assert ann.got == bob.got == ["state 0"]
    room.commit()
    assert ann.got == ["state 0", "ack ann:1 1", "bob:1 at 2"]
    assert bob.got == ["state 0", "ann:1 at 1", "ack bob:1 2"]
    assert (ann.acked, bob.acked) == ([1], [2])
    assert room.changes == 1
    assert room.budget.bytes_left == 10_000


def test_who_joins_between_two_commits_gets_a_state_and_what_follows(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    room.submit(submission(message("ann", 2), ann))
    batch = room.next_batch()
    cy = room.enter("cy")
    assert batch is not None
    room.settle(batch)
    assert cy.got == ["state 1", "ann:2 at 2"]


def test_a_repeat_in_flight_is_acked_with_the_original_and_a_later_one_at_once(room: Room) -> None:
    ann = room.enter("ann")
    for _ in range(2):
        room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    assert ann.got[1:] == ["ack ann:1 1", "ack ann:1 1"]
    room.submit(submission(message("ann", 1, insert("n")), ann))
    assert room.next_batch() is None
    assert ann.got[3:] == ["ack ann:1 1"]
    assert room.budget.bytes_left == 10_000


def test_a_refused_message_costs_its_sender_an_error_and_the_others_nothing(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, lt=10**9), ann))
    assert room.next_batch() is None
    assert ann.got[1:] == ["error ann:1 lamport-jump"]
    assert bob.got[1:] == []
    assert room.budget.bytes_left == 10_000


def test_l9_a_heavy_message_is_charged_to_its_sender_and_an_ordinary_one_is_not(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L9."""
    ann, bob = room.enter("ann"), room.enter("bob")
    times = iter([0, 0.0009, 1, 1.5, 2, 2.05])
    monkeypatch.setattr("rooms.room.thread_time", lambda: next(times))
    for counter, count in ((1, 1), (2, 1), (3, 3_000)):
        room.submit(submission(message("ann", counter, *[insert("n")] * count), ann))
        room.commit()
    assert (ann.work_s, bob.work_s) == (0.5, 0)


async def test_after_a_conflict_the_others_messages_come_first_and_ours_is_numbered_again(
    room: Room, journal: Journal
) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, lt=9), ann))
    batch = room.next_batch()
    assert batch is not None
    journal.add(message("far", 1, insert("n")), message("far", 2), first_seq=1)
    room.put_back(batch)
    await room.catch_up()
    assert [m.server_seq for m in room.commit().messages] == [3]
    assert ann.got[1:] == ["far:1 at 1", "far:2 at 2", "ack ann:1 3"]
    assert bob.got[1:] == ["far:1 at 1", "far:2 at 2", "ann:1 at 3"]
    assert room.changes == 2


async def test_a_commit_of_unknown_outcome_that_did_happen_is_acked_once_and_journalled_once(
    room: Room, journal: Journal
) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    batch = room.next_batch()
    assert batch is not None
    journal.add(*batch.messages, first_seq=1)
    room.put_back(batch)
    again = room.next_batch()
    assert again is not None
    assert again.first_seq == 1
    room.put_back(again)
    await room.catch_up()
    assert room.next_batch() is None
    assert ann.got[1:] == ["ack ann:1 1"]
    assert bob.got[1:] == ["ann:1 at 1"]


async def test_when_what_was_missed_is_folded_away_everybody_gets_the_whole_state(
    room: Room, journal: Journal
) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    journal.add(message("far", 1, insert("n")), cut_record("=cut", 5, 1.0), first_seq=1)
    journal.is_truncated = True
    await room.catch_up()
    assert ann.got == bob.got == ["state 0", "state 2"]
    assert room.changes == 1


async def test_j66_when_the_database_has_been_put_back_everybody_gets_what_it_has(
    room: Room, journal: Journal
) -> None:
    ann = room.enter("ann")
    journal.add(message("far", 1, insert("n")), message("far", 2), first_seq=1)
    await room.catch_up()
    room.submit(submission(message("ann", 1), ann))
    journal.messages.pop()
    await room.catch_up()
    assert ann.got == ["state 0", "far:1 at 1", "far:2 at 2", "state 1"]
    assert [m.server_seq for m in room.commit().messages] == [2]
    assert room.put_back_to == 1


async def test_j66_what_waits_may_have_seen_what_is_lost(room: Room, journal: Journal) -> None:
    """L2: published clients tell all that they have seen."""
    ann = room.enter("ann")
    journal.add(message("far", 1, insert("n")), message("far", 2), message("far", 3), first_seq=1)
    await room.catch_up()
    for counter, claimed in enumerate((3, 2, 4), 1):
        waiting = msgspec.structs.replace(message("ann", counter), clock={"ann": counter, "far": claimed})
        room.submit(submission(waiting, ann))
    del journal.messages[1:]
    await room.catch_up()
    assert [m.id for m in room.commit().messages] == ["ann:1", "ann:2"]
    assert "error ann:3 foreign-clock" in ann.got


async def test_a_room_that_catches_up_again_is_told_nothing_twice(room: Room, journal: Journal) -> None:
    ann = room.enter("ann")
    journal.add(message("far", 1, insert("n")), first_seq=1)
    for _ in range(2):
        await room.catch_up()
    assert ann.got == ["state 0", "far:1 at 1"]
    assert room.changes == 1


def test_a_room_that_closes_tells_everybody_and_takes_nothing_more(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1), ann))
    in_flight = room.next_batch()
    room.submit(submission(message("ann", 2), ann))
    room.fail()
    assert ann.closed == bob.closed == [CloseCode.INTERNAL]
    assert room.emptied == 1
    assert in_flight is not None
    room.put_back(in_flight)
    room.submit(submission(message("ann", 3), ann))
    assert not room.has_waiting
    assert room.budget.bytes_left == 10_000


def test_while_it_drains_a_room_finishes_what_it_took_and_takes_nothing_more(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1), ann))
    room.is_taking = False
    room.submit(submission(message("ann", 2), ann))
    assert [m.id for m in room.commit().messages] == ["ann:1"]
    assert not room.has_waiting


def test_a_draft_says_who_sent_each_message_and_when(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(Submission(message("ann", 1), ann, user="7", session="s", received_at=12.5, size=10))
    batch = room.next_batch()
    assert batch is not None
    draft = room.draft(batch)
    assert (draft.document_id, draft.first_seq) == (room.document_id, 1)
    [entry] = draft.entries
    assert (entry.message.id, entry.user, entry.session, entry.received_at) == ("ann:1", "7", "s", 12.5)
