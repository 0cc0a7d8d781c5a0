"""A replica out of a published snapshot: messages that build the same scene, with the stamps it tells.

A published snapshot says what a node is and who last set each property, not how it came to be.  So:

    nodes      are created at Lamport time 0, in the order that gives the snapshot's root, with their values
    sets       stand at the stamps that `_crdt.lww` tells, so that a set, or an addition, of an earlier time loses
    texts      are typed character by character as `textRopes` tells, hidden characters and anchors too
    removals   stand at the node's last Lamport time

What this loses: where other operations than sets stood (a late `number.multiply` applies after earlier ones), moves (a
late one wins over the move that the snapshot has), where a removed node hung, a node whose parent is missing (it is at
root level), what waited for its node, and undoing what the snapshot has folded.  Who wrote the characters of a plain
string it does not tell either, but the first who types into it does (`Origin.learn`).
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from msgspec.structs import replace

from vuer_rtc.crdt.dtype import TEXT_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op
from vuer_rtc.crdt.node import STRING_PATHS
from vuer_rtc.crdt.text_id import parse_id

from .clock import VectorClock
from .node import ROOT, SceneGraph, SceneNode, note_parents

AUTHOR = "=snapshot"
NOWHERE = "=nowhere"
"""Parent under which a node is created that must not become the root."""

NO_OP = Op("number.add")
"""Has no effect; fills the places of the operations before one whose index matters."""

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
    builder: "Builder | None" = None
    """What made the messages; None for a document that began empty."""
    native: bytes = b""
    """What `Graph.snapshot` made, for a replica that was told everything; empty for one that was not."""

    def learn(self, message: Message, known: Container[str]) -> bool:
        """Learn who wrote a plain string of the snapshot, when the message types into it; true when that is news.

        `known` are the ids of messages beyond the snapshot: what they wrote they wrote themselves.
        """
        if self.builder is None or not self.builder.learn(message, known):
            return False
        self.messages = tuple(self.builder.messages())
        return True

    def graph(self) -> Graph:
        """A new engine with the snapshot in it."""
        graph = Graph.restore(self.native) if self.native else Graph()
        for message in self.messages:
            graph.apply(message)
        return graph

    def holds(self, message: Message) -> bool:
        """True when the snapshot has the message, as far as anybody can tell; a native one tells by itself."""
        if self.native:
            return False
        if message.server_seq and self.head_seq:
            return message.server_seq <= self.head_seq
        return message.counter <= self.clock.get(message.client, 0)


def origin_of(
    graph: SceneGraph, clock: VectorClock, lt: int, ropes: dict[str, dict[str, Any]], head_seq: int = 0
) -> Origin:
    """What a replica of this snapshot begins with."""
    parents = SceneGraph({key: node.copy() for key, node in graph.nodes.items()}, graph.rootKey)
    note_parents(parents.nodes)
    builder = Builder(parents, ropes)
    return Origin(dict(clock), lt, head_seq, tuple(builder.messages()), builder)


class Builder:
    """Messages out of a snapshot, again and again."""

    def __init__(self, graph: SceneGraph, ropes: dict[str, dict[str, Any]]) -> None:
        self._graph = graph
        self._ropes = ropes
        self._writers: dict[tuple[str, str], tuple[str, int]] = {}
        """By node and path, message id and op index of who wrote the plain string there, as far as learned."""
        self._numbers = count(1)

    def learn(self, message: Message, known: Container[str]) -> bool:
        is_news = False
        for op in message.ops:
            if (
                op.ot not in TEXT_OPS
                or (op.key, op.path) in self._writers
                or not self._is_plain(op.key, op.path)
            ):
                continue
            for writer in filter(None, map(writer_of, ids_named(op))):
                if writer[0] not in known and not writer[0].startswith(AUTHOR):
                    self._writers[op.key, op.path] = writer
                    is_news = True
                    break
        return is_news

    def _is_plain(self, key: str, path: str) -> bool:
        """True for a string of the snapshot that is no text."""
        node = self._graph.nodes.get(key)
        is_text = path in self._ropes.get(key, {})
        return node is not None and not is_text and isinstance(node.properties.get(path), str)

    def messages(self) -> Iterator[Message]:
        self._numbers = count(1)
        nodes, root = self._graph.nodes, self._graph.rootKey
        for key in sorted(nodes, key=lambda key: key != root):
            yield from self._creation(nodes[key], root)
        for key, ropes in self._ropes.items():
            for path, rope in ropes.items() if key in nodes else ():
                yield from self._text(key, path, rope)
        for (key, path), writer in self._writers.items():
            if path not in nodes[key].metadata.lww:
                yield self._written(nodes[key], path, writer)
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
            if (node.key, path) in self._writers:
                yield self._written(node, path, self._writers[node.key, path])
            elif path not in texts and value is not None:
                lt, client = (
                    stamp.get("lt", stamp.get("lamportTime", 0)),
                    stamp.get("client", stamp.get("sessionId", "")),
                )
                stamps.setdefault((lt, client), {})[path] = value
        for (lt, client), values in sorted(stamps.items()):
            if lt > 0:
                spread = Op("object.merge", node.key, ".", values)
                yield self._message(client, lt, node.metadata.updatedAt, spread)

    def _written(self, node: SceneNode, path: str, writer: tuple[str, int]) -> Message:
        """The string set by whom it was written: its characters have their ids from that (rule X1)."""
        message_id, index = writer
        stamp = node.metadata.lww.get(path) or {}
        lt, client = (
            stamp.get("lt", stamp.get("lamportTime", 0)),
            stamp.get("client", stamp.get("sessionId", AUTHOR)),
        )
        value = Op("string.set", node.key, path, node.properties[path])
        made = self._message(client, lt, node.metadata.updatedAt, *[NO_OP] * index, value, seq=not lt)
        return replace(made, id=message_id)

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


def ids_named(op: Op) -> Iterator[Any]:
    """The character ids that a text operation names."""
    if type(op.value) is list and op.value:
        yield op.value[0]
    if type(op.rm) is list:
        yield from (text_id for text_id, _ in op.rm)


def writer_of(text_id: Any) -> tuple[str, int] | None:
    """Message id and op index in the id of a plain string's character; None for other characters."""
    parsed = parse_id(text_id)
    if parsed is None or not parsed[0].startswith("=") or parsed[0].startswith("=earlier/"):
        return None
    message_id, _, index = parsed[0][1:].rpartition("/")
    is_fit = message_id and index.isascii() and index.isdigit() and len(index) < 5
    return (message_id, int(index)) if is_fit else None


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
