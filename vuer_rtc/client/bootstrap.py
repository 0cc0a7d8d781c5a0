"""A replica out of a published snapshot: messages that build the same scene, with the stamps it tells.

A published snapshot says what a node is and who last set each property, not how it came to be.  So:

    nodes      are created at Lamport time 0, in the order that gives the snapshot's root, with their values
    sets       stand at the stamps that `_crdt.lww` tells, so that a set, or an addition, of an earlier time loses
    texts      are typed character by character as `textRopes` tells, hidden characters and anchors too
    removals   stand at the node's last Lamport time

What this loses: where other operations than sets stood (a late `number.multiply` applies after earlier ones), moves (a
late one wins over the move that the snapshot has), where a removed node hung, a node whose parent is missing (it is at
root level), who wrote the characters of a plain string (typing that travels names them), what waited for its node, and
undoing what the snapshot has folded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op
from vuer_rtc.crdt.node import STRING_PATHS
from vuer_rtc.crdt.text_id import parse_id

from .clock import VectorClock
from .node import ROOT, SceneGraph, SceneNode, note_parents

AUTHOR = "=snapshot"
NOWHERE = "=nowhere"
"""Parent under which a node is created that must not become the root."""

Item = dict[str, Any]


@dataclass
class Origin:
    """What a replica begins with."""

    clock: VectorClock = field(default_factory=dict)
    """What the snapshot, or the messages that came with it, have seen."""
    lt: int = 0
    head_seq: int = 0
    """Sequence of the document that the snapshot is of; 0: nobody said."""
    messages: tuple[Message, ...] = ()

    def graph(self) -> Graph:
        """A new engine with the snapshot in it."""
        graph = Graph()
        for message in self.messages:
            graph.apply(message)
        return graph

    def holds(self, message: Message) -> bool:
        """True when the snapshot has the message, as far as anybody can tell."""
        if message.server_seq and self.head_seq:
            return message.server_seq <= self.head_seq
        return message.counter <= self.clock.get(message.client, 0)


def origin_of(
    graph: SceneGraph, clock: VectorClock, lt: int, ropes: dict[str, dict[str, Any]], head_seq: int = 0
) -> Origin:
    """What a replica of this snapshot begins with."""
    parents = SceneGraph({key: node.copy() for key, node in graph.nodes.items()}, graph.rootKey)
    note_parents(parents.nodes)
    builder = _Builder(parents, ropes)
    return Origin(dict(clock), lt, head_seq, tuple(builder.messages()))


class _Builder:
    def __init__(self, graph: SceneGraph, ropes: dict[str, dict[str, Any]]) -> None:
        self._graph = graph
        self._ropes = ropes
        self._numbers = count(1)

    def messages(self) -> Iterator[Message]:
        nodes, root = self._graph.nodes, self._graph.rootKey
        for key in sorted(nodes, key=lambda key: key != root):
            yield from self._creation(nodes[key], root)
        for key, ropes in self._ropes.items():
            for path, rope in ropes.items() if key in nodes else ():
                yield from self._text(key, path, rope)
        for node in nodes.values():
            yield from self._sets(node)
            if node.is_deleted:
                yield self._removal(node)

    def _first(self, client: str, ts: float, *ops: Op, clock: VectorClock | None = None) -> Message:
        """A message before everything that a client sends: they stand in the order they are made."""
        return self._message(client, 0, ts, *ops, clock=clock, seq=True)

    def _message(
        self, client: str, lt: int, ts: float, *ops: Op, clock: VectorClock | None = None, seq: bool = False
    ) -> Message:
        number = next(self._numbers)
        counted = {**(clock or {}), client: -number}
        return Message(
            f"{AUTHOR}/{number}", client, counted, lt, ts, list(ops), server_seq=number if seq else 0
        )

    def _creation(self, node: SceneNode, root: str) -> Iterator[Message]:
        texts = self._ropes.get(node.key, {})
        properties = {path: value for path, value in node.properties.items() if path not in texts}
        value = {"key": node.key, "tag": node.tag, "name": node.name, **properties}
        parent = node.parent or ROOT
        begin = ROOT if node.key == root else NOWHERE if parent == ROOT and not root else parent
        envelope = node.metadata
        create = Op("node.insert", begin, "children", value)
        yield self._first(AUTHOR, envelope.createdAt, create, clock=envelope.clock)
        if begin != parent:
            place = Op("node.move", begin, "children", {"nodeKey": node.key, "newParent": parent})
            yield self._first(AUTHOR, envelope.createdAt, place)

    def _sets(self, node: SceneNode) -> Iterator[Message]:
        stamps: dict[tuple[int, str], dict[str, Any]] = {}
        texts = self._ropes.get(node.key, {})
        for path, stamp in node.metadata.lww.items():
            value = getattr(node, path) if path in STRING_PATHS else node.properties.get(path)
            if path not in texts and value is not None:
                lt, client = (
                    stamp.get("lt", stamp.get("lamportTime", 0)),
                    stamp.get("client", stamp.get("sessionId", "")),
                )
                stamps.setdefault((lt, client), {})[path] = value
        for (lt, client), values in sorted(stamps.items()):
            if lt > 0:
                spread = Op("object.merge", node.key, ".", values)
                yield self._message(client, lt, node.metadata.updatedAt, spread)

    def _removal(self, node: SceneNode) -> Message:
        envelope = node.metadata
        remove = Op("node.remove", node.parent or ROOT, "children", node.key)
        lt = max(envelope.lamportTime, 1)
        return self._message(AUTHOR, lt, envelope.deletedAt or envelope.updatedAt, remove)

    def _text(self, key: str, path: str, rope: dict[str, Any]) -> Iterator[Message]:
        yield self._first(AUTHOR, 0, Op("text.init", key, path))
        hidden: list[list[Any]] = []
        for item in items_of(rope):
            parsed = parse_id(item["id"])
            if parsed is None or not item["content"]:
                continue
            value = [item["anchor"], item["content"]]
            typed = Op("text.insert", key, path, value, id=item["id"], seq=item["seq"], ts=item["ts"])
            yield self._first(parsed[0], item["ts"], typed)
            if item["deleted"]:
                hidden.append([item["id"], len(item["content"])])
        if hidden:
            yield self._first(AUTHOR, 0, Op("text.delete", key, path, rm=hidden))


def items_of(rope: dict[str, Any]) -> Iterator[Item]:
    """The spans of a serialised rope in document order, in one naming; of the lossy form too."""
    if "raw" in rope:
        for text_id, content, anchor, seq, ts in rope["raw"][3]:
            yield {
                "id": text_id,
                "content": content,
                "anchor": anchor,
                "seq": seq,
                "ts": ts,
                "deleted": False,
            }
        return
    tree = rope.get("_tree") or {}
    for item in _leaves(tree.get("root", tree)):
        yield {
            "id": _text_id(item["id"]),
            "content": item.get("content", ""),
            "anchor": _text_id(item.get("anchor", item.get("parent_id"))),
            "seq": item.get("seq", 0),
            "ts": item.get("ts", 0),
            "deleted": bool(item.get("isDeleted", item.get("is_deleted", False))),
        }


def _leaves(node: dict[str, Any]) -> Iterator[Item]:
    if "children" in node:
        for child in node["children"]:
            yield from _leaves(child)
    yield from node.get("items", ())


def _text_id(value: Any) -> Any:
    """A character id; older ropes have `{agent, seq}`."""
    return f"{value['agent']}:{value['seq']}" if isinstance(value, dict) else value


__all__ = ["Origin", "items_of", "origin_of"]
