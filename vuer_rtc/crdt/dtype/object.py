"""JSON objects.  A merge at path `.` writes node properties and is the scene graph's business, not this module's."""

from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT


def assign(current: Any, op: Op) -> Any:
    return op.value if type(op.value) is dict else NO_EFFECT


def merge(current: Any, op: Op) -> Any:
    """Shallow, per key; an unset object counts as empty."""
    if type(op.value) is not dict:
        return NO_EFFECT
    if current is UNSET:
        return op.value
    return {**current, **op.value} if type(current) is dict else NO_EFFECT


VERBS = {"set": assign, "merge": merge}
