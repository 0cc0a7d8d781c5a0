"""What happens around server processes: they die, they stand still, Redis dies, its messages are lost (rules A1, A7).

Two processes on one database; a client at each, and one that comes back elsewhere when its server is gone.  Whatever
happens: nothing acknowledged is lost, and everybody converges without loading the document anew.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL
from tests.rooms.build import insert, put
from tests.rooms.lossy_link import Faults, Link, Network
from tests.rooms.redis_process import RedisProcess
from tests.rooms.stubborn import Stubborn, StubbornNative, StubbornPublished
from tests.server import ServerProcess

SLUG = "stage"
SETTINGS = {"LIMITS": {"message_burst_max": 100_000, "read_burst_max": 100_000}}
PAUSE_S = float(os.environ.get("VUER_RTC_PAUSE_S", "10"))
"""How long a process stands still."""
POLL_S = 1
"""The servers' `head_poll_s`: how late news come that nobody tells."""
Servers = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Two processes in the surroundings that the fixtures before have made."""
    with ServerProcess(tmp_path, settings=SETTINGS) as one, ServerProcess(tmp_path, settings=SETTINGS) as two:
        one.create_documents([SLUG])
        yield one, two


@pytest.fixture
def redis_url(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> RedisProcess:
    monkeypatch.setenv("REDIS_URL", redis.url)
    return redis


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which database the servers are on."""
    if request.param == "sqlite":
        yield request.param
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"faults_{os.getpid()}_{abs(hash(request.node.nodeid))}"
    monkeypatch.setenv("DATABASE_URL", server.create_database(name))
    yield request.param
    server.drop_database(name)


class Company:
    """`ann` at the first server, `bob` at the second, `eve` at the first through a link that may lead elsewhere."""

    def __init__(self, servers: Servers, link: Link) -> None:
        self.link = link
        self.ann = StubbornNative(servers[0], SLUG, "ann", format="msgpack", features="batch")
        self.bob = StubbornPublished(servers[1], SLUG, "bob")
        self.eve = StubbornNative(link, SLUG, "eve")
        self.everybody: list[Stubborn] = [self.ann, self.bob, self.eve]
        self.digests: list[Callable[[], str]] = [self.ann.digest, self.bob.digest, self.eve.digest]

    async def burst(self, count: int) -> None:
        """Everybody sends so many, and nobody waits."""
        for number in range(count):
            for client in self.everybody:
                await client.send(put("n", client.name, number))

    async def acknowledged(self) -> None:
        for client in self.everybody:
            await client.until(lambda client=client: not client.unacked)

    async def assert_converged(self) -> None:
        """Everything sent is acknowledged, once, and all have the same document; nobody got a second `state`."""
        await self.acknowledged()
        sent = {message_id for client in self.everybody for message_id in client.sent}
        for client in self.everybody:
            await client.until(lambda client=client: client.known() >= sent)
        seqs = sorted(seq for client in self.everybody for seq in client.acks.values() if seq)
        assert seqs == list(range(1, len(sent) + 1)), "each once, and no gap"
        digests = {digest() for digest in self.digests}
        assert digests == {(await self.bob.status())["digest"]}
        for client in (self.ann, self.eve):
            assert len(client.states) <= 1, f"{client.name} had to load the document anew"


@contextlib.asynccontextmanager
async def company(servers: Servers) -> AsyncIterator[Company]:
    async with Network(1, Faults()) as network:
        link = await network.link(servers[0])
        made = Company(servers, link)
        try:
            for client in made.everybody:
                await client.start()
                await client.until(lambda client=client: client.is_online)
            first = await made.ann.send(insert("n"))
            for client in made.everybody:
                await client.until(lambda client=client: first.id in client.known())
            yield made
        finally:
            for client in made.everybody:
                await client.end()


async def test_redis_dies_and_comes_back(redis_url: RedisProcess, servers: Servers) -> None:
    async with company(servers) as all_:
        await all_.burst(20)
        redis_url.kill()
        await all_.burst(50)
        await all_.acknowledged()
        await all_.assert_converged()
        redis_url.start()
        await all_.burst(50)
        await all_.assert_converged()
        assert all("channel layer" in server.log() for server in servers), "it is said to be away"
        assert "Task exception" not in servers[0].log() + servers[1].log()


async def test_one_process_is_killed(redis_url: RedisProcess, servers: Servers) -> None:
    one, two = servers
    async with company(servers) as all_:
        await all_.burst(200)
        await all_.ann.until(lambda: len(all_.ann.acks) > 5)
        all_.link.server = two
        one.kill()
        acked = set(all_.ann.acks) | set(all_.eve.acks)
        await all_.eve.until(lambda: all_.eve.is_online)
        await all_.eve.until(lambda: not all_.eve.unacked)
        await all_.burst(20)
        await all_.eve.until(lambda: acked <= all_.eve.known())
        assert all_.ann.unacked, "its server is gone"
        one.start()
        await all_.assert_converged()


async def test_a_process_stands_still_for_a_while(database: str, servers: Servers) -> None:
    """The other goes on meanwhile, unless the first one holds the database's lock; then it waits."""
    one, _ = servers
    async with company(servers) as all_:
        await all_.burst(100)
        one.pause()
        try:
            late = await all_.bob.send(put("n", "late", 1))
            await all_.burst(20)
            await asyncio.sleep(PAUSE_S)  # the fault itself
        finally:
            one.resume()
        await all_.bob.acked(late)
        await all_.burst(20)
        await all_.assert_converged()


async def test_the_layer_loses_messages(
    redis_url: RedisProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last message of a burst included: it comes with the poll of the heads."""
    monkeypatch.setenv("VUER_RTC_TEST_CHANNEL_LAYER", "tests.rooms.lossy_layer.LossyLayer")
    with ServerProcess(tmp_path, settings=SETTINGS) as one, ServerProcess(tmp_path, settings=SETTINGS) as two:
        one.create_documents([SLUG])
        async with company((one, two)) as all_:
            for _ in range(20):
                await all_.burst(3)
                await all_.acknowledged()
                last = await all_.ann.send(put("n", "last", 1))
                await all_.ann.acked(last)
                begun_at = time.monotonic()
                await all_.bob.until(lambda last=last: last.id in all_.bob.known())
                assert time.monotonic() - begun_at < 5 * POLL_S, "a second, and what a busy machine takes"
            await all_.assert_converged()
