"""J21: how many messages of a live room stay open, however fast they come."""

from typing import Any

import pytest

from journal.models import Document
from journal.reader import hydrate
from rooms.hub import Hub
from tests.journal.history import append_each
from vuer_rtc.crdt.message import Op

from .build import insert, message, put
from .in_process import QUICK, in_database
from .patience import until
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)

NATIVE = "&format=json&v=2"


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return {**QUICK, "OPEN_MESSAGES": 20, "OPEN_MINUTES": 30, "OPEN_MESSAGES_MAX": 60, "FOLD_MESSAGES": 10,
            "FOLD_MESSAGES_MAX": 20, "SNAPSHOT_INTERVAL_S": 3600}  # fmt: skip


async def test_j21_a_room_keeps_pace_with_who_writes_into_it(open_document: Document, hub: Hub) -> None:
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        most = 0
        for batch in range(30):
            ids = [ann.edit(put("n", value=batch)) for _ in range(10)]
            await ann.until(lambda ids=ids: set(ids) <= ann.acks.keys())
            if batch % 3 == 2:  # a round of cuts, or two
                await until(lambda: hub.rooms[open_document.pk].graph.retained_count < 60)
            most = max(most, hub.rooms[open_document.pk].graph.retained_count)
        assert 40 < most < 120
        live = hub.rooms[open_document.pk].graph
        assert live.cut > 200
        assert (
            await in_database(lambda: hydrate(open_document.pk))
        ).graph.full_digest() == live.full_digest()


async def test_j21_a_state_is_small_soon_after_a_long_history_was_opened(
    open_document: Document, hub: Hub
) -> None:
    messages = [message("ann", counter, put(value=counter)) for counter in range(1, 301)]
    await in_database(lambda: append_each(open_document, messages, size=50))
    async with Socket("room", "bob", query=NATIVE) as bob:
        await bob.until(lambda: len(bob.frames) > 1)
        assert len(bob.frames[1]["journal"]) == 300
        await until(lambda: hub.rooms[open_document.pk].graph.retained_count < 60)
        async with Socket("room", "cy", query=NATIVE) as cy:
            await cy.until(lambda: len(cy.frames) > 1)
            assert len(cy.frames[1]["journal"]) < 60


async def test_j21_large_messages_stay_open_as_far_as_memory_allows(
    open_document: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "OPEN_MESSAGES_MAX": 1000, "OPEN_BYTES_MAX": 20_000}
    points = Op("array.set", "n", "points", [0.5] * 500)  # 4.5 kB
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        live = hub.rooms[open_document.pk]
        for _ in range(4):
            ids = [ann.edit(points) for _ in range(5)]
            await ann.until(lambda ids=ids: set(ids) <= ann.acks.keys())
            await until(lambda: live.graph.retained_bytes < 20_000)
        assert 2 <= live.graph.retained_count < 10
        recovered = await in_database(lambda: hydrate(open_document.pk))
        assert recovered.graph.full_digest() == live.graph.full_digest()
        assert recovered.graph.retained_bytes == live.graph.retained_bytes
