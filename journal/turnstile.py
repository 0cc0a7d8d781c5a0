"""Turns at a database that takes only one writer: among the threads of a process, and beside other processes."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ASIDE_S_MAX = 0.1
"""The longest that SQLite sleeps between two looks at its lock."""

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def one_writer(connection: Any) -> Iterator[None]:
    """Inside the block no other thread of this process that asks here writes to a SQLite database.

    SQLite keeps writers apart by itself, but who waits for it sleeps, and longer each time (1, 2, 5, 10, 15, 20, 25 ms
    and so on): a commit of half a millisecond would come out of it ten milliseconds late. Nothing else depends on this.
    """
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with _locks[connection.alias]:
            yield
    else:
        yield


@contextmanager
def leaving_room(connection: Any) -> Iterator[None]:
    """For one of many transactions in a row: behind it, whoever waits for SQLite's lock gets it.

    Its lock is not fair: who waits looks, and sleeps about as long as it has waited already.  Taken again at once, the
    lock is hardly ever free when it looks; left alone for as long as it was held, it is.
    """
    begun_at = time.monotonic()
    yield
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        time.sleep(min(ASIDE_S_MAX, time.monotonic() - begun_at))
