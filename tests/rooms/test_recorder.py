"""Rows of sessions that joined while the database took none: the task alone, its database a fake."""

import asyncio
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from django.db import DataError

from rooms.record import NotRecorded, record_session
from rooms.recorder import LEFT_MAX, TRIES_MAX, Recorder
from rooms.tally import tally
from vuer_rtc.protocol.codes import CloseCode

from .test_committer import until


class Newcomer:
    """A connection without a row."""

    def __init__(self, document: int = 1) -> None:
        self.client = "newcomer"
        self.is_recorded = False
        self.admission = SimpleNamespace(row=object(), document_id=UUID(int=document), session_id=uuid4())
        self.closed: list[CloseCode] = []

    def close(self, code: CloseCode) -> None:
        self.closed.append(code)


class SlowDatabase:
    """Takes a row when it is told."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def run(self, work: Callable[..., Any], *given: Any) -> bool:
        self.begun.set()
        await self.may_go_on.wait()
        return True


class PickyDatabase:
    """Is away as often as it is told; never takes one row."""

    def __init__(self, hopeless: object, away: int = 0) -> None:
        self.hopeless = hopeless
        self.away = away
        self.tries = 0

    async def run(self, work: Callable[..., Any], session: object) -> bool:
        if self.away:
            self.away -= 1
            raise NotRecorded("the disk is full")
        if session is self.hopeless:
            self.tries += 1
            raise DataError("no such row can be")
        return True


async def test_a_row_that_always_fails_does_not_block_those_behind_it(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    first, second = Newcomer(), Newcomer()
    database, before = PickyDatabase(first.admission.row, away=2), tally.failures["session"]
    recorder = Recorder(database, {first, second})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    for one in (first, second):
        recorder.joined(one)  # type: ignore[arg-type]
    await until(lambda: second.is_recorded and first.closed)
    await asyncio.sleep(0.02)
    task.cancel()
    assert (first.closed, first.is_recorded) == ([CloseCode.INTERNAL], False)
    assert database.tries == TRIES_MAX == tally.failures["session"] - before


class HeldDatabase:
    """Somebody holds the row of a document."""

    def __init__(self, held: Newcomer) -> None:
        self.held = held.admission.document_id
        self.documents: dict[object, UUID] = {}

    async def run(self, work: Callable[..., Any], session: object) -> bool:
        if self.documents[session] == self.held:
            raise NotRecorded("a lock is in the way")
        return True


async def test_a_document_whose_row_somebody_holds_keeps_nobody_else_waiting(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    crowd, other = [Newcomer(1) for _ in range(200)], Newcomer(2)
    database = HeldDatabase(crowd[0])
    recorder = Recorder(database, [*crowd, other])  # type: ignore[arg-type]
    for newcomer in (*crowd, other):
        database.documents[newcomer.admission.row] = newcomer.admission.document_id
        recorder.joined(newcomer)  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    await until(lambda: other.is_recorded)
    assert not any(newcomer.is_recorded for newcomer in crowd)
    task.cancel()


async def test_who_joins_while_another_ones_row_is_written_gets_one_too(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_FIRST_MS": 1, "RETRY_DELAY_MAX_MS": 1}
    first, second = Newcomer(), Newcomer()
    database = SlowDatabase()
    recorder = Recorder(database, {first, second})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(first)  # type: ignore[arg-type]
    await asyncio.wait_for(database.begun.wait(), 5)
    recorder.joined(second)  # type: ignore[arg-type]
    database.may_go_on.set()
    await until(lambda: first.is_recorded and second.is_recorded)
    task.cancel()


async def test_who_has_a_row_is_not_remembered(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    connections: set[Any] = {Newcomer()}
    recorder = Recorder(PickyDatabase(None), connections)  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(next(iter(connections)))
    await until(lambda: all(connection.is_recorded for connection in connections))
    gone = weakref.ref(connections.pop())
    await until(lambda: gone() is None)
    task.cancel()


class TakenDatabase:
    """Has that client id under another account."""

    async def run(self, work: Callable[..., Any], *given: Any) -> bool:
        return work is not record_session


async def test_who_turns_out_to_use_anothers_client_id_is_sent_away(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    late = Newcomer()
    recorder = Recorder(TakenDatabase(), {late})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(late)  # type: ignore[arg-type]
    await until(lambda: late.closed)
    assert (late.closed, late.is_recorded) == ([CloseCode.CLIENT_TAKEN], False)
    task.cancel()


async def test_who_leaves_while_its_row_is_written_has_none_afterwards(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    gone, connections, deleted = Newcomer(), set[Newcomer](), list[Any]()
    gone.admission.row = SimpleNamespace(delete=lambda: None)

    class Database(SlowDatabase):
        async def run(self, work: Callable[..., Any], *given: Any) -> bool:
            if work is gone.admission.row.delete:
                deleted.append(work)
            return await super().run(work, *given)

    database = Database()
    connections.add(gone)
    recorder = Recorder(database, connections)  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(gone)  # type: ignore[arg-type]
    await asyncio.wait_for(database.begun.wait(), 5)
    connections.remove(gone)
    recorder.left(gone)  # type: ignore[arg-type]
    database.may_go_on.set()
    await until(lambda: deleted and not recorder._left)
    assert not gone.is_recorded
    task.cancel()


async def test_who_has_a_row_and_leaves_keeps_it(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    database, recorded, other = SlowDatabase(), Newcomer(), Newcomer()
    recorded.is_recorded = True
    recorder = Recorder(database, {recorded})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    recorder.joined(recorded)  # type: ignore[arg-type]
    recorder.left(recorded)  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    assert not database.begun.is_set()
    recorder.left(other)  # type: ignore[arg-type]
    await until(database.begun.is_set)
    assert recorder._left == {other.admission.session_id}
    task.cancel()


async def test_of_those_who_leave_without_a_row_only_so_many_are_remembered(settings: Any) -> None:
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    database = PickyDatabase(None, away=9)
    recorder = Recorder(database, set())  # type: ignore[arg-type]
    for _ in range(LEFT_MAX + 100):
        recorder.left(Newcomer())  # type: ignore[arg-type]
    assert len(recorder._left) == LEFT_MAX
    task = asyncio.create_task(recorder.run())
    await until(lambda: not recorder._left)
    assert not database.away
    task.cancel()


async def test_who_leaves_while_the_database_takes_no_rows_is_not_remembered(settings: Any) -> None:
    """Behind somebody who stays: else a full disk, and clients that come and go, would fill the memory."""
    settings.VUER_RTC = {"RETRY_DELAY_MAX_MS": 1}
    first, second = Newcomer(), Newcomer()
    recorder = Recorder(PickyDatabase(None, away=10**9), {first, second})  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    for one in (first, second):
        recorder.joined(one)  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    recorder.left(second)  # type: ignore[arg-type]
    gone = weakref.ref(second)
    del one, second
    recorder._connections = {first}  # type: ignore[arg-type]
    await until(lambda: gone() is None)
    task.cancel()
