"""News between processes (rule A7), with a layer that the tests break."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rooms.bus import Bus, group_of

DOCUMENT, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


class Layer:
    """A channel layer in memory that may be away."""

    def __init__(self) -> None:
        self.groups: dict[str, set[str]] = {}
        self.queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self.sent: list[dict[str, Any]] = []
        self.is_away = False

    async def new_channel(self, prefix: str) -> str:
        name = f"{prefix}.{len(self.queues)}"
        self.queues[name] = asyncio.Queue()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        self._check()
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._check()
        self.groups[group].discard(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._check()
        self.sent.append(message)
        for channel in self.groups.get(group, ()):
            self.queues[channel].put_nowait(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self.queues[channel].get()

    def _check(self) -> None:
        if self.is_away:
            raise ConnectionError("redis")


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    made = Layer()
    monkeypatch.setattr("rooms.bus.get_channel_layer", lambda: made)
    monkeypatch.setattr("rooms.bus.PAUSE_S", 0.01)
    return made


@asynccontextmanager
async def running(process: str) -> AsyncIterator[tuple[Bus, list[tuple[uuid.UUID, int]]]]:
    """A bus, and what it heard."""
    heard: list[tuple[uuid.UUID, int]] = []
    bus = Bus(process, lambda document_id, seq: heard.append((document_id, seq)))
    task = asyncio.create_task(bus.run())
    yield bus, heard
    task.cancel()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")


async def test_others_hear_of_commits_in_rooms_that_are_open_there(layer: Layer) -> None:
    async with running("a") as (a, of_a), running("b") as (b, of_b):
        a.opened(DOCUMENT)
        b.opened(DOCUMENT)
        await until(lambda: len(layer.groups.get(group_of(DOCUMENT), ())) == 2)
        a.announce(DOCUMENT, 7)
        a.announce(OTHER, 3)
        await until(lambda: of_b == [(DOCUMENT, 7)])
        b.forgotten(DOCUMENT)
        await until(lambda: len(layer.groups[group_of(DOCUMENT)]) == 1)
        a.announce(DOCUMENT, 8)
        await until(lambda: len(layer.sent) == 3)
        assert (of_a, of_b) == ([], [(DOCUMENT, 7)])


async def test_commits_that_nobody_was_told_of_yet_are_told_as_one(layer: Layer) -> None:
    async with running("a") as (a, _), running("b") as (b, of_b):
        b.opened(DOCUMENT)
        await until(lambda: layer.groups)
        for seq in range(1, 6):
            a.announce(DOCUMENT, seq)
        await until(lambda: of_b)
        assert of_b == [(DOCUMENT, 5)]


async def test_a_layer_that_was_away_is_used_again(layer: Layer) -> None:
    async with running("a") as (a, _), running("b") as (b, of_b):
        layer.is_away = True
        b.opened(DOCUMENT)
        a.announce(DOCUMENT, 1)
        await asyncio.sleep(0.03)
        layer.is_away = False
        await until(lambda: layer.groups)
        a.announce(DOCUMENT, 2)
        await until(lambda: (DOCUMENT, 2) in of_b)


async def test_nonsense_on_the_channel_is_survived(layer: Layer) -> None:
    async with running("a") as (a, of_a):
        a.opened(DOCUMENT)
        await until(lambda: layer.groups)
        await layer.group_send(group_of(DOCUMENT), {"process": "b"})
        await layer.group_send(
            group_of(DOCUMENT), {"process": "b", "document": str(DOCUMENT), "seq": 4, "type": "later"}
        )
        await until(lambda: of_a == [(DOCUMENT, 4)])


async def test_without_other_processes_nothing_is_done() -> None:
    bus = Bus("a", lambda document_id, seq: None)
    assert not bus.has_others
    bus.opened(DOCUMENT)
    bus.announce(DOCUMENT, 1)
    await bus.run()
