"""JSON values as the merge sees them: numbers are IEEE doubles, `true` is not a number (rules N1 to N4)."""

import math
from collections.abc import Hashable
from typing import Any, Final, TypeGuard

from .message import INTEGER_MAX


class _NoEffect:
    def __repr__(self) -> str:
        return "NO_EFFECT"


NO_EFFECT: Final = _NoEffect()
"""What an operation returns that changes nothing at its place."""

Number = int | float


def is_number(value: Any) -> TypeGuard[Number]:
    """True for a finite int or float; a bool is not a number (rule N1)."""
    kind = type(value)
    return kind is int or (kind is float and math.isfinite(value))


def is_vector(value: Any, length: int) -> TypeGuard[list[Number]]:
    """True for a list of exactly `length` numbers."""
    if type(value) is not list or len(value) != length:
        return False
    for component in value:
        kind = type(component)
        if kind is float:
            if component - component != 0.0:  # infinite or NaN, at half the price of math.isfinite
                return False
        elif kind is not int:
            return False
    return True


def exact(value: Number) -> Any:
    """`value` as it is stored: a large integer becomes a double, a result that is not finite has no effect (N2, N3)."""
    if type(value) is int:
        if -INTEGER_MAX <= value <= INTEGER_MAX:
            return value
        try:
            return float(value)
        except OverflowError:
            return NO_EFFECT
    return value if math.isfinite(value) else NO_EFFECT


def vector(value: Any, length: int) -> Any:
    """`value` as it is stored, if it is a list of `length` numbers, else no effect.

    What `is_vector` and `exact_vector` say, by one look at each component in the usual case.
    """
    if type(value) is not list or len(value) != length:
        return NO_EFFECT
    for component in value:
        kind = type(component)
        if kind is float:
            if component - component != 0.0:
                return NO_EFFECT
        elif kind is not int or not -INTEGER_MAX <= component <= INTEGER_MAX:
            return exact_vector(value) if is_vector(value, length) else NO_EFFECT
    return value


def exact_vector(components: list[Number]) -> Any:
    """The vector with each component `exact`, itself if they are; no effect when one of them has none."""
    for component in components:
        if type(component) is int:
            if not -INTEGER_MAX <= component <= INTEGER_MAX:
                break
        elif component - component != 0.0:
            break
    else:
        return components
    stored = [exact(component) for component in components]
    return NO_EFFECT if NO_EFFECT in stored else stored


def as_index(value: Any) -> int | None:
    """A list index from a JSON number; None for what is not integral (a bool included)."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None


def json_key(value: Any) -> Hashable:
    """A hashable that is equal exactly for equal JSON values: 1 equals 1.0, `true` does not equal 1 (rule N4)."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *map(json_key, value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, json_key(member)) for name, member in value.items()))
    return value  # type: ignore[no-any-return]
