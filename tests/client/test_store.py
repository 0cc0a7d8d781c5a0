"""The store: what the sender sees is what peers will see, in any order of arrival."""

import json
import random
from typing import Any

import pytest
from msgspec.structs import replace

from vuer_rtc.client.graph_store import GraphStore, Snapshot
from vuer_rtc.client.message import published_message
from vuer_rtc.client.store import Store
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, cut_record

from .fuzz import KEYS, Link, insert_op, random_op, shown

CLIENTS = ["alice", "bob", "carol"]
BODY = ("body",)
"""Texts that are never plain strings: the filter for published clients shifts the ids of those characters."""


@pytest.mark.parametrize("seed", range(100))
def test_random_stores_converge_and_show_what_they_will_send(seed: int) -> None:
    rng = random.Random(seed)
    link = Link(rng, CLIENTS)
    for _ in range(40):
        store = link.stores[rng.choice(CLIENTS)]
        for _ in range(rng.randint(1, 5)):
            store.edit(random_op(rng))
            if rng.random() < 0.3:
                shown(store.graph)
            if rng.random() < 0.15:
                link.deliver(store.client, 1)
        before = shown(store.graph)
        choice = rng.random()
        if choice < 0.75:
            store.commit()
            assert shown(store.graph) == before
        elif choice < 0.85:
            store.cancel()
        elif choice < 0.95:
            store.undo()
        else:
            store.redo()
        link.deliver(rng.choice(CLIENTS), 2)
    for store in link.stores.values():
        store.cancel()
    link.flush()
    graphs = [shown(store.graph) for store in link.stores.values()]
    assert graphs[0] == graphs[1] == graphs[2]
    digests = {store.inner.replica.graph.digest() for store in link.stores.values()}
    assert len(digests) == 1


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("tail", [0, 5, 1000])
def test_a_store_made_of_a_published_snapshot_shows_the_same_and_goes_on(seed: int, tail: int) -> None:
    rng = random.Random(seed)
    link = Link(rng, CLIENTS)
    edit_for_a_while(link, rng)
    alice = link.stores["alice"]
    state = alice._store.replica.graph.state(tail)
    wire = {
        "graph": state.graph,
        "vectorClock": state.vector_clock,
        "lt": state.lt,
        "journalIndex": 0,
        "textRopes": state.text_ropes,
    }
    snapshot = Snapshot.from_dict(json.loads(json.dumps(wire)))
    joiner = GraphStore.fromServer("dave", snapshot, [published_message(m) for m in state.journal])
    assert scene_of(joiner) == scene_of(alice)
    link.queues["dave"], link.stores["dave"] = [], joiner
    joiner._on_send = link._sender("dave")
    for _ in range(10):
        store = link.stores[rng.choice([*CLIENTS, "dave"])]
        for _ in range(3):
            store.edit(told_op(rng))
        store.commit()
        link.flush()
    assert scene_of(joiner) == scene_of(alice)


def told_op(rng: random.Random) -> dict[str, Any]:
    """An operation of which a published snapshot tells all: not where a removed node hung."""
    while (op := random_op(rng, texts=BODY))["ot"] == "node.remove":
        pass
    return op


def edit_for_a_while(link: Link, rng: random.Random) -> None:
    for key in KEYS:
        link.stores["alice"].edit(insert_op("", key))
    link.stores["alice"].commit()
    link.flush()
    for _ in range(40):
        store = link.stores[rng.choice(CLIENTS)]
        for _ in range(3):
            store.edit(told_op(rng))
        store.commit()
        if rng.random() < 0.2:
            store.undo()
        link.deliver(rng.choice(CLIENTS), 3)
    link.flush()


def scene_of(store: GraphStore) -> object:
    """What is visible from the root level down."""
    graph = store.graph
    tops = [key for key, node in graph.nodes.items() if node.parent == "" and not node.is_deleted]
    found, queue = {}, list(tops)
    while queue:
        node = graph.nodes[queue.pop()]
        found[node.key] = (node.tag, node.name, node.children, node.properties, node.parent)
        queue.extend(node.children)
    return found, graph.rootKey


def test_what_an_acknowledgement_changes_is_shown() -> None:
    """K2: own commits that a cut made late stand in the order of their ids, until they have a sequence."""
    graph = Graph()
    insert = Op("node.insert", "", "children", {"key": "n", "x": 1})
    graph.apply(Message("bob:8", "bob", {"bob": 1}, 8, 1.0, [insert], server_seq=1))
    store = Store.native("alice", graph.snapshot(), graph.retained_messages())
    for verb in ("add", "multiply"):
        store.edit({"ot": f"number.{verb}", "key": "n", "path": "x", "value": 3})
        store.commit()
    assert list(store.unacked) == ["alice:9", "alice:10"]
    shown = [store.read().nodes["n"].properties["x"]]
    store._apply(replace(cut_record("=cut", 10, 1), server_seq=2), None, is_acked=True)
    shown.append(store.read().nodes["n"].properties["x"])
    store.changed.clear()
    store.ack("alice:9", 3)
    shown.append(store.read().nodes["n"].properties["x"])
    assert shown == [12, 6, 12]
    assert store.changed == {"n"}


def test_c4_a_native_client_tells_its_own_counter_and_not_what_it_has_seen() -> None:
    """Else each of its commits would name everybody who ever edited the document."""
    graph = Graph()
    for number in range(50):
        client = f"visitor-{number}"
        op = Op("node.insert", "", "children", {"key": f"n{number}"})
        graph.apply(Message(f"{client}:1", client, {client: 1}, 1 + number, 1.0, [op], server_seq=1 + number))
    store = Store.native("visitor-7", graph.snapshot(), graph.retained_messages())
    store.edit({"ot": "number.set", "key": "n3", "path": "x", "value": 1})
    made = store.commit()
    assert made is not None
    assert (made[0].clock, made[0].lt) == ({"visitor-7": 2}, 51)
