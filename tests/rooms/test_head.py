"""How far live rooms' documents are, as a database says that is a fake, or put back."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction

from journal.entry import Entry
from journal.models import Document, JournalBatch, Snapshot
from journal.position import Position
from journal.reader import hydrate
from journal.snapshot import draft_snapshot, take_snapshot
from journal.writer import Draft, build_row
from rooms.committer import Committer
from rooms.head import HeadWatch
from rooms.hub import Hub
from rooms.reviewer import Reviewer
from tests.journal.history import append_each
from tests.rooms.build import insert, message
from tests.rooms.in_process import QUICK, in_database
from tests.rooms.patience import until
from tests.rooms.socket import Socket
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record

DOCUMENT = uuid.UUID(int=1)


class Database:
    """While it is asked, every room leaves memory."""

    def __init__(self, rooms: dict[uuid.UUID, Any]) -> None:
        self.rooms = rooms
        self.asked = 0

    async def run(self, question: Any, document_ids: list[uuid.UUID], batches: Any) -> Any:
        self.asked += 1
        self.rooms.clear()
        return {document_id: Position(7, 1, False) for document_id in document_ids}, set()


async def test_nothing_is_noted_of_a_room_that_leaves_while_the_database_is_asked(settings: Any) -> None:
    """Nobody would ever take it out again."""
    settings.VUER_RTC = {"HEAD_POLL_S": 0.001}
    rooms: dict[uuid.UUID, Any] = {DOCUMENT: SimpleNamespace(graph=Graph(), last_batch=None)}
    database: Any = Database(rooms)
    nothing: Any = None
    reviewer = Reviewer(database, set())
    task = asyncio.create_task(HeadWatch(database, rooms, nothing, reviewer, nothing).run())
    await until(lambda: database.asked)
    await asyncio.sleep(0.01)
    task.cancel()
    assert reviewer._versions == {}


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return {**QUICK, "HEAD_POLL_S": 0.02}


@pytest.mark.django_db(transaction=True)
async def test_j66_a_room_where_nobody_writes_finds_that_its_last_batch_is_another(
    hub: Hub, open_document: Document
) -> None:
    """The database was put back, and somebody else has written just as much since."""

    def put_back() -> None:
        draft = Draft(open_document.pk, 2, [Entry(message("bob", 1, insert("other")))])
        with transaction.atomic():
            JournalBatch.objects.filter(first_seq=2).delete()
            build_row(draft, "test").as_model().save(force_insert=True)

    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await ann.until(lambda: len(ann.acks) == 1)
        ann.edit(insert("gone"))
        await ann.until(lambda: len(ann.acks) == 2)
        await in_database(put_back)
        await ann.until(lambda: [frame["mtype"] for frame in ann.frames].count("state") == 2)
        nodes = hub.rooms[open_document.pk].graph.nodes()
        assert set(nodes) == {"n", "other"}


@pytest.mark.django_db(transaction=True)
async def test_j66_what_comes_again_is_not_acknowledged_from_memory_alone(
    hub: Hub, open_document: Document, settings: Any
) -> None:
    """Its author did not get the ack, and connects again before anybody knows that the database was put back."""
    settings.VUER_RTC = {**settings.VUER_RTC, "HEAD_POLL_S": 3600}
    async with Socket("room", "bob") as bob:
        async with Socket("room", "ann") as ann:
            ann.edit(insert("n"))
            await ann.until(lambda: len(ann.acks) == 1)
        await in_database(JournalBatch.objects.all().delete)
        async with Socket("room", "ann") as ann:
            ann.edit(insert("n"))
            await ann.until(lambda: ann.acks)
            assert await in_database(JournalBatch.objects.count) == 1
        await bob.until(lambda: [frame["mtype"] for frame in bob.frames].count("state") == 2)


@pytest.mark.django_db(transaction=True)
async def test_j66_nor_is_what_comes_again_beside_something_new(
    hub: Hub, open_document: Document, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "HEAD_POLL_S": 3600}
    async with Socket("room", "bob") as bob, Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await ann.until(lambda: len(ann.acks) == 1)
        await in_database(JournalBatch.objects.all().delete)
        ann.frames.clear()
        bob.edit(insert("m"))
        ann.counter = 0
        ann.edit(insert("n"))
        await ann.until(lambda: ann.acks)
        await bob.until(lambda: bob.acks)
        found = await in_database(lambda: hydrate(open_document.pk))
        assert set(found.graph.clock) == {"ann", "bob"}


@pytest.mark.django_db(transaction=True)
async def test_j66_a_room_that_does_not_know_its_last_batch_does_not_look_for_it(
    hub: Hub, open_document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is gone, and a snapshot holds what it held: nothing is to be found out, however often it is asked."""
    refreshed: list[Any] = []
    refresh = Committer.refresh

    def lose_row() -> None:
        append_each(open_document, [message("bob", 1, insert("n")), cut_record("=server:1", 1, 1.0)])
        take_snapshot(
            open_document.pk, draft_snapshot(hydrate(open_document.pk).graph), Snapshot.Reason.COUNT
        )
        JournalBatch.objects.filter(first_seq=2).delete()

    def note(committer: Committer, room: Any) -> Any:
        refreshed.append(room)
        return refresh(committer, room)

    await in_database(lose_row)
    async with Socket("room", "ann") as ann:
        monkeypatch.setattr(Committer, "refresh", note)
        await asyncio.sleep(0.2)
        assert not refreshed
        ann.edit(insert("m"))
        await ann.until(lambda: list(ann.acks.values()) == [3])
