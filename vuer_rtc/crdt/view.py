"""What is read from a state: node views, the flat graph of the wire and of the digest, texts as published ropes."""

from dataclasses import dataclass, field
from typing import Any

from .fold import ROOT, Node, State, Touch
from .message import UNSET, Message
from .rope import Char, PlainRope


@dataclass(frozen=True, slots=True)
class NodeView:
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


def children_of(state: State) -> dict[str, list[str]]:
    """Live children by parent key, sorted by (createdAt, key)."""
    children: dict[str, list[str]] = {}
    for node in state.nodes.values():
        if not node.removed:
            children.setdefault(node.parent, []).append(node.key)
    for keys in children.values():
        keys.sort(key=lambda key: (seconds(state.nodes[key].created[1]), key))
    return children


def properties_of(node: Node) -> dict[str, Any]:
    return {path: visible for path, register in node.registers.items() if (visible := register.visible) is not UNSET}


def hidden_keys(state: State) -> set[str]:
    """Keys of nodes that are tombstones or below one, or below a missing node."""
    shown: dict[str, bool] = {ROOT: True}
    for key in state.nodes:
        path = []
        while key not in shown:
            path.append(key)
            node = state.nodes.get(key)
            if node is None or node.removed:
                shown[key] = False
                break
            key = node.parent
        for below in path:
            shown[below] = shown[key]
    return {key for key, is_shown in shown.items() if not is_shown}


def node_views(state: State) -> dict[str, NodeView]:
    children, hidden = children_of(state), hidden_keys(state)
    views = {}
    for key, node in state.nodes.items():
        properties = properties_of(node)
        (lt, _, _), updated_at = node.touched
        views[key] = NodeView(
            key=key,
            tag=properties.pop("tag"),
            name=properties.pop("name"),
            parent=node.parent,
            children=children.get(key, []),
            properties=properties,
            deleted=node.removed is not None,
            hidden=key in hidden,
            lt=lt,
            updated_at=updated_at,
        )
    return views


def flat_graph(state: State) -> dict[str, Any]:
    """`{root, nodes}`: what the digest covers; live nodes only, flat, without `_crdt` (rule D1)."""
    children = children_of(state)
    nodes = {
        key: {**properties_of(node), "key": key, "children": children.get(key, [])}
        for key, node in state.nodes.items()
        if not node.removed
    }
    return {"root": state.root_key, "nodes": nodes}


def published_nodes(state: State) -> dict[str, Any]:
    """Nodes as they travel in a snapshot: flat, tombstones included, metadata in `_crdt`."""
    children = children_of(state)
    return {
        key: {**properties_of(node), "key": key, "children": children.get(key, []), "_crdt": _metadata(node)}
        for key, node in state.nodes.items()
    }


def _metadata(node: Node) -> dict[str, Any]:
    touched: Touch = node.touched
    data: dict[str, Any] = {
        "clock": node.clock,
        "lamportTime": touched[0][0],
        "createdAt": node.created[1],
        "updatedAt": touched[1],
        "lww": {
            path: {"lt": register.stamp[0], "client": register.stamp[1]}
            for path, register in node.registers.items()
            if register.stamp
        },
    }
    if node.removed:
        data["deletedAt"] = node.removed[1]
    return data


def text_ropes(state: State) -> dict[str, dict[str, Any]]:
    """Lossless texts by node key and path, in the form the published client hydrates."""
    return {
        key: ropes
        for key, node in state.nodes.items()
        if (ropes := {p: _rope(r.text) for p, r in node.registers.items() if r.is_text and r.text is not None})
    }


def _rope(text: PlainRope) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    last: Char | None = None
    for char in text.document():
        is_hidden = char.is_deleted or not char.is_counted
        joins = last is not None and char.anchor is last and char.claim == last.claim
        if joins and items[-1]["isDeleted"] == is_hidden:
            items[-1]["content"] += char.content
        else:
            items.append(_item(text, char, is_hidden))
        last = char
    return {
        "_tree": {"root": {"type": "leaf", "items": items}},
        "agentId": "",
        "clock": 0,
        "maxSeq": text.highest_seq(),
    }


def _item(text: PlainRope, char: Char, is_hidden: bool) -> dict[str, Any]:
    return {
        "id": _published_id(text, char),
        "content": char.content,
        "isDeleted": is_hidden,
        "anchor": _published_id(text, char.anchor) if char.anchor else None,
        "seq": char.seq,
        "ts": char.ts,
    }


def _published_id(text: PlainRope, char: Char) -> str:
    """Its id; an id that a later claim has taken over is told apart by the number of its claim."""
    is_latest = text.by_agent[char.agent][char.number][-1] is char
    return f"{char.agent}:{char.number}" if is_latest else f"=earlier/{char.claim}/{char.agent}:{char.number}"
