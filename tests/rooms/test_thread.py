import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import Error, connection, connections

from journal.models import Document
from journal.renewal import renew_if_dead
from rooms import thread
from rooms.thread import Worker
from tests.journal.test_renewal import THREADS, kill_sessions


async def test_functions_run_in_the_named_thread_in_order() -> None:
    worker = Worker("one")
    names = [await worker.run(lambda: threading.current_thread().name) for _ in range(2)]
    assert names == ["one_0", "one_0"]
    await worker.close()


async def test_what_a_function_raises_is_raised_where_it_is_awaited() -> None:
    worker = Worker("one")
    with pytest.raises(ZeroDivisionError):
        await worker.run(divmod, 1, 0)
    await worker.close()


async def test_a_function_that_raises_stop_iteration_keeps_nobody_waiting() -> None:
    worker = Worker("one")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(worker.run(next, iter(())), 5)
    await worker.close()


async def test_close_ends_every_thread() -> None:
    worker = Worker("several", threads=3)
    await worker.run(int)
    await worker.close()
    with pytest.raises(RuntimeError):
        await worker.run(int)
    await asyncio.wait_for(worker.close(), 5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keeps", [True, False])
async def test_a_worker_keeps_its_connection_or_gives_it_back_after_every_function(keeps: bool) -> None:
    worker = Worker("one", keeps_connections=keeps)
    await worker.run(lambda: connection.ensure_connection())
    assert await worker.run(lambda: connection.connection is not None) is keeps
    await worker.close()


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_died_while_its_thread_was_idle_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread, "IDLE_S", 0)
    worker = Worker("one")
    await worker.run(lambda: connection.ensure_connection())
    monkeypatch.setattr(type(connections["default"]), "is_usable", lambda _: False)
    assert await worker.run(lambda: connection.connection is None)
    await worker.close()


@pytest.fixture
def own_session_renewed(transactional_db: None) -> Iterator[None]:
    """Other tests go on with it."""
    connections["default"].ensure_connection()
    yield
    renew_if_dead(connections["default"])


@pytest.fixture
async def session_of_async_calls_renewed() -> AsyncIterator[None]:
    """Django's own, which run in a thread that all tests share."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.mark.sql
async def test_of_a_pool_that_died_one_caller_is_turned_away_and_not_each(
    own_session_renewed: None, session_of_async_calls_renewed: None
) -> None:
    """SQLite's sessions do not die."""
    worker = Worker("one", keeps_connections=False)
    await worker.run(kill_sessions)
    outcomes = []
    for _ in range(THREADS + 1):
        with suppress(Error):
            outcomes.append(await worker.run(Document.objects.exists))
    await worker.close()
    assert len(outcomes) >= THREADS


@pytest.mark.django_db(transaction=True)
async def test_a_thread_gives_its_connection_back_although_nobody_waits_for_its_end_any_more() -> None:
    worker, goes_on, ended = Worker("one"), threading.Event(), threading.Event()

    def work() -> None:
        Document.objects.exists()
        goes_on.wait(10)

    close_really = connections.close_all

    def close_all() -> None:
        close_really()
        ended.set()

    running = asyncio.create_task(worker.run(work))
    await asyncio.sleep(0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rooms.thread.connections.close_all", close_all)
        closing = asyncio.create_task(worker.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        await running
        assert await asyncio.to_thread(ended.wait, 10)
