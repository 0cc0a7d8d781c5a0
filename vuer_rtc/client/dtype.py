"""Batch merges of concurrent values by data type, as the published library offers them.

The store does not use them: it merges operations, in total order.  Here every value comes with its Lamport time, and
order is by that alone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any


@dataclass
class ValueWithMeta:
    """One client's value for a property."""

    value: Any
    lt: int
    client: str = ""

    @property
    def lamport_time(self) -> int:
        return self.lt

    @property
    def session_id(self) -> str:
        return self.client


Values = list[ValueWithMeta]
MergeFn = Callable[[Values], Any]


def multiplyQuaternions(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float]:
    """Hamilton product of two quaternions x y z w: the rotation `b` followed by `a`."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


_HEX_COLOR = re.compile(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", re.IGNORECASE)


def hexToRgb(hex_color: str) -> dict[str, int]:
    """`#rrggbb` as channels 0 to 255; black for what is no colour."""
    match = _HEX_COLOR.fullmatch(hex_color)
    channels = match.groups() if match else ("0", "0", "0")
    return {name: int(channel, 16) for name, channel in zip("rgb", channels, strict=True)}


def rgbToHex(r: int, g: int, b: int) -> str:
    """Channels 0 to 255 as `#rrggbb`."""
    return f"#{r:02x}{g:02x}{b:02x}"


def _by_time(values: Values) -> Values:
    return sorted(values, key=lambda item: item.lt)


def _latest(values: Values) -> Any:
    """The value of the highest Lamport time; the first of several."""
    return max(values, key=lambda item: item.lt).value


def _columns(values: Values) -> Iterable[tuple[float, ...]]:
    return zip(*(item.value for item in values), strict=True)


class _Lww:
    @staticmethod
    def set(values: Values) -> Any:
        """The latest value."""
        return _latest(values)


class _Number(_Lww):
    @staticmethod
    def add(values: Values) -> Any:
        return sum(item.value for item in values)

    @staticmethod
    def multiply(values: Values) -> float:
        return prod((item.value for item in values), start=1.0)

    @staticmethod
    def min(values: Values) -> Any:
        return min(item.value for item in values)

    @staticmethod
    def max(values: Values) -> Any:
        return max(item.value for item in values)


class _String(_Lww):
    @staticmethod
    def concat(values: Values, separator: str = "\n") -> str:
        """All of them, earliest first."""
        return separator.join(item.value for item in _by_time(values))


class _Boolean(_Lww):
    @staticmethod
    def or_(values: Values) -> bool:
        return any(item.value is True for item in values)

    @staticmethod
    def and_(values: Values) -> bool:
        return all(item.value is True for item in values)


class _Vector3(_Lww):
    @staticmethod
    def add(values: Values) -> list[float]:
        return [sum(column, start=0.0) for column in _columns(values)]

    @staticmethod
    def multiply(values: Values) -> list[float]:
        return [prod(column, start=1.0) for column in _columns(values)]


class _Quaternion(_Lww):
    @staticmethod
    def multiply(values: Values) -> list[float]:
        """The product, earliest first."""
        first, *others = _by_time(values)
        product = tuple(first.value)
        for item in others:
            product = multiplyQuaternions(product, item.value)
        return list(product)


class _Color(_Lww):
    @staticmethod
    def blend(values: Values) -> str:
        """The mean of each channel."""
        colors = [hexToRgb(item.value) for item in values]
        return rgbToHex(*(round(sum(color[name] for color in colors) / len(colors)) for name in "rgb"))


class _Array(_Lww):
    @staticmethod
    def union(values: Values) -> list[Any]:
        """Every element once, in the order given."""
        found: list[Any] = []
        for item in values:
            found.extend(element for element in item.value if element not in found)
        return found

    @staticmethod
    def append(values: Values) -> list[Any]:
        """All elements, earliest first."""
        return [element for item in _by_time(values) for element in item.value]


class _Object(_Lww):
    @staticmethod
    def lwwPerKey(values: Values) -> dict[str, Any]:
        """For each key its latest value."""
        merged: dict[str, Any] = {}
        times: dict[str, int] = {}
        for item in values:
            for key, member in item.value.items():
                if key not in times or item.lt > times[key]:
                    merged[key], times[key] = member, item.lt
        return merged

    lww_per_key = lwwPerKey


class _Immutable:
    @staticmethod
    def set(values: Values) -> Any:
        """The earliest value."""
        return min(values, key=lambda item: item.lt).value


class DType:
    """Merge functions by data type."""

    number = _Number
    string = _String
    boolean = _Boolean
    vector3 = _Vector3
    quaternion = _Quaternion
    color = _Color
    array = _Array
    object = _Object
    immutable = _Immutable


multiply_quaternions = multiplyQuaternions
hex_to_rgb = hexToRgb
rgb_to_hex = rgbToHex

__all__ = [
    "DType",
    "MergeFn",
    "ValueWithMeta",
    "hexToRgb",
    "hex_to_rgb",
    "multiplyQuaternions",
    "multiply_quaternions",
    "rgbToHex",
    "rgb_to_hex",
]
