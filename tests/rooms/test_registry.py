"""Rooms come and go, with the real journal on a real database, in this process."""

import asyncio
from typing import Any

import pytest

from journal.error import JournalUnavailable
from journal.models import Document
from journal.reader import hydrate, read_after
from rooms import registry
from rooms.hub import Hub
from tests.journal.history import append_each
from vuer_rtc.crdt.message import Op
from vuer_rtc.protocol.codes import CloseCode

from .build import insert, message, put
from .in_process import QUICK, close_codes, in_database
from .patience import until
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_room_is_hydrated_once_however_many_join_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hydrated = []

    def counting(document_id: Any) -> Any:
        hydrated.append(document_id)
        return hydrate(document_id)

    monkeypatch.setattr(registry, "hydrate", counting)
    sockets = [Socket("room", f"c{n}") for n in range(8)]
    await asyncio.gather(*(socket.until(lambda s=socket: s.frames) for socket in sockets))
    assert len(hydrated) == 1
    assert len(hub.rooms) == 1
    assert len(hub.connections) == 8
    for socket in sockets:
        await socket.hang_up()
    assert hub.connections == set()


async def test_who_gives_up_waiting_does_not_take_the_room_from_the_others(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = asyncio.Event(), asyncio.Event()
    real = hub._registry.hydrate

    async def slow(document_id: Any) -> Any:
        begun.set()
        await may_go_on.wait()
        return await real(document_id)

    monkeypatch.setattr(hub._registry, "hydrate", slow)
    impatient, patient = Socket("room", "ann"), Socket("room", "bob")
    await begun.wait()
    await asyncio.sleep(0.05)
    impatient.task.cancel()
    may_go_on.set()
    await patient.until(lambda: patient.frames)
    await patient.hang_up()


async def test_a_document_that_cannot_be_read_now_is_unavailable_and_the_next_try_succeeds(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(document_id: Any) -> Any:
        raise JournalUnavailable("disk")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "hydrate", fail)
        async with Socket("room", "bob") as refused:
            assert refused.close_code == CloseCode.UNAVAILABLE
    async with Socket("room", "ann") as ann:
        assert ann.close_code is None
    assert await close_codes() == {"ann": 1000, "bob": 4503}


async def test_an_idle_room_leaves_memory_and_comes_back_as_it_was(hub: Hub, settings: Any) -> None:
    settings.VUER_RTC = {**QUICK, "ROOM_IDLE_S": 0.05}
    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await ann.until(lambda: ann.acks)
        await asyncio.sleep(0.15)
        assert len(hub.rooms) == 1
    await until(lambda: not hub.rooms)
    async with Socket("room", "bob") as bob:
        [state] = bob.frames
        assert state["serverSeq"] == 1


async def test_a_room_that_fails_closes_its_sockets_and_the_next_join_hydrates_anew(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: Any) -> Any:
        raise RuntimeError("engine")

    async with Socket("room", "ann") as ann:
        ann.edit(insert("n"))
        await ann.until(lambda: ann.acks)
        [room] = hub.rooms.values()
        monkeypatch.setattr(room.graph, "apply", fail)
        ann.edit(put())
        await ann.until(lambda: ann.close_code)
        assert ann.close_code == CloseCode.INTERNAL
    assert not hub.rooms
    async with Socket("room", "bob") as bob:
        assert bob.frames[0]["serverSeq"] == 2


async def test_what_others_wrote_is_read_in_parts_that_memory_has_room_for(
    open_document: Document, hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "SINCE_BYTES_MAX": 2500}
    parts: list[int] = []

    def counting(*arguments: Any) -> Any:
        found = read_after(*arguments)
        parts.append(len(found))
        return found

    monkeypatch.setattr(registry, "read_after", counting)
    texts = [message("far", n, Op("string.set", "n", "note", "x" * 1000)) for n in range(2, 12)]
    async with Socket("room", "ann") as ann:
        live = hub.rooms[open_document.pk]
        await in_database(lambda: append_each(open_document, [message("far", 1, insert("n")), *texts]))
        await until(lambda: live.graph.head_seq == 11)
        await ann.until(lambda: len(ann.seen) == 11)
        expected = (await in_database(lambda: hydrate(open_document.pk))).graph.full_digest()
        assert live.graph.full_digest() == expected
    assert sum(parts) == 11
    assert max(parts) <= 4
    assert len(parts) >= 4
