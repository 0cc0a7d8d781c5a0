"""Rows of sessions that joined while the database took none: the task alone, its database a fake."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rooms.recorder import Recorder
from vuer_rtc.protocol.codes import CloseCode

from .test_committer import until


class Newcomer:
    """A connection without a row."""

    def __init__(self) -> None:
        self.is_recorded = False
        self.admission = SimpleNamespace(unrecorded=object())
        self.closed: list[CloseCode] = []

    def close(self, code: CloseCode) -> None:
        self.closed.append(code)


class SlowDatabase:
    """Takes a row when it is told."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def run(self, work: Callable[..., Any], *given: Any) -> bool:
        self.begun.set()
        await self.may_go_on.wait()
        return True


async def test_who_joins_while_another_ones_row_is_written_gets_one_too(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_FIRST_MS": 1, "RETRY_DELAY_MAX_MS": 1}
    first, second = Newcomer(), Newcomer()
    database = SlowDatabase()
    recorder = Recorder(database, {first, second})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(first)  # type: ignore[arg-type]
    await asyncio.wait_for(database.begun.wait(), 5)
    recorder.joined(second)  # type: ignore[arg-type]
    database.may_go_on.set()
    await until(lambda: first.is_recorded and second.is_recorded)
    task.cancel()
