"""What published clients may be sent: a total-order prefix as a graph, and the ops after it that do not break them."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .dtype import CREATE_OPS, META_OPS, PROPERTY_OPS, TEXT_OPS
from .entry import entries_of, keys_of
from .item import END, creates, named_key, new_node, removes, target_parent
from .message import UNSET, Message
from .node import Node, Register, is_reserved, start_register
from .place import Entry, Origin, Placed, Spot
from .property import Life
from .register import is_spread, spread_paths, step
from .replay import TypedText, is_placed_alike, is_written_alike
from .scene import Scene, written_registers
from .text import Text
from .view import metadata, seconds


class Prefix:
    """A scene as it is before `end`; `tail` is everything from there on."""

    def __init__(self, scene: Scene, end: Spot, tail: Iterable[Placed]) -> None:
        self.scene, self.end = scene, end
        self._lives: dict[str, Life | None] = {}
        """Of the keys that the tail is about."""
        self._children: dict[str, set[str]] = {}
        """Of the parents that have others in the prefix than they have now."""
        for key in keys_of(tail):
            if (item := scene.live.get(key)) is not None:
                self._lives[key] = life = item.life_at(end, scene.tree.blocked)
                self._patch(key, item.node, None if life is None else life.node)

    def _patch(self, key: str, now: Node | None, then: Node | None) -> None:
        if now is not None and now.removed is None:
            self._children_copy(now.parent).discard(key)
        if then is not None and then.removed is None:
            self._children_copy(then.parent).add(key)

    def _children_copy(self, parent: str) -> set[str]:
        if parent not in self._children:
            self._children[parent] = set(self.scene.children.get(parent, ()))
        return self._children[parent]

    def is_told(self, key: str) -> bool:
        """True when the tail says something about the key."""
        return key in self._lives

    def life(self, key: str) -> Life | None:
        """The incarnation of a key that the tail is about; not to be changed."""
        return self._lives.get(key)

    def node(self, key: str) -> Node | None:
        if key in self._lives:
            life = self._lives[key]
            return None if life is None else life.node
        return self.scene.node(key)

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """Every key that has a node, with it; the keys that the tail is about come last."""
        lives = self._lives
        for key, node in self.scene.nodes():
            if key not in lives:
                yield key, node
        for key, life in lives.items():
            if life is not None:
                yield key, life.node

    def children(self, key: str) -> list[str]:
        keys = self._children[key] if self.has_other_children(key) else self.scene.children.get(key)
        return sorted(keys, key=self._created) if keys else []

    def has_other_children(self, key: str) -> bool:
        """True when the children of the key may be others than they are now."""
        return key in self._children

    def _created(self, key: str) -> tuple[float, str]:
        node = self.node(key)
        assert node is not None
        return seconds(node.created_at), key

    def register(self, key: str, path: str) -> Register:
        """A new register of a key that the tail is about; blank for none."""
        life, item = self._lives[key], self.scene.live[key]
        assert life is not None
        if (prop := item.properties.get(path)) is not None:
            return prop.fold_until(life, self.end)
        base = life.node.registers.get(path) if life.node.registers is not None else None
        if base is None:
            return start_register(life.node, path)
        return msgspec.structs.replace(base, text=None if base.text is None else Text.decode(base.text))

    def registers(self, key: str) -> dict[str, Register]:
        """The registers of a key that the tail is about, by path."""
        life, item = self._lives[key], self.scene.live[key]
        assert life is not None
        paths = dict.fromkeys(
            ("tag", "name", *life.node.initial, *(life.node.registers or ()), *item.properties)
        )
        found = {path: self.register(key, path) for path in paths if not is_reserved(path)}
        return {path: register for path, register in found.items() if not register.is_blank}


PublishedNode = tuple[dict[str, Any], dict[str, Any]]
"""A node as it travels, and the ropes of its texts."""


def published_state(
    scene: Scene, after: list[Placed], targets: list[set[str]], known: dict[str, PublishedNode]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[Message]]:
    """`{nodes, rootKey}` before the messages of `after`, the ropes of its texts, and what is safe of those messages.

    `after` is the end of the total order; `targets` are those in it on which the meta ops of each count.  `known` are
    nodes that have not changed since they were published, by key; more are added.
    """
    prefix = Prefix(scene, (after[0].place,) if after else END, after)
    graph, ropes = published_graph(prefix, known)
    tail = Tail(prefix)
    for placed in after:
        tail.fold(placed)
    journal = []
    for placed, of_message in zip(after, targets, strict=True):
        fits = [entry[:2] in tail.fitting for entry in entries_of(placed)]
        if (safe := safe_message(placed.message, fits, of_message)) is not None:
            journal.append(safe)
    return graph, ropes, journal


def alike_from(scene: Scene, after: list[Placed]) -> int:
    """The index behind the last message of `after`, the end of the total order, of which a published client would make
    something else than we do, applying them one after the other."""
    tail = Tail(Prefix(scene, (after[0].place,) if after else END, after))
    count = 0
    for number, placed in enumerate(after, 1):
        if not tail.fold(placed):
            count = number
    return count


def published_graph(
    prefix: Prefix, known: dict[str, PublishedNode]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """`{nodes, rootKey}` as it travels in a snapshot (flat, tombstones included), and the ropes of its texts."""
    nodes: dict[str, Any] = {}
    ropes: dict[str, dict[str, Any]] = {}
    for key, node in prefix.nodes():
        is_as_now = not (prefix.is_told(key) or prefix.has_other_children(key))
        published = known.get(key) if is_as_now else None
        if published is None:
            published = _published_node(prefix, key, node)
            if is_as_now:
                known[key] = published
        nodes[key], of_key = published
        if of_key:
            ropes[key] = of_key
    return {"nodes": nodes, "rootKey": prefix.scene.tree.root_before(prefix.end)}, ropes


def _published_node(prefix: Prefix, key: str, node: Node) -> PublishedNode:
    if prefix.is_told(key):
        registers = prefix.registers(key)
    else:
        registers = written_registers(prefix.scene, key, node)
    data = {"tag": "", "name": "", **node.initial}
    ropes = {}
    for path, register in registers.items():
        if register.is_text:
            text = register.text if isinstance(register.text, Text) else Text.decode(register.text)
            data[path], ropes[path] = text.visible(), text.published()
        elif register.value is not UNSET:
            data[path] = register.value
    data["key"], data["children"] = key, prefix.children(key)
    data["_crdt"] = metadata(node, _last_touch(node, registers), registers)
    return data, ropes


def _last_touch(node: Node, registers: dict[str, Register]) -> Origin:
    last = (
        max(node.created, node.placed_by, node.removed or node.created)
        if node.placed or node.removed
        else node.created
    )
    for register in registers.values():
        touched = register.touched
        if touched is not None and touched > last:
            last = touched
    return last


class Tail:
    """The messages after a prefix, folded to learn which ops fit at their places."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix
        self._lives: dict[str, Life | None] = {}
        self._registers: dict[tuple[str, str], Register] = {}
        self._waiting: dict[str, list[Entry]] = {}
        self.fitting: set[Spot] = set()
        """Ops that have an effect at their place or when their node comes, or would if their message counted."""
        self._typed_text = TypedText()
        self._is_alike = True

    def fold(self, placed: Placed) -> bool:
        """Apply the message at its place; false when a published client would make something else of it there."""
        self._is_alike = True
        made: set[str] = set()
        for entry in entries_of(placed):
            op = entry[2]
            if op.ot in PROPERTY_OPS or op.ot in TEXT_OPS:
                if self._life(op.key) is None and op.key not in ("", "."):
                    self._waiting_of(op.key).append(entry)
                    fits = placed.is_undone and op.key in made
                else:
                    fits = self._write(entry)
            elif op.ot in META_OPS or (key := named_key(op)) is None:
                fits = False
            else:
                fits = self._structure(key, entry)
                if fits and op.ot in CREATE_OPS:
                    made.add(key)
            if fits:
                self.fitting.add(entry[:2])
        return self._is_alike

    def _life(self, key: str) -> Life | None:
        if key not in self._lives:
            life = self._prefix.life(key)
            self._lives[key] = (
                None
                if life is None
                else msgspec.structs.replace(life, node=msgspec.structs.replace(life.node))
            )
        return self._lives[key]

    def _waiting_of(self, key: str) -> list[Entry]:
        if key not in self._waiting:
            item = self._prefix.scene.live[key]
            entries = {entry[:2]: entry for prop in item.properties.values() for entry in prop.log
                       if entry < self._prefix.end}  # fmt: skip
            self._waiting[key] = [entries[spot] for spot in sorted(entries)]
        return self._waiting[key]

    def _write(self, entry: Entry) -> bool:
        op = entry[2]
        if is_spread(op):
            return any([self._step(path, op.key, entry) for path in spread_paths(op)])
        return not is_reserved(op.path) and self._step(op.path, op.key, entry)

    def _node(self, key: str) -> Node | None:
        """As it is now, whether the tail is about it or not."""
        if not self._prefix.is_told(key):
            return self._prefix.node(key)
        life = self._life(key)
        return None if life is None else life.node

    def _step(self, path: str, key: str, entry: Entry) -> bool:
        life = self._life(key)
        if life is None:
            return False
        register = self._registers.get((key, path))
        if register is None:
            is_old = life.since is None or life.since < self._prefix.end
            register = self._prefix.register(key, path) if is_old else start_register(life.node, path)
            self._registers[key, path] = register
        is_alike = is_written_alike(entry, path, register) and self._typed_text.is_typed_alike(entry)
        fits = step(register, entry, path, life.floor)
        self._is_alike &= is_alike or not fits
        return fits

    def _structure(self, key: str, entry: Entry) -> bool:
        node, parent = self._node(key), self._node(target_parent(entry[2]))
        is_alike = is_placed_alike(entry, node, parent)
        fits = self._place(key, entry)
        self._is_alike &= is_alike or not fits
        return fits

    def _place(self, key: str, entry: Entry) -> bool:
        op, placed = entry[2], entry[3]
        life = self._life(key)
        is_blocked = entry[:2] in self._prefix.scene.tree.blocked
        if op.ot == "node.move":
            if life is None or is_blocked:
                return False
            if not placed.is_undone:
                life.node.parent = target_parent(op)
            return True
        if op.ot == "node.remove":
            if life is None or not removes(life.node, entry):
                return False
            if not placed.is_undone:
                life.node.removed = placed.origin
            return True
        if not creates(life, entry):
            return op.ot != "node.insert" and life is not None and life.node.removed is None and any(
                [self._step(path, key, entry) for path in spread_paths(op)]
            )  # fmt: skip
        self._is_alike &= not is_blocked  # then it is at root level here
        if not placed.is_undone:
            self._create(key, entry, life)
        return True

    def _create(self, key: str, entry: Entry, life: Life | None) -> None:
        waiting = self._waiting_of(key) if life is None else []
        self._lives[key] = Life(new_node(entry, life is not None, False), entry[:2])
        self._registers = {spot: register for spot, register in self._registers.items() if spot[0] != key}
        for known in waiting:
            if self._write(known) and not known[3].is_undone:
                self.fitting.add(known[:2])
                self._is_alike = False  # a published client has forgotten it


def safe_message(message: Message, fits: list[bool], targets: set[str]) -> Message | None:
    """The message with the ops that fit, and its meta ops on `targets`; None when nothing is left."""
    if all(fits):
        return message
    ops = [op for op, fit in zip(message.ops, fits, strict=True)
           if fit or (op.ot in META_OPS and type(op.target) is str and op.target in targets)]  # fmt: skip
    if not ops:
        return None
    return message if len(ops) == len(message.ops) else msgspec.structs.replace(message, ops=ops)
