"""Native clients of real server processes on one database (rules N2 to N6, A7)."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.rooms.build import insert, message, put, undo
from tests.rooms.client import Client, NativeClient
from tests.rooms.raw_socket import RawSocket
from tests.rooms.redis_process import RedisProcess
from tests.server import ServerProcess
from vuer_rtc.protocol.codes import CloseCode

SETTINGS = {"LIMITS": {"message_burst_max": 100_000, "read_burst_max": 100_000}, "RECENT_MESSAGES_MAX": 50}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two processes on one database."""
    data_dir = tmp_path_factory.mktemp("two")
    with ServerProcess(data_dir, settings=SETTINGS) as one, ServerProcess(data_dir, settings=SETTINGS) as two:
        yield one, two


@pytest.fixture
def slug(servers: tuple[ServerProcess, ServerProcess], request: pytest.FixtureRequest) -> str:
    name = f"room-{abs(hash(request.node.nodeid))}"
    servers[0].create_documents([name])
    return name


async def test_native_clients_stay_the_same_through_a_compaction(
    servers: tuple[ServerProcess, ServerProcess], slug: str
) -> None:
    """N3 to N6, over sockets, with batches."""
    server = servers[0]
    batched = {"format": "msgpack", "features": "batch"}
    async with NativeClient(server, slug, "ann", **batched) as ann, NativeClient(server, slug, "bob") as bob:
        everybody = [ann, bob]
        [welcome] = ann.welcomes
        assert (welcome["version"], welcome["features"], welcome["serverSeq"]) == (2, ["batch"], 0)
        assert welcome["rights"] == ["edit", "view"]
        assert welcome["limits"]["message_burst_max"] == 100_000
        assert welcome["durability"]["full"] is True
        assert "SQLite" in welcome["durability"]["detail"]
        await ann.edit(insert("n"), put("nowhere"))
        for value in range(30):
            await asyncio.gather(ann.edit(put(value=value)), bob.edit(put("n", f"y{value}", value)))
        await bob.edit(undo("bob:7"))
        for one in everybody:
            await one.assert_same()
        burst = [await bob.send(put(value=value)) for value in range(200)]
        await bob.acked(burst[-1])
        await ann.assert_same()
        assert ann.batches > 0

        compact = ("compact_journals", "--document", slug, "--keep", "20", "--older-than", "0", "--json")
        report = json.loads(await asyncio.to_thread(server.manage, *compact))
        await ann.until(lambda: ann.native.graph.cut > 0)
        assert report, "it did something"
        for one in everybody:
            await one.assert_same()
        bob.lt = 5
        late = await bob.send(put("n", "late", 1))
        await bob.acked(late)
        async with NativeClient(server, slug, "cy", format="msgpack") as cy:
            assert 0 < len(cy.states[0]["journal"]) < ann.native.seq - 50
            assert cy.states[0]["native"]
            assert isinstance(cy.states[0]["native"], bytes)
            for one in (*everybody, cy):
                await one.assert_same()
            assert len({one.native.graph.full_digest() for one in (*everybody, cy)}) == 1


async def test_who_comes_back_gets_what_it_missed_from_memory_or_from_the_journal(
    servers: tuple[ServerProcess, ServerProcess], slug: str
) -> None:
    """N5."""
    async with NativeClient(servers[0], slug, "ann") as ann, NativeClient(servers[0], slug, "bob") as bob:
        await ann.edit(insert("n"))
        for missed in (10, 200):
            await bob.leave()
            sent = [await ann.send(put(value=value)) for value in range(missed)]
            await ann.acked(sent[-1])
            await bob.come_back()
            await bob.assert_same()
        assert bob.resumed == 2
        assert len(bob.states) == 1
        again = NativeClient(servers[1], slug, "ann2")
        again.url += f"&since={10**6}"
        await again.open()
        await again.assert_same()
        assert again.resumed == 0
        await again.leave()


async def test_two_processes_on_one_database_agree_soon(
    servers: tuple[ServerProcess, ServerProcess], slug: str
) -> None:
    """A7: also when only one of them writes, and the last message of a burst included."""
    here, there = servers
    async with NativeClient(here, slug, "ann") as ann, NativeClient(there, slug, "bob") as bob:
        async with Client(there, slug, "eve") as eve:
            await ann.edit(insert("n"))
            begun_at = time.monotonic()
            await bob.until(lambda: bob.native.seq == 1)
            await eve.until(lambda: eve.seqs() == [1])
            assert time.monotonic() - begun_at < 2.5, "a second, and what a busy machine takes"
        for value in range(30):
            await asyncio.gather(ann.send(put(value=value)), bob.send(put("n", "y", value)))
        for one in (ann, bob):
            await one.until(lambda one=one: not one.unacked)
            await one.until(lambda one=one: one.native.seq == 61)
        assert ann.native.graph.full_digest() == bob.native.graph.full_digest()
        for one in (ann, bob):
            await one.assert_same()


async def test_a_client_builds_at_once_on_what_another_process_told_it(
    servers: tuple[ServerProcess, ServerProcess], slug: str
) -> None:
    """A7: its process stops, and it goes on with one that has the room open and has not looked at the journal yet."""
    here, there = servers
    async with Client(here, slug, "ann") as ann, Client(there, slug, "eve"):
        for number in range(1, 6):
            await ann.edit(insert(f"n{number}"))
            async with Client(there, slug, f"bob{number}") as bob:
                built = message(bob.name, 1, put(f"n{number}"), lt=bob.lt + 1)
                await bob.resend(replace(built, clock={"ann": number, bob.name: 1}))
                await bob.until(lambda bob=bob: bob.acks or bob.errors)
                assert not bob.errors


async def test_connections_of_one_client_at_two_processes_both_stay(
    servers: tuple[ServerProcess, ServerProcess], slug: str
) -> None:
    """A6: each is told of what the other commits; of two commits with one counter the later one is refused."""
    here, there = servers
    async with NativeClient(here, slug, "ann") as one, NativeClient(there, slug, "ann") as other:
        await one.edit(insert("n"))
        await other.until(lambda: other.native.seq == 1)
        other.counter = one.counter
        assert await other.edit(put(value=2)) == 2
        await one.until(lambda: one.native.seq == 2)
        await one.send(put(value=3), id="ann:3")
        await one.until(lambda: one.errors)
        assert one.errors[0]["code"] == "id-reused"
        assert (one.close_code, other.close_code) == (None, None)


async def test_with_a_channel_layer_a_newer_connection_replaces_the_older_at_another_process(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: there and back, as behind a load balancer; those of other clients stay."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    with (
        ServerProcess(tmp_path, settings=SETTINGS) as here,
        ServerProcess(tmp_path, settings=SETTINGS) as there,
    ):
        here.create_documents(["stage"])
        async with NativeClient(here, "stage", "bob") as bob, NativeClient(there, "stage", "eve") as eve:
            former = NativeClient(here, "stage", "ann")
            await former.open()
            await asyncio.sleep(0.5)  # the processes subscribe meanwhile
            for server in (there, here, there):
                newer = NativeClient(server, "stage", "ann")
                await newer.open()
                await newer.status()
                await former.until(lambda former=former: former.close_code is not None)
                assert former.close_code == CloseCode.REPLACED
                former = newer
            await former.edit(insert("n"))
            for one in (bob, eve):
                await one.until(lambda one=one: one.native.seq == 1)
                assert one.close_code is None
            assert former.close_code is None
            await former.leave()


async def test_a_handshake_that_was_given_up_replaces_nobody_when_a_process_goes_on(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: its client has found another process meanwhile, and would be out for good."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    with (
        ServerProcess(tmp_path, settings=SETTINGS) as here,
        ServerProcess(tmp_path, settings=SETTINGS) as there,
    ):
        here.create_documents(["stage"])
        async with NativeClient(here, "stage", "bob"), NativeClient(there, "stage", "eve"):
            await asyncio.sleep(0.5)  # the processes subscribe meanwhile
            there.pause()
            given_up = RawSocket(there.port)
            await given_up.connect()
            given_up.write(given_up.request("/ws/rooms/stage/?client=ann&format=json"))
            async with NativeClient(here, "stage", "ann") as ann:
                await ann.status()
                there.resume()
                await given_up.reader.readuntil(b'"mtype":"state"')
                await asyncio.sleep(0.5)  # what it tells the other process would have come
                assert ann.close_code is None
                await ann.edit(insert("n"))


async def test_with_a_channel_layer_processes_agree_at_once(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: nobody polls here, so it was the layer."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    settings = {**SETTINGS, "HEAD_POLL_S": 3600}
    with (
        ServerProcess(tmp_path, settings=settings) as here,
        ServerProcess(tmp_path, settings=settings) as there,
    ):
        here.create_documents(["stage"])
        async with NativeClient(here, "stage", "ann") as ann, NativeClient(there, "stage", "bob") as bob:
            await asyncio.sleep(0.5)  # the processes subscribe meanwhile
            for seq in range(1, 21):
                await ann.edit(insert("n"))
                begun_at = time.monotonic()
                await bob.until(lambda seq=seq: bob.native.seq == seq)
                assert time.monotonic() - begun_at < 1
            for value in range(50):
                await asyncio.gather(ann.send(put(value=value)), bob.send(put("n", "y", value)))
            for one in (ann, bob):
                await one.until(lambda one=one: one.native.seq == 120)
            assert ann.native.graph.full_digest() == bob.native.graph.full_digest()


async def test_what_comes_back_to_a_process_that_is_behind_is_not_taken_back(tmp_path: Path) -> None:
    """N5: the process reads the head before it answers."""
    slow = {**SETTINGS, "HEAD_POLL_S": 3600}
    with ServerProcess(tmp_path, settings=slow) as here, ServerProcess(tmp_path, settings=slow) as there:
        here.create_documents(["stage"])
        async with NativeClient(there, "stage", "bob"), NativeClient(here, "stage", "ann") as ann:
            await ann.edit(insert("n"))
            moved = NativeClient(there, "stage", "ann2")
            moved.url += "&since=1"
            await moved.open()
            assert moved.resumed == 1
            assert moved.welcomes[0]["serverSeq"] == 1
            await moved.leave()
