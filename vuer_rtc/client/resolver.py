"""Merging concurrent values of one property by the operations they came with."""

import warnings
from typing import Any

from .dtype import DType, MergeFn, ValueWithMeta


def parseOtype(ot: str) -> tuple[str, str]:
    """`vector3.add` as `("vector3", "add")`; a bare dtype means its `set`."""
    dtype, _, verb = ot.partition(".")
    return dtype, verb if "." in ot else "set"


_MERGES: dict[str, dict[str, MergeFn]] = {
    "number": {
        "set": DType.number.set,
        "add": DType.number.add,
        "multiply": DType.number.multiply,
        "min": DType.number.min,
        "max": DType.number.max,
    },
    "string": {"set": DType.string.set, "concat": DType.string.concat},
    "boolean": {"set": DType.boolean.set, "or": DType.boolean.or_, "and": DType.boolean.and_},
    "vector3": {"set": DType.vector3.set, "add": DType.vector3.add, "multiply": DType.vector3.multiply},
    "quaternion": {"set": DType.quaternion.set, "multiply": DType.quaternion.multiply},
    "color": {"set": DType.color.set, "blend": DType.color.blend},
    "array": {"set": DType.array.set, "union": DType.array.union, "append": DType.array.append},
    "object": {
        "set": DType.object.set,
        "merge": DType.object.lwwPerKey,
        "lww-per-key": DType.object.lwwPerKey,
    },
    "ref": {"set": DType.string.set},
    "any": {"set": DType.string.set},
    "immutable": {"set": DType.immutable.set},
}


class ConflictResolver:
    """Concurrent updates in, one value for each property out."""

    def mergeProperty(self, ot: str, values: list[ValueWithMeta]) -> Any:
        """The value that concurrent `values`, all of operation `ot`, add up to.

        Raises: ValueError for no values.
        """
        if not values:
            raise ValueError(f"there are no values of {ot} to merge")
        if len(values) == 1:
            return values[0].value
        dtype, verb = parseOtype(ot)
        merge = _MERGES.get(dtype, {}).get(verb)
        if merge is None:
            warnings.warn(f"{ot} has no merge, the latest value wins", stacklevel=2)
            merge = DType.string.set
        return merge(values)

    def mergeProperties(self, updates: list[dict[str, Any]]) -> dict[str, Any]:
        """Every property of the updates, each `{properties, ots, lt, client}`, merged."""
        values: dict[str, list[ValueWithMeta]] = {}
        ots: dict[str, str] = {}
        for update in updates:
            named = update.get("ots", {})
            for path, value in update.get("properties", {}).items():
                entry = ValueWithMeta(value, update.get("lt", 0), update.get("client", ""))
                values.setdefault(path, []).append(entry)
                if path in named:
                    ots[path] = named[path]
        return {path: self.mergeProperty(ots.get(path, "any.set"), found) for path, found in values.items()}

    merge_property = mergeProperty
    merge_properties = mergeProperties


parse_otype = parseOtype

__all__ = ["ConflictResolver", "parseOtype", "parse_otype"]
