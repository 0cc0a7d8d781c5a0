"""Parts of a server that serve everybody, for as long as it runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rooms.tally import tally

logger = logging.getLogger(__name__)

PAUSE_S = 1
"""Between a part's failure and its next beginning: one that fails at once must not keep the server busy."""


async def supervised(run: Callable[[], Awaitable[None]]) -> None:
    """Runs until cancelled, or until `run` returns; begun again whenever it fails.

    Nobody waits for such a part before the server stops: without this, its failure would be noticed by what does not
    happen any more.
    """
    while True:
        try:
            return await run()
        except Exception:
            tally.failures["task"] += 1
            logger.critical("a part of this server has failed and begins again: %s", run, exc_info=True)
            await asyncio.sleep(PAUSE_S)
