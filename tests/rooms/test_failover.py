"""A standby of PostgreSQL takes the primary's place under server processes that go on.

Rules A1, J66; design: an ack means on disk, wherever the site says its disks are.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.postgresql import PORT, USER, PostgreSQL
from tests.rooms.build import insert, put
from tests.rooms.client import Client, NativeClient
from tests.server import ServerProcess

SETTINGS = {
    "SESSION_FLUSH_S": 0.2,
    "RETRY_DELAY_MAX_MS": 200,
    "PROJECTION_INTERVAL_S": 0.1,
    "HEAD_POLL_S": 0.2,
    "LIMITS": {"message_burst_max": 100_000},
}


class Pair:
    """A primary, its standby, and an address of both, at which servers look for whichever leads."""

    def __init__(self, primary: PostgreSQL, standby: PostgreSQL) -> None:
        self.primary = primary
        self.standby = standby
        hosts = quote(f"{standby.folder},{primary.folder}", safe="")
        self.url = f"postgres://{USER}@{hosts}:{PORT}/rooms?target_session_attrs=read-write"

    def make_synchronous(self) -> None:
        """From now on a commit waits for both disks."""
        self.set(self.primary, "synchronous_standby_names", "*")

    def cut_off(self) -> None:
        """From now on the standby hears nothing any more."""
        self.set(self.standby, "primary_conninfo", "")
        with self.primary.connect() as connection:
            while connection.execute("SELECT 1 FROM pg_stat_replication").fetchone():
                time.sleep(0.02)

    def set(self, server: PostgreSQL, name: str, value: str) -> None:
        with server.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
        while True:
            with server.connect() as connection:  # sessions that are open hear of it later
                if connection.execute(f"SHOW {name}").fetchone() == (value,):
                    return

    def fail_over(self) -> None:
        """The primary dies, and the standby takes its place."""
        self.primary.crash()
        self.standby.promote()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with PostgreSQL() as primary:
        primary.create_database("rooms")
        with PostgreSQL(primary) as standby:
            yield Pair(primary, standby)


@pytest.fixture
def servers(tmp_path: Path, pair: Pair) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two processes of one site."""
    with ExitStack() as running:
        made = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            server = ServerProcess(tmp_path / name, settings=SETTINGS, database_url=pair.url)
            made.append(running.enter_context(server))
        made[0].create_documents(["stage", "quiet"])
        yield made[0], made[1]


async def test_with_a_synchronous_standby_nothing_is_lost_and_all_go_on_by_themselves(
    pair: Pair, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    pair.make_synchronous()
    async with Client(servers[0], "stage", "ann") as ann, Client(servers[1], "stage", "bob") as bob:
        await ann.edit(insert("n"))
        failing_over = asyncio.create_task(asyncio.to_thread(pair.fail_over))
        value = 0
        while not failing_over.done() or value < 200:
            await ann.send(put(value=value))
            await bob.send(put("n", "y", value))
            value += 1
            await asyncio.sleep(0.01)
        await failing_over
        await ann.until(lambda: not ann.unacked)
        await bob.until(lambda: not bob.unacked)
        await ann.until(lambda: len(ann.broadcasts) == len(bob.acks))
        await bob.until(lambda: len(bob.broadcasts) == len(ann.acks))
        total = len(ann.acks) + len(bob.acks)
        assert ann.seqs() == list(range(1, total + 1))
        assert (await bob.status())["digest"] == ann.replica().digest()
        assert len(ann.states) == len(bob.states) == 1
    assert "good" in servers[0].manage("verify_journals", "--json")


async def test_j66_rooms_go_back_with_a_database_that_lacks_what_was_acknowledged(
    pair: Pair, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    """An asynchronous standby, and a process that wakes when others have written in the places that it remembers."""
    async with (
        NativeClient(servers[0], "stage", "ann") as ann,
        NativeClient(servers[1], "stage", "bob") as bob,
        NativeClient(servers[0], "quiet", "eve") as eve,
    ):
        await ann.edit(insert("n"), insert("m"))
        await bob.until(lambda: bob.broadcasts)
        await asyncio.to_thread(pair.cut_off)
        await eve.edit(insert("lost"))
        for value in range(5):
            await ann.edit(put(value=value))
        await bob.until(lambda: len(bob.broadcasts) == 6)
        servers[0].pause()
        await asyncio.to_thread(pair.fail_over)
        assert [await bob.edit(put("m", "y", value)) for value in range(7)] == list(range(2, 9))
        async with NativeClient(servers[1], "quiet", "fay") as fay:
            assert await fay.edit(insert("kept")) == 1
        servers[0].resume()
        await eve.until(lambda: len(eve.states) == 2)
        assert set(eve.native.graph.nodes()) == {"kept"}
        assert await ann.edit(put("n", "z", 1)) == 9
        await bob.until(lambda: bob.native.seq == 9)
        await ann.assert_same()
        await bob.assert_same()
        assert len(ann.states) == len(bob.states) == 2
        async with NativeClient(servers[0], "stage", "cy") as cy:
            await cy.assert_same()
    for server in servers:
        assert "it has been put back" in server.log()
        server.stop()
    assert "good" in servers[0].manage("verify_journals", "--json")
    servers[0].start()
    async with NativeClient(servers[0], "stage", "dan") as dan:
        assert dan.native.graph.digest() == ann.native.graph.digest()


async def test_j9_a_standby_whose_writes_do_not_reach_its_disk_acknowledges_nothing(
    pair: Pair, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    pair.make_synchronous()
    async with NativeClient(servers[0], "stage", "ann") as ann:
        await ann.edit(insert("n"))
        await asyncio.to_thread(pair.set, pair.standby, "fsync", "off")
        await asyncio.to_thread(pair.fail_over)
        editing = asyncio.create_task(ann.edit(put(value=1)))
        while "fsync=off" not in servers[0].log():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        assert not editing.done()
        await asyncio.to_thread(pair.set, pair.standby, "fsync", "on")
        assert await editing == 2
