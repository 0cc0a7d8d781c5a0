"""How far live rooms' documents are; the database is a fake."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

from journal.position import Position
from rooms.head import HeadWatch
from rooms.reviewer import Reviewer
from tests.rooms.patience import until
from vuer_rtc.crdt.graph import Graph

DOCUMENT = uuid.UUID(int=1)


class Database:
    """While it is asked, every room leaves memory."""

    def __init__(self, rooms: dict[uuid.UUID, Any]) -> None:
        self.rooms = rooms
        self.asked = 0

    async def run(self, question: Any, document_ids: list[uuid.UUID]) -> dict[uuid.UUID, Position]:
        self.asked += 1
        self.rooms.clear()
        return {document_id: Position(7, 1, False) for document_id in document_ids}


async def test_nothing_is_noted_of_a_room_that_leaves_while_the_database_is_asked(settings: Any) -> None:
    """Nobody would ever take it out again."""
    settings.VUER_RTC = {"HEAD_POLL_S": 0.001}
    rooms: dict[uuid.UUID, Any] = {DOCUMENT: SimpleNamespace(graph=Graph())}
    database: Any = Database(rooms)
    nothing: Any = None
    reviewer = Reviewer(database, set())
    task = asyncio.create_task(HeadWatch(database, rooms, nothing, reviewer, nothing).run())
    await until(lambda: database.asked)
    await asyncio.sleep(0.01)
    task.cancel()
    assert reviewer._versions == {}
