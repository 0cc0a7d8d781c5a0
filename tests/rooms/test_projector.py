"""Which nodes a projection takes along, and which rooms are written together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from journal.models import Document, JournalBatch
from journal.projection import Step, project_together, rebuild
from rooms import projector
from rooms.projector import Projector, Reached, hidden_after, nodes_since, project_graph
from rooms.room import LiveRoom
from rooms.thread import Worker
from tests.journal.history import all_rows, append
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, numbered

from .build import insert, message, put, undo
from .fake_room import Journal, Room


def remove(key: str, parent: str = "") -> Op:
    return Op(ot="node.remove", key=parent, path="children", value=key)


def family() -> Graph:
    """root > arm > hand > finger, and a lamp."""
    graph = Graph()
    ops = [
        insert("root"),
        insert("arm", "root"),
        insert("hand", "arm"),
        insert("finger", "hand"),
        insert("lamp", "root"),
    ]
    graph.apply(numbered(message("ann", 1, *ops), 1))
    return graph


def apply(graph: Graph, item: Message) -> None:
    graph.apply(numbered(item, graph.head_seq + 1))


def test_only_what_changed_is_taken() -> None:
    graph = family()
    apply(graph, message("ann", 2, put("hand")))
    nodes = nodes_since(graph, Reached(1, set()))
    assert nodes is not None
    assert set(nodes) == {"hand"}


def test_what_is_hidden_or_shown_with_a_node_above_is_taken_along() -> None:
    graph = family()
    apply(graph, message("ann", 2, remove("arm", "root")))
    nodes = nodes_since(graph, Reached(1, set()))
    assert nodes is not None
    assert {"arm", "hand", "finger"} <= set(nodes)
    assert "lamp" not in nodes
    hidden = hidden_after(set(), nodes)
    assert hidden == {"arm", "hand", "finger"}

    apply(graph, message("ann", 3, put("hand")))
    nodes = nodes_since(graph, Reached(2, hidden))
    assert nodes is not None
    assert set(nodes) == {"hand"}

    apply(graph, message("ann", 4, undo("ann:2")))
    nodes = nodes_since(graph, Reached(3, hidden))
    assert nodes is not None
    assert {"arm", "hand", "finger"} <= set(nodes)
    assert hidden_after(hidden, nodes) == set()


def test_what_is_no_longer_known_needs_a_whole_projection() -> None:
    graph = Graph.restore(family().snapshot())
    assert nodes_since(graph, Reached(0, set())) is None


class Seat:
    """Of a room what a projector needs; the journal holds what its graph has applied."""

    def __init__(self, slug: str) -> None:
        self.document = Document.objects.create(slug=slug)
        self.document_id = self.document.pk
        self.graph = Graph()
        self.last_batch: UUID | None = None
        self.counter = 0

    def edit(self, *ops: Op) -> None:
        self.counter += 1
        item = message("ann", self.counter, *ops)
        append(self.document, item)
        self.graph.apply(numbered(item, self.counter))

    def assert_rows_are_right(self) -> None:
        before = all_rows(self.document)
        rebuild(self.document_id)
        assert before == all_rows(self.document)
        self.document.refresh_from_db()
        assert self.document.head_seq == self.counter


class Bench:
    """A projector with rooms, and how many of them went into each of its transactions."""

    def __init__(self, rooms: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.together: list[int] = []
        monkeypatch.setattr("rooms.projector.project_together", self._project)
        self.worker = Worker("bench", keeps_connections=False)
        self.projector = Projector(self.worker)
        self.seats = [Seat(f"room-{number}") for number in range(rooms)]

    def _project(self, steps: Sequence[Step]) -> list[bool]:
        self.together.append(len(steps))
        return project_together(steps)

    async def write(self) -> bool:
        self.together.clear()
        for seat in self.seats:
            self.projector.note(cast(LiveRoom, seat))
        return await self.projector.write()

    async def open(self) -> None:
        """Afterwards the rows of all rooms are there, and the projector knows it."""
        await sync_to_async(self.edit)(insert("a"), insert("b", "a"))
        assert await self.write()
        assert self.together == [1] * len(self.seats)

    def edit(self, *ops: Op) -> None:
        for seat in self.seats:
            seat.edit(*ops)

    @sync_to_async
    def assert_rows_are_right(self) -> None:
        for seat in self.seats:
            seat.assert_rows_are_right()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    made = await sync_to_async(Bench)(4, monkeypatch)
    await made.open()
    yield made
    await made.worker.close()


stored = pytest.mark.django_db(transaction=True)


@stored
async def test_j16_quiet_rooms_are_written_together_each_as_if_alone(bench: Bench) -> None:
    await sync_to_async(bench.edit)(put("a"), insert("c"))
    await sync_to_async(bench.seats[2].edit)(remove("a"), undo("ann:2"))
    assert await bench.write()
    assert bench.together == [4]
    await bench.assert_rows_are_right()


@stored
async def test_rooms_with_many_messages_are_written_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "MESSAGES_MAX", 3)
    await sync_to_async(bench.edit)(put("a"))
    for _ in range(3):
        await sync_to_async(bench.seats[1].edit)(put("b"))
    assert await bench.write()
    assert bench.together == [1, 1, 2]
    await bench.assert_rows_are_right()


@stored
async def test_a_document_that_cannot_be_projected_holds_up_no_others(bench: Bench) -> None:
    await sync_to_async(bench.edit)(put("a"))
    damaged, *others = bench.seats
    batches = JournalBatch.objects.filter(document=damaged.document)
    await sync_to_async(batches.update)(payload=b"?")
    assert not await bench.write()
    assert bench.together == [4, 1, 1, 1, 1]
    for seat in others:
        await sync_to_async(seat.assert_rows_are_right)()


@stored
async def test_rows_of_what_is_lost_are_not_tried_for_ever(bench: Bench) -> None:
    """The row of the last batch is gone, and a snapshot covers it: nothing comes of trying again."""
    await sync_to_async(bench.edit)(put("a"))
    broken = cast(LiveRoom, bench.seats[0])
    await sync_to_async(JournalBatch.objects.filter(document=broken.document_id, last_seq=2).delete)()
    assert not await bench.write()
    assert bench.projector.is_busy_with(broken), "a compaction may have come between"
    assert await bench.projector.write()
    assert not bench.projector.is_busy_with(broken), "it may leave memory"
    for seat in bench.seats[1:]:
        await sync_to_async(seat.assert_rows_are_right)()


@stored
async def test_rows_that_are_not_where_they_were_are_written_anew(bench: Bench) -> None:
    await sync_to_async(bench.edit)(put("a"))
    await sync_to_async(Document.objects.filter(pk=bench.seats[3].document_id).update)(head_seq=0)
    assert await bench.write()
    assert bench.together[0] == 4
    await bench.assert_rows_are_right()


@stored
async def test_rooms_that_have_not_changed_since_are_nothing_to_do(bench: Bench) -> None:
    assert await bench.write()
    assert bench.together == [4]
    await bench.assert_rows_are_right()


@stored
@pytest.mark.parametrize(("is_opened", "together"), [(True, [1, 3]), (False, [1, 1, 2])])
async def test_a_room_of_which_not_all_is_known_goes_alone_also_among_those_with_nothing_new(
    bench: Bench, together: list[int], *, is_opened: bool
) -> None:
    seat = bench.seats[1]
    await sync_to_async(seat.edit)(remove("a"))
    assert await bench.write()
    if is_opened:
        bench.projector.opened(cast(LiveRoom, seat))  # which of its nodes are hidden is not read yet
    else:
        bench.projector._reached.pop(cast(LiveRoom, seat))  # as after a failure
    await sync_to_async(seat.edit)(undo("ann:2"))
    assert await bench.write()
    assert bench.together == together
    await bench.assert_rows_are_right()


@stored
async def test_what_is_below_a_node_that_comes_or_goes_is_shown_or_hidden_with_it(bench: Bench) -> None:
    seat = bench.seats[0]
    redo = Op(ot="meta.redo", key="_meta", path="_meta", target="ann:3")
    for ops in ([insert("d", "c"), insert("e", "d")], [insert("c")], [undo("ann:3")], [redo]):
        await sync_to_async(seat.edit)(*ops)
        assert await bench.write()
        await sync_to_async(seat.assert_rows_are_right)()


@stored
async def test_rows_that_somebody_else_has_hidden_meanwhile_are_shown_again(bench: Bench) -> None:
    seat = bench.seats[0]
    await sync_to_async(seat.edit)(remove("a"))
    await sync_to_async(project_graph)(seat.document_id, seat.graph, None)
    await sync_to_async(seat.edit)(undo("ann:2"))
    assert await bench.write()
    await bench.assert_rows_are_right()


async def write_at_once(self: Projector, room: Any) -> bool:
    return True


async def test_rooms_take_turns_over_the_interval_and_a_stop_does_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[Any] = []

    async def write_alone(self: Projector, room: Any) -> bool:
        written.append(room)
        return True

    monkeypatch.setattr(Projector, "_try_alone", write_alone)
    worker: Any = None
    projector, rooms = Projector(worker), [Room(Journal()) for _ in range(3)]
    for room in rooms:
        projector.note(room)
    with override_settings(VUER_RTC={"PROJECTION_INTERVAL_S": 3600}):
        task = asyncio.create_task(projector.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert written == rooms[:1]
        assert projector.is_busy_with(rooms[1])
        projector.note(rooms[0])
        assert await projector.write()
        assert written == [*rooms, rooms[0]]
        task.cancel()


async def test_a_projector_goes_on_when_a_stop_has_written_what_it_woke_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Projector, "_try_alone", write_at_once)
    worker: Any = None
    projector = Projector(worker)
    task = asyncio.create_task(projector.run())
    await asyncio.sleep(0)
    projector.note(Room(Journal()))
    assert await projector.write()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
