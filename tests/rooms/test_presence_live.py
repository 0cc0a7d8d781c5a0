"""Presence over real sockets: one process without a layer, two with Redis, deaths and losses (rules W1 to W8)."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.rooms.build import insert, put
from tests.rooms.client import Client, NativeClient
from tests.rooms.redis_process import RedisProcess
from tests.server import ServerProcess

SETTINGS = {
    "LIMITS": {"presence_silence_s_max": 3, "presence_per_second_max": 1000, "presence_burst_max": 10_000}
}
FEATURES = {"features": "presence,batch"}


@pytest.fixture
def servers(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two processes on one database, with a channel layer."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    with ServerProcess(tmp_path, settings=SETTINGS) as one, ServerProcess(tmp_path, settings=SETTINGS) as two:
        one.create_documents(["stage"])
        yield one, two


class Alive:
    """Has clients send heartbeats, as they should; runs inside the block."""

    def __init__(self, *clients: Client) -> None:
        self.clients = clients

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self.run())

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()

    async def run(self) -> None:
        while True:
            for client in self.clients:
                if client.close_code is None:
                    await client.send_raw({"mtype": "heartbeat"})
            await asyncio.sleep(0.5)


async def sees(client: Client, **present: Any) -> None:
    await client.until(lambda: client.present == present)


async def test_one_process_needs_no_layer_and_published_clients_never_know(tmp_path: Path) -> None:
    """W1 to W7."""
    with ServerProcess(tmp_path, settings=SETTINGS) as server:
        server.create_documents(["stage"])
        server.create_documents(["gallery"], visibility="public-view")
        async with (
            NativeClient(server, "stage", "ann", **FEATURES) as ann,
            NativeClient(server, "stage", "bob", format="msgpack", **FEATURES) as bob,
            NativeClient(server, "stage", "nat") as native,
            Client(server, "stage", "pub") as published,
        ):
            assert ann.welcomes[0]["features"] == ["batch", "presence"]
            assert ann.welcomes[0]["limits"]["presence_bytes_max"] == 4096
            await ann.show({"cursor": [0, 1.5, 2]})
            await sees(bob, ann={"cursor": [0, 1.5, 2]})
            await bob.show({"selection": ["cube"]})
            async with NativeClient(server, "stage", "late", **FEATURES) as late:
                await sees(late, ann={"cursor": [0, 1.5, 2]}, bob={"selection": ["cube"]})
                await late.show({})
                await sees(ann, bob={"selection": ["cube"]}, late={})
            await sees(ann, bob={"selection": ["cube"]})
            for deaf in (native, published):
                await deaf.show({})
                await deaf.until(lambda deaf=deaf: deaf.errors)
                assert deaf.errors[0]["code"] == "unknown-mtype"
            await ann.show({"text": "x" * 5000})
            await ann.until(lambda: ann.errors)
            assert ann.errors[0]["code"] == "over-limit"
            await published.edit(insert("n"))
            await sees(bob, ann={"cursor": [0, 1.5, 2]})
            assert [native.present, published.present] == [{}, {}]

            async with Alive(bob):  # ann says nothing any more
                await sees(bob)
            assert ann.close_code is None
        async with (
            NativeClient(server, "gallery", "one", **FEATURES) as one,
            NativeClient(server, "gallery", "two", **FEATURES) as two,
        ):
            await one.show({"camera": {"position": [0, 0, 5]}})
            await sees(two, one={"camera": {"position": [0, 0, 5]}})
            await two.send(insert("n"))
            await two.until(lambda: two.errors)
            assert two.errors[0]["code"] == "forbidden"


async def test_two_processes_tell_each_other_until_one_is_killed(
    servers: tuple[ServerProcess, ServerProcess],
) -> None:
    """W8."""
    here, there = servers
    async with (
        NativeClient(here, "stage", "ann", **FEATURES) as ann,
        NativeClient(there, "stage", "bob", **FEATURES) as bob,
        NativeClient(there, "stage", "eve", **FEATURES) as eve,
        Alive(ann, bob, eve),
    ):
        await ann.show({"n": 0})
        await sees(bob, ann={"n": 0})
        for n in range(1, 30):
            await asyncio.gather(ann.show({"n": n}), bob.show({"n": n}), eve.show({}), ann.edit(put(value=n)))
        await sees(ann, bob={"n": 29}, eve={})
        await sees(bob, ann={"n": 29}, eve={})
        await eve.show(None)
        await sees(ann, bob={"n": 29})
        await eve.show({"late": 1})
        async with NativeClient(here, "stage", "cy", **FEATURES) as cy:
            await sees(cy, ann={"n": 29}, bob={"n": 29}, eve={"late": 1})

        there.kill()
        bob.url = here.url("stage", "bob", v="2", format="json", **FEATURES)
        await bob.until(lambda: bob.close_code is not None)
        await bob.open()
        await bob.show({"moved": True})
        await ann.until(lambda: ann.present.get("bob") == {"moved": True})
        await sees(ann, bob={"moved": True})
        await sees(bob, ann={"n": 29})


async def test_what_the_layer_loses_is_told_again(
    servers: tuple[ServerProcess, ServerProcess], redis: RedisProcess
) -> None:
    """W8: Redis is away while people move, come and go."""
    async with AsyncExitStack() as stack:
        ann, bob, cy = [
            await stack.enter_async_context(NativeClient(server, "stage", name, **FEATURES))
            for server, name in zip((*servers, servers[1]), ("ann", "bob", "cy"), strict=True)
        ]
        await stack.enter_async_context(Alive(ann, bob, cy))
        for one in (ann, bob, cy):
            await one.show({"n": 1})
        await sees(ann, bob={"n": 1}, cy={"n": 1})
        redis.kill()
        await bob.show({"n": 2})
        await sees(cy, ann={"n": 1}, bob={"n": 2})
        await cy.show(None)
        await ann.show({"n": 3})
        await ann.edit(insert("n"))
        redis.start()
        await sees(ann, bob={"n": 2})
        await sees(cy, ann={"n": 3}, bob={"n": 2})


async def test_who_does_not_read_keeps_nobody_waiting_and_sees_the_newest_in_the_end(tmp_path: Path) -> None:
    """W5: presence waits behind the commits, and only the newest of it."""
    with ServerProcess(tmp_path, settings=SETTINGS) as server:
        server.create_documents(["stage"])
        async with (
            NativeClient(server, "stage", "ann", **FEATURES) as ann,
            NativeClient(server, "stage", "bob", **FEATURES) as bob,
            Alive(ann, bob),
        ):
            slow = NativeClient(server, "stage", "slow", **FEATURES)
            await slow.open()
            assert slow._connection is not None
            slow._connection.transport.pause_reading()
            for n in range(600):
                await ann.show({"n": n, "text": "x" * 4000})
                if n % 50 == 0:
                    await bob.until(lambda n=n: bob.present.get("ann", {}).get("n", -1) >= n)
            await bob.until(lambda: bob.present["ann"]["n"] == 599)
            slow._connection.transport.resume_reading()
            await slow.until(lambda: slow.present.get("ann", {}).get("n") == 599)
            assert slow.close_code is None
            await slow.leave()


async def test_a_server_that_stops_tells_that_its_clients_are_gone(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W8: at once, not after the silence."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    with ServerProcess(tmp_path) as here, ServerProcess(tmp_path) as there:
        here.create_documents(["stage"])
        async with (
            NativeClient(here, "stage", "ann", **FEATURES) as ann,
            NativeClient(there, "stage", "bob", **FEATURES) as bob,
        ):
            await bob.show({})
            await sees(ann, bob={})
            begun_at = time.monotonic()
            await asyncio.to_thread(there.stop)
            await sees(ann)
            assert time.monotonic() - begun_at < 20, "they would be silent for thirty"
