"""The server inside the tests' own process, and what stands in its database."""

import asyncio
from collections.abc import Callable
from typing import Any

from rooms.models import Session

QUICK = {"SESSION_FLUSH_S": 0.05, "RETRY_DELAY_FIRST_MS": 5, "PROJECTION_INTERVAL_S": 0.05}
"""Settings under which nobody waits long."""


async def in_database(question: Callable[[], Any]) -> Any:
    """The answer of a query, asked in a thread whose connection is closed again."""

    def ask() -> Any:
        from django.db import connections

        try:
            return question()
        finally:
            connections.close_all()

    return await asyncio.to_thread(ask)


async def close_codes() -> dict[str, int | None]:
    """How each client's session ended, once all rows say so."""
    for _ in range(200):
        rows = await in_database(lambda: dict(Session.objects.values_list("client", "close_code")))
        if None not in rows.values():
            return dict(rows)
        await asyncio.sleep(0.02)
    raise AssertionError(f"still open: {rows}")
