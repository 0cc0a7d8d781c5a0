"""The journal's storage fails under a real server: nothing unwritten is acknowledged, people look on, it resumes.

Rules A1, A9, J9; design: an ack means on disk.
"""

import asyncio
import os
import secrets
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from journal.entry import decode_entries
from tests.postgresql import PostgreSQL
from tests.rooms.build import insert, put
from tests.rooms.client import Client
from tests.rooms.disk import BATCHES
from tests.rooms.small_disk import INIT, FailingDisk, PagedDisk, SmallDisk, small_disk
from tests.server import ServerProcess
from vuer_rtc.crdt.message import Message, Op

SETTINGS = {
    "SESSION_FLUSH_S": 0.2,
    "RETRY_DELAY_MAX_MS": 200,
    "COMMIT_PATIENCE_S": 0.5,
    "PROJECTION_INTERVAL_S": 0.1,
    "HEAD_POLL_S": 0.2,
    "LIMITS": {"message_burst_max": 100_000},
}
BURST = 40
LONG_AWAY_S = 24
"""Who doubles the pauses between tries makes one of sixteen seconds then."""
FOUND_WITHIN_S = 6
PATIENCE_S = 8
"""Of somebody whom a lock on another document does not concern."""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """The most real one that can be had, or, when a test asks for it, SQLite's own bound."""
    made = PagedDisk(tmp_path) if getattr(request, "param", "") == "paged" else small_disk(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def server(
    tmp_path: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> Iterator[ServerProcess]:
    """Its database alone is on the small disk."""
    record_property("disk", disk.kind)
    print(f"the disk is {disk.kind}")
    with serving(tmp_path, disk.database, disk.init_command, monkeypatch) as running:
        running.create_documents(["stage", "quiet", "closed"])
        yield running


def serving(
    folder: Path, database: Path, init_command: str, monkeypatch: pytest.MonkeyPatch
) -> ServerProcess:
    monkeypatch.setenv("VUER_RTC_TEST_INIT_COMMAND", init_command)
    return ServerProcess(folder, settings=SETTINGS, database_url=f"sqlite:///{database}")


@asynccontextmanager
async def company(server: ServerProcess) -> AsyncIterator[tuple[Client, Client]]:
    """ann and bob on the stage, and something in the document that nobody has open when they are."""
    async with Client(server, "closed", "eve") as eve:
        await eve.edit(insert("n"))
    async with Client(server, "stage", "ann", v="2") as ann, Client(server, "stage", "bob") as bob:
        await ann.edit(insert("n"))
        for value in range(5):
            await ann.edit(put(value=value))
        await bob.until(lambda: len(bob.broadcasts) == 6)
        yield ann, bob


def bulky() -> Op:
    """More than fits into what is free on a page of the database, however it is compressed."""
    return Op(ot="string.set", key="n", path="label", value=secrets.token_hex(5000))


async def assert_nothing_is_acked_and_all_are_told(ann: Client, count: int = BURST) -> list[Message]:
    """So many messages sent now are told to wait, and are not acknowledged; they."""
    known = len(ann.acks)
    sent = [await ann.send(bulky()) for _ in range(count)]
    await ann.until(lambda: {m.id for m in sent} <= {error["msgId"] for error in ann.errors})
    assert len(ann.acks) == known
    assert {(error["code"], error["retry"]) for error in ann.errors} == {("unavailable", True)}
    return sent


async def assert_people_look_on(server: ServerProcess, bob: Client) -> None:
    """Who is in, who comes, and who comes to a room that is not open."""
    standing = await bob.status()
    assert standing["vectorClock"] == {"ann": 6}
    async with Client(server, "stage", "cy") as cy, Client(server, "quiet", "dan") as dan:
        assert cy.states[0]["serverSeq"] == 6
        assert dan.states[0]["serverSeq"] == 0
        async with Client(server, "closed", "fay", v="2") as fay:
            assert fay.states[0]["serverSeq"] == 1
            await fay.send(put(value=1))
            await fay.until(lambda: fay.errors)
            assert {(error["code"], error["retry"]) for error in fay.errors} == {("unavailable", True)}
            assert fay.acks == {}
        assert (await cy.status())["digest"] == standing["digest"]


async def assert_all_is_as_if_nothing_had_been(server: ServerProcess, ann: Client, bob: Client) -> None:
    await ann.until(lambda: not ann.unacked)
    total = len(ann.acks)
    assert sorted(seq for seq in ann.acks.values() if seq) == list(range(1, total + 1))
    await bob.until(lambda: len(bob.broadcasts) == total)
    assert await ann.edit(put(value=7)) == total + 1
    async with Client(server, "stage", "gil") as gil:
        assert await gil.edit(put(value=8)) == total + 2
    await ann.until(lambda: len(ann.seqs()) == total + 2)
    assert (await ann.status())["digest"] == ann.replica().digest()
    assert "good" in server.manage("verify_journals", "--json")
    assert "Traceback" not in server.log()


def messages_in(database: Path, slug: str) -> list[Message]:
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        rows = connection.execute(BATCHES, (slug,)).fetchall()
    return [entry.message for first_seq, payload in rows for entry in decode_entries(payload, first_seq)]


def assert_journalled_once(database: Path, ann: Client) -> None:
    ids = [message.id for message in messages_in(database, "stage")]
    assert len(set(ids)) == len(ids)
    assert set(ann.acks) <= set(ids)


@pytest.mark.parametrize("disk", ["real", "paged"], indirect=True)
async def test_a_full_disk_stops_edits_and_nothing_else_until_there_is_room(
    server: ServerProcess, disk: SmallDisk
) -> None:
    async with company(server) as (ann, bob):
        disk.fill()
        await assert_nothing_is_acked_and_all_are_told(ann)
        await assert_people_look_on(server, bob)
        disk.free()
        await assert_all_is_as_if_nothing_had_been(server, ann, bob)
        assert_journalled_once(disk.database, ann)


async def test_who_came_while_the_disk_was_full_edits_when_there_is_room(
    server: ServerProcess, disk: SmallDisk
) -> None:
    async with company(server) as (ann, _):
        disk.fill()
        await assert_nothing_is_acked_and_all_are_told(ann, 3)
        async with Client(server, "stage", "cy", v="2") as cy:
            message = await cy.send(put(value=1))
            await cy.until(lambda: cy.errors)
            disk.free()
            while message.id not in cy.acks:
                await cy.resend(message)
                await asyncio.sleep(0.1)
            await ann.until(lambda: not ann.unacked)
        assert_journalled_once(disk.database, ann)
        with closing(sqlite3.connect(disk.database)) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM vuer_rooms_session WHERE client = 'cy'")
        assert count == 1


async def assert_a_lock_is_waited_for(server: ServerProcess, disk: SmallDisk) -> None:
    async with company(server) as (ann, bob):
        with closing(sqlite3.connect(disk.database, isolation_level=None)) as rude:
            rude.execute("BEGIN IMMEDIATE")
            await assert_nothing_is_acked_and_all_are_told(ann)
            await assert_people_look_on(server, bob)
            rude.execute("ROLLBACK")
        await assert_all_is_as_if_nothing_had_been(server, ann, bob)
        assert_journalled_once(disk.database, ann)


async def test_a_database_that_another_process_locks_is_waited_for(
    server: ServerProcess, disk: SmallDisk
) -> None:
    await assert_a_lock_is_waited_for(server, disk)


async def test_a_lock_that_lasts_longer_than_its_time_out_is_no_failure(
    tmp_path: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = f"{disk.init_command}; PRAGMA busy_timeout=200"
    with serving(tmp_path, disk.database, hasty, monkeypatch) as server:
        server.create_documents(["stage", "quiet", "closed"])
        await assert_a_lock_is_waited_for(server, disk)


async def test_what_waits_is_bounded(
    tmp_path: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(tmp_path, disk.database, disk.init_command, monkeypatch)
    server.settings = {**SETTINGS, "WAITING_MESSAGES_MAX": 10}
    with server:
        server.create_documents(["stage", "closed"])
        async with company(server) as (ann, _):
            disk.fill()
            sent = await assert_nothing_is_acked_and_all_are_told(ann)
            disk.free()
            await ann.until(lambda: len(ann.acks) >= 6 + 10)
            for message in sent:
                if message.id not in ann.acks:
                    await ann.resend(message)
                    await ann.acked(message)
        assert_journalled_once(disk.database, ann)


async def test_a_disk_that_turns_read_only_is_looked_at_until_it_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        disk = FailingDisk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"no file system that fails can be had here: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        with serving(tmp_path, disk.database, INIT, monkeypatch) as server:
            server.create_documents(["stage", "quiet", "closed"])
            async with company(server) as (ann, bob):
                disk.fail()
                await assert_nothing_is_acked_and_all_are_told(ann)
                await assert_people_look_on(server, bob)
                server.kill()
                disk.repair()
                server.start()
                await ann.leave()
                await ann.open()
                for message in ann.unacked:
                    await ann.resend(message)
                await ann.until(lambda: not ann.unacked)
            assert "good" in server.manage("verify_journals", "--json")
            assert_journalled_once(disk.database, ann)
    finally:
        disk.remove()


@pytest.mark.parametrize("end", ["restart", "crash"])
async def test_a_postgresql_that_goes_and_comes_back_is_waited_for(
    tmp_path: Path, end: str, record_property: Any
) -> None:
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "closed"])
            async with company(server) as (ann, bob):
                (database.stop if end == "restart" else database.crash)()
                await assert_nothing_is_acked_and_all_are_told(ann)
                assert (await bob.status())["vectorClock"] == {"ann": 6}
                database.start()
                await ann.until(lambda: not ann.unacked)
                total = len(ann.acks)
                assert sorted(seq for seq in ann.acks.values() if seq) == list(range(1, total + 1))
                await bob.until(lambda: len(bob.broadcasts) == total)
                async with Client(server, "stage", "gil") as gil:
                    assert await gil.edit(put(value=8)) == total + 1
            assert "good" in server.manage("verify_journals", "--json")


async def test_a_postgresql_that_was_away_for_long_is_found_soon(tmp_path: Path) -> None:
    """Whoever makes pauses between tries, and longer ones each time, makes them short."""
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "closed"])
            async with company(server) as (ann, _):
                database.stop()
                await assert_nothing_is_acked_and_all_are_told(ann)
                await asyncio.sleep(LONG_AWAY_S)
                await asyncio.to_thread(database.start)
                await asyncio.wait_for(ann.until(lambda: not ann.unacked), FOUND_WITHIN_S)


async def test_a_postgresql_that_restarts_under_load_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "closed"])
            async with company(server) as (ann, bob):
                restarting = asyncio.create_task(asyncio.to_thread(database.restart))
                value = 0
                while not restarting.done() or value < 200:
                    await ann.send(put(value=value))
                    value += 1
                    await asyncio.sleep(0.005)
                await restarting
                await ann.until(lambda: not ann.unacked)
                await bob.until(lambda: len(bob.broadcasts) == len(ann.acks))
                assert sorted(seq for seq in ann.acks.values() if seq) == list(range(1, len(ann.acks) + 1))
                assert (await bob.status())["digest"] == ann.replica().digest()
            assert "good" in server.manage("verify_journals", "--json")


@pytest.mark.parametrize("way", ["read-only", "revoked"])
async def test_a_postgresql_that_only_lets_itself_be_read_lets_people_look(tmp_path: Path, way: str) -> None:
    """As a standby does, or to a role that may only select."""
    set_access = set_read_only if way == "read-only" else set_revoked
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with database.connect() as connection:
            connection.execute("CREATE ROLE site LOGIN; ALTER DATABASE rooms OWNER TO site")
        url = url.replace("//postgres@", "//site@")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "quiet", "closed"])
            async with company(server) as (ann, bob):
                await asyncio.to_thread(set_access, database, "on")
                await assert_nothing_is_acked_and_all_are_told(ann)
                await assert_people_look_on(server, bob)
                await asyncio.to_thread(set_access, database, "off")
                await assert_all_is_as_if_nothing_had_been(server, ann, bob)


def set_revoked(database: PostgreSQL, value: str) -> None:
    """Afterwards the site's role may only select, or do all again."""
    change, role = ("REVOKE", "FROM site") if value == "on" else ("GRANT", "TO site")
    with database.connect("rooms") as connection:
        connection.execute(f"{change} INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public {role}")


def set_read_only(database: PostgreSQL, value: str) -> None:
    """Afterwards the sessions that are open have heard of it."""
    with database.connect() as witness, database.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")
        while witness.execute("SHOW default_transaction_read_only").fetchone() != (value,):
            time.sleep(0.05)
    time.sleep(0.3)


async def test_j9_a_document_whose_row_somebody_holds_holds_up_no_other(tmp_path: Path) -> None:
    """PostgreSQL waits for a lock for ever; the process has one thread that commits, and four for all else."""
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "quiet", "closed"])
            async with company(server) as (ann, bob), Client(server, "closed", "cy") as cy:
                with database.connect("rooms") as other, other.transaction():
                    other.execute("SELECT 1 FROM vuer_journal_document WHERE slug = 'stage' FOR UPDATE")
                    await ann.send(put(value=7))
                    crowd = [Client(server, "stage", f"c{number}") for number in range(6)]
                    coming = [asyncio.create_task(client.open()) for client in crowd]
                    for value in range(5):
                        await asyncio.wait_for(cy.edit(put(value=value)), PATIENCE_S)
                    async with Client(server, "quiet", "dan") as dan:
                        await asyncio.wait_for(dan.edit(insert("n")), PATIENCE_S)
                    await asyncio.gather(*coming)
                    assert {client.states[0]["serverSeq"] for client in crowd} == {6}
                    await ann.until(lambda: ann.errors)
                    assert len(ann.acks) == 6
                await ann.until(lambda: not ann.unacked)
                await bob.until(lambda: len(bob.broadcasts) == 7)
                await asyncio.gather(*(client.leave() for client in crowd))
            assert "good" in server.manage("verify_journals", "--json")
            assert "Traceback" not in server.log()


async def test_a_crowd_that_comes_to_a_document_whose_row_somebody_holds_delays_nobody_else(
    tmp_path: Path,
) -> None:
    """Each join would wait for the lock, in one of four threads, and others behind all of them."""
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=SETTINGS, database_url=url) as server:
            server.create_documents(["stage", "quiet"])
            with database.connect("rooms") as other, other.transaction():
                other.execute("SELECT 1 FROM vuer_journal_document WHERE slug = 'stage' FOR UPDATE")
                crowd = [Client(server, "stage", f"c{number}") for number in range(40)]
                coming = [asyncio.create_task(client.open()) for client in crowd]
                await asyncio.sleep(1)
                began_at = time.monotonic()
                async with Client(server, "quiet", "dan") as dan:
                    joined_s = time.monotonic() - began_at
                    await dan.edit(insert("n"))
                await asyncio.gather(*coming)
            ann = crowd[-1]
            message = await ann.send(insert("n"))
            while message.id not in ann.acks:  # until her row is there
                await asyncio.sleep(0.2)
                await ann.resend(message)
            await asyncio.gather(*(client.leave() for client in crowd))
            assert joined_s < PATIENCE_S, (
                "of forty who wait for two seconds each, in four threads, he met all"
            )
            assert "Traceback" not in server.log()


async def test_who_comes_after_a_postgresql_has_restarted_unnoticed_is_let_in(tmp_path: Path) -> None:
    idle = {**SETTINGS, "HEAD_POLL_S": 0, "SESSION_FLUSH_S": 60, "PROJECTION_INTERVAL_S": 60}
    with PostgreSQL() as database:
        url = database.create_database("rooms")
        with ServerProcess(tmp_path, settings=idle, database_url=url) as server:
            server.create_documents(["stage"])
            crowd = [Client(server, "stage", f"c{number}") for number in range(12)]
            await asyncio.gather(*(client.open() for client in crowd))
            await asyncio.to_thread(database.restart)
            for number in range(4):
                async with Client(server, "stage", f"d{number}") as late:
                    assert late.close_code is None
            await asyncio.gather(*(client.leave() for client in crowd))
