"""How much goes into one statement."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

KEYS_MAX = 500
"""Keys that one statement looks up: far below what any database takes, and a turn's work."""


def chunks(items: Sequence[T], size: int = KEYS_MAX) -> Iterator[Sequence[T]]:
    """The items in order, up to `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
