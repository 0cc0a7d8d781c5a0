"""What one op does to one register at its place (rules P1 to P5, X1 to X6)."""

from typing import Any

from .dtype import CREATE_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from .message import UNSET, Op
from .node import STRING_PATHS, Register, is_assignable
from .place import Entry, Origin, Placed
from .text import Text
from .text_id import parse_insert
from .value import NO_EFFECT


def step(register: Register, entry: Entry, path: str, floor: Origin | None) -> bool:
    """Apply the op to the register at `path`; true when it fits there.  It has an effect when it also counts.

    An op that does not fit changes nothing; an undone one leaves at most places of characters.
    """
    _, index, op, placed = entry
    ot = op.ot
    if ot in SET_OPS or is_spread(op):
        value = operand(op, path)
        return value is not NO_EFFECT and _assign(register, value, placed, index, floor)
    if ot in TEXT_OPS:
        return _edit(register, entry)
    if register.is_text:
        return False
    value = PROPERTY_OPS[ot](register.value, op)
    if value is NO_EFFECT or (path in STRING_PATHS and type(value) is not str):
        return False
    if not placed.is_undone:
        write(register, value, placed.origin, index)
    return True


def write(register: Register, value: Any, origin: Origin, index: int) -> None:
    """Afterwards it holds what op `index` of that message has made of its value."""
    if register.is_set and register.setter is None:
        register.setter = register.writer
    touch(register, origin)
    register.value, register.writer, register.index = value, origin, index


def is_spread(op: Op) -> bool:
    """True for an op that sets several properties at once (rules P4, T2)."""
    return op.ot in CREATE_OPS or (op.ot == "object.merge" and op.path in ("", "."))


def operand(op: Op, path: str) -> Any:
    """What a set, or an op that sets several properties, puts at `path`; `NO_EFFECT` when it does not fit."""
    value = PROPERTY_OPS[op.ot](UNSET, op) if op.ot in SET_OPS else op.value[path]
    return value if path not in STRING_PATHS or type(value) is str else NO_EFFECT


def spread_paths(op: Op) -> list[str]:
    """The properties that such an op can set."""
    value = op.value
    return [p for p, member in value.items() if is_assignable(p, member)] if type(value) is dict else []


def touch(register: Register, origin: Origin) -> None:
    """Count `origin`, who becomes the writer, among those who had an effect."""
    touched = register.touched
    register.is_touched = True
    register.toucher = touched if touched is not None and touched > origin else None


def _assign(register: Register, value: Any, placed: Placed, index: int, floor: Origin | None) -> bool:
    """Set it; over a text, hide its characters and add those of a string (rule X2)."""
    origin = placed.origin
    if placed.is_late:
        stamp = register.stamp
        if (stamp is not None and stamp > origin) or (floor is not None and floor > origin):
            return False
    if placed.is_undone:
        return True
    touch(register, origin)
    register.is_set, register.setter = True, None
    register.writer, register.index = origin, index
    if register.is_text:
        order = (placed.place, index)
        register.text.hide_all(order=order)
        if type(value) is str:
            register.text.place(implicit_agent(origin, index), 0, value, None, 0, 0, order=order)
            return True
        register.is_text = False
    register.value = value
    return True


def implicit_agent(writer: Origin | None, index: int) -> str:
    """Agent of the characters of a plain string, by the op that wrote it."""
    return f"={writer[2] if writer else ''}/{index}"


def _edit(register: Register, entry: Entry) -> bool:
    """One text op; of an undone one only the places of its characters remain (rule X6)."""
    place, index, op, placed = entry
    is_plain = not register.is_text and register.value is not UNSET
    if is_plain and type(register.value) is not str:
        return False
    text = Text() if register.text is None else register.text
    agent = implicit_agent(register.writer, register.index)
    is_shadow = is_plain and bool(register.value) and not text.has(agent, 0)
    if is_shadow:
        text.place(agent, 0, register.value, None, 0, 0, is_counted=False, order=(place, index - 0.5))
    counts = not placed.is_undone
    fits, inserts = _write(text, op, placed, (place, index), register.is_text)
    if not (inserts or (fits and counts)):
        if is_shadow:
            text.unplace(agent)
        return fits
    register.text = text
    if counts:
        if is_plain:
            text.count(agent)
        _touch_text(register, placed.origin)
        register.value, register.is_text = UNSET, True
    return True


def _touch_text(register: Register, origin: Origin) -> None:
    """Count `origin`, who does not become the writer, among those who had an effect."""
    touched = register.touched
    register.is_touched = True
    register.toucher = touched if touched is not None and touched > origin else origin


def _write(text: Text, op: Op, placed: Placed, order: Any, is_text: bool) -> tuple[bool, bool]:
    """Whether the op fits though no characters come, and whether some came to the text, hidden if it is undone."""
    if op.ot == "text.init":
        return not is_text, _init(text, op, placed, order)
    removes = op.ot != "text.insert" and text.delete(op.rm, order=order, dry=placed.is_undone)
    return removes, op.ot != "text.delete" and _insert(text, op, placed, order)


def _init(text: Text, op: Op, placed: Placed, order: Any) -> bool:
    client = placed.message.client
    if type(op.value) is not str or not op.value or text.has_counted(client):
        return False
    seq = text.highest_seq() + 1
    text.place(
        client, 0, op.value, None, seq, placed.message.ts, is_counted=not placed.is_undone, order=order
    )
    return True


def _insert(text: Text, op: Op, placed: Placed, order: Any) -> bool:
    claim = parse_insert(op, placed.message.client)
    if claim is None:
        return False
    number, anchor, content = claim
    where = None if anchor is None else text.latest(anchor, before=order)
    if anchor is not None and where is None:
        return False
    text.place(op.id.rpartition(":")[0], number, content, where, op.seq, op.ts,
               is_counted=not placed.is_undone, order=order)  # fmt: skip
    return True
