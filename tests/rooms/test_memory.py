"""Memory that rooms leave behind goes back."""

import asyncio
from collections.abc import Callable
from typing import Any

from django.test import override_settings

from rooms.memory import Tidier, trim_heap


class FakeWorker:
    def __init__(self) -> None:
        self.ran = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        self.ran += 1
        return function()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("in vain")


async def test_many_rooms_that_leave_are_tidied_up_after_once() -> None:
    worker = FakeWorker()
    with override_settings(VUER_RTC={"MEMORY_RETURN_S": 0.01}):
        tidier = Tidier(worker)  # type: ignore[arg-type]
        for _ in range(100):
            tidier.note_gone()
        await until(lambda: worker.ran)
        assert worker.ran == 1
        tidier.note_gone()
        await until(lambda: worker.ran == 2)
        tidier.note_gone()
        tidier.stop()
        await asyncio.sleep(0.03)
        assert worker.ran == 2


async def test_it_can_be_switched_off() -> None:
    with override_settings(VUER_RTC={"MEMORY_RETURN_S": 0}):
        tidier = Tidier(FakeWorker())  # type: ignore[arg-type]
        tidier.note_gone()
        assert tidier._timer is None


def test_trimming_never_fails() -> None:
    assert trim_heap() in (True, False)
