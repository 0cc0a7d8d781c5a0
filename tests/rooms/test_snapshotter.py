"""J21, J22: live rooms fold old messages away and write snapshots, and nobody notices."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from journal.models import Document, JournalBatch, SceneObject, Snapshot
from journal.reader import Hydrated, hydrate, read_after
from rooms import lookout, snapshotter
from rooms.hub import Hub
from rooms.room import LiveRoom
from tests.journal.history import append_each
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Op

from .build import insert, message, put, undo
from .in_process import QUICK, in_database
from .patience import until
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)

SMALL = {
    **QUICK,
    "OPEN_MESSAGES": 20,
    "OPEN_MINUTES": 0,
    "FOLD_MESSAGES": 5,
    "SNAPSHOT_MESSAGES": 30,
    "SNAPSHOT_INTERVAL_S": 0.01,
}


@pytest.fixture
def room(open_document: Document) -> Document:
    return open_document


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return SMALL


def replay(document: Document) -> Graph:
    """The fold of every batch there is, without snapshots."""
    graph = Graph()
    for batch in read_after(document.pk, 0):
        graph.apply_all(batch.messages)
    return graph


async def write(socket: Socket, count: int, key: str = "n") -> None:
    """So many edits, a few at a time, all acknowledged."""
    for start in range(0, count, 10):
        ids = [socket.edit(put(key, value=value)) for value in range(start, min(start + 10, count))]
        await socket.until(lambda ids=ids: set(ids) <= socket.acks.keys())


def is_settled(hub: Hub, room: LiveRoom) -> bool:
    """True when there is nothing to fold away nor to write."""
    spared = room.graph.folded_seq - hub._snapshotter._courses[room].covered_seq
    return room.graph.retained_count < 25 and spared < 30


async def assert_recovers(room: Document, hub: Hub) -> Hydrated:
    """Recovery, the replay of everything and the live room are equal; the recovery."""
    recovered, replayed = await in_database(lambda: (hydrate(room.pk), replay(room)))
    assert recovered.graph.digest() == replayed.digest()
    assert recovered.graph.full_digest() == replayed.full_digest()
    if (live := hub.rooms.get(room.pk)) is not None:
        assert live.graph.full_digest() == replayed.full_digest()
    return recovered


async def test_j22_a_busy_room_is_written_every_so_many_messages(room: Document, hub: Hub) -> None:
    async with Socket("room", "ann") as ann, Socket("room", "bob") as bob:
        ann.edit(insert("n"))
        live = hub.rooms[room.pk]
        for _ in range(3):
            await write(ann, 50)
            await until(lambda: is_settled(hub, live))
        await bob.until(lambda: len(bob.seen) == 151)
        assert len(ann.acks) == 151
        assert ann.errors == bob.errors == []
    rows = await in_database(
        lambda: list(Snapshot.objects.order_by("seq").values("reason", "cut", "covered_seq"))
    )
    assert len(rows) == 3  # the newest, the one before and the oldest
    assert {row["reason"] for row in rows} == {"count"}
    assert all(0 < row["cut"] <= row["covered_seq"] for row in rows)
    recovered = await assert_recovers(room, hub)
    assert recovered.graph.retained_count < 25
    assert recovered.head_seq - recovered.covered_seq < 25 + 30


async def test_j21_what_is_open_can_be_undone_and_what_is_folded_is_too_late(
    room: Document, hub: Hub
) -> None:
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 60)
        await until(lambda: hub.rooms[room.pk].graph.retained_count < 30)
        ann.edit(undo("ann:50"))
        await ann.until(lambda: len(ann.acks) == 62)
        ann.edit(undo("ann:3"))
        await ann.until(lambda: ann.errors == ["too-late"])
    await assert_recovers(room, hub)


async def test_j22_large_messages_are_worth_a_snapshot_before_they_are_many(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**SMALL, "SNAPSHOT_MESSAGES": 1000, "SNAPSHOT_BYTES": 50_000}
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        live = hub.rooms[room.pk]
        await write(ann, 60)
        await until(lambda: live.graph.retained_count < 25)
        assert await in_database(Snapshot.objects.count) == 0
        ids = [ann.edit(Op("array.set", "n", "points", [0.5] * 500)) for _ in range(40)]
        await ann.until(lambda: set(ids) <= ann.acks.keys())
        await until(lambda: hub._snapshotter._courses[live].covered_seq > 61)
        written = live.graph.content_bytes
    assert written < 200_000  # what was overwritten counts no longer
    await assert_recovers(room, hub)


async def test_j22_a_room_that_leaves_memory_is_written_for_less(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**SMALL, "SNAPSHOT_MESSAGES": 90, "ROOM_IDLE_S": 0.05}
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 60)
        await until(lambda: hub.rooms[room.pk].graph.retained_count < 30)
        assert await in_database(Snapshot.objects.count) == 0
    await until(lambda: not hub.rooms)
    snapshot = await in_database(Snapshot.objects.get)
    assert snapshot.covered_seq > 30
    await assert_recovers(room, hub)


async def test_j22_a_shutdown_writes_what_the_next_start_is_spared(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**SMALL, "SNAPSHOT_MESSAGES": 90}
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 60)
        await until(lambda: hub.rooms[room.pk].graph.retained_count < 30)
        await hub.stop()
    assert (await in_database(Snapshot.objects.get)).reason == "shutdown"
    await assert_recovers(room, hub)


async def test_j66_neither_rows_nor_a_snapshot_are_written_of_what_the_database_has_something_else_for(
    room: Document, hub: Hub, settings: Any
) -> None:
    """It was put back, and another process has come as far as the room since."""
    settings.VUER_RTC = {**SMALL, "SNAPSHOT_MESSAGES": 90, "PROJECTION_INTERVAL_S": 600, "HEAD_POLL_S": 0}

    def put_back() -> None:
        JournalBatch.objects.filter(first_seq__gt=head_seq - 1).delete()
        append_each(room, [message("bob", 1, insert("other"))])

    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 60)
        await until(lambda: hub.rooms[room.pk].graph.retained_count < 30)
        ann.edit(insert("gone"))
        await ann.until(lambda: len(ann.acks) == 62)
        head_seq = hub.rooms[room.pk].graph.head_seq
        await in_database(put_back)
        await hub.stop()
    assert await in_database(Snapshot.objects.count) == 0
    assert not await in_database(SceneObject.objects.filter(key="gone").exists)
    await assert_recovers(room, hub)


async def test_j22_a_room_of_few_messages_is_not_written(room: Document, hub: Hub, settings: Any) -> None:
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 15)
        await hub.stop()
    assert await in_database(Snapshot.objects.count) == 0


async def test_j22_edits_between_the_parts_of_a_snapshot_do_no_harm(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshotter, "NODES_PER_TURN", 1)
    async with Socket("room", "ann") as ann, Socket("room", "bob") as bob:
        for index in range(12):
            ann.edit(insert(f"n{index}"))
        await ann.until(lambda: len(ann.acks) == 12)
        for round_ in range(12):
            await write(ann, 10, f"n{round_}")
            await write(bob, 10, f"n{11 - round_}")
            if round_ == 5:
                await until(lambda: is_settled(hub, hub.rooms[room.pk]))
        await until(lambda: is_settled(hub, hub.rooms[room.pk]))
    assert await in_database(Snapshot.objects.count) >= 2
    await assert_recovers(room, hub)


async def test_j22_a_snapshot_that_cannot_be_written_waits_and_nobody_is_told(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journal.error import SnapshotTooLarge

    real, faults = snapshotter.take_snapshot, [SnapshotTooLarge("too large"), OSError("disk")]

    def failing(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return real(*arguments)

    monkeypatch.setattr(snapshotter, "take_snapshot", failing)
    monkeypatch.setattr(snapshotter, "RETRY_PAUSE_S", 0.01)
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 150)
        await until(lambda: not faults)
        await write(ann, 40)
        assert ann.errors == []
    await hub.stop()
    assert await in_database(Snapshot.objects.count) >= 1
    await assert_recovers(room, hub)


async def test_j21_a_room_that_was_large_before_is_folded_a_step_at_a_time(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**SMALL, "FOLD_MESSAGES_MAX": 20}
    messages = [message("ann", counter, put(value=counter)) for counter in range(1, 121)]
    await in_database(lambda: append_each(room, messages, size=20))
    async with Socket("room", "bob"):
        await until(lambda: hub.rooms and hub.rooms[room.pk].graph.retained_count < 30)
        await assert_recovers(room, hub)
    assert await in_database(lambda: JournalBatch.objects.filter(message_count=1).count()) >= 5


async def test_a_room_that_has_left_memory_is_kept_by_nobody(
    room: Document, hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "SWEEP_S", 0.01)
    settings.VUER_RTC = {**SMALL, "SNAPSHOT_MESSAGES": 90, "ROOM_IDLE_S": 0.2}
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await write(ann, 60)
        live = weakref.ref(hub.rooms[room.pk])
    await until(lambda: not hub.rooms)
    assert await in_database(Snapshot.objects.count) == 1
    for _ in range(50):
        gc.collect()
        if live() is None:
            break
        await asyncio.sleep(0.02)
    assert live() is None
