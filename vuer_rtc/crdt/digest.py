"""Canonical JSON and the digests made of it (rules D1, D2).

RFC 8785 with one change: keys are sorted by UTF-8 bytes, not by UTF-16 code units, so that every language sorts alike.
"""

import hashlib
from json.encoder import encode_basestring
from typing import Any


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: no white space, sorted keys, ES2015 numbers (-0 as 0, 1.0 as 1)."""
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _write(value: Any, put: Any) -> None:
    match value:
        case str():
            put(encode_basestring(value))
        case None:
            put("null")
        case bool():
            put("true" if value else "false")
        case int() | float():
            put(number_text(value))
        case dict():
            _write_members(value, put)
        case list() | tuple():
            opening = "["
            for member in value:
                put(opening)
                _write(member, put)
                opening = ","
            put("]" if value else "[]")
        case _:
            raise TypeError(f"not a JSON value: {type(value).__name__}")


def _write_members(value: dict[str, Any], put: Any) -> None:
    opening = "{"
    for name in sorted(value):
        put(opening)
        put(encode_basestring(name))
        put(":")
        _write(value[name], put)
        opening = ","
    put("}" if value else "{}")


def number_text(value: int | float) -> str:
    """A finite number as ECMAScript writes it; integers count as doubles."""
    number = float(value)
    if number.is_integer() and abs(number) < 1e16:
        return str(int(number))
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:
        return mantissa
    power = int(exponent)
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits.replace('.', '')}"
    if 0 < power < 21:  # an integer: the shortest digits that tell the double, not all of its own
        return sign + digits.removesuffix(".0").replace(".", "").ljust(power + 1, "0")
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"
