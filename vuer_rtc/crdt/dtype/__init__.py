"""What each property operation does to the value at its place.

One module per dtype.  A module has a dict `VERBS` from verb to a pure function `(current, op) -> new value`:
`current` is `UNSET` where the property has no value, and the function returns `NO_EFFECT` for anything that
does not fit (rule P3).  It never raises and never mutates its arguments; it may return
one of them or share their parts: values are not changed, only replaced.  `set` verbs are recognised by name: their
function only says whether the operand is of the dtype.

To add a dtype, write the module and add its line to `DTYPES`; docs/merge.md has an example.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ..message import Op

Apply = Callable[[Any, Op], Any]

DTYPES: Mapping[str, Mapping[str, Apply]] = {
    dtype: import_module(f".{dtype}", __name__).VERBS
    for dtype in (
        "number",
        "vector3",
        "euler",
        "quaternion",
        "string",
        "boolean",
        "color",
        "array",
        "object",
    )
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
