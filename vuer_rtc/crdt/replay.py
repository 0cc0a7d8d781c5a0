"""Which ops a published client applies otherwise than we do, even in total order (docs/differences.md)."""

from collections.abc import Iterable

from .dtype import CREATE_OPS, PROPERTY_OPS, TEXT_OPS
from .item import target_parent
from .message import UNSET, Message, Op
from .node import ROOT, STRING_PATHS, Node, Register, normal_parent
from .place import Entry
from .text_id import parse_id, parse_insert

UNKNOWN_OPS = frozenset({"node.upsert", "node.inset", "array.move"})
"""Published clients ignore these."""


def may_be_read_otherwise(message: Message) -> bool:
    """True when what a published client makes of the message may hang on where it stands, or differs anywhere.  What is
    seen without looking at the document; texts and second incarnations are not."""
    return any(
        op.ot in UNKNOWN_OPS
        or op.ot in ("node.move", "node.remove")
        or (op.ot in PROPERTY_OPS and not STRING_PATHS.isdisjoint([op.path, *_spread_names(op)]))
        for op in message.ops
    )


def _spread_names(op: Op) -> Iterable[str]:
    return op.value if op.path in ("", ".") and type(op.value) is dict else ()


def is_written_alike(entry: Entry, path: str, register: Register) -> bool:
    """False when the op at this path, before it is applied to the register, makes something else of it there."""
    ot = entry[2].ot
    if path in STRING_PATHS or ot in UNKNOWN_OPS:
        return False
    if ot not in TEXT_OPS:
        return not register.is_text
    if register.is_text:
        return ot != "text.init"
    return register.value is UNSET or register.value == ""


def is_placed_alike(entry: Entry, node: Node | None, parent: Node | None) -> bool:
    """False when what a structural op that fits does to its node, and to the parent it names, differs.

    `node` and `parent` are as before the op.
    """
    op = entry[2]
    if op.ot in UNKNOWN_OPS:
        return False
    if op.ot in CREATE_OPS:
        return node is None and (target_parent(op) == ROOT or is_there(parent))
    if node is None or node.removed is not None or (normal_parent(op.key) or ROOT) != node.parent:
        return False
    return op.ot == "node.remove" or is_there(parent)


def is_there(node: Node | None) -> bool:
    return node is not None and node.removed is None


class TypedText:
    """Characters typed so far.  A published client puts what hangs on those of an undone message at the start
    (rule X6), and knows one character of an id (rule X4)."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[str, str], list[tuple[str, int, int, bool]]] = {}

    def is_typed_alike(self, entry: Entry) -> bool:
        """Note what a text op types; false when it hangs on such characters, or uses ids again."""
        op, placed = entry[2], entry[3]
        claim = parse_insert(op, placed.message.client) if op.ot in ("text.insert", "text.replace") else None
        if claim is None:
            return True
        number, anchor, content = claim
        agent, end = op.id.rpartition(":")[0], number + len(content)
        ranges = self._ranges.setdefault((op.key, op.path), [])
        is_new = not any(name == agent and first < end and number < last for name, first, last, _ in ranges)
        below = parse_id(anchor)
        hangs_well = below is None or not any(
            is_undone and name == below[0] and first <= below[1] < last
            for name, first, last, is_undone in ranges
        )
        ranges.append((agent, number, end, placed.is_undone))
        return is_new and (hangs_well or placed.is_undone)
