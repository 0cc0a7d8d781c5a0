"""Quaternions `[x, y, z, w]`, never normalised."""

from typing import Any

from ..message import UNSET, Op
from ..sine import sine_and_cosine
from ..value import NO_EFFECT, Number, exact_vector, is_vector, vector

ORDERS = frozenset({"XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"})


def product(a: list[Number], b: list[Number]) -> list[Number]:
    """The Hamilton product a × b; may hold infinities, which the caller refuses."""
    ax, ay, az, aw = map(float, a)
    bx, by, bz, bw = map(float, b)
    return [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    ]


def from_euler(angles: list[Number], order: str) -> list[Number] | None:
    """The rotation about the axes in `order`, each in the frame turned by those before; None for an unknown order."""
    if order not in ORDERS:
        return None
    rotation: list[Number] = [0.0, 0.0, 0.0, 1.0]
    for axis in order:
        index = "XYZ".index(axis)
        sine, cosine = sine_and_cosine(angles[index] / 2)
        turn: list[Number] = [0.0, 0.0, 0.0, cosine]
        turn[index] = sine
        rotation = product(rotation, turn)
    return rotation


def assign(current: Any, op: Op) -> Any:
    return vector(op.value, 4)


def multiply(current: Any, op: Op) -> Any:
    if not is_vector(op.value, 4):
        return NO_EFFECT
    if current is UNSET:
        return exact_vector(op.value)
    return exact_vector(product(current, op.value)) if is_vector(current, 4) else NO_EFFECT


VERBS = {"set": assign, "multiply": multiply}
