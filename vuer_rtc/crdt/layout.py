"""What a replica knows, as plain JSON for the digest of everything and as msgpack for snapshots (rules K5, D2).

The layout for the digest is a function of the messages alone; that of snapshots is made for speed: Structs that msgspec
writes and reads by itself.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from .item import Item
from .message import UNSET, Epoch, Message
from .node import Node, Register, is_reserved
from .place import Entry, Placed, placed_at
from .register import is_spread
from .scene import Scene, rows_of, written_registers
from .undo import Meta

FORMAT = 2
"""Version of the snapshot layout."""

Json = Any


class SnapshotError(ValueError):
    """The bytes are not a snapshot of a format that this version reads."""


class Waiting(msgspec.Struct, gc=False, array_like=True):
    """Ops of one folded message that wait for their nodes."""

    message: Message
    """With no other ops than these."""
    indices: list[int]
    """Their places in the message as it was."""
    is_undone: bool
    cut: int | None
    """The cut it was late for; None: it was not."""

    def placed(self) -> Placed:
        placed = placed_at(self.message, -1 if self.cut is None else self.cut)
        placed.is_undone, placed.is_folded = self.is_undone, True
        return placed


class Content(msgspec.Struct, gc=False, kw_only=True):
    """A snapshot.  `seen` and `metas` as `Seen` and `Undo` have them."""

    format: int
    head: int
    cut: int
    epoch: Epoch = Epoch()
    lt: int
    clock: dict[str, int]
    seen: dict[str, list[list[int]]]
    root: str
    waiting: list[Waiting]
    metas: dict[str, list[Meta]]
    spent: dict[str, int]
    nodes: dict[str, Node]
    """The last field, so that its entries can be written a few at a time."""


_decoder = msgspec.msgpack.Decoder(Content)
_encoder = msgspec.msgpack.Encoder()


def encode_content(content: Content) -> bytes:
    return _encoder.encode(content)


def encode_parts(content: Content, nodes_max: int) -> Iterator[bytes]:
    """`encode_content`, up to how long the map of nodes says it is, at most `nodes_max` nodes at a time.

    All but the nodes is read for the first part; the nodes there were then are read as the parts are taken.
    """
    nodes, keys = content.nodes, list(content.nodes)
    beside = _encoder.encode(msgspec.structs.replace(content, nodes={}))
    yield beside[:-1] + b"\xdf" + len(keys).to_bytes(4, "big")  # a map of 32-bit length for the empty one
    for start in range(0, len(keys), nodes_max):
        some = {key: nodes[key] for key in keys[start : start + nodes_max]}
        yield _encoder.encode(some)[1 if len(some) < 16 else 3 if len(some) < 1 << 16 else 5 :]


def decode_content(data: bytes) -> Content:
    """Raises: SnapshotError."""
    try:
        content = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    if content.format != FORMAT:
        raise SnapshotError(f"format {content.format} is not {FORMAT}")
    return content


def scene_layout(scene: Scene) -> dict[str, Json]:
    """Everything of a scene that later merges may depend on, as plain JSON:

    state     {root, nodes: {key: node}, waiting: {key: [waiting…]}}
    node      {parent, created: touch, placed: touch, clock, floor?: stamp, removed?: touch, dated?: ts,
               registers: {path: register}}
    register  {value?, writer: [message id, op index], stamp?, touched?, text?: rows, is_text?: true}
    touch     [lt, client, id, ts]
    stamp     [lt, client, id]
    waiting   [message with that one op, op index, is_undone, is_late]
    """
    nodes = {key: _node_layout(scene, key, node) for key, node in list(scene.nodes())}
    missing = ((key, waiting_entries(item)) for key, item in scene.live.items() if item.life is None)
    waiting = {key: _waiting_layout(entries) for key, entries in missing if entries}
    return {"root": scene.tree.root(), "nodes": nodes, "waiting": waiting}


def _node_layout(scene: Scene, key: str, node: Node) -> dict[str, Json]:
    writer = [node.created[2], node.index]
    registers: dict[str, Json] = {
        "tag": {"writer": writer, "value": ""},
        "name": {"writer": writer, "value": ""},
    }
    for path, value in node.initial.items():
        if path != "key":
            registers[path] = {"writer": writer, "value": value}
    for path, register in written_registers(scene, key, node).items():
        registers[path] = _register_layout(register)
    data: dict[str, Json] = {
        "parent": node.parent,
        "created": node.created,
        "placed": node.placed_by,
        "clock": node.clock,
        "registers": registers,
    }
    if node.is_again:
        data["floor"] = node.created[:3]
    if node.removed is not None:
        data["removed"] = node.removed
    if node.dated is not None:
        data["dated"] = node.dated
    return data


def _register_layout(register: Register) -> dict[str, Json]:
    data: dict[str, Json] = {"writer": [register.writer[2] if register.writer else "", register.index]}
    if register.value is not UNSET:
        data["value"] = register.value
    if register.stamp is not None:
        data["stamp"] = register.stamp[:3]
    if register.touched is not None:
        data["touched"] = register.touched
    if register.text is not None:
        data["text"] = rows_of(register.text)
    if register.is_text:
        data["is_text"] = True
    return data


def waiting_entries(item: Item) -> list[Entry]:
    """Property and text ops on a key, each once, in total order: they wait while there is no node (rule P2)."""
    entries = (entry for path, prop in item.properties.items() for entry in prop.log
               if is_reserved(path) or not is_spread(entry[2]))  # fmt: skip
    return sorted(entries, key=lambda entry: entry[:2])


def _waiting_layout(entries: list[Entry]) -> list[Json]:
    return [
        [
            msgspec.to_builtins(msgspec.structs.replace(placed.message, ops=[op])),
            index,
            placed.is_undone,
            placed.is_late,
        ]
        for _, index, op, placed in entries
    ]


def waiting_records(scene: Scene) -> list[Waiting]:
    """The folded ones of the waiting ops, by message, in total order."""
    missing = (item for item in scene.live.values() if item.base is None and _has_folded(item))
    entries = [entry for item in missing for entry in waiting_entries(item) if entry[3].is_folded]
    by_place: dict[Any, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry[:2]):
        by_place.setdefault(entry[0], []).append(entry)
    return [_waiting_record(of_message) for of_message in by_place.values()]


def _has_folded(item: Item) -> bool:
    """True when folded ops wait for the key: in each log they come first."""
    return any(prop.log and prop.log[0][3].is_folded for prop in item.properties.values())


def _waiting_record(entries: list[Entry]) -> Waiting:
    placed = entries[0][3]
    message = msgspec.structs.replace(placed.message, ops=[entry[2] for entry in entries])
    cut = int(placed.place[0]) if placed.is_late else None
    return Waiting(message, [entry[1] for entry in entries], placed.is_undone, cut)
