"""One writer at a time among the threads of a process, where the database takes only one."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
