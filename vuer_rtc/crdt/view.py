"""What is read from a scene: node views, the flat graph of the wire and of the digest, texts as published ropes."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from .message import UNSET, Message
from .node import ROOT, Node, Register
from .place import Origin
from .scene import Scene


class NodeView(msgspec.Struct, frozen=True, gc=False):
    """One node as everybody sees it."""

    key: str
    tag: str
    name: str
    parent: str
    """Key of its parent, known or not; `""` is root level."""
    children: list[str]
    """Keys of the live nodes whose parent it is, by (createdAt, key)."""
    properties: dict[str, Any]
    """Without `tag` and `name`; texts as their visible strings."""
    deleted: bool
    hidden: bool
    """True when it, or a node above it, is a tombstone or missing."""
    lt: int
    """Lamport time of the last message that had an effect on it."""
    updated_at: int | float
    """Raw `ts` of that message."""


class Standpoint(NamedTuple):
    """Where a node hangs."""

    parent: str
    """Key of its parent, known or not; `""` is root level."""
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class PublishedState:
    """The content of a `state` message."""

    graph: dict[str, Any]
    vector_clock: dict[str, int]
    lt: int
    text_ropes: dict[str, dict[str, Any]]
    journal: list[Message] = field(default_factory=list)
    journal_index: int = 0


def seconds(ts: int | float) -> float:
    """`ts` in seconds, for sorting siblings only: from 1e11 on it counts as milliseconds (rule T7)."""
    return ts if ts < 1e11 else ts / 1000


def children_of(scene: Scene, key: str) -> list[str]:
    """Live children by (createdAt, key)."""
    keys = scene.children.get(key)
    if not keys:
        return []
    return sorted(keys, key=lambda child: (seconds(created_at(scene, child)), child))


def created_at(scene: Scene, key: str) -> int | float:
    node = scene.node(key)
    assert node is not None
    return node.created_at


def properties_of(scene: Scene, key: str) -> dict[str, Any]:
    """Visible values by path, `tag` and `name` among them."""
    item, node = scene.live.get(key), scene.node(key)
    assert node is not None
    values = {"tag": "", "name": "", **node.initial}
    values.pop("key", None)
    registers: dict[str, Register] = {}
    if node.registers is not None:
        registers.update(node.registers)
    if item is not None:
        registers.update((path, p.register) for path, p in item.properties.items() if p.register is not None)
    for path, register in registers.items():
        if register.is_text:
            known = scene.register(key, path)
            values[path] = known.visible if known is not None else ""
        elif register.value is not UNSET:
            values[path] = register.value
    return values


def touched_by(scene: Scene, key: str) -> Origin:
    """Highest origin of the messages that had an effect on the node."""
    item, node = scene.live.get(key), scene.node(key)
    assert node is not None
    origins = [node.created, node.placed_by, node.removed or node.created]
    registers = dict(node.registers or {})
    if item is not None:
        registers.update((path, p.register) for path, p in item.properties.items() if p.register is not None)
    origins.extend(touched for register in registers.values() if (touched := register.touched) is not None)
    return max(origins)


class Shown:
    """Which keys are shown: alive, below living nodes only, up to root level."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._known: dict[str, bool] = {ROOT: True}

    def __contains__(self, key: str) -> bool:
        path = []
        while key not in self._known:
            path.append(key)
            node = self._scene.node(key)
            if node is None or node.removed is not None:
                self._known[key] = False
                break
            key = node.parent
        for below in path:
            self._known[below] = self._known[key]
        return self._known[key]


def node_view(scene: Scene, key: str, shown: Shown, *, with_children: bool = True) -> NodeView | None:
    """The node of a key, a tombstone too; None when there is none.  Its children may be left out: where
    there are thousands, sorting them is most of the price."""
    node = scene.node(key)
    if node is None:
        return None
    properties = properties_of(scene, key)
    touched = touched_by(scene, key)
    return NodeView(
        key=key,
        tag=properties.pop("tag"),
        name=properties.pop("name"),
        parent=node.parent,
        children=children_of(scene, key) if with_children else [],
        properties=properties,
        deleted=node.removed is not None,
        hidden=key not in shown,
        lt=touched[0],
        updated_at=touched[3],
    )


def flat_graph(scene: Scene) -> dict[str, Any]:
    """`{root, nodes}`: what the digest covers; live nodes only, flat, without `_crdt` (rule D1)."""
    nodes = {
        key: {**properties_of(scene, key), "key": key, "children": children_of(scene, key)}
        for key, node in list(scene.nodes())
        if node.removed is None
    }
    return {"root": scene.tree.root(), "nodes": nodes}


def metadata(node: Node, touched: Origin, registers: dict[str, Register]) -> dict[str, Any]:
    """What travels as `_crdt` of a published node."""
    data: dict[str, Any] = {
        "clock": node.clock,
        "lamportTime": touched[0],
        "createdAt": node.created_at,
        "updatedAt": touched[3],
        "lww": {
            path: {"lt": stamp[0], "client": stamp[1]}
            for path, register in registers.items()
            if (stamp := register.stamp) is not None
        },
    }
    if node.removed is not None:
        data["deletedAt"] = node.removed[3]
    return data
