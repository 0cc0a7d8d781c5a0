"""Parts of the server that fail go on."""

import asyncio
import logging

import pytest

from rooms import supervision
from rooms.supervision import supervised
from rooms.tally import tally


class Part:
    """Fails as often as it is told, then works."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.works = asyncio.Event()

    async def run(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("injected")
        self.works.set()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PAUSE_S", 0.001)


async def test_a_part_that_fails_begins_again_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    before, part = tally.failures["task"], Part(failures=2)
    task = asyncio.create_task(supervised(part.run))
    await asyncio.wait_for(part.works.wait(), 5)
    assert tally.failures["task"] == before + 2
    assert {record.levelno for record in caplog.records} == {logging.CRITICAL}
    assert "injected" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_that_is_done_is_not_begun_again() -> None:
    begun = 0

    async def look_once() -> None:
        nonlocal begun
        begun += 1

    await asyncio.wait_for(supervised(look_once), 5)
    assert begun == 1
