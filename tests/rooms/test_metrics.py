"""The metrics page and what is on it, without a server; with one: tests/rooms/test_operation_live.py."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rooms import metrics
from rooms.metrics import RECEIVED, SENT, ServerCollector
from rooms.tally import Distribution, Tally
from rooms.vitals import Vitals
from vuer_rtc.protocol import session, wire
from vuer_rtc.protocol.codes import CloseCode

QUIET = Vitals(False, *[0] * 15)


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tally]:
    fresh = Tally()
    monkeypatch.setattr(metrics, "tally", fresh)
    return fresh


def samples(vitals: Vitals) -> dict[str, float]:
    """What would be scraped, by name and labels."""
    collector = ServerCollector()
    registry = CollectorRegistry()
    registry.register(collector)
    collector.vitals = lambda: vitals
    text = generate_latest(registry).decode()
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_vitals_and_counts_are_told_by_kind_type_and_code(tally: Tally) -> None:
    tally.received[session.Submit] = 3
    tally.received[session.SendState] = tally.received[session.SendMissing] = 1
    tally.sent[wire.Broadcast] = 7
    tally.refused["over-limit"] = 2
    tally.closed[CloseCode.SLOW_CLIENT, "server"] = tally.closed[1000, "client"] = tally.closed[1006, ""] = 1
    found = samples(replace(QUIET, rooms=2, native_sessions=5, published_sessions=4, news_lost=6))
    assert found["vuer_rooms"] == 2
    assert (found["vuer_sessions native"], found["vuer_sessions published"]) == (5, 4)
    assert (found["vuer_messages_received_total crdt"], found["vuer_messages_received_total sync"]) == (3, 2)
    assert found["vuer_messages_received_total heartbeat"] == 0, "it is there before the first one comes"
    assert found["vuer_messages_sent_total broadcast"] == 7
    assert found["vuer_refusals_total over-limit"] == 2
    for close in ("server 4408 slow-client", "client 1000", "nobody 1006"):
        assert found[f"vuer_closes_total {close}"] == 1
    assert found["vuer_news_lost_total"] == 6


def test_close_codes_that_clients_make_up_are_one_series(tally: Tally) -> None:
    """And do not look as if the server had closed somebody."""
    tally.closed[CloseCode.SLOW_CLIENT, "server"] = 1
    tally.closed |= {(code, "client"): 1 for code in range(3000, 5000)}
    found = samples(QUIET)
    closes = {name: value for name, value in found.items() if name.startswith("vuer_closes_total")}
    assert closes == {"vuer_closes_total server 4408 slow-client": 1, "vuer_closes_total client other": 2000}


def test_a_distribution_counts_up_to_each_bound(tally: Tally) -> None:
    tally.batch_messages = Distribution((1, 10))
    for value in (1, 1, 2, 10, 11, 500):
        tally.batch_messages.note(value)
    found = samples(QUIET)
    buckets = [found[f"vuer_batch_messages_bucket {bound}"] for bound in ("1.0", "10.0", "+Inf")]
    assert buckets == [2, 4, 6]
    assert (found["vuer_batch_messages_count"], found["vuer_batch_messages_sum"]) == (6, 525)


def test_every_effect_and_every_message_has_a_name() -> None:
    """What is added to the protocol shows in the metrics."""
    assert {*RECEIVED, session.Close} == set(session.Effect.__args__)
    unsent = {wire.Batch, wire.RoomReset}  # a frame of others; told by what is broadcast
    assert {*SENT, *unsent} == set(wire.Outbound.__args__)


async def test_without_a_hub_nothing_is_told() -> None:
    assert list(ServerCollector().collect()) == []


@pytest.mark.django_db(transaction=True)
async def test_strangers_find_no_metrics_and_a_token_or_an_employee_does(settings: Any) -> None:
    stranger = AsyncClient()
    assert (await stranger.get("/metrics")).status_code == 404
    assert (await stranger.get("/metrics", headers={"authorization": "Bearer "})).status_code == 404
    settings.VUER_RTC = {"METRICS_TOKEN": "s3cret"}
    assert (await stranger.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code == 404
    answer = await stranger.get("/metrics", headers={"authorization": "Bearer s3cret"})
    assert answer.status_code == 200
    assert b"process_resident_memory_bytes" in answer.content
    assert answer["Content-Type"].startswith("text/plain")
    assert "no-store" in answer["Cache-Control"]

    visitor, employee = AsyncClient(), AsyncClient()
    await visitor.aforce_login(await User.objects.acreate(username="ann"))
    await employee.aforce_login(await User.objects.acreate(username="bob", is_staff=True))
    assert (await visitor.get("/metrics")).status_code == 404
    assert (await employee.get("/metrics")).status_code == 200
    await sync_to_async(connections.close_all)()
