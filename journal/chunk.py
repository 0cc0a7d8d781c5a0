"""How much goes into one statement."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

KEYS_MAX = 500
"""Keys that one statement looks up: far below what any database takes, and a turn's work."""
KEPT_BYTES_MAX = 262_144
"""What SQLite's driver may keep of one statement.  It keeps what each of a hundred statements was given last, and each
number of rows is a statement of its own."""


def chunks(items: Sequence[T], size: int = KEYS_MAX) -> Iterator[Sequence[T]]:
    """The items in order, up to `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def kept_chunks(rows: Sequence[T], count: int, size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """The rows in order, up to `count` at a time, as statements that SQLite's driver keeps: large ones one by one."""
    for some in chunks(rows, count):
        if sum(map(size_of, some)) <= KEPT_BYTES_MAX:
            yield some
        else:
            yield from chunks(some, 1)
