"""Vectors `[x, y, z]` in metres (or whatever unit the property has), rotated by quaternions and Euler angles."""

from collections.abc import Callable
from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT, Number, exact_vector, is_vector, vector
from .quaternion import from_euler, product


def assign(current: Any, op: Op) -> Any:
    return vector(op.value, 3)


def componentwise(combine: Callable[[Number, Number], Number]) -> Callable[[Any, Op], Any]:
    """Combine the current vector with the operand; an unset vector becomes the operand."""

    def apply(current: Any, op: Op) -> Any:
        if current is UNSET:
            return vector(op.value, 3)
        if not is_vector(op.value, 3):
            return NO_EFFECT
        if not is_vector(current, 3):
            return NO_EFFECT
        return exact_vector([combine(a, b) for a, b in zip(current, op.value, strict=True)])

    return apply


def _rotated(current: Any, rotation: list[Number]) -> Any:
    """q·v·conj(q), without normalising q; an unset vector counts as zero."""
    vector = [0, 0, 0] if current is UNSET else current
    if not is_vector(vector, 3):
        return NO_EFFECT
    x, y, z, w = rotation
    return exact_vector(product(product(rotation, [*vector, 0]), [-x, -y, -z, w])[:3])


def apply_quaternion(current: Any, op: Op) -> Any:
    return _rotated(current, op.value) if is_vector(op.value, 4) else NO_EFFECT


def apply_euler(current: Any, op: Op) -> Any:
    """Rotate by angles `[x, y, z]` in radians in the given axis order; extrinsic is the reversed order."""
    order = "XYZ" if op.order is UNSET else op.order
    intrinsic = True if op.intrinsic is UNSET else op.intrinsic
    if not is_vector(op.value, 3) or type(intrinsic) is not bool or type(order) is not str:
        return NO_EFFECT
    rotation = from_euler(op.value, order if intrinsic else order[::-1])
    return NO_EFFECT if rotation is None else _rotated(current, rotation)


VERBS = {
    "set": assign,
    "add": componentwise(lambda a, b: a + b),
    "multiply": componentwise(lambda a, b: a * b),
    "applyQuaternion": apply_quaternion,
    "applyEuler": apply_euler,
}
