"""Values that know which property they come from, so that `+=` on one is an addition everywhere.

`node.position += [1, 0, 0]` reads the property, adds in place, and assigns what came out: the addition has sent its
operation by then, and the assignment has nothing more to do.
"""

from typing import Any, Protocol

from vuer_rtc.crdt.dtype import PROPERTY_OPS
from vuer_rtc.crdt.message import Op
from vuer_rtc.crdt.plain import refuse, shown
from vuer_rtc.crdt.value import NO_EFFECT

from .assignment import dtype_of, is_rotation, plain
from .node import copied


class Owner(Protocol):
    """The node that a value comes from."""

    key: str

    def apply(self, ot: str, path: str, value: Any) -> object: ...


class BoundValue:
    """A number or list as read from a property.  What is done to it in place is done to the property, too."""

    _owner: Owner
    _path: str
    _outcome: Any = None
    """What operations in place, which are sent, have made of it; None: there were none."""

    def _do(self, ot: str, operand: Any) -> Any:
        """Raises: InvalidMessage, a ValueError, for what would have no effect."""
        operand = plain(operand)
        outcome = PROPERTY_OPS[ot](plain(self), Op(ot, value=operand))
        if outcome is NO_EFFECT:
            refuse("bad-op", f"{ot} on {self._path!r} does not take {shown(operand)}")
        self._owner.apply(ot, self._path, operand)
        return self._become(outcome)

    def _become(self, outcome: Any) -> Any:
        made = bind(outcome, self._owner, self._path)
        made._outcome = outcome
        return made


class _Bound(BoundValue, list):  # type: ignore[type-arg]
    def _become(self, outcome: Any) -> Any:
        self[:], self._outcome = outcome, outcome
        return self


class _Vector(_Bound):
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("euler.add" if is_rotation(self._path) else "vector3.add", other)

    def __isub__(self, other: Any) -> Any:
        return self.__iadd__([-number for number in other])

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("vector3.multiply", [other] * 3 if isinstance(other, int | float) else other)


class _Quaternion(_Bound):
    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("quaternion.multiply", other)


class _List(_Bound):
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        for member in map(plain, list(other)):
            self._owner.apply("array.push", self._path, member)
            self.append(member)
        return self._become(list(self))


class _Int(BoundValue, int):
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.add", other)

    def __isub__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.add", -other)

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.multiply", other)


class _Float(BoundValue, float):
    __iadd__ = _Int.__iadd__
    __isub__ = _Int.__isub__
    __imul__ = _Int.__imul__


_LISTS: dict[str | None, type] = {"vector3": _Vector, "euler": _Vector, "quaternion": _Quaternion}


def bind(value: Any, owner: Owner, path: str) -> Any:
    """A copy of the value, knowing where it comes from; strings, booleans and objects need not."""
    if type(value) is int:
        kind: Any = _Int
    elif type(value) is float:
        kind = _Float
    elif type(value) is list:
        kind = _LISTS.get(dtype_of(path, value), _List)
    else:
        return copied(value)
    bound = kind(copied(value))
    bound._owner, bound._path = owner, path
    return bound


def is_done(value: Any, owner: Owner, path: str) -> bool:
    """True when what is assigned to the property is what came out of `+=` or the like on that very property."""
    return (
        isinstance(value, BoundValue)
        and value._outcome is not None
        and value == value._outcome
        and (value._owner.key, value._path) == (owner.key, path)
    )


__all__ = ["BoundValue", "bind", "is_done"]
