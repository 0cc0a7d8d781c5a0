"""Colours `#rrggbb`.  `set` takes any string (CSS names are in use); `blend` needs two that it can read."""

import re
from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT, is_number

_HEX = re.compile(r"#[0-9a-fA-F]{6}\Z")


def assign(current: Any, op: Op) -> Any:
    return op.value if type(op.value) is str else NO_EFFECT


def blend(current: Any, op: Op) -> Any:
    """Per channel `cur + (v - cur) * alpha`, rounded half to even; an unset colour becomes the operand."""
    alpha = 0.5 if op.alpha is UNSET else op.alpha
    if not is_number(alpha) or not _is_hex(op.value):
        return NO_EFFECT
    if current is UNSET:
        return op.value
    if not _is_hex(current):
        return NO_EFFECT
    weight = min(max(alpha, 0), 1)
    mixed = [
        round(a + (b - a) * weight) for a, b in zip(_channels(current), _channels(op.value), strict=True)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _is_hex(value: Any) -> bool:
    return type(value) is str and _HEX.match(value) is not None


def _channels(value: str) -> list[int]:
    return [int(value[i : i + 2], 16) for i in (1, 3, 5)]


VERBS = {"set": assign, "blend": blend}
