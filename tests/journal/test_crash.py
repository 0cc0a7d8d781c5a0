"""Rule J17 on real processes: whoever dies where, what was acknowledged is there, once."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from journal.failpoint import AT_COMMANDS, POINTS, VARIABLE, Fuse
from tests.rooms.client import Client
from tests.rooms.disk import assert_journalled_once
from tests.server import ROOT, ServerProcess
from vuer_rtc.crdt.message import Op

PATIENCE_S = 300


def crash(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.journal.crash", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-4000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


databases = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


@databases
def test_j17_death_at_every_named_point_loses_and_repeats_nothing(database: str) -> None:
    summary = crash("--points", "--seed", "2", "--database", database)
    assert set(summary["points"]) == set(POINTS) - set(AT_COMMANDS)


@databases
def test_j17_sixty_deaths_at_any_instant_lose_and_repeat_nothing(database: str) -> None:
    summary = crash("--kills", "60", "--seed", "4", "--database", database)
    assert summary["kills"] >= 60
    assert summary["acked"] > 500
    assert summary["outcomes"].get("compacted", 0) > 0


def test_a_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such point"):
        Fuse.parse("append.never:3")


def test_a_fuse_burns_at_its_point_only_and_by_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: deaths.append(number))
    fuse = Fuse.parse("append.begun:2")
    for point in ("append.begun", "append.committed", "append.begun"):
        assert deaths == []
        fuse.reach(point)
    assert deaths == [signal.SIGKILL]
    asleep = Fuse.parse("append.drafted:1:SIGSTOP")
    for _ in range(3):
        asleep.reach("append.drafted")
    assert deaths == [signal.SIGKILL, signal.SIGSTOP]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Not running yet; whatever runs at the end is killed."""
    server = ServerProcess(tmp_path)
    yield server
    if server.process is not None:
        server.kill()


def edit(client: str, counter: int) -> Op:
    return Op(ot="number.add", key="n", path=client, value=1)


async def test_j17_a_server_killed_again_and_again_loses_and_repeats_nothing(
    server: ServerProcess,
) -> None:
    server.start()
    server.create_documents(["stage"])
    rng = random.Random(5)
    clients = [Client(server, "stage", name) for name in ("ann", "bob")]
    for kill in range(3):
        for client in clients:
            await client.open()
        if kill == 0:
            await clients[0].edit(Op(ot="node.insert", path="children", value={"key": "n"}))
        for client in clients:
            for message in client.unacked:
                await client.resend(message)
        known = len(clients[0].acks)
        work = [asyncio.create_task(client.hammer(partial(edit, client.name))) for client in clients]
        await clients[0].until(lambda known=known: len(clients[0].acks) > known + 20)
        await asyncio.sleep(rng.uniform(0, 0.2))
        server.kill()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for client in clients:
            await client.leave()
        assert_journalled_once(server.data_dir, "stage", {id for client in clients for id in client.acks})
        server.manage("verify_journals")
        server.start()
    server.manage("compact_journals", "--keep", "10", "--older-than", "0")
    server.manage("verify_journals")


@pytest.mark.parametrize("point", ["settle.begun", "settle.applied", "settle.told"])
async def test_death_after_commit_and_before_fan_out_is_acked_when_sent_again(
    server: ServerProcess, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.manage("migrate", "--verbosity", "0")
    server.create_documents(["stage"])
    monkeypatch.setenv(VARIABLE, point)
    server.start()
    monkeypatch.delenv(VARIABLE)
    ann, bob = Client(server, "stage", "ann"), Client(server, "stage", "bob")
    await bob.open()
    await ann.open()
    sent = await ann.send(Op(ot="node.insert", path="children", value={"key": "n"}))
    await ann.until(lambda: ann.close_code is not None)
    assert ann.acks == {}
    assert bob.broadcasts == []
    assert [message.id for message in assert_journalled_once(server.data_dir, "stage", set())] == [sent.id]
    assert server.process is not None
    assert server.process.wait() == -9
    server.process = None
    server.start()
    await ann.open()
    await ann.resend(sent)
    assert await ann.acked(sent) == 1
    await bob.open()
    assert [message["id"] for message in bob.states[-1]["journal"]] == [sent.id]
    assert_journalled_once(server.data_dir, "stage", {sent.id})
    await ann.leave()
    await bob.leave()
