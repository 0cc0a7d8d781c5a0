"""What is read from a state: node views, the flat graph of the wire and of the digest, texts as published ropes."""

from typing import Any

from vuer_rtc.crdt.message import UNSET
from vuer_rtc.crdt.text_run import publish_runs
from vuer_rtc.crdt.view import NodeView

from .fold import ROOT, Node, State, Touch
from .rope import PlainRope


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
        keys.sort(key=lambda key: (seconds(state.nodes[key].created_at), key))
    return children


def properties_of(node: Node) -> dict[str, Any]:
    return {
        path: visible
        for path, register in node.registers.items()
        if (visible := register.visible) is not UNSET
    }


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
        "createdAt": node.created_at,
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
        if (
            ropes := {p: _rope(r.text) for p, r in node.registers.items() if r.is_text and r.text is not None}
        )
    }


def _rope(text: PlainRope) -> dict[str, Any]:
    return publish_runs(text.runs(), text.highest_seq())
