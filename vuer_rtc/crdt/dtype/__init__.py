"""What each property operation does to the value at its place.

One module per dtype.  A module has a dict `VERBS` from verb to a pure function `(current, op) -> new value`:
`current` is `UNSET` where the property has no value, and the function returns `NO_EFFECT` for anything that
does not fit (rule P3).  It never raises and never mutates its arguments; it may return
one of them or share their parts: values are not changed, only replaced.  `set` verbs are recognised by name: their
function only says whether the operand is of the dtype.

To add a dtype, write the module and add its line to `DTYPES`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..message import Op
from . import array, boolean, color, euler, number, object, quaternion, string, vector3

Apply = Callable[[Any, Op], Any]

DTYPES: Mapping[str, Mapping[str, Apply]] = {
    "number": number.VERBS,
    "vector3": vector3.VERBS,
    "euler": euler.VERBS,
    "quaternion": quaternion.VERBS,
    "string": string.VERBS,
    "boolean": boolean.VERBS,
    "color": color.VERBS,
    "array": array.VERBS,
    "object": object.VERBS,
}

PROPERTY_OPS: Mapping[str, Apply] = {
    f"{dtype}.{verb}": apply for dtype, verbs in DTYPES.items() for verb, apply in verbs.items()
}
SETTERS: Mapping[str, Apply] = {ot: apply for ot, apply in PROPERTY_OPS.items() if ot.endswith(".set")}
MODIFIERS: Mapping[str, Apply] = {ot: apply for ot, apply in PROPERTY_OPS.items() if ot not in SETTERS}
SET_OPS = frozenset(SETTERS)
TEXT_OPS = frozenset({"text.init", "text.insert", "text.delete", "text.replace"})
CREATE_OPS = frozenset({"node.insert", "node.upsert", "node.inset"})
NODE_OPS = CREATE_OPS | {"node.remove", "node.move"}
META_OPS = frozenset({"meta.undo", "meta.redo"})
CLIENT_OPS = frozenset(PROPERTY_OPS) | TEXT_OPS | NODE_OPS | META_OPS
"""Every operation a client may send."""
