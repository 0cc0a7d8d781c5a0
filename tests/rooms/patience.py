"""Waiting for what happens on this event loop, however busy the machine is."""

import asyncio
from collections.abc import Callable

TRIES = 20_000


async def until(condition: Callable[[], object]) -> None:
    """Returns once the condition holds; fails after twenty seconds and what the machine adds to them."""
    for _ in range(TRIES):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")
