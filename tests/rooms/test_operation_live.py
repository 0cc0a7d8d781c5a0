"""What an operator's tools see of a real server: metrics and readiness."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.rooms.build import insert, put
from tests.rooms.client import Client, NativeClient
from tests.rooms.redis_process import RedisProcess
from tests.server import ServerProcess
from vuer_rtc.protocol.codes import CloseCode

TOKEN = "s3cret"
SETTINGS = {"METRICS_TOKEN": TOKEN, "PROJECTION_INTERVAL_S": 0.05}


async def scrape(server: ServerProcess) -> dict[str, float]:
    """Metrics by name and labels."""
    status, text = await asyncio.to_thread(server.page, "/metrics", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def ready(server: ServerProcess) -> tuple[int, list[str]]:
    status, text = await asyncio.to_thread(server.page, "/readyz")
    return status, json.loads(text).get("reasons", []) if text else []


async def until_not_ready(server: ServerProcess) -> tuple[int, list[str]]:
    for _ in range(500):
        answer = await ready(server)
        if answer[0] != 200:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError("it stays ready")


async def test_a_scrape_counts_what_happened(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis.url)
    with ServerProcess(tmp_path, settings=SETTINGS) as server:
        server.create_documents(["stage"])
        assert server.page("/metrics")[0] == 404
        async with (
            NativeClient(server, "stage", "ann", features="presence,batch") as ann,
            NativeClient(server, "stage", "bob", features="presence") as bob,
            Client(server, "stage", "pub"),
        ):
            await ann.edit(insert("n"))
            for value in range(20):
                await ann.edit(put("n", value=value))
            await ann.send_raw({"mtype": "heartbeat"})
            await ann.send_raw({"mtype": "nonsense"})
            await ann.show({"x": 1})
            await bob.until(lambda: bob.present and len(bob.broadcasts) == 21)
            await ann.until(lambda: ann.errors)
            found = await scrape(server)
            assert found["vuer_rooms"] == 1
            assert (found["vuer_sessions native"], found["vuer_sessions published"]) == (2, 1)
            assert found["vuer_presences"] == 1
            assert found["vuer_messages_received_total crdt"] == 21
            assert found["vuer_messages_received_total heartbeat"] == 1
            assert found["vuer_messages_received_total presence"] == 1
            assert found["vuer_messages_received_total refused"] == 1
            assert found["vuer_messages_sent_total ack"] == 21
            assert found["vuer_messages_sent_total broadcast"] == 42
            assert found["vuer_messages_sent_total state"] == 3
            assert found["vuer_messages_sent_total presence"] == 1
            assert found["vuer_refusals_total unknown-mtype"] == 1
            assert found["vuer_ack_seconds_count"] == found["vuer_batch_messages_sum"] == 21
            assert 0 < found["vuer_ack_seconds_sum"] < 60
            assert found["vuer_commit_seconds_count"] == found["vuer_batch_messages_count"] == 21
            assert found["vuer_hydration_seconds_count"] == 1
            assert found["vuer_news_told_total"] >= 1
            assert found["vuer_queued_bytes"] == found["vuer_waiting_messages"] == 0
            assert found["vuer_sent_bytes_total"] > 42 * 100
            assert found["process_resident_memory_bytes"] > 1e7
        async with Client(server, "nowhere", "ann"):
            pass
        found = await scrape(server)
        for _ in range(100):
            if found["vuer_sessions native"] + found["vuer_sessions published"] == 0:
                break
            found = await scrape(server)
        assert found["vuer_closes_total server 4404 unknown-room"] == 1
        assert found["vuer_closes_total client 1000"] == 3
        assert found["vuer_presences"] == 0


async def test_a_stopping_server_is_not_ready_before_it_closes_its_sockets(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, settings={"SHUTDOWN_NOTICE_S": 3}) as server:
        server.create_documents(["stage"])
        assert await ready(server) == (200, [])
        async with Client(server, "stage", "ann") as ann:
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            answer = await until_not_ready(server)
            assert answer == (503, ["the server is stopping"])
            await ann.edit(insert("n"))
            assert ann.close_code is None, "it goes on as before"
            await ann.until(lambda: ann.close_code is not None)
            assert ann.close_code == CloseCode.GOING_AWAY
            assert await stopping == 0


@pytest.mark.parametrize("busy_timeout_ms", [20_000, 100])
async def test_a_server_whose_journal_is_stuck_is_not_ready_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy_timeout_ms: int
) -> None:
    """SQLite's lock is one for everything, however often it is asked for."""
    pragmas = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={busy_timeout_ms}")
    monkeypatch.setenv("VUER_RTC_TEST_INIT_COMMAND", "; ".join(f"PRAGMA {each}" for each in pragmas))
    hasty = SETTINGS | {"READY_STUCK_S": 1, "RETRY_DELAY_MAX_MS": 100}
    with ServerProcess(tmp_path, settings=hasty) as server:
        server.create_documents(["stage"])
        async with Client(server, "stage", "ann") as ann:
            await ann.edit(insert("n"))
            other = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            message = await ann.send(put("n"))
            _, [reason] = await until_not_ready(server)
            assert reason.startswith("messages wait, and nothing was written for ")
            assert (await scrape(server))["vuer_journal_stuck_seconds"] > 1
            other.execute("ROLLBACK")
            other.close()
            await ann.acked(message)
            assert await ready(server) == (200, [])


def test_a_database_that_is_gone_makes_it_not_ready(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, settings=SETTINGS) as server:
        for path in tmp_path.glob("db.sqlite3*"):
            path.unlink()
        (tmp_path / "db.sqlite3").write_text("no database")
        status, text = server.page("/readyz")
        assert (status, json.loads(text)["reasons"]) == (503, ["the database cannot be read"])
        assert server.page("/healthz")[0] == 200
