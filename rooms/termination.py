"""What happens between SIGTERM and the server's own reaction to it.

uvicorn closes every socket first (with code 1012, whatever waits for it) and tells the application
afterwards.  So the signal is taken here: rooms commit, acknowledge and say goodbye, then the server gets
it.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], Any]


def before_termination(finish: Callable[[], Awaitable[None]]) -> None:
    """From now on SIGTERM and Ctrl-C run `finish` on this event loop before the handler that was there; a
    second signal goes to that handler at once.  Does nothing outside the main thread, or without such a
    handler."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        former = signal.getsignal(number)
        if callable(former) and former is not signal.default_int_handler:
            signal.signal(number, _Deferred(former, finish))


class _Deferred:
    """A signal handler that lets `finish` run first."""

    def __init__(self, former: Handler, finish: Callable[[], Awaitable[None]]) -> None:
        self._former = former
        self._finish = finish
        self._loop = asyncio.get_running_loop()
        self._finishing: asyncio.Task[None] | None = None
        self._has_begun = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._has_begun or self._loop.is_closed():
            self._former(number, frame)
            return
        self._has_begun = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._finishing = self._loop.create_task(self._run(number))

    async def _run(self, number: int) -> None:
        try:
            await self._finish()
        except Exception:
            logger.exception("the rooms could not be closed in order")
        self._former(number, None)
