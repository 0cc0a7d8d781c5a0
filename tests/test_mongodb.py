"""The whole server on MongoDB: what is acknowledged outlives it, pages and commands work."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mongodb import MongoDB
from tests.server import ROOT, ServerProcess
from vuer_rtc import RoomClient

COMMITS = 60


@pytest.fixture(scope="module")
def mongodb() -> Iterator[MongoDB]:
    with MongoDB() as server:
        yield server


async def count(server: ServerProcess, client: str) -> tuple[int, bool]:
    """The counter after so many commits more, and whether client and server hold the same."""
    async with RoomClient(f"ws://127.0.0.1:{server.port}/ws/rooms/demo/", client) as room:
        cube = room.scene.get("cube") or room.scene.add("Mesh", key="cube", hits=0)
        for _ in range(COMMITS):
            cube.hits += 1
            room.commit()
        status = await room.synced(verify=True)
        return cube.hits, bool(status.is_same)


def test_what_was_acknowledged_is_there_after_a_kill_and_after_a_compaction(
    mongodb: MongoDB, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path, database_url=mongodb.url("live"))
    with server:
        assert asyncio.run(count(server, "ann")) == (COMMITS, True)
        server.kill()
        server.start()
        assert asyncio.run(count(server, "bob")) == (2 * COMMITS, True)
        server.manage("compact_journals", "--keep", "1", "--older-than", "0")
        assert asyncio.run(count(server, "cam")) == (3 * COMMITS, True)
        server.stop()
        server.manage("rebuild_projections", "--document", "demo")
        assert '"findings": []' in server.manage("verify_journals", "--json")
        [told] = server.manage("compact_journals", "--dry-run", "--json").splitlines()
        assert json.loads(told)["size"]["journal_bytes"] > 0


def test_no_migration_is_missing_there(mongodb: MongoDB, tmp_path: Path) -> None:
    environment = os.environ | {
        "DATABASE_URL": mongodb.url("migrations"),
        "VUER_RTC_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "vuer_rtc.settings",
    }
    command = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
