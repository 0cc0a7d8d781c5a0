"""The hub with the real journal on a real database, in this process; sockets are the tests' own."""

import asyncio
import threading
from typing import Any

import pytest
from django.utils import timezone

from journal.error import JournalUnavailable
from journal.models import Document, JournalBatch, Operation, SceneObject
from rooms.hub import Hub, current_hub
from rooms.live_side import RoomsLive
from rooms.models import Session
from rooms.process import ProcessIdentity
from rooms.tally import tally
from tests.journal import history
from vuer_rtc.crdt.message import cut_record
from vuer_rtc.protocol.codes import CloseCode

from .build import insert, put, undo
from .in_process import QUICK, close_codes, in_database
from .patience import until
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_commit_whose_outcome_is_unknown_is_neither_lost_nor_doubled(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faults = hub._committer._append, ["after", "before", "after"]

    async def unlucky(drafts: Any) -> Any:
        fault = faults.pop() if faults else None
        if fault == "before":
            raise JournalUnavailable("connection lost before the commit")
        outcomes = await real(drafts)
        if fault == "after":
            raise JournalUnavailable("connection lost after the commit")
        return outcomes

    monkeypatch.setattr(hub._committer, "_append", unlucky)
    async with Socket("room", "ann") as ann, Socket("room", "bob") as bob:
        ann.edit(insert("n"))
        for value in range(5):
            ann.edit(put(value=value))
        await ann.until(lambda: len(ann.acks) == 6)
        await bob.until(lambda: len(bob.seen) == 6)
        assert list(ann.acks.values()) == [1, 2, 3, 4, 5, 6]
        assert bob.seen == list(ann.acks)
        assert set(ann.errors) == {"unavailable"}
    rows = await in_database(lambda: list(JournalBatch.objects.values_list("first_seq", "last_seq")))
    assert sum(last - first + 1 for first, last in rows) == 6


async def test_a_client_that_does_not_read_is_closed_and_the_others_notice_nothing(
    hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**QUICK, "LIMITS": {"outbound_frames_max": 20}, "CLOSE_TIMEOUT_S": 0.2}
    async with Socket("room", "ann") as ann, Socket("room", "bob") as bob:
        slow = Socket("room", "slow")
        await slow.until(lambda: slow.frames)
        slow.is_reading.clear()
        ann.edit(insert("n"))
        for value in range(60):
            ann.edit(put(value=value))
            if value % 10 == 9:
                await ann.until(lambda value=value: len(ann.acks) == value + 2)
        await asyncio.wait_for(slow.task, 5)
        await bob.until(lambda: len(bob.seen) == 61)
        assert len(hub.connections) == 2
        assert bob.close_code is ann.close_code is None
    assert (await close_codes())["slow"] == CloseCode.SLOW_CLIENT


async def test_rows_follow_a_live_room(hub: Hub) -> None:
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        for value in range(20):
            ann.edit(put(value=value))
        await ann.until(lambda: len(ann.acks) == 21)
        for _ in range(200):
            count = await in_database(Operation.objects.count)
            node = await in_database(SceneObject.objects.filter(key="n").first)
            if count == 21 and node and node.properties.get("x") == 19:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the rows did not follow")


async def test_rows_that_a_room_finds_missing_say_what_was_undone_before_it_was_folded(hub: Hub) -> None:
    """J16: as those are that a process has not written before it died."""

    def journalled() -> None:
        said = [
            history.message(1, insert("n")),
            history.message(2, put(value=2)),
            history.message(3, undo("ann:2")),
        ]
        room = Document.objects.get(slug="room")
        history.append(room, *said, cut_record("=server:1", 3, 0), history.message(4, put(value=4)))

    await in_database(journalled)
    async with Socket("room", "bob") as bob:
        await bob.until(lambda: bob.frames)
        [room] = hub.rooms.values()
        await until(lambda: not hub._projector.is_busy_with(room))
    undone = Operation.objects.filter(undone=True).values_list("message_id", flat=True)
    assert await in_database(lambda: list(undone)) == ["ann:2"]


async def test_rows_that_cannot_be_written_are_written_later(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(*arguments: Any) -> bool:
        calls.append(arguments)
        raise JournalUnavailable("disk")

    monkeypatch.setattr("rooms.projector.RETRY_PAUSE_S", 0.01)
    async with Socket("room", "ann") as ann:
        with monkeypatch.context() as patch:
            patch.setattr("rooms.projector.project_together", failing)
            ann.edit(insert("n"))
            await ann.until(lambda: ann.acks)
            await until(lambda: len(calls) > 1)
            ann.edit(put())
            await ann.until(lambda: len(ann.acks) == 2)
        [room] = hub.rooms.values()
        await until(lambda: not hub._projector.is_busy_with(room))
        assert await in_database(Operation.objects.count) == 2


async def test_a_stop_commits_what_was_taken_and_closes_everybody(hub: Hub) -> None:
    async with Socket("room", "ann") as ann:
        for value in range(50):
            ann.edit(put(value=value))
        await asyncio.sleep(0)
        await hub.stop()
        assert ann.close_code == CloseCode.GOING_AWAY
        rows = await in_database(lambda: list(JournalBatch.objects.values_list("last_seq", flat=True)))
        assert max(rows, default=0) == len(ann.acks)
        async with Socket("room", "bob") as late:
            assert late.close_code == CloseCode.GOING_AWAY
    assert await in_database(lambda: Session.objects.connected().count()) == 0


async def test_a_stop_that_fails_keeps_nobody_waiting_who_stops_too(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RuntimeError("drain")

    monkeypatch.setattr(hub, "_drain", fail)
    with pytest.raises(RuntimeError):
        await hub.stop()
    await asyncio.wait_for(hub.stop(), 5)
    assert all(task.done() for task in hub._tasks)


async def test_a_stop_waits_for_a_database_that_is_locked_no_longer_than_it_is_told_to(
    hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads that wait for it end with the process; what they were to write is made up for by the next start."""
    is_free, begun = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        begun.set()
        is_free.wait(60)

    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await ann.until(lambda: ann.acks)
        settings.VUER_RTC = {**QUICK, "SHUTDOWN_TIMEOUT_S": 0.2, "CLOSE_TIMEOUT_S": 0.2}
        monkeypatch.setattr("rooms.register.save_ends", wait)
        monkeypatch.setattr(hub._snapshotter, "finish", None)  # which would wait as well
        try:
            await asyncio.wait_for(hub.stop(), 30)
            assert begun.is_set()
            assert not is_free.is_set()
        finally:
            is_free.set()
    assert "the database does not answer; some rows are behind" in caplog.text


async def test_l9_an_answer_that_took_long_is_charged_to_who_asked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L9."""
    async with Socket("room", "ann") as ann:
        [connection] = hub.connections
        charged: list[float] = []
        monkeypatch.setattr(connection._protocol, "charge", charged.append)
        for took_s in (0.0005, 0.5):
            times = iter([1, 1 + took_s])
            monkeypatch.setattr("rooms.connection.thread_time", lambda times=times: next(times))
            connection.receive('{"mtype":"sync-check","requestId":"r"}')
        connection.receive('{"mtype":"heartbeat"}')
        assert charged == [0.5]
        assert ann.close_code is None


async def test_l9_who_comes_back_has_to_wait_still(hub: Hub, settings: Any) -> None:
    """L9."""
    settings.VUER_RTC = {**QUICK, "LIMITS": {"bytes_per_second_max": 1_000, "byte_burst_max": 1_000}}
    async with Socket("room", "ann"):
        [connection] = hub.connections
        connection.note_work(1_000.0)
    async with Socket("room", "bob") as bob:
        bob.edit(insert("n"))
        await bob.until(lambda: bob.frames[-1]["mtype"] == "error")
        assert bob.frames[-1]["code"] == "rate-limited"


async def test_a_fault_of_ours_in_a_frame_closes_that_connection_only(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("bug")

    async with Socket("room", "ann") as ann, Socket("room", "bob") as bob:
        [connection] = [c for c in hub.connections if c.client == "ann"]
        monkeypatch.setattr(connection, "_perform", fail)
        ann.edit(insert("n"))
        await ann.until(lambda: ann.close_code)
        assert ann.close_code == CloseCode.INTERNAL
        bob.edit(insert("n"))
        await bob.until(lambda: bob.acks)


async def test_sessions_left_open_by_a_crash_are_closed_when_a_process_starts(
    open_document: Document, settings: Any
) -> None:
    now = timezone.now()
    mine = ProcessIdentity.of_this_process()
    earlier = f"{mine.host}:{mine.pid}:earlier"
    await in_database(
        lambda: Session.objects.create(
            document=open_document, client="ann", process=earlier, connected_at=now, last_seen_at=now
        )
    )
    hub = current_hub()
    assert await close_codes() == {"ann": 1006}
    await hub.stop()


async def test_a_part_that_serves_all_goes_on_after_a_defect(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(process: Any) -> None:
        raise RuntimeError("a defect")

    before = tally.failures["session"]
    with monkeypatch.context() as defective:
        defective.setattr("rooms.register.save_ends", fail)
        async with Socket("room", "ann"):
            pass
        await until(lambda: tally.failures["session"] > before)
    assert "cannot be written" in caplog.text
    async with Socket("room", "bob"):
        pass
    for _ in range(500):
        if await in_database(lambda: Session.objects.get(client="bob").closed_at):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the register has stopped")


def test_a_process_is_ending_once_its_hub_stops_and_not_for_the_hub_of_a_loop_that_is_over() -> None:
    async def stop() -> list[bool]:
        hub = current_hub()
        told = [RoomsLive().is_ending()]
        await hub.stop()
        return [*told, RoomsLive().is_ending()]

    assert asyncio.run(stop()) == [False, True]
    assert not RoomsLive().is_ending()


async def test_of_what_a_client_says_that_it_has_a_thousand_entries_are_noted(
    hub: Hub, open_document: Document
) -> None:
    """S5: its row is kept, and so is what one who may only look says of a hundred thousand others."""
    async with Socket("room", "ann") as ann:
        hub.rooms[open_document.pk].graph.clock.update({f"visitor-{number}": 1 for number in range(2000)})
        ann.send_raw({"mtype": "heartbeat", "vectorClock": {f"visitor-{n}": 1 for n in range(-9, 2000)}})
        ann.send_raw({"mtype": "sync-check", "requestId": "r"})
        await ann.until(lambda: ann.frames[-1]["mtype"] == "sync-status")
        [connection] = hub.connections
        assert list(connection.vector_clock) == [f"visitor-{number}" for number in range(1000)]
