"""Booleans."""

from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT


def assign(current: Any, op: Op) -> Any:
    return op.value if type(op.value) is bool else NO_EFFECT


def either(current: Any, op: Op) -> Any:
    """Logical or; unset counts as false."""
    if type(op.value) is not bool or not (current is UNSET or type(current) is bool):
        return NO_EFFECT
    return op.value if current is UNSET else current or op.value


def both(current: Any, op: Op) -> Any:
    """Logical and; unset counts as true."""
    if type(op.value) is not bool or not (current is UNSET or type(current) is bool):
        return NO_EFFECT
    return op.value if current is UNSET else current and op.value


VERBS = {"set": assign, "or": either, "and": both}
