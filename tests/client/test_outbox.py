"""Commits that wait on disk: each is applied once, whatever dies."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.published.room import journal_messages
from tests.server import ServerProcess
from vuer_rtc.client.outbox import Outbox, OutboxError
from vuer_rtc.client.room import Backoff, CommitRefused, RoomClient, RoomClosed
from vuer_rtc.crdt.message import Message, Op

ROOT = Path(__file__).resolve().parents[2]
SLUG = "stage"

OFFLINE = """
import asyncio, sys
from vuer_rtc.client.room import RoomClient

async def main():
    room = RoomClient(sys.argv[1], "robot", outbox=sys.argv[2])
    room.start()
    room.scene.add("Scene", key="robot", count=0, log=[])
    room.commit()
    for number in range(1, 1001):
        node = room.scene["robot"]
        node.count += 1
        node.apply("array.push", "log", number)
        room.commit()
        if number % 100 == 0:
            await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def commit(number: int) -> Message:
    clock = {"robot": number}
    return Message(f"robot:{number}", "robot", clock, number, 1.5, [Op("number.add", "n", "x", number)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


def test_it_gives_back_what_was_not_discarded_in_order(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.claim("robot", "ws://host/room/")
        for number in (1, 2, 3):
            outbox.add(commit(number))
        outbox.add(commit(2))
        outbox.discard("robot:1")
    with Outbox(path) as outbox:
        assert outbox.messages() == [commit(2), commit(3)]
        assert (outbox.client, outbox.counter, outbox.lt, len(outbox)) == ("robot", 3, 3, 2)


def test_counters_stay_when_everything_is_acknowledged(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.add(commit(7))
        outbox.discard("robot:7")
    with Outbox(path) as outbox:
        assert (outbox.messages(), outbox.counter, outbox.lt) == ([], 7, 7)


def test_it_belongs_to_one_client_in_one_room_and_one_process(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.claim("robot", "ws://host/room/")
        with pytest.raises(OutboxError):
            Outbox(path)
    with Outbox(path) as outbox:
        with pytest.raises(OutboxError, match="belongs to client robot"):
            outbox.claim("other", "ws://host/room/")
        with pytest.raises(OutboxError, match="belongs to room"):
            outbox.claim("robot", "ws://host/other/")


async def test_a_client_that_could_not_be_made_leaves_the_file_to_the_next_one(path: Path) -> None:
    """A notebook keeps the last exception, and with it all that was there when it was raised."""
    address = "ws://127.0.0.1:1/ws/rooms/stage/"
    with Outbox(path) as outbox:
        outbox.claim("robot", address)
        outbox.add(commit(1))
        outbox._base.execute("UPDATE message SET body = '{'")
    with pytest.raises(OutboxError, match="belongs to client robot") as another:
        RoomClient(address, "other", outbox=path)
    with pytest.raises(OutboxError, match="is damaged") as damaged:
        RoomClient(address, "robot", outbox=path)
    with Outbox(path) as outbox:
        outbox.discard("robot:1")
    assert (another.tb, damaged.tb) != (None, None)
    await RoomClient(address, "robot", outbox=path).close()


def killed_after_editing_offline(url: str, path: Path) -> None:
    """A process that makes 1,001 commits into the outbox without a server, and dies."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", OFFLINE, url, str(path)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)


async def test_a_thousand_offline_edits_of_a_killed_process_are_applied_once_each(
    tmp_path: Path, path: Path
) -> None:
    (tmp_path / "server").mkdir()
    server = ServerProcess(tmp_path / "server")
    url = server.url(SLUG, "robot").partition("?")[0]
    killed_after_editing_offline(url, path)
    with server:
        server.create_documents([SLUG])
        soon = Backoff(first_s=0.05, max_s=0.2)
        # A life that is cut off in the middle of sending, so that some are journalled and their acks are lost.
        first = RoomClient(url, outbox=path, backoff=soon)
        first.start()
        while not journal_messages(server.data_dir, SLUG):  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(0.001)
        await first.close()
        assert first.client == "robot"
        async with RoomClient(url, outbox=path, backoff=soon) as room:
            assert room.scene["robot"].count <= 1000
            await asyncio.wait_for(room.synced(), 60)
            node = room.scene["robot"]
            assert (node.count, node.log) == (1000, list(range(1, 1001)))
            node.count += 1
            room.commit()
            assert (await room.synced(verify=True)).is_same
        rows = [message for _, message in journal_messages(server.data_dir, SLUG)]
        assert len(rows) == len(set(rows)) == 1002
    with Outbox(path) as outbox:
        assert (len(outbox), outbox.counter) == (0, 1002)


def test_adding_costs_little(path: Path) -> None:
    with Outbox(path) as outbox:
        began = time.perf_counter()
        for number in range(1, 501):
            outbox.add(commit(number))
        assert (time.perf_counter() - began) / 500 < 0.005


async def test_l6_a_commit_no_frame_can_hold_is_refused_here_and_the_outbox_gets_through(
    tmp_path: Path, path: Path
) -> None:
    """The server would close the room, and the next life's, too."""
    refused: list[str] = []
    with ServerProcess(tmp_path) as server:
        server.create_documents([SLUG])
        url = server.url(SLUG, "robot").partition("?")[0]
        offline = RoomClient(url, "robot", outbox=path)
        offline.scene.add("Scene", key="robot", log=[])
        offline.commit()
        for size in (2, 2_000_000, 3):
            offline.scene["robot"].apply("array.push", "log", "x" * size)
            offline.commit()
        await offline.close()
        room = RoomClient(url, outbox=path, on_refused=lambda refusal: refused.append(refusal.code))
        async with room:
            with pytest.raises(CommitRefused, match="over-limit: frame_bytes_max is 1048576, here are 2000"):
                await asyncio.wait_for(room.synced(), 20)
            assert room.scene["robot"].log == ["xx", "xxx"]
            room.scene["robot"].blob = "x" * 2_000_000
            room.commit()
            assert refused == ["over-limit", "over-limit"]
            with pytest.raises(CommitRefused):
                await room.synced()
            room.presence.show({"blob": "x" * 2_000_000})
            assert (await room.synced(verify=True)).is_same
    with Outbox(path) as outbox:
        assert not outbox.messages()


@pytest.mark.parametrize("kind", ["text", "folder", "no folder", "cut off", "other table"])
def test_a_file_that_is_no_outbox_is_told_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "outbox.sqlite3"
    match kind:
        case "text":
            path.write_text("no database, but long enough to be one" * 100)
        case "folder":
            path.mkdir()
        case "no folder":
            path = tmp_path / "none" / "outbox.sqlite3"
        case "cut off":
            with Outbox(path) as outbox:
                outbox.add(commit(1))
            path.write_bytes(path.read_bytes()[:5000])
        case "other table":
            with contextlib.closing(sqlite3.connect(path)) as base:
                base.execute("CREATE TABLE fact (something)")
    with pytest.raises(OutboxError, match=r"outbox\.sqlite3"):
        RoomClient("ws://127.0.0.1:1/ws/rooms/stage/", "robot", outbox=path)


@pytest.mark.parametrize("body", ["", "[1]", "{", '{"id": "robot:1"}', b"\xff", None])
def test_a_damaged_commit_is_told_by_file(path: Path, body: object) -> None:
    with Outbox(path) as outbox:
        outbox.add(commit(1))
        outbox._base.execute("UPDATE message SET body = coalesce(?, 7)", (body,))
    with pytest.raises(OutboxError, match=r"outbox\.sqlite3 is damaged"):
        RoomClient("ws://127.0.0.1:1/ws/rooms/stage/", "robot", outbox=path)


async def test_a_full_disk_takes_the_commit_back_and_the_room_lives_on(tmp_path: Path, path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.create_documents([SLUG])
        async with RoomClient(server.url(SLUG, "robot").partition("?")[0], "robot", outbox=path) as room:
            assert room._outbox is not None
            base = room._outbox._base
            room.scene.add("Scene", key="robot", count=0)
            room.commit()
            [(pages,)] = base.execute("PRAGMA page_count")
            base.execute(f"PRAGMA max_page_count = {pages}")
            room.scene["robot"].note = "x" * 9000
            with pytest.raises(OutboxError, match="full"):
                room.commit()
            assert "note" not in room.scene["robot"].data.properties
            await room.synced()
            base.execute("PRAGMA max_page_count = 10000")
            room.scene["robot"].count = 1
            room.commit()
            assert (await room.synced(verify=True)).is_same
    with Outbox(path) as outbox:
        assert not outbox.messages()


def test_what_cannot_be_discarded_goes_with_the_next_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox(path) as outbox:
        for number in (1, 2, 3):
            outbox.add(commit(number))
        outbox._base.execute("PRAGMA query_only = on")
        outbox.discard("robot:1")
        assert len(outbox) == 3
        outbox._base.execute("PRAGMA query_only = off")
        outbox.discard("robot:2")
        assert outbox.messages() == [commit(3)]


async def test_a_commit_is_on_disk_before_anybody_is_told_of_it(path: Path) -> None:
    """A listener may raise, or commit."""

    def on_change(keys: frozenset[str]) -> None:
        if room.pending_count == 1 and not room.store.inner.pending.ops:
            room.scene["robot"].count = 1
            room.commit()
        elif room.pending_count == 2:
            raise ValueError("the program's")

    room = RoomClient("ws://127.0.0.1:1/ws/rooms/stage/", "robot", outbox=path, on_change=on_change)
    room.scene.add("Scene", key="robot", count=0)
    with pytest.raises(ValueError, match="the program's"):
        room.commit()
    await room.close()
    with Outbox(path) as outbox:
        assert [message.id for message in outbox.messages()] == ["robot:1", "robot:2"]


async def test_a_commit_that_nobody_would_hear_of_is_refused_at_the_call(path: Path) -> None:
    url = "ws://127.0.0.1:1/ws/rooms/stage/"
    lost, kept = RoomClient(url, "lost"), RoomClient(url, "kept", outbox=path)
    for room in (lost, kept):
        room.scene.add("Scene", key="scene")
        room.commit()
        room._connection._finish(RoomClosed(4411, "the server closed the room: kicked"))
        room.scene["scene"].x = 1
    assert kept.commit() is not None
    for act in (lost.commit, lost.undo, lost.redo):
        with pytest.raises(RoomClosed, match="kicked"):
            act()
    assert lost.scene["scene"].x == 1
    await kept.close()
    kept.scene["scene"].x = 2
    with pytest.raises(RoomClosed):
        kept.commit()
    with Outbox(path) as outbox:
        assert len(outbox) == 2


async def test_what_is_committed_while_another_commit_is_refused_travels_behind_what_was_before_it(
    tmp_path: Path,
) -> None:
    refused: list[str] = []
    with ServerProcess(tmp_path) as server:
        server.create_documents([SLUG])

        def react() -> None:
            if room.is_live and "small" not in room.scene:
                room.scene.add("Mesh", key="small")
                room.commit()
                room.scene.add("Mesh", key="second", blob="x" * 2_000_000)
                room.commit()

        url = server.url(SLUG, "robot").partition("?")[0]
        room = RoomClient(url, "robot", on_refused=lambda refusal: refused.append(refusal.message_id))
        for key, size in (("before", 1), ("first", 2_000_000), ("behind", 1)):
            room.scene.add("Mesh", key=key, blob="x" * size)
            room.commit()
        room.store.subscribe(react)
        async with room:
            with pytest.raises(CommitRefused):
                await asyncio.wait_for(room.synced(), 20)
            assert set(room.graph.nodes) == {"before", "behind", "small"}
    assert refused == ["robot:2", "robot:5"], "each is told once"
    assert [message_id for _, message_id in journal_messages(tmp_path, SLUG)] == [
        "robot:1",
        "robot:3",
        "robot:4",
    ]
