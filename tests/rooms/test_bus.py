"""News between processes (rule A7), with a layer that the tests break."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from rooms import bus as bus_module
from rooms.bus import Bus, announce, as_event
from rooms.news import SITE_GROUP, Committed, Kicked, News, RightsChanged, group_of
from tests.rooms.patience import until
from tests.rooms.redis_process import RedisProcess

DOCUMENT, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


class Layer:
    """A channel layer in memory that may be away."""

    def __init__(self) -> None:
        self.groups: dict[str, set[str]] = {}
        self.queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self.sent: list[dict[str, Any]] = []
        self.is_away = False

    async def new_channel(self, prefix: str) -> str:
        self._check()
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
async def running(process: str) -> AsyncIterator[tuple[Bus, list[News]]]:
    """A bus, and what it heard."""
    heard: list[News] = []
    bus = Bus(process)
    for kind in (Committed, RightsChanged, Kicked):
        bus.on(kind, heard.append)
    task = asyncio.create_task(bus.run())
    await asyncio.sleep(0)
    yield bus, heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def members(layer: Layer, group: str) -> int:
    return len(layer.groups.get(group, ()))


async def test_others_hear_of_commits_in_rooms_that_are_open_there(layer: Layer) -> None:
    async with running("a") as (a, of_a), running("b") as (b, of_b):
        a.opened(DOCUMENT)
        b.opened(DOCUMENT)
        await until(lambda: members(layer, group_of(DOCUMENT)) == 2)
        a.tell(Committed(DOCUMENT, 7))
        a.tell(Committed(OTHER, 3))
        await until(lambda: of_b == [Committed(DOCUMENT, 7)])
        b.forgotten(DOCUMENT)
        await until(lambda: members(layer, group_of(DOCUMENT)) == 1)
        a.tell(Committed(DOCUMENT, 8))
        await until(lambda: len(layer.sent) == 3)
        assert (of_a, of_b) == ([], [Committed(DOCUMENT, 7)])


@pytest.mark.parametrize("none", [None, InMemoryChannelLayer()])
async def test_where_no_layer_reaches_others_nobody_is_told_and_nothing_waits(
    none: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.bus.get_channel_layer", lambda: none)
    assert announce(Kicked(session=OTHER))
    assert not bus_module._sending
    async with running("a") as (a, heard):
        assert not a.has_others
        a.tell(Kicked(session=OTHER))
        await a.drained()
        assert announce(Kicked(session=OTHER))
        await until(lambda: heard == [Kicked(session=OTHER)])
        assert (a.told, a.lost) == (0, 0)


async def test_every_process_hears_what_concerns_the_site_and_each_kind_arrives_as_it_was(
    layer: Layer,
) -> None:
    told: list[News] = [
        RightsChanged(),
        RightsChanged(DOCUMENT, "7"),
        Kicked(session=OTHER),
    ]
    async with running("a") as (a, _), running("b") as (b, of_b), running("c") as (_, of_c):
        b.opened(DOCUMENT)
        await until(lambda: members(layer, SITE_GROUP) == 3 and members(layer, group_of(DOCUMENT)))
        for news in told:
            a.tell(news)
        await until(lambda: of_b == told)
        await until(lambda: of_c == told[:3])


async def test_commits_that_nobody_was_told_of_yet_are_told_as_one(layer: Layer) -> None:
    async with running("a") as (a, _), running("b") as (b, of_b):
        b.opened(DOCUMENT)
        await until(lambda: group_of(DOCUMENT) in layer.groups)
        for seq in range(1, 6):
            a.tell(Committed(DOCUMENT, seq))
        await until(lambda: of_b)
        assert of_b == [Committed(DOCUMENT, 5)]


async def test_a_layer_that_was_away_is_used_again_and_told_what_still_matters(layer: Layer) -> None:
    async with running("a") as (a, _), running("b") as (b, of_b):
        await until(lambda: members(layer, SITE_GROUP) == 2)
        layer.is_away = True
        b.opened(DOCUMENT)
        for seq in range(3):
            a.tell(Committed(DOCUMENT, seq))
        a.tell(Kicked(session=OTHER))
        await asyncio.sleep(0.03)
        layer.is_away = False
        await until(lambda: Kicked(session=OTHER) in of_b)
        a.tell(Committed(DOCUMENT, 3))
        await until(lambda: Committed(DOCUMENT, 3) in of_b)


async def test_a_room_that_left_while_the_layer_was_away_is_heard_when_it_opens_again(layer: Layer) -> None:
    """As Redis's layer, which forgets the group before it fails to tell Redis so."""

    async def forgetting(group: str, channel: str) -> None:
        layer.groups[group].discard(channel)
        layer._check()

    layer.group_discard = forgetting  # type: ignore[method-assign]
    async with running("a") as (a, of_a):
        a.opened(DOCUMENT)
        await until(lambda: members(layer, group_of(DOCUMENT)))
        layer.is_away = True
        a.forgotten(DOCUMENT)
        await until(lambda: not members(layer, group_of(DOCUMENT)))
        a.opened(DOCUMENT)
        layer.is_away = False
        await until(lambda: members(layer, group_of(DOCUMENT)))
        await layer.group_send(group_of(DOCUMENT), as_event(Committed(DOCUMENT, 7), "b"))
        await until(lambda: of_a == [Committed(DOCUMENT, 7)])


async def test_a_group_that_the_layer_failed_to_leave_is_left_later(layer: Layer) -> None:
    """The same layer: who only asks once more to leave is told that there is nothing to leave."""
    at_redis: set[str] = set()
    join = layer.group_add

    async def joining(group: str, channel: str) -> None:
        await join(group, channel)
        at_redis.add(group)

    async def leaving(group: str, channel: str) -> None:
        if channel in layer.groups[group]:
            layer.groups[group].discard(channel)
            layer._check()
            at_redis.discard(group)

    layer.group_add, layer.group_discard = joining, leaving  # type: ignore[method-assign]
    async with running("a") as (a, _):
        a.opened(DOCUMENT)
        await until(lambda: at_redis == {SITE_GROUP, group_of(DOCUMENT)})
        layer.is_away = True
        a.forgotten(DOCUMENT)
        await until(lambda: not members(layer, group_of(DOCUMENT)))
        layer.is_away = False
        await until(lambda: at_redis == {SITE_GROUP})


async def test_a_busy_process_hears_again_soon_after_redis_was_restarted(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layer connects in two places, which must not go on breaking each other's connection."""
    made = RedisPubSubChannelLayer(hosts=[redis.url])
    monkeypatch.setattr("rooms.bus.get_channel_layer", lambda: made)

    async def be_busy() -> None:
        while True:
            time.sleep(0.03)  # noqa: ASYNC251  that is what it is about: a handshake takes a while
            await asyncio.sleep(0)

    async with running("a") as (a, of_a):
        a.opened(DOCUMENT)
        await until(lambda: redis.subscribers(group_of(DOCUMENT)))
        busy = asyncio.create_task(be_busy())
        redis.kill()
        a.opened(OTHER)
        await asyncio.sleep(1.5)
        await asyncio.to_thread(redis.start)
        async with asyncio.timeout(20):
            while not redis.subscribers(group_of(OTHER)):  # noqa: ASYNC110  Redis tells nobody
                await asyncio.sleep(0.1)
        busy.cancel()
        await made.group_send(group_of(OTHER), as_event(Committed(OTHER, 7), "b"))
        await until(lambda: of_a == [Committed(OTHER, 7)])
    await made.flush()


async def test_what_waits_for_the_layer_is_bounded(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "WAITING_MAX", 10)
    async with running("a") as (a, _), running("b") as (_, of_b):
        await until(lambda: members(layer, SITE_GROUP) == 2)
        for user in range(25):
            a.tell(RightsChanged(user=str(user)))
        assert a.lost == 15
        await until(lambda: len(of_b) == 10)
        assert of_b[-1] == RightsChanged(user="24")


async def test_nonsense_news_of_tomorrow_and_a_handler_that_fails_are_survived(layer: Layer) -> None:
    async with running("a") as (a, of_a):
        a.on(Kicked, lambda news: 1 / 0)
        await until(lambda: members(layer, SITE_GROUP))
        for nonsense in ({"process": "b"}, {"type": "x"}, {"process": "b", "news": '{"kind":"tomorrow"}'}):
            await layer.group_send(SITE_GROUP, nonsense)
        await layer.group_send(SITE_GROUP, {"process": "b", "news": "[" * 100_000})
        await layer.group_send(SITE_GROUP, {**as_event(Kicked(), "b"), "type": "later"})
        await layer.group_send(SITE_GROUP, as_event(RightsChanged(), "b"))
        await until(lambda: of_a == [RightsChanged()])


async def test_what_others_write_to_the_same_redis_makes_nobody_deaf(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer cannot decode it; after a failure of the layer itself there is a pause."""
    monkeypatch.setattr("rooms.bus.PAUSE_S", 1000)
    receive, fails = Layer.receive, 3

    async def garbled(self: Layer, channel: str) -> dict[str, Any]:
        nonlocal fails
        event = await receive(self, channel)
        if fails:
            fails -= 1
            raise ValueError("Unpack failed: incomplete input")
        return event

    monkeypatch.setattr(Layer, "receive", garbled)
    async with running("a") as (_, of_a):
        await until(lambda: members(layer, SITE_GROUP))
        for _ in range(4):
            await layer.group_send(SITE_GROUP, as_event(RightsChanged(), "b"))
        await until(lambda: of_a == [RightsChanged()])


async def test_a_layer_that_is_away_at_the_start_is_found_later(layer: Layer) -> None:
    layer.is_away = True
    async with running("a") as (_, of_a):
        await asyncio.sleep(0.03)
        layer.is_away = False
        await until(lambda: members(layer, SITE_GROUP))
        await layer.group_send(SITE_GROUP, as_event(RightsChanged(), "b"))
        await until(lambda: of_a)


@pytest.mark.parametrize("swallows", ["new_channel", "group_add", "group_send", "receive"])
async def test_a_bus_ends_although_the_client_of_redis_swallows_the_cancellation(
    layer: Layer, swallows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_asked = getattr(layer, swallows), asyncio.Event()

    async def swallowing(*args: Any) -> Any:
        is_asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await real(*args)

    monkeypatch.setattr(layer, swallows, swallowing)
    bus = Bus("a")
    bus.tell(Kicked())
    task = asyncio.create_task(bus.run())
    await asyncio.wait_for(is_asked.wait(), 5)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done
    assert task.cancelled()


async def test_a_page_of_this_process_is_heard_here_and_by_the_others(layer: Layer) -> None:
    async with running("a") as (_, of_a):
        await until(lambda: members(layer, SITE_GROUP))
        layer.groups[SITE_GROUP].add(await layer.new_channel("b"))
        thread = threading.Thread(target=announce, args=(Kicked(),))
        thread.start()
        await until(lambda: of_a == [Kicked()] and layer.sent == [as_event(Kicked(), "a")])
        thread.join()


def test_a_command_tells_every_process_and_gives_up_on_a_layer_that_is_away(layer: Layer) -> None:
    assert announce(Committed(DOCUMENT, 9))
    assert layer.sent == [as_event(Committed(DOCUMENT, 9), "")]
    layer.is_away = True
    assert not announce(Committed(DOCUMENT, 10))


async def test_coroutines_outside_a_server_tell_too(layer: Layer) -> None:
    assert announce(Kicked())
    await until(lambda: layer.sent == [as_event(Kicked(), "")])


async def test_without_other_processes_this_one_still_hears() -> None:
    async with running("a") as (a, of_a):
        assert not a.has_others
        a.opened(DOCUMENT)
        a.tell(Committed(DOCUMENT, 1))
        announce(Kicked())
        await until(lambda: of_a == [Kicked()])


def test_without_a_server_and_a_layer_nobody_is_told_and_nothing_fails() -> None:
    assert announce(Kicked())
