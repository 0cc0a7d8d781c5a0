"""Where blocking work goes: named threads, each with a database connection of its own.

The event loop never touches the database.  The committer has one thread to itself, so that commits follow
one another and nothing else delays them; everything that may wait (joins, hydration, sessions, projections)
shares a second pool.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A few threads that run synchronous functions for the event loop, first come, first served."""

    def __init__(self, name: str, threads: int = 1, *, keeps_connections: bool = True) -> None:
        """Without `keeps_connections` Django's `CONN_MAX_AGE` decides, and a pool has them back, after every function:
        for those that work now and then."""
        self._keeps_connections = keeps_connections
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises; a connection it left broken is replaced."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: self._run(function, *args, **kwargs))

    def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        finally:
            # Not always: with CONN_MAX_AGE 0, the default, it would reconnect for every commit.
            for connection in connections.all(initialized_only=True):
                if connection.errors_occurred or not self._keeps_connections:
                    connection.close_if_unusable_or_obsolete()

    async def close(self) -> None:
        """Afterwards everything handed over has run, and the threads and their connections are gone."""
        loop = asyncio.get_running_loop()
        barrier = threading.Barrier(self._threads)  # one farewell per thread: none may take two
        farewells = (
            loop.run_in_executor(self._executor, _say_farewell, barrier) for _ in range(self._threads)
        )
        await asyncio.gather(*farewells)
        self._executor.shutdown(wait=False)


def in_database_thread(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`function` for async code anywhere: run in a thread where Django's rules for database connections hold."""
    return database_sync_to_async(function)


def _say_farewell(barrier: threading.Barrier) -> None:
    connections.close_all()
    barrier.wait()
