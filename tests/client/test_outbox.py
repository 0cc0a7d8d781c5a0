"""Commits that wait on disk: each is applied once, whatever dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.published.room import journal_messages
from tests.server import ServerProcess
from vuer_rtc.client.outbox import Outbox, OutboxError
from vuer_rtc.client.room import Backoff, CommitRefused, RoomClient
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
