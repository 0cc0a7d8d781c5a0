import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from rooms.termination import before_termination


@pytest.fixture
def arrived() -> Iterator[list[str]]:
    """What has happened; the server's own handler writes `server`."""
    events: list[str] = []
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in former:
        signal.signal(number, lambda *_: events.append("server"))
    yield events
    for number, handler in former.items():
        signal.signal(number, handler)


async def test_the_server_gets_the_signal_when_the_rooms_have_finished(arrived: list[str]) -> None:
    may_finish = asyncio.Event()

    async def finish() -> None:
        await may_finish.wait()
        arrived.append("rooms")

    before_termination(finish)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.02)
    assert arrived == []
    may_finish.set()
    await asyncio.sleep(0.02)
    assert arrived == ["rooms", "server"]


async def test_a_second_signal_goes_to_the_server_at_once(arrived: list[str]) -> None:
    before_termination(asyncio.Event().wait)  # type: ignore[arg-type]
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.02)
    assert arrived == ["server"]


async def test_the_server_gets_the_signal_when_finishing_fails(arrived: list[str]) -> None:
    async def finish() -> None:
        raise RuntimeError("disk")

    before_termination(finish)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.02)
    assert arrived == ["server"]


async def test_handlers_are_left_alone_outside_the_main_thread(arrived: list[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=before_termination, args=(asyncio.Event().wait,))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert signal.getsignal(signal.SIGTERM) is handler
