"""Plain strings; collaborative text is `vuer_rtc.crdt.text`."""

from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT


def assign(current: Any, op: Op) -> Any:
    return op.value if type(op.value) is str else NO_EFFECT


def concat(current: Any, op: Op) -> Any:
    """Append the operand, with the separator between the two unless the current string is empty."""
    separator = "" if op.separator is UNSET else op.separator
    if type(op.value) is not str or type(separator) is not str:
        return NO_EFFECT
    if current is UNSET or current == "":
        return op.value
    return current + separator + op.value if type(current) is str else NO_EFFECT


VERBS = {"set": assign, "concat": concat}
