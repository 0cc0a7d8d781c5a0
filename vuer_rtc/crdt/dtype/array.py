"""Arrays of any JSON values; members compare by JSON equality."""

from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT, as_index, json_key


def assign(current: Any, op: Op) -> Any:
    return op.value if type(op.value) is list else NO_EFFECT


def push(current: Any, op: Op) -> Any:
    members = _members(current)
    return NO_EFFECT if members is None or op.value is UNSET else [*members, op.value]


def union(current: Any, op: Op) -> Any:
    """Append those of the operand's members that are not there yet, each once."""
    members = _members(current)
    if members is None or type(op.value) is not list:
        return NO_EFFECT
    seen = {json_key(member) for member in members}
    united = list(members)
    for member in op.value:
        if (key := json_key(member)) not in seen:
            seen.add(key)
            united.append(member)
    return united


def remove(current: Any, op: Op) -> Any:
    """Remove every member equal to the operand."""
    members = _members(current)
    if members is None or op.value is UNSET:
        return NO_EFFECT
    key = json_key(op.value)
    return [member for member in members if json_key(member) != key]


def move(current: Any, op: Op) -> Any:
    """Take the member at `from` and put it at `to` (clamped), both indices at the op's place."""
    members, start, end = _members(current), as_index(op.from_), as_index(op.to)
    if members is None or start is None or end is None or not 0 <= start < len(members):
        return NO_EFFECT
    moved = list(members)
    member = moved.pop(start)
    moved.insert(min(max(end, 0), len(moved)), member)
    return moved


def _members(current: Any) -> list[Any] | None:
    if current is UNSET:
        return []
    return current if type(current) is list else None


VERBS = {"set": assign, "push": push, "union": union, "remove": remove, "move": move}
