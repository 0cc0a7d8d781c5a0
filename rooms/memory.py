"""The memory of a process: how often Python looks for garbage, and what goes back to the operating system.

C's allocator keeps what was freed for the next time, in every thread's arena: after one large room a server would look
as large for the rest of its life.
"""

import asyncio
import ctypes
import ctypes.util
import gc

from rooms.settings import settings
from rooms.thread import Worker


def trim_heap() -> bool:
    """Afterwards whole free pages are the operating system's; False where the C library cannot do that.

    Takes about a millisecond for each hundred megabytes; for worker threads.
    """
    try:
        return bool(ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0))
    except (OSError, AttributeError):
        return False


def calm_garbage_collector() -> None:
    """What is loaded now stays for ever, and messages come and go by the thousand: look at both less
    often."""
    if settings.gc_threshold_objects:
        gc.collect()
        gc.freeze()
        gc.set_threshold(settings.gc_threshold_objects, 20, 50)


class Tidier:
    """Trims the heap a while after rooms have left, however many there were."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._timer: asyncio.TimerHandle | None = None
        self._trimming: asyncio.Future[bool] | None = None

    def note_gone(self) -> None:
        """A room has left memory.  Cheap."""
        if self._timer is None and settings.memory_return_s:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(settings.memory_return_s, self._trim)

    def _trim(self) -> None:
        """Old cycles first: with thresholds as high as ours (`gc_threshold_objects`) Python hardly ever looks for them.
        On the event loop, whose objects do not like to end in another thread; takes about ten milliseconds for each
        hundred thousand live objects."""
        self._timer = None
        gc.collect()
        self._trimming = asyncio.ensure_future(self._worker.run(trim_heap))

    def stop(self) -> None:
        """Afterwards nothing more is begun."""
        if self._timer is not None:
            self._timer.cancel()
