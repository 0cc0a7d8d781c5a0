"""Several ops on one register, one right after the other: lists and maps are copied once, not for each op.

Nobody sees what the register holds between them, so what the fold has copied is changed in place.
"""

from collections.abc import Hashable
from typing import Any

from .message import UNSET, Op
from .node import Register
from .place import Entry, Origin
from .register import is_spread, step, write
from .value import as_index, json_key

KINDS = {
    "object.merge": dict,
    "array.push": list,
    "array.union": list,
    "array.remove": list,
    "array.move": list,
}


class Fold:
    """A register, and what becomes of it."""

    def __init__(self, register: Register, path: str, floor: Origin | None) -> None:
        self.register = register
        self._path, self._floor = path, floor
        self._own: Any = None
        """The list or map that this fold has made."""
        self._is_shared = False
        """Somebody else has it, too, and it stays as it is."""
        self._keys: set[Hashable] | None = None
        """Of its members, once they were asked for."""

    def share(self) -> None:
        """From here on the value is not changed in place: somebody keeps it."""
        self._is_shared = True

    def step(self, entry: Entry) -> bool:
        """What `register.step` does."""
        _, index, op, placed = entry
        register = self.register
        if type(register.value) is not KINDS.get(op.ot) or placed.is_undone or is_spread(op):
            return step(register, entry, self._path, self._floor)
        if register.value is not self._own:
            self._keys = None
        if register.value is not self._own or self._is_shared:
            register.value = self._own = register.value.copy()
            self._is_shared = False
        if not self._change(op):
            return False
        write(register, self._own, placed.origin, index)
        return True

    def _change(self, op: Op) -> bool:
        """Do to the own value what the op does to a new one; false when it does not fit."""
        own, value = self._own, op.value
        match op.ot, value:
            case "array.move", _:
                start, end = as_index(op.from_), as_index(op.to)
                if start is None or end is None or not 0 <= start < len(own):
                    return False
                member = own.pop(start)
                own.insert(min(max(end, 0), len(own)), member)
            case _, _ if value is UNSET:
                return False
            case "object.merge", dict():
                own.update(value)
            case "array.push", _:
                own.append(value)
                if self._keys is not None:
                    self._keys.add(json_key(value))
            case "array.union", list():
                for member in value:
                    if (key := json_key(member)) not in self._known():
                        self._known().add(key)
                        own.append(member)
            case "array.remove", _:
                key = json_key(value)
                if key in self._known():
                    self._known().remove(key)
                    own[:] = [member for member in own if member != value or json_key(member) != key]
            case _:
                return False
        return True

    def _known(self) -> set[Hashable]:
        if self._keys is None:
            self._keys = {json_key(member) for member in self._own}
        return self._keys
