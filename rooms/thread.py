"""Where blocking work goes: named threads, each with a database connection of its own.

The event loop never touches the database.  The committer has one thread to itself, so that commits follow
one another and nothing else delays them; everything that may wait (joins, hydration, sessions, projections)
shares a second pool.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import connections

from journal.renewal import renew_if_dead

P = ParamSpec("P")
T = TypeVar("T")

IDLE_S = 0.1
"""A thread that had nothing to do for so long looks at its connections before it uses them: the database may have begun
anew meanwhile, and whoever comes next must not be turned away for that."""


@dataclass(frozen=True, slots=True)
class _Call:
    """Something to run, and where its outcome is awaited."""

    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    is_last: bool = False
    """True: the thread ends with it."""

    def tell(self, settle: Callable[[Any], None], outcome: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, settle, outcome)

    def _settle(self, settle: Callable[[Any], None], outcome: Any) -> None:
        if not self.future.done():  # or it was cancelled meanwhile
            settle(outcome)


class Worker:
    """A few threads that run synchronous functions for the event loop, first come, first served.

    Not an executor of the standard library: there and back, this takes a third of the time, and every commit goes there
    and back.
    """

    def __init__(self, name: str, threads: int = 1, *, keeps_connections: bool = True) -> None:
        """Without `keeps_connections` Django's `CONN_MAX_AGE` decides, and a pool has them back, after every function:
        for those that work now and then."""
        self._keeps_connections = keeps_connections
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        names = [f"{name}_{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        self._is_closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises; a connection it left broken is replaced.

        Raises: RuntimeError after `close`.
        """
        if self._is_closed:
            raise RuntimeError("the worker is closed")
        result: T = await self._hand_over(partial(function, *args, **kwargs))
        return result

    def _hand_over(self, function: Callable[[], Any], *, is_last: bool = False) -> "asyncio.Future[Any]":
        for thread in self._threads:
            if thread.ident is None:
                thread.start()
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._calls.put(_Call(function, loop, future, is_last))
        return future

    def _work(self) -> None:
        while not self._answer(time.monotonic(), self._calls.get()):
            pass

    def _answer(self, idle_since: float, call: _Call) -> bool:
        """True when it was the last.  A function of its own: its variables would keep what they hold until the next."""
        if call.future.cancelled() and not call.is_last:  # what comes last gives the connection back
            return False
        try:
            if time.monotonic() - idle_since > IDLE_S:
                for connection in connections.all(initialized_only=True):
                    renew_if_dead(connection)
            outcome = self._run(call.function)
        except StopIteration as error:  # which no future takes: who awaits it would wait for ever
            call.tell(call.future.set_exception, RuntimeError(f"{call.function} raised {error!r}"))
        except BaseException as error:
            call.tell(call.future.set_exception, error)
        else:
            call.tell(call.future.set_result, outcome)
        return call.is_last

    def _run(self, function: Callable[[], T]) -> T:
        try:
            return function()
        finally:
            # Not always: with CONN_MAX_AGE 0, the default, it would reconnect for every commit.
            for connection in connections.all(initialized_only=True):
                if connection.errors_occurred:
                    renew_if_dead(connection)
                if connection.errors_occurred or not self._keeps_connections:
                    connection.close_if_unusable_or_obsolete()

    async def close(self) -> None:
        """Afterwards everything handed over has run, and the threads and their connections are gone.  Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.gather(*(self._hand_over(connections.close_all, is_last=True) for _ in self._threads))


def in_database_thread(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`function` for async code anywhere: run in a thread where Django's rules for database connections hold."""
    return database_sync_to_async(function)
