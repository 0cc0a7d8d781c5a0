"""What a client shows of itself and knows of the others."""

import asyncio
from array import array

import pytest

from vuer_rtc.client.presence import Presence, Present
from vuer_rtc.client.watcher import Watchers
from vuer_rtc.crdt.plain import InvalidMessage

GRANTED = frozenset({"presence"})
CAMERA = {"camera": {"position": [0, 1, 2]}}


class Room:
    def __init__(self) -> None:
        self.wanted = 0
        self.has_ended = False
        self.presence = Presence(self.want, Watchers(lambda: self.has_ended))

    def want(self) -> None:
        self.wanted += 1


def test_nothing_travels_before_a_connection_has_joined_and_grants_it() -> None:
    room = Room()
    room.presence.show(CAMERA)
    assert room.presence.to_send() == []
    room.presence.welcomed(frozenset())
    assert room.presence.to_send() == []
    room.presence.welcomed(GRANTED)
    assert room.presence.to_send() == [{"mtype": "presence", "data": CAMERA}]
    assert room.presence.to_send() == []


def test_only_the_newest_travels_and_the_same_again_does_not() -> None:
    room = Room()
    room.presence.welcomed(GRANTED)
    for x in range(5):
        room.presence.show({"cursor": [x, 0, 0]})
    assert room.presence.to_send() == [{"mtype": "presence", "data": {"cursor": [4, 0, 0]}}]
    wanted = room.wanted
    room.presence.show({"cursor": [4, 0, 0]})
    assert room.wanted == wanted
    room.presence.hide()
    assert room.presence.to_send() == [{"mtype": "presence", "data": None}]


def test_the_others_come_change_and_go() -> None:
    presence = Room().presence
    ann = {"client": "ann", "user": "Ann", "data": CAMERA}
    presence.take({"mtype": "presence", "clients": [ann, {"client": "bot", "data": {}}]})
    assert dict(presence.others) == {"ann": Present("ann", CAMERA, "Ann"), "bot": Present("bot", {})}
    presence.take({"mtype": "presence", "clients": [{"client": "bot", "data": None}]})
    assert list(presence.others) == ["ann"]
    presence.lost()
    assert not presence.others


def test_a_new_connection_tells_anew_what_is_shown() -> None:
    room = Room()
    room.presence.welcomed(GRANTED)
    room.presence.show(CAMERA)
    room.presence.to_send()
    room.presence.lost()
    room.presence.welcomed(GRANTED)
    assert room.presence.to_send() == [{"mtype": "presence", "data": CAMERA}]


async def test_changes_name_who_came_and_went_and_end_with_the_room() -> None:
    room = Room()
    changes = room.presence.changes()
    coming = anext(changes)
    room.presence.take({"clients": []})
    task = asyncio.ensure_future(coming)
    await asyncio.sleep(0)
    room.presence.take({"clients": [{"client": "ann", "data": {}}]})
    room.presence.take({"clients": [{"client": "bot", "data": {}}]})
    assert await task == {"ann", "bot"}
    room.presence.lost()
    assert await anext(changes) == {"ann", "bot"}
    room.has_ended = True
    room.presence.wake()
    assert [names async for names in changes] == []


def test_what_is_shown_is_a_copy_in_plain_json() -> None:
    room = Room()
    room.presence.welcomed(GRANTED)
    pose = {"cursor": {"position": array("d", [0.5, 1, 0])}, "selection": ("cube",)}
    room.presence.show(pose)
    shown = {"cursor": {"position": [0.5, 1.0, 0.0]}, "selection": ["cube"]}
    assert room.presence.to_send() == [{"mtype": "presence", "data": shown}]
    pose["cursor"]["position"][0] = 2  # type: ignore[index]
    room.presence.show(pose)
    assert room.presence.to_send()[0]["data"]["cursor"]["position"] == [2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "value", [float("nan"), 10**400, b"x", {1}, {1: 2}, array("d", [float("inf")]), "\ud800"]
)
def test_what_no_frame_can_carry_is_refused_at_the_call(value: object) -> None:
    room = Room()
    room.presence.show(CAMERA)
    with pytest.raises(InvalidMessage):
        room.presence.show({"cursor": value})
    assert room.presence.mine == CAMERA
