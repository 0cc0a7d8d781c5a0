"""What a live room answers from memory; connections are fakes that record."""

from typing import Any

import msgspec
import pytest

from rooms.fanout import Dialect
from vuer_rtc.crdt.message import Op, cut_record, numbered
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.wire import Frame, Framing, Naming, Outbound

from .build import insert, message, put, submission
from .fake_room import JSON, Journal, Room


@pytest.fixture
def room() -> Room:
    return Room(Journal())


def test_a_state_and_a_broadcast_are_encoded_once_per_framing_and_naming(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []

    def counting(outbound: Outbound, *dialect: Any) -> Frame:
        encoded.append(type(outbound).__name__)
        return encode(outbound, *dialect)

    for module in ("answer", "audience", "fanout"):
        monkeypatch.setattr(f"rooms.{module}.encode", counting)
    legacy = Dialect(Framing.MSGPACK, Naming.LEGACY)
    peers = [room.enter(f"c{n}", JSON if n % 2 else legacy) for n in range(10)]
    assert encoded == ["State", "State"]
    room.submit(submission(message("c0", 1, insert("n")), peers[0]))
    room.commit()
    assert sorted(encoded[2:]) == ["Ack", "Broadcast", "Broadcast"]
    room.enter("late")
    assert encoded[5:] == ["Broadcast", "State"], "beside so small a state what followed it is too much"


def test_a_state_carries_few_large_messages(room: Room, settings: Any) -> None:
    settings.VUER_RTC = {"STATE_TAIL_MESSAGES": 5, "STATE_TAIL_BYTES_MAX": 10_000}
    ann = room.enter("ann")

    def carried() -> list[str]:
        late = room.enter(f"late-{room.graph.head_seq}")
        return [commit["id"] for commit in msgspec.json.decode(late.frames[0])["journal"]]

    def write(first: int, last: int, letters: int) -> None:
        for counter in range(first, last + 1):
            op = Op("string.set", "n", "s", "x" * letters)
            room.submit(submission(message("ann", counter, *([insert("n")] * (counter == 1)), op), ann))
        room.commit()

    write(1, 7, 10)
    assert carried() == [f"ann:{counter}" for counter in range(3, 8)]
    write(8, 10, 4000)
    assert carried() == ["ann:9", "ann:10"]
    write(11, 11, 20_000)
    assert carried() == []


def test_sync_gets_what_is_missing_or_the_whole_state(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.submit(submission(message("ann", 2), ann))
    room.commit()
    bob = room.enter("bob")
    room.send_missing(bob, {"ann": 1})
    room.send_missing(bob, {"ann": 2})
    assert bob.got == ["state 2", "ann:2 at 2"]


def test_sync_sends_of_a_message_what_the_others_were_sent_of_it(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, insert("n"), put("nowhere"), put("n")), ann))
    room.submit(submission(message("ann", 2, put("nowhere")), ann))
    room.commit()
    live = bob.frames[1:]
    assert len(live) == 1
    assert "nowhere" not in str(live[0])
    room.send_missing(bob, {"ann": 0, "bob": 3})
    assert bob.frames[2:] == live


def test_sync_sends_nothing_unsafe_of_what_nobody_remembers_either(room: Room, settings: Any) -> None:
    settings.VUER_RTC = {"RECENT_MESSAGES_MAX": 1}
    room = Room(Journal())
    ann, bob = room.enter("ann"), room.enter("bob")
    for counter, ops in enumerate([[insert("n")], [put("nowhere")], [put("nowhere"), put("n")], [put()]], 1):
        room.submit(submission(message("ann", counter, *ops), ann))
        room.commit()
    assert bob.got[1:] == ["ann:1 at 1", "ann:3 at 3", "ann:4 at 4"]
    live = bob.frames[1:]
    for clock, missing in (({"ann": 1}, live[1:]), ({"ann": 3}, live[2:]), ({"bob": 1}, live)):
        bob.frames.clear()
        room.send_missing(bob, clock)
        assert bob.frames == missing


def test_what_is_folded_away_is_not_sent_again(room: Room) -> None:
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    room.graph.apply(numbered(cut_record("=cut", 1, 1.0), 2))
    room.send_missing(bob, {})
    assert bob.got[2].startswith("state")


def test_the_digest_is_computed_once_while_nothing_changes(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = room.enter("ann")
    first = room.standing()
    assert room.standing() is first
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    assert room.standing() != first
    assert room.standing().digest == room.graph.digest()
    assert room.standing().vector_clock == {"ann": 1}


def test_who_cannot_be_sent_the_document_is_not_in_the_room(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("state")

    monkeypatch.setattr("rooms.room.send_state", fail)
    with pytest.raises(RuntimeError):
        room.enter("ann")
    assert not room.connections
    assert room.emptied == 1
