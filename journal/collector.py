"""Python's garbage collector, while whole journals are read: it would look at every message again and again, and hardly
anything of ours is cyclic."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (5_000_000, 20, 50)
"""100,000 messages are a million containers, which compaction makes twice.  To look at each of them once takes a sixth
of its time; at Python's 700, 10, 10 the collector takes a third."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Within the block the collector looks seldom; afterwards as often as before."""
    before = gc.get_threshold()
    if 0 < before[0] < THRESHOLDS[0]:
        gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


__all__ = ["calm_collector"]
