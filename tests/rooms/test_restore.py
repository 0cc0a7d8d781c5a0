"""R7 and A8: published clients get a state where a restore comes, native ones the message."""

from typing import Any

import msgspec
import pytest

from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import RESTORE_PREFIX, SITE_CLIENT, Message, Op, numbered
from vuer_rtc.crdt.restore import restoring_ops

from .build import insert, message, put, submission, undo
from .fake_room import NATIVE, Journal, Room, batch_of


@pytest.fixture
def room() -> Room:
    return Room(Journal())


def restore_of(room: Room, target: Graph) -> Message:
    clock = {SITE_CLIENT: 1}
    ops = restoring_ops(room.graph, target)
    return Message(f"{RESTORE_PREFIX}1", SITE_CLIENT, clock, room.graph.lt + 1, 1e9, ops)


def absorb(room: Room, written: Message) -> None:
    """Another process wrote it, and the room reads it."""
    seq = room.graph.head_seq + 1
    room._absorb([batch_of(numbered(written, seq))])


def removed(key: str) -> Op:
    return Op("node.remove", "", "children", key)


def test_r7_a_restore_comes_as_a_state_to_published_clients_and_so_does_its_undo(room: Room) -> None:
    ann, bob, cy = room.enter("ann"), room.enter("bob"), room.enter("cy", NATIVE)
    room.submit(submission(message("ann", 1, insert("n"), put()), ann))
    room.commit()
    target = Graph.restore(room.graph.snapshot())
    for known in room.graph.retained_messages():
        target.apply(known)
    room.submit(submission(message("bob", 2, removed("n")), bob))
    room.commit()
    restore = restore_of(room, target)
    absorb(room, restore)
    assert ann.got[-1] == bob.got[-1] == "state 3"
    assert cy.got[-1] == "=restore:1 at 3"
    [state] = [wire for wire in ann.wires if wire.get("serverSeq") == 3]
    assert state["journal"] == []
    assert shown(state) == {"n": 1}
    undone = msgspec.structs.replace(message("cy", 1, undo(restore.id), lt=9), auth=True)
    room.submit(submission(undone, cy))
    room.commit()
    assert ann.got[-1] == bob.got[-1] == "state 4"
    assert cy.got[-1] == "ack cy:1 4"
    assert shown(ann.wires[-1]) == {}


def shown(state: dict[str, Any]) -> dict[str, Any]:
    """The property x of the nodes that are not tombstones."""
    nodes = state["snapshot"]["graph"]["nodes"]
    return {key: node["x"] for key, node in nodes.items() if "deletedAt" not in node["_crdt"]}


def test_r7_who_undoes_a_restore_gets_its_ack_before_the_state(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    restore = restore_of(room, Graph())
    absorb(room, restore)
    room.submit(
        submission(msgspec.structs.replace(message("ann", 2, undo(restore.id), lt=9), auth=True), ann)
    )
    room.submit(submission(message("ann", 3, put(), lt=10), ann))
    room.commit()
    while room.has_waiting:
        room.commit()
    assert ann.got[2:] == ["state 2", "ack ann:2 3", "ack ann:3 4", "state 4"]


def test_s3_who_lacks_a_restore_gets_the_whole_state(room: Room) -> None:
    ann = room.enter("ann")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    absorb(room, restore_of(room, Graph()))
    room.send_missing(ann, {"ann": 1})
    assert ann.got[-1] == "state 2"


def test_s3_who_lacks_what_nobody_remembers_and_a_restore_stands_after_gets_the_state(settings: Any) -> None:
    settings.VUER_RTC = {"RECENT_MESSAGES_MAX": 0}
    room = Room(Journal())
    ann, bob = room.enter("ann"), room.enter("bob")
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    absorb(room, restore_of(room, Graph()))
    room.submit(submission(message("bob", 1, insert("late"), lt=1), bob))
    room.commit()
    room.send_missing(ann, {"ann": 1, "=site": 1})
    assert ann.got[-1] == "state 3"


def test_a8_what_was_on_its_way_when_a_state_came_comes_back_to_its_author(room: Room) -> None:
    ann, cy = room.enter("ann"), room.enter("cy", NATIVE)
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    assert ann.got[1:] == ["ack ann:1 1"]
    room.submit(submission(message("ann", 2, insert("on-its-way"), lt=2), ann))
    absorb(room, restore_of(room, Graph()))
    room.submit(submission(message("cy", 1, insert("m"), lt=9), cy))
    room.commit()
    assert ann.got[2:] == ["state 2", "ack ann:2 3", "ann:2 at 3", "cy:1 at 4"]
    assert cy.got[-2:] == ["ann:2 at 3", "ack cy:1 4"]
