"""Many transactions in a row beside live writers: how much goes into each, and when the next may begin."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from journal.durability import Connection
from journal.turnstile import leaving_room

STEP_S = 0.05
"""What a transaction is to take, about, or where the disk is slow twice as long as the shortest one: on SQLite every
live commit waits behind it."""
ROWS_FIRST = 1
"""Rows of the first one, which tells how long they take: some have a hundred bytes, some megabytes."""
GROWTH_MAX = 4
"""How many times the rows of one the next one takes, at most."""


class Pace:
    """How many rows the next transaction takes, by how long the last one took."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max
        self._least_s = math.inf
        self.rows = min(ROWS_FIRST, rows_max)

    @contextmanager
    def step(self, connection: Connection) -> Iterator[None]:
        """One transaction, which the block begins and ends; behind it others get their turn."""
        with leaving_room(connection):
            begun_at = time.monotonic()
            yield
            took_s = time.monotonic() - begun_at
        self._least_s = min(self._least_s, took_s)
        factor = min(GROWTH_MAX, max(STEP_S, 2 * self._least_s) / max(took_s, 1e-6))
        self.rows = max(1, min(self._rows_max, int(self.rows * factor)))
