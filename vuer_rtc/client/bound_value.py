"""Values that know which property they come from, so that `+=` on one is an addition everywhere.

`node.position += [1, 0, 0]` reads the property, adds in place, and assigns what came out: the addition has sent its
operation by then, and the assignment has nothing more to do.
"""

from typing import Any, Protocol

from .assignment import dtype_of, is_rotation, plain


class Owner(Protocol):
    """The node that a value comes from."""

    key: str

    def apply(self, ot: str, path: str, value: Any) -> object: ...


class BoundValue:
    """A number or list as read from a property.  What is done to it in place is done to the property."""

    _owner: Owner
    _path: str
    _is_done = False
    """True once an operation in place has been sent."""

    def _do(self, ot: str, value: Any) -> "BoundValue":
        self._owner.apply(ot, self._path, plain(value))
        self._is_done = True
        return self


class _Vector(BoundValue, list):  # type: ignore[type-arg]
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("euler.add" if is_rotation(self._path) else "vector3.add", other)

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("vector3.multiply", [other] * 3 if isinstance(other, int | float) else other)


class _Quaternion(BoundValue, list):  # type: ignore[type-arg]
    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("quaternion.multiply", other)


class _List(BoundValue, list):  # type: ignore[type-arg]
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        for member in list(other):
            self._do("array.push", member)
        self._is_done = True
        return self


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
    """The value, knowing where it comes from; strings, booleans and objects stay as they are."""
    if type(value) is int:
        kind: Any = _Int
    elif type(value) is float:
        kind = _Float
    elif type(value) is list:
        kind = _LISTS.get(dtype_of(path, value), _List)
    else:
        return value
    bound = kind(value)
    bound._owner, bound._path = owner, path
    return bound


def is_done(value: Any, owner: Owner, path: str) -> bool:
    """True when what is assigned to the property came out of `+=` or the like on that very property."""
    return (
        isinstance(value, BoundValue)
        and value._is_done
        and (value._owner.key, value._path) == (owner.key, path)
    )


__all__ = ["BoundValue", "bind", "is_done"]
