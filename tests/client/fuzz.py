"""Stores that edit at random, and what must hold of them."""

import random
from typing import Any

from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.message import CRDTMessage
from vuer_rtc.client.node import SceneGraph

KEYS = ["a", "b", "c", "d"]
PATHS = ["x", "v", "s", "t", "name"]


def shown(graph: SceneGraph) -> dict[str, Any]:
    """What a program sees of a graph, without wall clocks."""
    return {
        key: (node.tag, node.name, node.children, node.properties, node.parent, node.is_deleted)
        for key, node in graph.nodes.items()
    } | {"": graph.rootKey}


def random_op(rng: random.Random, texts: tuple[str, ...] = ("t", "s")) -> dict[str, Any]:
    key, path = rng.choice(KEYS), rng.choice(PATHS)
    kind = rng.random()
    if kind < 0.25:
        return _structure(rng, key)
    if kind < 0.55 and texts:
        return _text(rng, key, texts)
    number = rng.choice([1, 2, 0.1, -3])
    ot, value = rng.choice(
        [
            ("number.set", number),
            ("number.add", number),
            ("number.multiply", number),
            ("vector3.set", [1, 2, number]),
            ("vector3.add", [number, 0, 1]),
            ("string.set", rng.choice(["hello", "", "AB"])),
            ("string.concat", "z"),
            ("array.push", number),
            ("color.blend", "#00ff00"),
            ("object.merge", {"k": number}),
        ]
    )
    if ot == "object.merge" and rng.random() < 0.5:
        return {"ot": ot, "key": key, "path": ".", "value": {path: rng.choice([value, "merged"])}}
    return {"ot": ot, "key": key, "path": path, "value": value}


def insert_op(parent: str, key: str, **values: Any) -> dict[str, Any]:
    return {"ot": "node.insert", "key": parent, "path": "children", "value": {"key": key, **values}}


def _structure(rng: random.Random, key: str) -> dict[str, Any]:
    parent = rng.choice(["", *KEYS])
    ot = rng.choice(["node.insert", "node.insert", "node.upsert", "node.remove", "node.move"])
    value: Any = {"key": key, "tag": "T", "x": 1, "t": rng.choice(["seed", "", 5])}
    if ot == "node.remove":
        value = key
    elif ot == "node.move":
        value = {"nodeKey": key, "newParent": parent}
    return {"ot": ot, "key": parent, "path": "children", "value": value}


def _text(rng: random.Random, key: str, texts: tuple[str, ...]) -> dict[str, Any]:
    ot = rng.choice(["text.insert", "text.insert", "text.delete", "text.replace", "text.init"])
    op: dict[str, Any] = {"ot": ot, "key": key, "path": rng.choice(texts)}
    if ot == "text.init":
        return {**op, "value": rng.choice(["init", None])}
    content = "".join(rng.choice("xyz") for _ in range(rng.randint(1, 3)))
    return {**op, "position": rng.randint(0, 6), "length": rng.randint(0, 3), "value": [None, content]}


class Link:
    """Every commit to every other store, in any order, now and then twice."""

    def __init__(self, rng: random.Random, clients: list[str]) -> None:
        self.rng = rng
        self.queues: dict[str, list[CRDTMessage]] = {client: [] for client in clients}
        self.stores = {client: GraphStore(client, on_send=self._sender(client)) for client in clients}

    def _sender(self, client: str) -> Any:
        return lambda message: [q.append(message) for other, q in self.queues.items() if other != client]

    def deliver(self, client: str, count: int) -> None:
        queue = self.queues[client]
        for _ in range(min(count, len(queue))):
            message = queue.pop(self.rng.randrange(len(queue)))
            self.stores[client].receive(message)
            if self.rng.random() < 0.1:
                self.stores[client].receive(message)

    def flush(self) -> None:
        for client, queue in self.queues.items():
            self.deliver(client, len(queue))
