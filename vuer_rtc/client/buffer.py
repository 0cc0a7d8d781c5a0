"""The edits of one commit to come: additive ones merge, everything else keeps its order.

Merging never changes what a peer sees: only neighbours on one property merge (nothing between them touches it), and the
merged operation is the one that travels, so the sender sees exactly that too.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from vuer_rtc.crdt.dtype import PROPERTY_OPS, SET_OPS, TEXT_OPS
from vuer_rtc.crdt.item import named_key
from vuer_rtc.crdt.message import UNSET, Op
from vuer_rtc.crdt.register import is_spread
from vuer_rtc.crdt.text_id import parse_id
from vuer_rtc.crdt.value import NO_EFFECT

from .optimistic import PENDING

ADDITIVE_OPS = frozenset(
    {"number.add", "number.multiply", "vector3.add", "vector3.multiply", "euler.add", "quaternion.multiply"}
)
"""Two in a row are one: the second applied to the operand of the first."""

TEXT_MERGE_CHARS_MAX = 10_000
"""Longer runs of typing become several operations, so that none outgrows a server's limit."""


class Buffer:
    """Operations in order, and which of them a further one may merge with."""

    def __init__(self, ops: Iterable[Op] = ()) -> None:
        self.ops: list[Op] = []
        self.is_structural = False
        """True when one creates, removes or moves a node."""
        self._last: dict[tuple[str, str], int] = {}
        """By property, the last operation on it alone."""
        self._barriers: dict[str, int] = {}
        """By node, the last operation on more than one property of it."""
        for op in ops:
            self.add(op)

    def __len__(self) -> int:
        return len(self.ops)

    def add(self, op: Op) -> int | None:
        """Take an operation in; the index of the one it merged with, or None."""
        index = len(self.ops)
        if op.ot.startswith("node."):
            self.is_structural = True
            self._bar(named_key(op), index)
        elif is_spread(op):
            self._bar(op.key, index)
        else:
            before = self._last.get((op.key, op.path), -1)
            if before > self._barriers.get(op.key, -1):
                merged = merged_op(self.ops[before], op)
                if merged is not None:
                    self.ops[before] = merged
                    return before
            self._last[op.key, op.path] = index
        self.ops.append(op)
        return None

    def _bar(self, key: str | None, index: int) -> None:
        if key is not None:
            self._barriers[key] = index

    def keys(self) -> set[str]:
        """Keys that the operations name."""
        return {key for op in self.ops for key in (op.key, named_key(op)) if key}

    def ops_on(self, keys: set[str]) -> list[tuple[int, Op]]:
        """The property and text operations on these nodes, with their indices."""
        return [(index, op) for index, op in enumerate(self.ops) if op.key in keys]


def merged_op(first: Op, second: Op) -> Op | None:
    """The one operation that means both, in this order; None when there is none."""
    if first.ot == second.ot and first.ot in ADDITIVE_OPS:
        value = PROPERTY_OPS[first.ot](first.value, second)
        return None if value is NO_EFFECT else replace(first, value=value)
    if first.ot in SET_OPS and second.ot in SET_OPS:
        is_sure = PROPERTY_OPS[second.ot](UNSET, second) is not NO_EFFECT
        is_string = type(second.value) is str
        return second if is_sure and (is_string or second.path not in ("name", "tag")) else None
    if second.ot == "text.insert" and first.ot in ("text.insert", "text.replace"):
        return _typed_on(first, second)
    return None


def _typed_on(first: Op, second: Op) -> Op | None:
    anchor, content = first.value
    begin, following = parse_id(first.id), parse_id(second.id)
    if begin is None or following is None or begin[0] != following[0]:
        return None
    end = begin[1] + len(content)
    joins = following[1] == end and second.value[0] == f"{begin[0]}:{end - 1}"
    if not joins or len(content) + len(second.value[1]) > TEXT_MERGE_CHARS_MAX:
        return None
    return replace(first, value=[anchor, content + second.value[1]])


def named_pending(op: Op, message_id: str) -> Op:
    """The operation with the author of pending characters named, now that the message has an id."""
    if op.ot not in TEXT_OPS:
        return op
    value, rm = op.value, op.rm
    if type(value) is list and type(value[0]) is str and value[0].startswith(PENDING):
        value = [_named(value[0], message_id), value[1]]
    if type(rm) is list and any(text_id.startswith(PENDING) for text_id, _ in rm):
        rm = [[_named(text_id, message_id), length] for text_id, length in rm]
    return op if value is op.value and rm is op.rm else replace(op, value=value, rm=rm)


def _named(text_id: str, message_id: str) -> str:
    return text_id.replace(PENDING, f"={message_id}/", 1) if text_id.startswith(PENDING) else text_id


def isAdditiveOp(ot: str) -> bool:
    """True for operations of which two in a row merge into one."""
    return ot in ADDITIVE_OPS


def mergeValues(ot: str, a: Any, b: Any) -> Any:
    """The operand of the one operation that means two of `ot`, with `a` and then `b`; otherwise `b`."""
    if ot not in ADDITIVE_OPS:
        return b
    merged = PROPERTY_OPS[ot](list(a) if isinstance(a, tuple) else a, Op(ot, value=b))
    return b if merged is NO_EFFECT else merged


is_additive_op = isAdditiveOp
merge_values = mergeValues

__all__ = [
    "Buffer",
    "isAdditiveOp",
    "is_additive_op",
    "mergeValues",
    "merge_values",
    "merged_op",
    "named_pending",
]
