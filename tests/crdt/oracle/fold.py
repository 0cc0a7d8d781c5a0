"""The fold: what a sequence of messages in total order means.  Obvious and slow on purpose; MERGE.md is its prose.

`State` is everything the fold has built so far; `fold` adds messages to it, in total order, and says of each op whether
it had an effect at its place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vuer_rtc.crdt.dtype import CREATE_OPS, META_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from vuer_rtc.crdt.message import UNSET, Message, Op, Stamp
from vuer_rtc.crdt.value import NO_EFFECT, is_number

from .rope import PlainRope, parse_id

ROOT = ""
"""Parent of the nodes at root level; on the wire `""` or `"."`."""
STRING_PATHS = frozenset({"name", "tag"})
RESERVED_PATHS = frozenset({"", ".", "key", "children", "_crdt", "__proto__"})

Touch = tuple[Stamp, int | float]
"""Stamp and raw `ts` of the message that last had an effect."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A message at its place in total order."""

    message: Message
    is_undone: bool = False
    is_late: bool = False
    first_index: int = 0
    """Index in its message of the first op held; a waiting op read from a snapshot is held alone."""

    def op(self, index: int) -> Op:
        return self.message.ops[index - self.first_index]

    @property
    def touch(self) -> Touch:
        return (self.message.stamp, self.message.ts)


@dataclass(slots=True)
class Register:
    """One property of one incarnation of a node."""

    value: Any = UNSET
    """The plain value; `UNSET` while there is none or while the property is a text."""
    writer: tuple[str, int] = ("", 0)
    """Message id and op index that last wrote the plain value: its characters' ids if it becomes a text (rule X1)."""
    stamp: Stamp | None = None
    """Own stamp of the last effective set; what a late set is compared with (rule K3)."""
    touched: Touch | None = None
    text: PlainRope | None = None
    """Characters and their places, hidden ones included; may exist (from undone ops) while `is_text` is false."""
    is_text: bool = False

    @property
    def visible(self) -> Any:
        return self.text.visible() if self.is_text and self.text is not None else self.value


@dataclass(slots=True)
class Node:
    """One incarnation of a node."""

    key: str
    parent: str
    created: Touch
    placed: Touch
    """The creating insert, or the last move that took effect."""
    clock: dict[str, int]
    floor: Stamp | None = None
    """Creation stamp of a second or later incarnation: late sets below it belong to the one before (rule K3)."""
    removed: Touch | None = None
    registers: dict[str, Register] = field(default_factory=dict)
    dated: int | float | None = None
    """The createdAt that the server gave it; None: the `ts` of the creating message."""

    @property
    def created_at(self) -> int | float:
        return self.created[1] if self.dated is None else self.dated

    @property
    def touched(self) -> Touch:
        touches = [self.created, self.placed, *(r.touched for r in self.registers.values() if r.touched)]
        return max([*touches, self.removed] if self.removed else touches)


@dataclass(slots=True)
class State:
    """The fold so far."""

    nodes: dict[str, Node] = field(default_factory=dict)
    waiting: dict[str, list[tuple[Placed, int]]] = field(default_factory=dict)
    """Property and text ops before their node's first insert, by node key, in total order (rule P2)."""
    root_key: str = ROOT
    late_effects: set[tuple[str, int]] = field(default_factory=set)
    """Message id and op index of waiting ops that had an effect when their node came."""


def fold(state: State, messages: Iterable[Placed]) -> list[list[bool]]:
    """Apply `messages` (in total order, after everything in `state`); per message and op, whether it had an effect.

    A waiting op has it when its node comes.
    """
    placed = list(messages)
    effects = [[_apply(state, p, index) for index in range(len(p.message.ops))] for p in placed]
    return [
        [effect or (p.message.id, index) in state.late_effects for index, effect in enumerate(of_message)]
        for p, of_message in zip(placed, effects, strict=True)
    ]


def _apply(state: State, placed: Placed, index: int) -> bool:
    op = placed.op(index)
    if op.ot in TEXT_OPS or op.ot in PROPERTY_OPS:
        return _apply_property(state, placed, index)
    if placed.is_undone or op.ot in META_OPS:
        return False
    if op.ot in CREATE_OPS:
        return _create(state, placed, index)
    if op.ot == "node.remove":
        return _remove(state, op.value, placed)
    if op.ot == "node.move":
        return _move(state, op.value, placed)
    return False


# Properties


def _apply_property(state: State, placed: Placed, index: int) -> bool:
    op = placed.op(index)
    node = state.nodes.get(op.key)
    if node is None:
        if op.key not in ("", "."):
            state.waiting.setdefault(op.key, []).append((placed, index))
        return False
    if op.ot == "object.merge" and op.path in ("", "."):
        if placed.is_undone or type(op.value) is not dict:
            return False
        return any([_assign(node, path, value, placed, index) for path, value in op.value.items()])
    if is_reserved(op.path):
        return False
    if op.ot in SET_OPS:
        value = PROPERTY_OPS[op.ot](UNSET, op)
        return not placed.is_undone and _assign(node, op.path, value, placed, index)
    register = node.registers.get(op.path) or Register()
    write = _apply_text if op.ot in TEXT_OPS else _modify
    had_effect = write(register, placed, index)
    if had_effect or register.text is not None:
        node.registers[op.path] = register
    return had_effect


def _modify(register: Register, placed: Placed, index: int) -> bool:
    op = placed.op(index)
    if placed.is_undone or register.is_text:
        return False
    value = PROPERTY_OPS[op.ot](register.value, op)
    if value is NO_EFFECT or (op.path in STRING_PATHS and type(value) is not str):
        return False
    register.value, register.writer, register.touched = (
        value,
        (placed.message.id, index),
        _later(register, placed),
    )
    return True


def _assign(node: Node, path: str, value: Any, placed: Placed, index: int) -> bool:
    """Set one property; over a text, hide its characters and add those of a string (rule X2)."""
    if value is NO_EFFECT or is_reserved(path) or (path in STRING_PATHS and type(value) is not str):
        return False
    register = node.registers.get(path) or Register()
    newer = max((s for s in (register.stamp, node.floor) if s is not None), default=None)
    if placed.is_late and newer is not None and newer > placed.message.stamp:
        return False
    node.registers[path] = register
    register.stamp, register.writer = placed.message.stamp, (placed.message.id, index)
    register.touched = _later(register, placed)
    if register.is_text and register.text is not None:
        register.text.hide_all()
        if type(value) is str:
            register.text.place(f"={placed.message.id}/{index}", 0, value, None, 0, 0)
            return True
        register.is_text = False
    register.value = value
    return True


def _later(register: Register, placed: Placed) -> Touch:
    return max(register.touched, placed.touch) if register.touched else placed.touch


# Text


def _apply_text(register: Register, placed: Placed, index: int) -> bool:
    """One text op; of an undone one only the places of its characters remain (rule X6)."""
    op, client = placed.op(index), placed.message.client
    if not register.is_text and not (register.value is UNSET or type(register.value) is str):
        return False
    text = register.text or PlainRope()
    plain = None if register.is_text or register.value is UNSET else register.value
    implicit = f"={register.writer[0]}/{register.writer[1]}"
    is_shadow = bool(plain) and not text.has(implicit, 0)
    if is_shadow:
        text.place(implicit, 0, plain, None, 0, 0, is_counted=False)
    counts = not placed.is_undone
    if op.ot == "text.init":
        done = _init(text, op, placed, counts) or (counts and not register.is_text)
    else:
        removes = op.ot in ("text.delete", "text.replace") and text.delete(op.rm, dry=not counts)
        inserts = op.ot in ("text.insert", "text.replace") and _insert(text, op, client, counts)
        done = inserts or (removes and counts)
    if not done:
        if is_shadow:
            text.unplace(implicit)
        return False
    register.text = text
    if counts:
        if plain is not None:
            text.count(implicit)
        register.value, register.is_text, register.touched = UNSET, True, _later(register, placed)
    return counts


def _init(text: PlainRope, op: Op, placed: Placed, counts: bool) -> bool:
    client = placed.message.client
    if type(op.value) is not str or not op.value or text.has_counted(client):
        return False
    text.place(client, 0, op.value, None, text.highest_seq() + 1, placed.message.ts, is_counted=counts)
    return True


def _insert(text: PlainRope, op: Op, client: str, counts: bool) -> bool:
    claim = text_insert(op, client)
    if claim is None:
        return False
    agent, number, anchor, content = claim
    where = None if anchor is None else text.latest(anchor)
    if anchor is not None and where is None:
        return False
    text.place(agent, number, content, where, op.seq, op.ts, is_counted=counts)
    return True


def text_insert(op: Op, client: str) -> tuple[str, int, str | None, str] | None:
    """Agent, first number, anchor id and content of a well-formed insert by `client`; None otherwise."""
    parsed = parse_id(op.id)
    value = op.value
    if parsed is None or parsed[0] != client or not is_number(op.seq) or not is_number(op.ts):
        return None
    if type(value) is not list or len(value) != 2 or type(value[1]) is not str or not value[1]:
        return None
    if value[0] is not None and type(value[0]) is not str:
        return None
    return parsed[0], parsed[1], value[0], value[1]


# Structure


def _create(state: State, placed: Placed, index: int) -> bool:
    op = placed.op(index)
    value = op.value
    key = value.get("key") if type(value) is dict else None
    if type(key) is not str or key in ("", "."):
        return False
    old = state.nodes.get(key)
    if old is not None and old.removed is None:
        if op.ot == "node.insert":
            return False
        return any([_assign(old, path, member, placed, index) for path, member in value.items()])
    if (
        old is not None
        and old.removed is not None
        and placed.is_late
        and old.removed[0] > placed.message.stamp
    ):
        return False
    parent = normal_parent(op.key)
    if parent is None or _is_under(state, parent, key):
        parent = ROOT
    state.nodes[key] = _incarnation(key, parent, value, placed, index, old is not None)
    if not state.root_key and parent == ROOT:
        state.root_key = key
    for waiting, waiting_index in state.waiting.pop(key, []):
        if _apply_property(state, waiting, waiting_index):
            state.late_effects.add((waiting.message.id, waiting_index))
    return True


def _incarnation(
    key: str, parent: str, value: dict[str, Any], placed: Placed, index: int, again: bool
) -> Node:
    message = placed.message
    node = Node(
        key, parent, placed.touch, placed.touch, dict(message.clock), message.stamp if again else None
    )
    for path, member in {"tag": "", "name": "", **value}.items():
        if not is_reserved(path):
            is_fit = path not in STRING_PATHS or type(member) is str
            node.registers[path] = Register(member if is_fit else "", (message.id, index))
    dated = placed.op(index).ts
    node.dated = dated if is_number(dated) else None
    return node


def _remove(state: State, key: Any, placed: Placed) -> bool:
    node = state.nodes.get(key) if type(key) is str else None
    if node is None or node.removed or (placed.is_late and node.created[0] > placed.message.stamp):
        return False
    node.removed = placed.touch
    return True


def _move(state: State, value: Any, placed: Placed) -> bool:
    if type(value) is not dict or type(value.get("nodeKey")) is not str:
        return False
    node, parent = state.nodes.get(value["nodeKey"]), normal_parent(value.get("newParent"))
    if node is None or parent is None or _is_under(state, parent, node.key):
        return False
    if placed.is_late and node.placed[0] > placed.message.stamp:
        return False
    node.parent, node.placed = parent, placed.touch
    return True


def normal_parent(key: Any) -> str | None:
    """The parent a key names: root level for `""` and `"."`; None for what is not a key."""
    return (ROOT if key == "." else key) if type(key) is str else None


def is_reserved(path: str) -> bool:
    return path in RESERVED_PATHS or path.startswith("_textCrdt.")


def _is_under(state: State, key: str, ancestor: str) -> bool:
    """True when `key` is `ancestor` or below it; passes through tombstones, ends at missing nodes (rule T4)."""
    return any(step == ancestor for step in _upwards(state, key))


def _upwards(state: State, key: str) -> Iterator[str]:
    while key != ROOT:
        yield key
        if key not in state.nodes:
            return
        key = state.nodes[key].parent
