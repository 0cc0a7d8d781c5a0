"""Signals: in a worker thread, in order, and never in anybody's way."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from journal.entry import Entry
from journal.models import Document
from journal.writer import Appended, Draft
from rooms import herald
from rooms.herald import Herald
from rooms.signals import batch_committed, document_opened

from .build import message


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What a receiver of all that is committed was told, and in which thread."""
    told: list[Any] = []

    def receive(sender: type, **kwargs: Any) -> None:
        told.append((kwargs["first_seq"], threading.current_thread().name))

    batch_committed.connect(receive)
    yield told
    batch_committed.disconnect(receive)


def commit(teller: Herald, seq: int) -> None:
    draft = Draft(uuid4(), seq, [Entry(message("ann", seq))])
    teller.committed(draft, Appended(seq, seq))


async def told_all(teller: Herald) -> None:
    running = asyncio.create_task(teller.run())
    await teller.close(20)
    running.cancel()


async def test_receivers_are_called_in_order_in_one_thread(heard: list[Any]) -> None:
    teller = Herald()
    for seq in range(1, 50):
        commit(teller, seq)
    await told_all(teller)
    assert [seq for seq, _ in heard] == list(range(1, 50))
    assert {name for _, name in heard} == {"vuer-signals_0"}


async def test_a_receiver_that_fails_is_logged_and_the_others_are_told(
    heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: type, **kwargs: Any) -> None:
        raise RuntimeError("a bug of the site")

    batch_committed.connect(fail)
    try:
        teller = Herald()
        commit(teller, 1)
        await told_all(teller)
    finally:
        batch_committed.disconnect(fail)
    assert len(heard) == 1
    assert "a bug of the site" in caplog.text


async def test_a_receiver_may_be_async_and_query_the_database(transactional_db: None) -> None:
    found: list[int] = []

    async def receive(sender: type, **kwargs: Any) -> None:
        found.append(await Document.objects.acount())

    batch_committed.connect(receive)
    try:
        teller = Herald()
        commit(teller, 1)
        await told_all(teller)
    finally:
        batch_committed.disconnect(receive)
    assert found == [0]


async def test_nothing_is_kept_when_nobody_listens() -> None:
    teller = Herald()
    commit(teller, 1)
    teller.opened(uuid4(), 0)
    assert not teller._waiting
    await told_all(teller)


async def test_receivers_that_are_too_slow_miss_signals_and_hold_nobody_up(
    heard: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(herald, "WAITING_MAX", 3)
    teller = Herald()
    for seq in range(1, 6):
        commit(teller, seq)
    await told_all(teller)
    assert ([seq for seq, _ in heard], teller.dropped) == ([1, 2, 3], 2)
    assert "dropped" in caplog.text


async def test_at_the_end_it_waits_for_slow_receivers_only_so_long() -> None:
    gate = threading.Event()

    def wait(sender: type, **kwargs: Any) -> None:
        gate.wait(20)

    document_opened.connect(wait)
    try:
        teller = Herald()
        running = asyncio.create_task(teller.run())
        teller.opened(uuid4(), 0)
        await teller.close(0.05)
        running.cancel()
    finally:
        gate.set()
        document_opened.disconnect(wait)
