"""Which nodes a projection takes along."""

import asyncio
from typing import Any

import pytest
from django.test import override_settings

from rooms.projector import Projector, Reached, hidden_after, nodes_since
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op

from .build import insert, message, put, undo
from .fake_room import numbered


def remove(key: str, parent: str = "") -> Op:
    return Op(ot="node.remove", key=parent, path="children", value=key)


def family() -> Graph:
    """root > arm > hand > finger, and a lamp."""
    graph = Graph()
    ops = [
        insert("root"),
        insert("arm", "root"),
        insert("hand", "arm"),
        insert("finger", "hand"),
        insert("lamp", "root"),
    ]
    graph.apply(numbered(message("ann", 1, *ops), 1))
    return graph


def apply(graph: Graph, item: Message) -> None:
    graph.apply(numbered(item, graph.head_seq + 1))


def test_only_what_changed_is_taken() -> None:
    graph = family()
    apply(graph, message("ann", 2, put("hand")))
    nodes = nodes_since(graph, Reached(1, set()))
    assert nodes is not None
    assert set(nodes) == {"hand"}


def test_what_is_hidden_or_shown_with_a_node_above_is_taken_along() -> None:
    graph = family()
    apply(graph, message("ann", 2, remove("arm", "root")))
    nodes = nodes_since(graph, Reached(1, set()))
    assert nodes is not None
    assert {"arm", "hand", "finger"} <= set(nodes)
    assert "lamp" not in nodes
    hidden = hidden_after(set(), nodes)
    assert hidden == {"arm", "hand", "finger"}

    apply(graph, message("ann", 3, put("hand")))
    nodes = nodes_since(graph, Reached(2, hidden))
    assert nodes is not None
    assert set(nodes) == {"hand"}

    apply(graph, message("ann", 4, undo("ann:2")))
    nodes = nodes_since(graph, Reached(3, hidden))
    assert nodes is not None
    assert {"arm", "hand", "finger"} <= set(nodes)
    assert hidden_after(hidden, nodes) == set()


def test_what_is_no_longer_known_needs_a_whole_projection() -> None:
    graph = Graph.restore(family().snapshot())
    assert nodes_since(graph, Reached(0, set())) is None


async def test_rooms_take_turns_over_the_interval_and_a_stop_does_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[Any] = []

    async def project(self: Projector, room: Any) -> None:
        written.append(room)

    monkeypatch.setattr(Projector, "_project", project)
    worker: Any = None
    projector, rooms = Projector(worker), list[Any](["one", "two", "three"])
    for room in rooms:
        projector.note(room)
    with override_settings(VUER_RTC={"PROJECTION_INTERVAL_S": 3600}):
        task = asyncio.create_task(projector.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert written == ["one"]
        assert projector.is_busy_with(rooms[1])
        projector.note(rooms[0])
        assert await projector.write()
        assert written == ["one", "two", "three", "one"]
        task.cancel()


async def test_a_projector_goes_on_when_a_stop_has_written_what_it_woke_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def project(self: Projector, room: Any) -> None:
        pass

    monkeypatch.setattr(Projector, "_project", project)
    worker: Any = None
    room: Any = "one"
    projector = Projector(worker)
    task = asyncio.create_task(projector.run())
    await asyncio.sleep(0)
    projector.note(room)
    assert await projector.write()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
