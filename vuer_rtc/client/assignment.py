"""What an assignment means: `node.position = [0, 1, 0]` becomes the operation that sets a property of that kind."""

import re
from typing import Any

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def set_op(path: str, value: Any) -> dict[str, Any]:
    """The operation, without its key, that sets a property to a JSON value."""
    dtype = dtype_of(path, value)
    if dtype is None:
        return {"ot": "object.merge", "path": ".", "value": {path: value}}
    return {"ot": f"{dtype}.set", "path": path, "value": value}


def dtype_of(path: str, value: Any) -> str | None:
    """The type that a value has there, by its shape and the property's name; None when a set of any kind would do."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "color" if _COLOR.fullmatch(value) and "color" in path.lower() else "string"
        case dict():
            return "object"
        case list():
            numbers = len(value) if all(type(member) in (int, float) for member in value) else 0
            if numbers == 3:
                return "euler" if is_rotation(path) else "vector3"
            return "quaternion" if numbers == 4 and "quaternion" in path.lower() else "array"
    return None


def is_rotation(path: str) -> bool:
    """True for a property whose three numbers are Euler angles."""
    return path.rpartition(".")[2] == "rotation"


def plain(value: Any) -> Any:
    """A copy of the value in JSON's own types: no subclasses, no tuples, no arrays of numpy."""
    match value:
        case bool() | None:
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case list() | tuple():
            return [plain(member) for member in value]
        case dict():
            return {
                str.__str__(name) if isinstance(name, str) else name: plain(member)
                for name, member in value.items()
            }
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


__all__ = ["dtype_of", "is_rotation", "plain", "set_op"]
