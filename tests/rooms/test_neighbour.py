"""Several processes without a channel layer are told what that means, once, and what to do."""

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from journal.models import Document
from rooms.models import Session
from rooms.neighbour import neighbours_of
from rooms.process import ProcessIdentity
from tests.rooms.client import PATIENCE_S, Client
from tests.server import ServerProcess

OURS = ProcessIdentity("here", os.getpid(), "a")


def connect(document: Document, process: str, *, seconds_ago: float = 0, is_closed: bool = False) -> None:
    now = timezone.now()
    Session.objects.create(
        document=document,
        client="ann",
        process=process,
        connected_at=now,
        last_seen_at=now - timedelta(seconds=seconds_ago),
        closed_at=now if is_closed else None,
    )


def test_neighbours_hold_connections_now(document: Document) -> None:
    connect(document, str(OURS))
    connect(document, "there:12:b")
    connect(document, "there:12:b")
    connect(document, "there:13:c", is_closed=True)
    connect(document, "there:14:d", seconds_ago=3600)
    connect(document, "here:999999999:e")  # of this host, and gone
    connect(document, "not a process")
    assert list(map(str, neighbours_of(OURS))) == ["there:12:b"]


async def test_two_servers_on_one_database_say_so(tmp_path: Path) -> None:
    settings = {"SESSION_TOUCH_S": 1}
    with ServerProcess(tmp_path, settings=settings) as first:
        first.create_documents(["stage"])
        async with Client(first, "stage", "ann"):
            folder = tmp_path / "second"
            folder.mkdir()
            database = f"sqlite:///{tmp_path / 'db.sqlite3'}"
            with ServerProcess(folder, settings=settings, database_url=database) as second:
                await until(lambda: "no channel layer" in second.log())
                async with Client(second, "stage", "bob") as bob:
                    await until(lambda: "no channel layer" in first.log())
                    await bob.status()
                assert second.log().count("no channel layer") == 1
                assert "REDIS_URL" in second.log()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_S * 10):
        if condition():
            return
        await asyncio.sleep(0.1)
    pytest.fail("it was not said")
