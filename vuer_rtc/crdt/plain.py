"""Plain JSON that every peer and every database can take, or a refusal (rules C9 to C11).

Errors: `InvalidMessage` (a `ValueError`), whatever the input was.
"""

from collections.abc import Collection
from math import isfinite
from typing import Any, NoReturn

from .message import INTEGER_MAX

DEPTH_MAX = 128
"""Deepest nesting that is looked at.  It protects the interpreter's stack; settings ask for much less."""
FEW_MAX = 16
"""Members of a list that are looked at one by one."""


class InvalidMessage(ValueError):
    """The message is refused; nothing of it has any effect.

    `code` is a value of `vuer_rtc.protocol.codes.ErrorCode`, `message_id` the id as far as it could be read.
    """

    def __init__(self, code: str, detail: str, message_id: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.message_id = message_id


def refuse(code: str, detail: str) -> NoReturn:
    raise InvalidMessage(code, detail)


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of plain JSON with integers beyond `INTEGER_MAX` as doubles.

    Raises: InvalidMessage `not-finite`, `over-limit` (nesting), `reserved-path` or `bad-message`.
    """
    kind = type(value)
    if kind is float:
        return value if isfinite(value) else refuse("not-finite", f"{value} is not a finite number")
    if kind is int:
        return value if -INTEGER_MAX <= value <= INTEGER_MAX else _double(value)
    if kind is str:
        return plain_text(value)
    if value is None or kind is bool:
        return value
    if depth >= DEPTH_MAX:
        refuse("over-limit", f"a value is nested deeper than {DEPTH_MAX} levels")
    if kind is list or kind is tuple:
        if len(value) > FEW_MAX and _is_plain_of_one_kind(value):
            return list(value)
        return [m if type(m) is float and isfinite(m) else plain(m, depth + 1) for m in value]
    if kind is dict:
        if len(value) > FEW_MAX and _has_plain_names(value) and _is_plain_of_one_kind(value.values()):
            return dict(value)
        return {plain_name(key): plain(member, depth + 1) for key, member in value.items()}
    return refuse("bad-message", f"{kind.__name__} is not a JSON type")


def _has_plain_names(value: dict[Any, Any]) -> bool:
    """True when all keys are ASCII and allowed: of most maps."""
    return "__proto__" not in value and type(next(iter(value))) is str and _is_plain_of_one_kind(value)


def _is_plain_of_one_kind(members: Collection[Any]) -> bool:
    """True for what needs no look at each: numbers of one type, booleans, nulls, ASCII strings.  Otherwise every
    member costs a call, and a frame holds a million."""
    kinds = set(map(type, members))
    if len(kinds) != 1:
        return False
    kind = kinds.pop()
    if kind is float:
        return all(map(isfinite, members))
    if kind is int:
        return bool(min(members) >= -INTEGER_MAX and max(members) <= INTEGER_MAX)
    if kind is str:
        joined = "".join(members)
        return joined.isascii() and "\0" not in joined
    return kind is bool or kind is type(None)


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        refuse("not-finite", "an integer is too large for a double")


def plain_text(value: str) -> str:
    """`value`: no lone surrogate, which has no UTF-8, and no U+0000, which PostgreSQL does not store."""
    if "\0" in value:
        refuse("bad-message", "a string contains U+0000")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse("bad-message", "a string contains a lone surrogate")
    return value


def plain_name(value: Any) -> str:
    """A map's key: a string other than `__proto__`, on which JavaScript decoders stop."""
    if type(value) is not str:
        refuse("bad-message", f"a map has the key {shown(value)}, which is not a string")
    if value == "__proto__":
        refuse("reserved-path", "`__proto__` is reserved")
    return plain_text(value)


def plain_count(value: Any, what: str, code: str) -> int:
    """An integer from 0 to `INTEGER_MAX`; `3.0` is one, as in JSON."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        refuse(code, f"`{what}` holds {shown(value)}, not an integer from 0 to 2^53 - 1")
    return value


def plain_number(value: Any, code: str) -> int | float:
    """A finite number."""
    if type(value) not in (int, float):
        refuse(code, f"`ts` is {shown(value)}, not a number")
    return plain(value)  # type: ignore[no-any-return]


def shown(value: Any) -> str:
    """`value` for an error text: ASCII and short, whatever was sent."""
    if type(value) is int and abs(value) > INTEGER_MAX:
        return "an integer beyond 2^53 - 1"
    if type(value) is str:
        return ascii(value[:40]) + ("..." if len(value) > 40 else "")
    if value is None or type(value) in (bool, int, float):
        return repr(value)
    return f"a {type(value).__name__}"
