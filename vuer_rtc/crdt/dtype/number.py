"""Numbers: IEEE doubles, integers kept as integers while they are exact."""

from collections.abc import Callable
from typing import Any

from ..message import UNSET, Op
from ..value import NO_EFFECT, Number, exact, is_number


def assign(current: Any, op: Op) -> Any:
    return exact(op.value) if is_number(op.value) else NO_EFFECT


def _fold(combine: Callable[[Number, Number], Number]) -> Callable[[Any, Op], Any]:
    def apply(current: Any, op: Op) -> Any:
        if not is_number(op.value):
            return NO_EFFECT
        if current is UNSET:
            return exact(op.value)
        return exact(combine(current, op.value)) if is_number(current) else NO_EFFECT

    return apply


VERBS = {
    "set": assign,
    "add": _fold(lambda current, operand: current + operand),
    "multiply": _fold(lambda current, operand: current * operand),
    "min": _fold(min),
    "max": _fold(max),
}
