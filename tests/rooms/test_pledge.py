"""A server whose database may lose what it acknowledges does not serve, unless the site says that it may."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from journal import durability
from journal.durability import Durability, NotDurable, refuse_unless_durable
from journal.models import Document
from rooms import pledge
from rooms.hub import Hub, current_hub
from tests.rooms.build import insert
from tests.rooms.client import Client
from tests.rooms.socket import Socket
from tests.server import ROOT, ServerProcess
from vuer_rtc.protocol.codes import CloseCode

PATIENCE_S = 90
NORMAL = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
QUICK = {"SESSION_FLUSH_S": 0.2}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    """Not running; its connections do without the last fsync."""
    monkeypatch.setenv("VUER_RTC_TEST_INIT_COMMAND", NORMAL)
    made = ServerProcess(tmp_path, settings=QUICK)
    yield made
    if made.process is not None:
        made.kill()


def run(server: ServerProcess, *command: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", *command]
    return subprocess.run(
        call, cwd=ROOT, env=server.environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_make_run_ends_with_what_is_wrong_and_what_to_do(server: ServerProcess) -> None:
    done = run(server, "vuer_rtc.serve")
    assert done.returncode == 1
    assert "pages " not in done.stdout
    assert "not started" in done.stderr
    for word in ("synchronous=NORMAL", "synchronous=FULL", "JOURNAL_DURABILITY", "relaxed"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_an_asgi_server_does_not_start(server: ServerProcess) -> None:
    server.manage("migrate", "--verbosity", "0", "--skip-checks")
    done = run(server, "uvicorn", "vuer_rtc.asgi:application", "--port", str(server.port))
    assert done.returncode == 3
    assert "Application startup failed" in done.stderr
    assert "JOURNAL_DURABILITY" in done.stderr


async def test_a_site_that_accepts_the_loss_serves_and_says_so(server: ServerProcess) -> None:
    server.settings = {**QUICK, "JOURNAL_DURABILITY": "relaxed"}
    server.start()
    server.create_documents(["stage"])
    async with Client(server, "stage", "ann", v="2") as ann:
        [welcome] = ann.welcomes
        assert welcome["durability"] == {
            "full": False,
            "detail": "SQLite: journal_mode=WAL, synchronous=NORMAL",
        }
    assert "may be lost in a power cut" in server.log()


@pytest.mark.django_db(transaction=True)
async def test_under_a_server_without_lifespan_nobody_is_let_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    await Document.objects.acreate(slug="room", visibility="public-edit")
    found = Durability(False, "SQLite: journal_mode=DELETE, synchronous=OFF", "use WAL")
    monkeypatch.setattr(pledge, "read_durability", lambda connection: found)
    hub = current_hub()
    async with Socket("room", "ann") as ann:
        assert ann.close_code == CloseCode.UNAVAILABLE
    assert "nobody is served" in caplog.text
    settings.VUER_RTC = {"JOURNAL_DURABILITY": "relaxed"}
    async with Socket("room", "ann") as ann:
        assert ann.close_code is None
    await hub.stop()


@pytest.mark.django_db(transaction=True)
async def test_j9_a_new_session_with_the_database_is_asked_before_it_takes_a_commit(
    hub: Hub, open_document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby was promoted that is configured otherwise."""
    asked: list[Durability] = []
    found = Durability(True, "as it should be")

    def read(connection: Any) -> Durability:
        asked.append(found)
        return found

    monkeypatch.setattr(pledge, "read_durability", read)
    async with Socket("room", "ann", query="&format=json&v=2") as ann:
        for number in range(3):
            ann.edit(insert(f"n{number}"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        assert len(asked) == 1
        found = Durability(False, "fsync=off", "Switch it on.")
        await hub._journal.run(connections.close_all)
        ann.edit(insert("late"))
        await ann.until(lambda: ann.errors)
        assert len(ann.acks) == 3
        async with Socket("room", "bob") as bob:
            assert bob.close_code == CloseCode.UNAVAILABLE
        found = Durability(True, "as it should be")
        await ann.until(lambda: len(ann.acks) == 4)


def test_a_full_promise_is_given_and_a_broken_one_only_by_a_relaxed_site(settings: Any) -> None:
    broken = Durability(False, "found", "do this.")
    refuse_unless_durable(Durability(True, "found"))
    with pytest.raises(NotDurable, match=f"{durability.BROKEN}.*found.*do this.*relaxed"):
        refuse_unless_durable(broken)
    settings.VUER_RTC = {"JOURNAL_DURABILITY": "relaxed"}
    refuse_unless_durable(broken)
