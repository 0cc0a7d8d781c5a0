"""One operation applied to a scene graph, after everything that is in it.

This is what pending edits look like before they are committed, and what `applyOperation` of the published library does.
The replica merges in total order; here an operation simply comes last, save that a set loses to a later stamp.
"""

from collections.abc import Iterable
from typing import Any

from vuer_rtc.crdt.dtype import CREATE_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from vuer_rtc.crdt.item import named_key, target_parent
from vuer_rtc.crdt.message import UNSET, Op
from vuer_rtc.crdt.node import STRING_PATHS, initial_values, is_assignable
from vuer_rtc.crdt.register import is_spread, spread_paths
from vuer_rtc.crdt.value import NO_EFFECT

from .message import OpMeta
from .node import ROOT, CRDTEnvelope, SceneGraph, SceneNode, copied, sorted_children
from .text_draft import TextDraft

PENDING = "=?/"
"""Begins the author of the characters of a string that a pending edit wrote: its message has no id yet."""


CREATED = ""
"""Among the paths a pending edit wrote: that it created the node."""


class Source:
    """What stands behind a scene graph; this is for graphs behind which nothing stands."""

    def draft(self, node: SceneNode, path: str) -> TextDraft | None:
        """The draft of a text or string; None when there is no such property."""
        value = node.properties.get(path)
        return TextDraft(None, value) if isinstance(value, str) else None

    def waiting(self, key: str) -> Iterable[tuple[Op, OpMeta, str]]:
        """Operations on a node that was never there, in order, with the authors of the strings they write."""
        return ()


NO_SOURCE = Source()


def apply_op(
    graph: SceneGraph, op: Op, meta: OpMeta, agent: str = PENDING, source: Source = NO_SOURCE
) -> set[str]:
    """Afterwards the op has had its effect, if it has one; the keys of the nodes it changed.

    Nodes are changed in place.  `agent` is the author of the characters of a string that the op writes.
    """
    if op.ot in PROPERTY_OPS or op.ot in TEXT_OPS:
        node = graph.nodes.get(op.key)
        if node is None:
            graph.waiting.setdefault(op.key, []).append((op, meta, agent))
        elif _apply_property(node, op, meta, agent, source):
            _touch(node, meta)
        return {op.key}
    key = named_key(op) if op.ot.startswith("node.") else None
    if key is None:
        return set()
    if op.ot in CREATE_OPS:
        return _create(graph, op, key, meta, agent, source)
    node = graph.nodes.get(key)
    if node is None:
        return set()
    return _remove(graph, node, meta) if op.ot == "node.remove" else _move(graph, node, op, meta)


def _touch(node: SceneNode, meta: OpMeta) -> None:
    envelope = node.metadata
    envelope.lamportTime = max(envelope.lamportTime, meta.lt)
    envelope.updatedAt = meta.ts


# Properties


def _apply_property(node: SceneNode, op: Op, meta: OpMeta, agent: str, source: Source) -> bool:
    if is_spread(op):
        return any([_assign(node, path, op.value[path], meta, agent, source) for path in spread_paths(op)])
    if op.ot in TEXT_OPS:
        return _apply_text(node, op, meta, source)
    if op.ot in SET_OPS:
        value = PROPERTY_OPS[op.ot](UNSET, op)
        return value is not NO_EFFECT and _assign(node, op.path, value, meta, agent, source)
    if op.path in node.texts:
        return False
    value = PROPERTY_OPS[op.ot](_read(node, op.path), op)
    if value is NO_EFFECT or not is_assignable(op.path, value):
        return False
    _write(node, op.path, value)
    node.written[op.path] = agent
    return True


def _assign(node: SceneNode, path: str, value: Any, meta: OpMeta, agent: str, source: Source) -> bool:
    if not is_assignable(path, value):
        return False
    stamps = node.metadata.lww
    last = stamps.get(path)
    if last is not None and _stamp(last) > (meta.lt, meta.client):
        return False
    stamps[path] = {"lt": meta.lt, "client": meta.client}
    if path in node.texts:
        draft = draft_of(node, path, source)
        if draft is None or not draft.clear(value, agent):
            del node.texts[path]
        else:
            node.texts[path] = draft
    _write(node, path, value)
    node.written[path] = agent
    return True


def _stamp(entry: dict[str, Any]) -> tuple[int, str]:
    lt = entry.get("lt", entry.get("lamportTime", 0))
    return lt, entry.get("client", entry.get("sessionId", ""))


def _read(node: SceneNode, path: str) -> Any:
    return getattr(node, path) if path in STRING_PATHS else node.properties.get(path, UNSET)


def _write(node: SceneNode, path: str, value: Any) -> None:
    if path in STRING_PATHS:
        setattr(node, path, value)
    else:
        node.properties[path] = copied(value)


def draft_of(node: SceneNode, path: str, source: Source = NO_SOURCE) -> TextDraft | None:
    """The draft of a property that is a text or can become one; None for any other value."""
    draft = node.texts.get(path)
    if draft is not None:
        return draft  # type: ignore[no-any-return]
    if path in node.texts:
        return source.draft(node, path)
    value = _read(node, path)
    if path in node.written:
        return TextDraft(None, value, node.written[path]) if isinstance(value, str) else None
    if value is not UNSET and not isinstance(value, str):
        return None
    drawn = None if CREATED in node.written else source.draft(node, path)
    return drawn or TextDraft(None, "" if value is UNSET else value)


def _apply_text(node: SceneNode, op: Op, meta: OpMeta, source: Source) -> bool:
    draft = draft_of(node, op.path, source)
    if draft is None:
        return False
    draft.apply(op, meta.client, meta.ts)
    keep_draft(node, op.path, draft)
    return True


def keep_draft(node: SceneNode, path: str, draft: TextDraft) -> None:
    node.texts[path] = draft
    _write(node, path, draft.visible)


# Structure


def _create(graph: SceneGraph, op: Op, key: str, meta: OpMeta, agent: str, source: Source) -> set[str]:
    old = graph.nodes.get(key)
    if old is not None and not old.is_deleted:
        if op.ot == "node.insert":
            return set()
        if _apply_property(old, op, meta, agent, source):
            _touch(old, meta)
        return {key}
    parent = target_parent(op)
    if is_under(graph, parent, key):
        parent = ROOT
    values: dict[str, Any] = copied(initial_values(op.value))
    values.pop("key", None)
    tag, name = values.pop("tag", ""), values.pop("name", "")
    envelope = CRDTEnvelope(dict(meta.clock), meta.lt, meta.ts, meta.ts)
    node = SceneNode(key, tag, name, [], envelope, values, parent)
    node.written = dict.fromkeys((CREATED, *values, "tag", "name"), agent)
    graph.nodes[key] = node
    if not graph.rootKey and parent == ROOT:
        graph.rootKey = key
    node.children = _waiting_children(graph, key) if old is None else list(old.children)
    _attach(graph, key, parent)
    if old is None:
        for early, its_meta, its_agent in (*source.waiting(key), *graph.waiting.pop(key, ())):
            _apply_property(node, early, its_meta, its_agent, source)
    return {key, parent}


def _waiting_children(graph: SceneGraph, key: str) -> list[str]:
    """Children that named the node before it was there."""
    waiting = {child for child in graph.orphans.get(key, ()) if _is_child(graph, child, key)}
    return sorted_children(waiting, graph.nodes)


def _is_child(graph: SceneGraph, child: str, parent: str) -> bool:
    node = graph.nodes.get(child)
    return node is not None and node.parent == parent and not node.is_deleted


def _attach(graph: SceneGraph, key: str, parent: str) -> None:
    above = graph.nodes.get(parent)
    if above is not None:
        above.children = sorted_children({*above.children, key}, graph.nodes)
    elif parent != ROOT:
        graph.orphans.setdefault(parent, set()).add(key)


def _detach(graph: SceneGraph, node: SceneNode) -> set[str]:
    above = graph.nodes.get(parent_of(graph, node))
    if above is None or node.key not in above.children:
        return set()
    above.children = [key for key in above.children if key != node.key]
    return {above.key}


def _remove(graph: SceneGraph, node: SceneNode, meta: OpMeta) -> set[str]:
    if node.is_deleted:
        return set()
    node.metadata.deletedAt = meta.ts
    _touch(node, meta)
    return {node.key, *_detach(graph, node)}


def _move(graph: SceneGraph, node: SceneNode, op: Op, meta: OpMeta) -> set[str]:
    parent = target_parent(op)
    if is_under(graph, parent, node.key):
        return set()
    changed = {node.key, parent, *_detach(graph, node)}
    node.parent = parent
    if not node.is_deleted:
        _attach(graph, node.key, parent)
    _touch(node, meta)
    return changed


def parent_of(graph: SceneGraph, node: SceneNode) -> str:
    """The node's parent; looked for among all children lists when nobody said."""
    if node.parent is None:
        found = (key for key, other in graph.nodes.items() if node.key in other.children)
        node.parent = next(found, ROOT)
    return node.parent


def is_under(graph: SceneGraph, key: str, ancestor: str) -> bool:
    """True when `key` is `ancestor` or below it; the way passes tombstones and ends at missing nodes (rule T4)."""
    seen: set[str] = set()
    while key != ROOT and key not in seen:
        if key == ancestor:
            return True
        seen.add(key)
        node = graph.nodes.get(key)
        if node is None:
            return False
        key = parent_of(graph, node)
    return False


__all__ = ["NO_SOURCE", "PENDING", "Source", "apply_op", "draft_of", "is_under", "keep_draft"]
