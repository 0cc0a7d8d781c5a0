"""What single actions of a store do, beyond what the programs compare."""

import copy
import warnings
from typing import Any

import pytest

from vuer_rtc.client.action import createInitialState, onEdit
from vuer_rtc.client.graph_store import GraphStore, Snapshot, StaleStateError
from vuer_rtc.client.message import CRDTMessage, journalled
from vuer_rtc.client.node import SceneGraph
from vuer_rtc.crdt.message import Message, Op
from vuer_rtc.crdt.plain import InvalidMessage

from .fuzz import insert_op, shown


def set_op(value: Any, path: str = "x") -> dict[str, Any]:
    return {"ot": "number.set", "key": "n", "path": path, "value": value}


def typed(position: int, content: str) -> dict[str, Any]:
    return {"ot": "text.insert", "key": "n", "path": "t", "position": position, "value": [None, content]}


@pytest.fixture
def store() -> GraphStore:
    store = GraphStore("alice")
    store.edit(insert_op("", "n", x=0))
    store.commit()
    return store


def x_of(store: GraphStore) -> Any:
    return store.graph.nodes["n"].properties["x"]


def test_a_state_that_was_replaced_cannot_be_acted_on(store: GraphStore) -> None:
    first = createInitialState("alice")
    second = onEdit(first, insert_op("", "n"))
    with pytest.raises(StaleStateError):
        onEdit(first, insert_op("", "m"))
    assert "n" in onEdit(second, insert_op("", "m")).graph.nodes


def test_a_copy_keeps_a_state_with_its_pending_edits(store: GraphStore) -> None:
    store.edit(set_op(1))
    store.commit()
    store.undo()
    store.edit(set_op(7))
    kept = store.getState().copy()
    store.cancel()
    store.redo()
    assert kept.graph.nodes["n"].properties["x"] == 7
    assert [entry.deletedAt is not None for entry in kept.journal] == [False, True, False]
    assert [entry.msg.id for entry in kept.journal] == ["alice:1", "alice:2", "alice:3"]
    assert x_of(store) == 1


def test_what_a_program_writes_to_what_it_read_never_travels(store: GraphStore) -> None:
    store.edit({"ot": "array.set", "key": "n", "path": "a", "value": [[1]]})
    store.commit()
    store.graph.nodes["n"].properties["a"][0].append(2)
    store.edit({"ot": "array.push", "key": "n", "path": "a", "value": [3]})
    store.graph.nodes["n"].properties["a"][1].append(4)
    sent = store.commit()
    assert sent is not None
    assert sent.ops[0]["value"] == [3]
    assert store.graph.nodes["n"].properties["a"] == [[1], [3]]


def test_a_refused_undo_is_taken_back(store: GraphStore) -> None:
    store.edit(set_op(1))
    store.commit()
    undone = store.undo()
    assert undone is not None
    assert x_of(store) == 0
    store.reject(undone.id)
    assert x_of(store) == 1
    assert [entry.deletedAt for entry in store.getState().journal] == [None, None]
    again = store.undo()
    assert again is not None
    assert again.ops[0]["targetMsgId"] == "alice:2"


def test_a_refused_commit_is_neither_undone_nor_sent_again(store: GraphStore) -> None:
    store.edit(set_op(1))
    refused = store.commit()
    assert refused is not None
    store.reject(refused.id)
    assert x_of(store) == 0
    assert [message.id for message in store.inner.unacked.values()] == ["alice:1"]
    store.undo()
    assert "n" not in store.graph.nodes or store.graph.nodes["n"].is_deleted


@pytest.mark.parametrize("is_undone", [True, False])
def test_what_hung_below_a_node_that_is_taken_back_shows_when_it_is_inserted_again(
    store: GraphStore, is_undone: bool
) -> None:
    """T5: also before that is committed."""
    store.edit(insert_op("", "p"))
    made = store.commit()
    assert made is not None
    below = Op("node.insert", "p", "children", {"key": "c"})
    store.receive(Message("bob:9", "bob", {"bob": 1}, 9, 1, [below]))
    assert store.graph.nodes["p"].children == ["c"]
    if is_undone:
        store.undo()
    else:
        store.reject(made.id)
    assert "p" not in store.graph.nodes
    store.edit(insert_op("", "p"))
    assert store.graph.nodes["p"].children == ["c"]


def test_a_journalled_undo_by_somebody_else_counts_and_another_does_not(store: GraphStore) -> None:
    store.edit(set_op(5))
    message = store.commit()
    assert message is not None
    undo = Message("mod:9", "mod", {"mod": 1}, 9, 1.0, [Op("meta.undo", "_meta", "_meta", target=message.id)])
    store.receive(undo)
    assert x_of(store) == 5
    store.receive(journalled(undo, 3))
    assert x_of(store) == 0
    assert store.getState().journal[1].deletedAt is not None
    redone = store.redo()
    assert redone is not None
    assert x_of(store) == 5


def test_undo_works_after_compaction_and_the_snapshot_begins_another_store(store: GraphStore) -> None:
    store.edit(set_op(1))
    store.edit(typed(0, "abc"))
    store.commit()
    for message in ("alice:1", "alice:2"):
        store.ack(message)
    store.compact()
    snapshot = store.getState().snapshot
    assert (snapshot.journalIndex, snapshot.lt, snapshot.vectorClock["alice"]) == (2, 2, 2)
    other = GraphStore("bob", initial_snapshot=Snapshot.from_dict(snapshot.to_dict()))
    assert shown(other.graph) == shown(store.graph)
    other.edit(typed(1, "X"))
    sent = other.commit()
    assert sent is not None
    store.receive(sent)
    assert store.graph.nodes["n"].properties["t"] == "aXbc"
    store.undo()
    assert x_of(store) == 0


def test_what_the_snapshot_holds_is_not_applied_again() -> None:
    graph = SceneGraph.from_dict({"nodes": {"n": {"key": "n", "x": 6}}, "rootKey": "n"})
    store = GraphStore("bob", initial_snapshot=Snapshot(graph, {"alice": 2}, 2, 2))
    addition = {"ot": "number.add", "key": "n", "path": "x", "value": 5}
    store.receive(CRDTMessage("alice:2", "alice", {"alice": 2}, 2, 1.0, [addition]))
    assert x_of(store) == 6
    store.receive(CRDTMessage("alice:3", "alice", {"alice": 3}, 3, 1.0, [addition]))
    assert x_of(store) == 11


def test_typing_joins_into_one_operation_until_something_comes_between(store: GraphStore) -> None:
    for position, content in ((0, "H"), (1, "ell"), (4, "o")):
        store.edit(typed(position, content))
    assert [op["value"] for op in store.getState().edits.ops] == [[None, "Hello"]]
    store.edit(typed(0, ">"))
    store.edit(typed(6, "!"))
    assert store.graph.nodes["n"].properties["t"] == ">Hello!"
    assert len(store.getState().edits.ops) == 3


def test_positions_are_clamped_and_empty_edits_are_none(store: GraphStore) -> None:
    store.edit(typed(99, "ab"))
    store.edit(typed(-5, "x"))
    store.edit({"ot": "text.delete", "key": "n", "path": "t", "position": 2, "length": 99})
    store.edit({"ot": "text.delete", "key": "n", "path": "t", "position": 2, "length": 1})
    store.edit(typed(0, ""))
    assert store.graph.nodes["n"].properties["t"] == "xa"
    assert len(store.getState().edits.ops) == 3


def test_typing_into_a_string_written_in_the_same_commit_reaches_peers(store: GraphStore) -> None:
    store.edit({"ot": "string.set", "key": "n", "path": "t", "value": "Hello"})
    store.edit(typed(5, "!"))
    store.edit(
        {"ot": "text.replace", "key": "n", "path": "t", "position": 0, "length": 1, "value": [None, "J"]}
    )
    assert store.graph.nodes["n"].properties["t"] == "Jello!"
    message = store.commit()
    bob = GraphStore("bob")
    for entry in store.getState().journal:
        bob.receive(entry.msg)
    assert message is not None
    assert message.ops[1]["value"][0] == f"={message.id}/0:4"
    assert bob.graph.nodes["n"].properties["t"] == "Jello!"


@pytest.mark.parametrize(
    "op",
    [
        {"ot": "number.set", "key": "n", "path": "x"},
        {"ot": "number.set", "key": "n", "path": "x", "value": float("nan")},
        {"ot": "number.set", "key": "", "path": "x", "value": 1},
        {"ot": "number.set", "key": "n", "path": "children", "value": 1},
        {"ot": "CREATE", "key": "n", "path": "x", "value": 1},
        {"ot": "text.insert", "key": "n", "path": None, "position": 0, "value": "a"},
    ],
)
def test_what_the_server_would_refuse_is_refused_at_once(store: GraphStore, op: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        store.edit(op)
    assert store.getState().edits.ops == []


def test_what_is_no_message_is_ignored_with_a_warning(store: GraphStore) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store.receive(CRDTMessage("bob:1", "bob", {}, 1, 1.0, [set_op(1)]))
        store.receive({"id": "bob:2"})
    assert len(caught) == 2
    assert len(store.getState().journal) == 1


@pytest.mark.parametrize("is_set", [True, False])
@pytest.mark.parametrize("is_told_later", [True, False])
def test_typing_into_a_plain_string_of_the_snapshot_tells_who_wrote_it(
    is_set: bool, is_told_later: bool
) -> None:
    alice = GraphStore("alice")
    alice.edit(insert_op("", "m"))
    alice.edit(insert_op("", "n", t="Hello"))
    if is_set:
        alice.edit({"ot": "string.set", "key": "n", "path": "t", "value": "Hullo"})
    alice.commit()
    state = alice._store.replica.graph.state(0)
    wire = {"graph": state.graph, "vectorClock": state.vector_clock, "lt": state.lt, "journalIndex": 0}
    alice.edit(typed(5, "!"))
    later = [alice.commit()]
    alice.edit(typed(0, ">"))
    later.append(alice.commit())
    snapshot = Snapshot.from_dict(copy.deepcopy(wire))
    journal = [message for message in later if message is not None]
    bob = GraphStore.fromServer("bob", snapshot, [] if is_told_later else journal)
    for message in journal if is_told_later else []:
        assert bob.graph.nodes["n"].properties["t"] in ("Hello", "Hullo", "Hello!", "Hullo!")
        bob.receive(message)
    assert bob.graph.nodes["n"].properties["t"] == (">Hullo!" if is_set else ">Hello!")
    bob.edit(typed(1, "-"))
    sent = bob.commit()
    assert sent is not None
    alice.receive(sent)
    assert shown(alice.graph)["n"] == shown(bob.graph)["n"]
