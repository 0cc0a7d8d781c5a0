"""J23: a damaged document is open for looking, others are not affected, and repair needs no restart."""

import logging
from collections.abc import Collection
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from journal.compaction import KeepRules, compact_document
from journal.damage import what_stops
from journal.error import CorruptJournal, JournalUnavailable
from journal.models import Document, JournalBatch, Snapshot
from journal.reader import hydrate
from rooms.damage import look_again
from rooms.hub import Hub
from tests.journal.history import append_each
from tests.journal.test_stored_row import become

from .build import insert, message, put
from .in_process import QUICK, in_database
from .patience import until
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)

NATIVE = "&format=json&v=2"
HISTORY = [message("ann", 1, insert("n")), *[message("ann", n, put(value=n)) for n in range(2, 11)]]


@pytest.fixture
def room(open_document: Document) -> Document:
    other = Document.objects.create(slug="other", visibility="public-edit")
    append_each(open_document, HISTORY)
    append_each(other, HISTORY)
    return open_document


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return {**QUICK, "DAMAGE_RECHECK_S": 0.05, "HEAD_POLL_S": 0.05}


def damage(document: Document, seq: int) -> bytes:
    """The payload that a batch had."""
    row = JournalBatch.objects.get(document=document, first_seq=seq)
    JournalBatch.objects.filter(pk=row.pk).update(payload=b"\x00" + bytes(row.payload)[1:])
    return bytes(row.payload)


def repair(document: Document, seq: int, payload: bytes) -> None:
    JournalBatch.objects.filter(document=document, first_seq=seq).update(payload=payload)


def verify() -> None:
    with pytest.raises(CommandError, match="not well"):
        call_command("verify_journals")


def not_now(document_ids: Collection[UUID]) -> None:
    raise JournalUnavailable("not now")


async def said(document: Document) -> str:
    text: str = await in_database(
        lambda: Document.objects.values_list("damage", flat=True).get(pk=document.pk)
    )
    return text


async def until_said(document: Document, beginning: str) -> None:
    found = [""]
    for _ in range(400):
        found[0] = await said(document)
        if found[0].startswith(beginning) and bool(found[0]) == bool(beginning):
            return
    raise AssertionError(f"the row says {found[0]!r}")


async def test_a_damaged_document_can_be_looked_at_and_not_edited(
    room: Document, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    await in_database(lambda: damage(room, 7))
    with caplog.at_level(logging.ERROR, "journal.damage"):
        async with Socket("room", "bob") as bob, Socket("room", "cy", query=NATIVE) as cy:
            assert bob.frames[0]["serverSeq"] == 6
            assert [frame["mtype"] for frame in cy.frames[:2]] == ["welcome", "state"]
            assert cy.frames[0]["serverSeq"] == 6
            assert cy.frames[0]["rights"] == ["view"]
            bob.edit(put(value=99))
            cy.edit(put(value=99))
            await bob.until(lambda: bob.errors == ["damaged"])
            await cy.until(lambda: cy.errors == ["damaged"])
            bob.send_raw({"mtype": "sync-check", "requestId": "r"})
            await bob.until(lambda: bob.frames[-1]["mtype"] == "sync-status")
            assert bob.frames[-1]["status"]["vectorClock"] == {"ann": 6}
            async with Socket("other", "dan") as dan:
                assert dan.frames[0]["serverSeq"] == 10
                dan.edit(put(value=99))
                await dan.until(lambda: dan.acks)
            assert bob.close_code is cy.close_code is None
    await until_said(room, "seq 7: ")
    assert len([record for record in caplog.records if "is damaged" in record.getMessage()]) == 1


@pytest.mark.sqlite
async def test_a_document_of_which_the_database_cannot_give_a_row_can_be_looked_at(
    room: Document, hub: Hub
) -> None:
    row = await in_database(lambda: JournalBatch.objects.get(document=room, first_seq=7))
    await in_database(lambda: become(row, payload="substr(payload, 1, 20) || x'FF' || substr(payload, 22)"))
    async with Socket("room", "bob") as bob:
        assert bob.frames[0]["serverSeq"] == 6
        bob.edit(put(value=99))
        await bob.until(lambda: bob.errors == ["damaged"])
    await until_said(room, "seq 7: ")


async def test_a_room_whose_journal_is_repaired_opens_again_without_a_restart(
    room: Document, hub: Hub
) -> None:
    payload = await in_database(lambda: damage(room, 7))
    async with Socket("room", "bob") as bob, Socket("room", "cy", query=NATIVE) as cy:
        await until_said(room, "seq 7: ")
        await in_database(lambda: repair(room, 7, payload))
        await bob.until(lambda: bob.frames[-1]["mtype"] == "state" and bob.frames[-1]["serverSeq"] == 10)
        await cy.until(lambda: any(frame["mtype"] == "rights" for frame in cy.frames))
        assert {"edit", "view"} <= set(cy.frames[-1]["rights"])
        bob.edit(put(value=99))
        await bob.until(lambda: list(bob.acks.values()) == [11])
        await cy.until(lambda: cy.seen == ["bob:1"])
        await until_said(room, "")
    assert (await in_database(lambda: hydrate(room.pk))).head_seq == 11


async def test_a_document_that_was_repaired_while_nobody_looked_is_said_to_be_intact(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "ROOM_IDLE_S": 0.05, "DAMAGE_RECHECK_S": 3600}
    payload = await in_database(lambda: damage(room, 7))
    async with Socket("room", "bob"):
        await until_said(room, "seq 7: ")
    await until(lambda: not hub.rooms)
    await in_database(lambda: repair(room, 7, payload))
    async with Socket("room", "bob") as bob:
        assert bob.frames[0]["serverSeq"] == 10
        await until_said(room, "")


async def test_a_live_room_whose_journal_is_damaged_ahead_keeps_what_it_has(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has written, and its row does not read."""
    async with Socket("room", "bob") as bob, Socket("room", "cy", query=NATIVE) as cy:
        bob.edit(put(value=1))
        await bob.until(lambda: list(bob.acks.values()) == [11])

        def write_badly() -> bytes:
            append_each(room, [message("ann", 12, put(value=12))])
            return damage(room, 12)

        with monkeypatch.context() as patch:  # or the room reads the row before it is damaged
            patch.setattr("rooms.head.look", not_now)
            payload = await in_database(write_badly)
        await until(lambda: hub.rooms[room.pk].damage is not None)
        await cy.until(lambda: cy.frames[-1].get("rights") == ["view"])
        bob.edit(put(value=2))
        await bob.until(lambda: bob.errors)
        assert set(bob.errors) <= {"damaged", "unavailable"}
        async with Socket("room", "dan") as dan:
            await dan.until(lambda: dan.frames[-1]["mtype"] == "state" and dan.frames[-1]["serverSeq"] == 11)
        await until_said(room, "seq 12: ")
        await in_database(lambda: repair(room, 12, payload))
        await until(lambda: hub.rooms[room.pk].damage is None)
        bob.edit(put(value=3))
        await bob.until(lambda: "bob:3" in bob.acks)
        await until_said(room, "")


async def test_damage_behind_a_room_has_it_written_from_memory_and_edits_go_on(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.damage.PAUSE_TIMES", 1)
    async with Socket("room", "bob") as bob:
        bob.edit(put(value=1))
        await bob.until(lambda: list(bob.acks.values()) == [11])
        payload = await in_database(lambda: damage(room, 7))
        with pytest.raises(CorruptJournal):
            await in_database(lambda: hydrate(room.pk))
        await in_database(verify)
        await until(lambda: hub.rooms[room.pk].graph.head_seq == 12)  # the cut
        for _ in range(400):
            if await in_database(lambda: what_stops(room.pk)) is None:
                break
        bob.edit(put(value=2))
        await bob.until(lambda: list(bob.acks.values()) == [11, 13])
        found = await in_database(lambda: hydrate(room.pk))
        assert found.graph.full_digest() == hub.rooms[room.pk].graph.full_digest()
        assert found.covered_seq == 12
        assert "seq 7: " in await said(room), "the past is damaged still"
        await in_database(lambda: repair(room, 7, payload))
        await until_said(room, "")
        assert bob.errors == []


async def test_damage_behind_a_room_that_cannot_be_written_stops_its_edits(
    room: Document, hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "JOURNAL_SNAPSHOT_BYTES_MAX": 10}
    async with Socket("room", "bob") as bob:
        payload = await in_database(lambda: damage(room, 7))
        await in_database(verify)
        await until(lambda: hub.rooms[room.pk].damage is not None)
        bob.edit(put(value=1))
        await bob.until(lambda: bob.errors == ["damaged"])
        await in_database(lambda: repair(room, 7, payload))
        await until(lambda: hub.rooms[room.pk].damage is None)
        bob.edit(put(value=2))
        await bob.until(lambda: "bob:2" in bob.acks)
        await until_said(room, "")


async def test_of_a_document_without_an_origin_everybody_edits_on(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.damage.PAUSE_TIMES", 1)
    await in_database(lambda: compact_document(room, KeepRules(4, 0)))
    await in_database(lambda: Snapshot.objects.filter(reason="origin").update(checksum="no"))
    async with Socket("room", "bob") as bob:
        await in_database(verify)
        await until_said(room, "seq 6: origin snapshot")
        bob.edit(put(value=1))
        await bob.until(lambda: list(bob.acks.values()) == [12])
        await in_database(Snapshot.objects.filter(reason="origin").delete)
        await until_said(room, "")


async def test_a_document_that_people_edit_is_verified_seldom_but_its_room_repaired_soon(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "DAMAGE_RECHECK_S": 0.001, "ROOM_IDLE_S": 0.05}
    monkeypatch.setattr("rooms.damage.PAUSE_TIMES", 1e6)
    looks: list[UUID] = []

    def look(document_id: UUID) -> bool:
        looks.append(document_id)
        return look_again(document_id)

    monkeypatch.setattr("rooms.damage.look_again", look)
    await in_database(lambda: compact_document(room, KeepRules(4, 0)))
    await in_database(lambda: Snapshot.objects.filter(reason="origin").update(checksum="no"))
    async with Socket("room", "bob") as bob:
        await until(lambda: looks)
        looks.clear()
        await in_database(verify)
        await until(lambda: looks)
        for n in range(1, 21):
            bob.edit(put(value=n))
            await bob.until(lambda n=n: len(bob.acks) == n)
        assert len(looks) == 1

        def write_badly() -> bytes:
            append_each(room, [message("ann", 40, put(value=40))])
            return damage(room, 32)

        with monkeypatch.context() as patch:  # or the room reads the row before it is damaged
            patch.setattr("rooms.head.look", not_now)
            payload = await in_database(write_badly)
        await until(lambda: hub.rooms[room.pk].damage is not None)
        await in_database(lambda: repair(room, 32, payload))
        await until(lambda: hub.rooms[room.pk].damage is None)
    await until(lambda: not hub.rooms)
    assert not hub._registry.damages._rooms, "or it stays in memory until it is verified"


async def test_what_was_on_its_way_when_the_damage_showed_is_journalled_after_the_repair(
    room: Document, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub._heads, "_note", lambda *_: None)  # or a poll may find the damage first
    async with Socket("room", "bob") as bob:

        def write_badly() -> bytes:
            append_each(room, [message("ann", 12, put(value=12))])
            return damage(room, 11)

        payload = await in_database(write_badly)
        bob.edit(put(value=1))
        await bob.until(lambda: bob.errors == ["unavailable"])
        assert bob.acks == {}
        await in_database(lambda: repair(room, 11, payload))
        await bob.until(lambda: bob.acks == {"bob:1": 12})


async def test_who_comes_back_to_a_damaged_document_gets_the_state(room: Document, hub: Hub) -> None:
    await in_database(lambda: damage(room, 7))
    async with Socket("room", "cy", query=NATIVE + "&since=3") as cy:
        assert [frame["mtype"] for frame in cy.frames[:2]] == ["welcome", "state"]
