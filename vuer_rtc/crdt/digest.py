"""Canonical JSON and the digests made of it (rules D1, D2).

RFC 8785 with one change: keys are sorted by UTF-8 bytes, not by UTF-16 code units, so that every language sorts alike.
"""

import hashlib
from collections.abc import Callable
from json.encoder import encode_basestring
from types import NoneType
from typing import Any


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: no white space, sorted keys, ES2015 numbers (-0 as 0, 1.0 as 1)."""
    writer = WRITERS.get(type(value))
    if writer is None:
        raise TypeError(f"not a JSON value: {type(value).__name__}")
    return writer(value)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _array_text(value: list[Any] | tuple[Any, ...]) -> str:
    return f"[{','.join([canonical_json(member) for member in value])}]"


def _object_text(value: dict[str, Any]) -> str:
    members = [f"{encode_basestring(name)}:{canonical_json(value[name])}" for name in sorted(value)]
    return f"{{{','.join(members)}}}"


def number_text(value: int | float) -> str:
    """A finite number as ECMAScript writes it; integers count as doubles."""
    number = float(value)
    if number.is_integer() and -1e16 < number < 1e16:
        return str(int(number))
    text = repr(number)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits.replace('.', '')}"
    if 0 < power < 21:  # an integer: the shortest digits that tell the double, not all of its own
        return sign + digits.removesuffix(".0").replace(".", "").ljust(power + 1, "0")
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"


WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    NoneType: lambda value: "null",
    bool: lambda value: "true" if value else "false",
    int: number_text,
    float: number_text,
    dict: _object_text,
    list: _array_text,
    tuple: _array_text,
}
"""How each type is written."""
