"""Who is in a live room and what they are told; connections are fakes that record."""

import pytest

from rooms.peer import Overtaken, RoomFull
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits

from .build import insert, message, put, submission
from .fake_room import Journal, Peer, Room


@pytest.fixture
def room() -> Room:
    return Room(Journal())


def test_a_connection_that_was_let_in_late_does_not_replace_the_one_that_came_after_it(room: Room) -> None:
    """A6."""
    older, newer = Peer("ann"), Peer("ann")
    older.arrived_at, newer.arrived_at = 1, 2
    room.join(newer)
    with pytest.raises(Overtaken):
        room.join(older)
    assert newer.closed == []
    assert list(room.connections.values()) == [newer]


def test_a_connection_elsewhere_replaces_an_older_one_and_no_newer_one(room: Room) -> None:
    """A6, of two processes."""
    ann, bob = room.enter("ann"), room.enter("bob")
    room.replace_older({"ann": ann.arrived_at, "bob": bob.arrived_at - 1, "cy": 9e9})
    assert (ann.closed, bob.closed) == ([], [])
    room.replace_older({"ann": ann.arrived_at + 1})
    assert (ann.closed, bob.closed) == ([CloseCode.REPLACED], [])


def test_an_author_who_reconnected_before_the_commit_sees_the_message_come_back(room: Room) -> None:
    first = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), first))
    second = room.enter("ann")
    assert first.closed == [CloseCode.REPLACED]
    room.commit()
    assert second.got == ["state 0", "ann:1 at 1"]
    room.leave(first)
    assert list(room.connections.values()) == [second]
    room.submit(submission(message("ann", 1, insert("n")), second))
    assert room.next_batch() is None
    assert second.got[2:] == ["ack ann:1 1"]


def test_a_room_takes_as_many_as_it_may_and_tells_when_it_is_empty() -> None:
    room = Room(Journal(), Limits(sessions_max=1))
    ann = room.enter("ann")
    with pytest.raises(RoomFull):
        room.enter("bob")
    again = room.enter("ann")
    room.leave(ann)
    assert room.emptied == 0
    room.leave(again)
    room.leave(again)
    assert room.emptied == 1


def test_what_has_no_effect_is_acked_and_not_broadcast(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, put("missing")), ann))
    room.commit()
    assert ann.got[1:] == ["ack ann:1 1"]
    assert bob.got[1:] == []
