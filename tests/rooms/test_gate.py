"""Who gets in and what is told to who does not, with the real journal on a real database, in this process."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from journal.compaction import KeepRules, compact_document
from journal.models import Document, JournalBatch
from journal.reader import read_after
from rooms import admission, gate, recorder, registry
from rooms.admission import admit
from rooms.gate import ADMISSIONS_MAX
from rooms.hub import ASIDE_THREADS, Hub
from rooms.models import Session
from rooms.news import Entered
from rooms.record import NotRecorded, record_session
from rooms.registry import Registry
from tests.journal.history import append_each
from vuer_rtc.crdt.message import Op
from vuer_rtc.protocol.codes import CloseCode

from .build import insert, message
from .in_process import close_codes, in_database
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_id_of_an_account_is_closed_to_others(hub: Hub) -> None:
    ann = await in_database(lambda: get_user_model()._default_manager.create(username="ann"))
    async with Socket("room", "tablet", user=ann) as hers:
        async with Socket("room", "tablet") as other:
            assert other.close_code == CloseCode.CLIENT_TAKEN
        assert hers.close_code is None
        hers.edit(insert("n"))
        await hers.until(lambda: hers.acks)


async def test_a_fault_of_ours_in_a_join_is_told_and_recorded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(document_id: Any) -> Any:
        raise RuntimeError("bug")

    monkeypatch.setattr(registry, "hydrate", fail)
    async with Socket("room", "ann") as ann:
        assert ann.close_code == CloseCode.INTERNAL
    assert await close_codes() == {"ann": 1011}


async def test_n5_who_missed_more_than_is_read_gets_the_state(
    hub: Hub, open_document: Document, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "RECENT_MESSAGES_MAX": 5, "SINCE_BYTES_MAX": 5000}
    text = Op("string.set", "n", "note", "x" * 1000)
    async with Socket("room", "ann") as ann:
        for number in range(21):  # each a batch of its own
            ann.edit(text if number else insert("n"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        for since, is_resumed in ((18, True), (13, True), (3, False)):
            async with Socket("room", f"bob-{since}", query=f"&format=json&v=2&since={since}") as bob:
                await bob.until(lambda bob=bob: len(bob.frames) > 1)
                assert bob.frames[0]["resumed"] is is_resumed
                assert (bob.frames[1]["mtype"] == "state") is not is_resumed


async def test_n9_who_comes_from_a_process_whose_clock_is_ahead_is_the_newer_one(
    hub: Hub, open_document: Document
) -> None:
    """N9, A6: what that process tells late would throw the client out for good."""
    before = time.time() + 60
    async with Socket("room", "ann", query=f"&format=json&v=2&after={before}") as ann:
        await ann.until(lambda: ann.frames)
        arrived_at = ann.frames[0]["arrivedAt"]
        assert arrived_at > before
        hub.bus.hear(Entered(open_document.pk, {"ann": before}))
        await asyncio.sleep(0.05)
        assert ann.close_code is None
        hub.bus.hear(Entered(open_document.pk, {"ann": arrived_at + 1}))
        await ann.until(lambda: ann.close_code == CloseCode.REPLACED)
    for lie in ("9e99", "inf", "nan"):
        async with Socket("room", "bob", query=f"&format=json&v=2&after={lie}") as bob:
            await bob.until(lambda bob=bob: bob.frames)
            assert bob.frames[0]["arrivedAt"] < time.time() + 1


class Deaf(Socket):
    """Reads one frame."""

    async def _send(self, event: dict[str, Any]) -> None:
        await super()._send(event)
        if self.frames:
            self.is_reading.clear()


@pytest.mark.parametrize("recent", [5, 50])
async def test_n5_who_comes_back_gets_the_state_while_much_is_on_its_way_to_others_who_do_not_read(
    hub: Hub, open_document: Document, settings: Any, recent: int
) -> None:
    """What each has missed is made for it alone: a thousand who come back and do not read filled the memory."""
    bounds = {"RECENT_MESSAGES_MAX": recent, "SINCE_BYTES_MAX": 8000, "RESUMED_BYTES_MAX": 10_000}
    settings.VUER_RTC = {**settings.VUER_RTC, **bounds}
    text = Op("string.set", "n", "note", "x" * 1000)
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(Socket("room", "ann"))
        for number in range(7):  # each a batch of its own
            ann.edit(text if number else insert("n"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        query = "&format=json&v=2&since=1"
        deaf = [await stack.enter_async_context(Deaf("room", f"deaf-{n}", query=query)) for n in range(4)]
        assert [each.frames[0]["resumed"] for each in deaf] == [True, True, False, False]
        await deaf[0].hang_up()
        again = await stack.enter_async_context(Deaf("room", "again", query=query))
        assert again.frames[0]["resumed"]


async def test_n5_states_and_who_missed_nothing_do_not_count_as_made_for_one(
    hub: Hub, open_document: Document, settings: Any
) -> None:
    """Else a few who come back from far, and read slowly, have everybody who comes back sent the whole document."""
    bounds = {"RECENT_MESSAGES_MAX": 4, "SINCE_MESSAGES_MAX": 4, "RESUMED_BYTES_MAX": 5000}
    settings.VUER_RTC = {**settings.VUER_RTC, **bounds}
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(Socket("room", "ann"))
        for number in range(7):  # each a batch of its own
            ann.edit(Op("string.set", "n", "note", "x" * 1000) if number else insert("n"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        resumed = []
        for name, since in (("far", 1), ("afar", 1), ("near", 4), ("nearer", 4), ("nigh", 5), ("here", 7)):
            query = f"&format=json&v=2&since={since}"
            deaf = await stack.enter_async_context(Deaf("room", name, query=query))
            resumed.append(deaf.frames[0]["resumed"])
        assert resumed == [False, False, True, True, False, True]


@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_n5_who_was_told_what_a_journal_that_was_put_back_does_not_hold_gets_the_state(
    hub: Hub, open_document: Document, is_in_memory: bool, settings: Any
) -> None:
    """It came from a process that had seen more, and others have filled these places since (rule J66)."""
    settings.VUER_RTC = {**settings.VUER_RTC, "RECENT_MESSAGES_MAX": 5 if is_in_memory else 1}
    async with Socket("room", "ann", query="&format=json&v=2") as ann:
        for number in range(4):
            ann.edit(Op("number.set", "n", "x", number) if number else insert("n"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        ids = {seq: message_id for message_id, seq in ann.acks.items()}
        for since, at, is_resumed in (
            (4, ids[4], True),
            (3, ids[3], True),
            (2, ids[2], True),
            (4, "ann:lost", False),
            (3, "ann:lost", False),
            (2, ids[3], False),
            (0, "ann:lost", True),
        ):
            query = f"&format=json&v=2&since={since}&at={at}"
            async with Socket("room", "bob", query=query) as bob:
                await bob.until(lambda bob=bob, n=0 if since == 4 and is_resumed else 1: len(bob.frames) > n)
                assert bob.frames[0]["resumed"] is is_resumed, (since, at)
                assert is_resumed or bob.frames[1]["mtype"] == "state"


async def test_n5_who_is_found_to_hold_what_a_room_goes_back_behind_meanwhile_gets_the_state(
    hub: Hub, open_document: Document, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "RECENT_MESSAGES_MAX": 1}
    read_part_after = Registry.read_part_after

    def put_back() -> None:
        JournalBatch.objects.filter(first_seq__gte=3).delete()
        append_each(open_document, [message("cy", number, insert("m")) for number in (1, 2, 3)])

    async def read_late(self: Registry, *place: Any) -> Any:
        monkeypatch.setattr(Registry, "read_part_after", read_part_after)
        await in_database(put_back)
        await hub._committer.refreshed(hub.rooms[open_document.pk])
        return await read_part_after(self, *place)

    async with Socket("room", "ann", query="&format=json&v=2") as ann:
        for number in range(5):
            ann.edit(Op("number.set", "n", "x", number) if number else insert("n"))
            await ann.until(lambda number=number: len(ann.acks) > number)
        monkeypatch.setattr(Registry, "read_part_after", read_late)
        async with Socket("room", "bob", query="&format=json&v=2&since=3&at=ann:3") as bob:
            await bob.until(lambda: len(bob.frames) > 1)
            assert bob.frames[0]["resumed"] is False
            assert bob.frames[1]["mtype"] == "state"


async def test_n5_a_state_names_its_newest_message_by_which_a_client_finds_its_place_again(
    hub: Hub, open_document: Document
) -> None:
    """The record of a cut is in no journal of a state: of a quiet document nobody could name its place."""

    def fold() -> list[str]:
        append_each(open_document, [message("ann", 1, insert("n"))])
        compact_document(open_document, KeepRules(0, 0))
        return [entry.message.id for batch in read_after(open_document.pk, 1) for entry in batch.entries]

    [cut] = await in_database(fold)
    async with Socket("room", "dan", query="&format=json&v=2") as dan:
        await dan.until(lambda: len(dan.frames) > 1)
        state = dan.frames[1]
        assert (state["serverSeq"], state["at"], state["journal"]) == (2, cut, [])
        for at, is_resumed in ((cut, True), ("=server:lost", False)):
            async with Socket("room", "bob", query=f"&format=json&v=2&since=2&at={at}") as bob:
                await bob.until(lambda bob=bob: bob.frames)
                assert bob.frames[0]["resumed"] is is_resumed
        dan.edit(insert("m"))
        await dan.until(lambda: dan.acks)
    async with Socket("room", "cy", query="&format=json&v=2") as cy:
        await cy.until(lambda: len(cy.frames) > 1)
        assert (cy.frames[1]["serverSeq"], cy.frames[1]["at"]) in ((3, "dan:1"), (2, cut))


async def test_n5_who_names_what_is_folded_away_since_gets_the_state(
    hub: Hub, open_document: Document
) -> None:
    """Perhaps a database was put back, and something else ended there (J66).  Who names nothing is believed."""

    def fold() -> int:
        append_each(open_document, [message("ann", 1, insert("n"))])
        compact_document(open_document, KeepRules(0, 0))
        return Document.objects.get(pk=open_document.pk).truncated_seq

    seq = await in_database(fold)
    for at, is_resumed in (("&at=ann:1", False), ("&at=ann:lost", False), ("", True)):
        async with Socket("room", "bob", query=f"&format=json&v=2&since={seq}{at}") as bob:
            await bob.until(lambda bob=bob: bob.frames)
            assert bob.frames[0]["resumed"] is is_resumed, at


async def test_a7_a_crowd_at_the_gate_does_not_hold_up_what_else_is_asked_of_the_database(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far documents are, whose rights have changed, what is in a room that somebody waits for."""
    crowd, admitted = 60, 0

    def admit_slowly(*given: Any) -> Any:
        nonlocal admitted
        time.sleep(0.005)
        admitted += 1
        return admit(*given)

    monkeypatch.setattr(gate, "admit", admit_slowly)
    async with AsyncExitStack() as stack:
        joining = [Socket("room", f"client-{number}") for number in range(crowd)]
        coming = asyncio.gather(*map(stack.enter_async_context, joining))
        while not admitted:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0)
        began_at = admitted
        assert await hub._aside.run(lambda: admitted - began_at) <= ADMISSIONS_MAX + ASIDE_THREADS
        await coming
        assert len(hub.connections) == crowd


async def test_who_is_on_the_way_in_when_the_server_stops_is_sent_away_and_leaves_no_open_row(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def admit_slowly(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        time.sleep(0.2)
        return admit(*given)

    monkeypatch.setattr(gate, "admit", admit_slowly)
    coming = [Socket("room", f"client-{number}") for number in range(2 * ADMISSIONS_MAX)]
    while not asked:  # noqa: ASYNC110 - a thread counts
        await asyncio.sleep(0)
    await hub.stop()
    await asyncio.gather(*(each.task for each in coming))
    assert {each.close_code for each in coming} == {CloseCode.GOING_AWAY}
    rows = await in_database(lambda: list(Session.objects.values_list("close_code", flat=True)))
    assert set(rows) == {CloseCode.GOING_AWAY}
    assert len(rows) <= ADMISSIONS_MAX, "of the others nobody was asked about"


async def test_who_came_without_a_row_and_left_again_leaves_nothing_behind(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(session: Session) -> bool:
        raise NotRecorded("the disk is full")

    monkeypatch.setattr(admission, "record_newcomer", refuse)
    monkeypatch.setattr(recorder, "record_session", refuse)
    async with Socket("room", "ann"):
        async with Socket("room", "bob"):
            assert len(hub._recorder._due) == 2
        assert [connection.client for connection in hub._recorder._due] == ["ann"]
        assert not hub._register._ends, "there is no row that could say how it ended"


async def test_j66_who_has_lost_their_row_gets_it_again_or_goes_when_the_client_id_is_anothers_by_now(
    hub: Hub, settings: Any
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "RETRY_DELAY_MAX_MS": 1}
    create = get_user_model()._default_manager.create
    ann, bob = await in_database(lambda: [create(username=name) for name in ("ann", "bob")])
    async with Socket("room", "tablet", user=ann) as tablet, Socket("room", "phone", user=ann) as phone:
        rows = await in_database(
            lambda: list(Session.objects.order_by("client").values("pk", "connected_at"))
        )

        def put_back() -> None:
            Session.objects.all().delete()
            document = Document.objects.get()
            now = timezone.now()
            Session.objects.create(
                document=document, client="phone", user=bob, connected_at=now, last_seen_at=now
            )

        await in_database(put_back)
        await hub._recorder.look()
        assert not any(connection.is_recorded for connection in hub.connections), "they may only look"
        await phone.until(lambda: phone.close_code == CloseCode.CLIENT_TAKEN)
        await tablet.until(lambda: all(connection.is_recorded for connection in hub.connections))
        async with Socket("room", "tablet", user=bob) as other:
            assert other.close_code == CloseCode.CLIENT_TAKEN
        tablet.edit(insert("n"))
        await tablet.until(lambda: tablet.acks)
        [row] = await in_database(
            lambda: list(Session.objects.filter(client="tablet").values("pk", "connected_at"))
        )
        assert row in rows


async def test_a_row_that_was_written_although_nobody_was_told_goes_with_who_leaves_before_the_next_try(
    hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(session: Session) -> bool:
        record_session(session)
        raise NotRecorded("server closed the connection unexpectedly")

    monkeypatch.setattr(admission, "record_newcomer", break_off)
    monkeypatch.setattr(recorder, "record_session", break_off)
    settings.VUER_RTC = {**settings.VUER_RTC, "RETRY_DELAY_MAX_MS": 20}
    async with Socket("room", "ann") as ann:
        await ann.until(lambda: ann.frames)
        assert await in_database(Session.objects.connected().count) == 1
    for _ in range(200):
        if not await in_database(Session.objects.count):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it would stay open as long as the process lives")
