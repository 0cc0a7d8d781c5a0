"""The broker's contract, held by both implementations on a real journal, the second one with a real Redis."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from journal.entry import Entry
from journal.error import UnknownDocument
from journal.models import Document, JournalBatch
from journal.writer import Draft, build_row
from rooms import site
from rooms.broker import ChannelLayerBroker, InProcessBroker, Member, RoomBroker
from rooms.hub import current_hub
from rooms.live_side import RoomsLive
from rooms.site import EditRefused
from tests.journal.history import append
from tests.rooms.build import insert, message, put
from tests.rooms.client import NativeClient
from tests.rooms.patience import until
from tests.rooms.redis_process import RedisProcess
from tests.rooms.socket import Socket
from tests.server import ROOT, ServerProcess
from vuer_rtc.crdt.message import SERVER_CLIENT, Message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["in process", "channel layer"])
def make_broker(request: pytest.FixtureRequest, settings: Any) -> Callable[[], Any]:
    """Each broker it makes is another process, as far as the broker knows."""
    if request.param == "in process":
        settings.VUER_RTC = {"HEAD_POLL_S": 0.05}
        return InProcessBroker
    redis: RedisProcess = request.getfixturevalue("redis")
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [redis.url]}}}
    settings.VUER_RTC = {"HEAD_POLL_S": 3600}  # so it was the layer
    return ChannelLayerBroker


@pytest.fixture
async def broker(document: Document, make_broker: Callable[[], Any]) -> AsyncIterator[RoomBroker]:
    async with make_broker() as made:
        yield made


@pytest.fixture
def room(document: Document) -> uuid.UUID:
    return document.pk


async def in_thread(act: Callable[[], Any]) -> Any:
    """What it returns, done in a thread whose database connection is closed again."""

    def run() -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def seqs(messages: list[Message]) -> list[int]:
    return [each.server_seq for each in messages]


async def test_subscribers_get_what_is_published_in_sequence(broker: RoomBroker, room: uuid.UUID) -> None:
    one: list[Message] = []
    two: list[Message] = []

    async def slow(received: Message) -> None:
        await asyncio.sleep(0.01)
        two.append(received)

    broker.subscribe(room, one.append)
    broker.subscribe(room, slow)
    sent = [message("bot", counter, insert(f"n{counter}")) for counter in range(1, 6)]
    for seq, each in enumerate(sent, 1):
        assert await broker.next_seq(room) == seq
        assert await broker.publish(room, each) == seq
    await until(lambda: len(one) == len(two) == 5)
    assert one == two == [msgspec.structs.replace(each, server_seq=seq) for seq, each in enumerate(sent, 1)]


async def test_the_sequence_goes_on_after_a_restart_and_after_the_room_was_cleared(
    broker: RoomBroker, room: uuid.UUID, make_broker: Callable[[], Any]
) -> None:
    assert await broker.publish(room, message("bot", 1, insert("n"))) == 1
    await broker.clear_room(room)
    assert await broker.next_seq(room) == 2
    async with make_broker() as restarted:
        assert await restarted.next_seq(room) == 2
        assert await restarted.publish(room, message("bot", 2, put("n"))) == 2
        assert await broker.publish(room, message("cat", 3, put("n"))) == 3, "it had not read the second"
        await restarted.delete_room(room)
        assert await restarted.next_seq(room) == 4


async def test_a_message_published_again_is_there_once(broker: RoomBroker, room: uuid.UUID) -> None:
    seen: list[Message] = []
    broker.subscribe(room, seen.append)
    sent = message("bot", 1, insert("n"))
    wire = msgspec.to_builtins(sent)
    assert [await broker.publish(room, each) for each in (sent, wire, sent)] == [1, 1, 1]
    await broker.publish(room, message("bot", 2, put("n")))
    await until(lambda: len(seen) == 2)
    assert seqs(seen) == [1, 2]


async def test_what_no_client_could_send_is_refused(broker: RoomBroker, room: uuid.UUID) -> None:
    await broker.publish(room, message("bot", 1, insert("n")))
    for bad in (
        {"id": "x"},
        message("bot", 1, put("n"), id="another"),
        message("bot", 2, put("n"), lt=10**9),
    ):
        with pytest.raises(EditRefused):
            await broker.publish(room, bad)
    assert await broker.next_seq(room) == 2
    with pytest.raises(UnknownDocument):
        await broker.publish(uuid.uuid4(), message("bot", 1, insert("n")))


async def test_a_subscription_may_begin_earlier(broker: RoomBroker, room: uuid.UUID) -> None:
    for counter in range(1, 4):
        await broker.publish(room, message("bot", counter, insert("n")))
    everything: list[Message] = []
    rest: list[Message] = []
    broker.subscribe(room, everything.append, after=0)
    broker.subscribe(room, rest.append, after=2)
    await broker.publish(room, message("bot", 4, put("n")))
    await until(lambda: len(everything) == 4 and len(rest) == 2)
    assert (seqs(everything), seqs(rest)) == ([1, 2, 3, 4], [3, 4])


async def test_who_is_told_too_late_hears_which_messages_are_gone(
    broker: RoomBroker, room: uuid.UUID
) -> None:
    for counter in range(1, 8):
        await broker.publish(room, message("bot", counter, insert("n")))
    await in_thread(lambda: call_command("compact_journals", document=["room"], keep=3, older_than=0))
    seen: list[Message] = []
    gaps: list[tuple[int, int]] = []
    broker.subscribe(room, seen.append, after=1, on_gap=lambda first, last: gaps.append((first, last)))
    await until(lambda: seqs(seen)[-1:] == [8])
    assert seen[-1].client == SERVER_CLIENT, "the record of the cut"
    [(first, last)] = gaps
    assert first == 2
    assert seqs(seen) == list(range(last + 1, 9))


async def test_j66_what_is_in_place_of_what_was_lost_comes_when_the_database_was_put_back(
    broker: RoomBroker, document: Document
) -> None:
    seen: list[Message] = []

    def put_back() -> None:
        JournalBatch.objects.filter(first_seq__gt=1).delete()
        append(document, message("cat", 1, put("n")))

    broker.subscribe(document.pk, seen.append)
    for counter in (1, 2, 3):
        await broker.publish(document.pk, message("bot", counter, insert("n")))
    await until(lambda: len(seen) == 3)
    await in_thread(put_back)
    await broker.publish(document.pk, message("bot", 4, put("n")))
    await until(lambda: len(seen) == 5)
    assert [(each.id, each.server_seq) for each in seen[3:]] == [("cat:1", 2), ("bot:4", 3)]


async def test_j66_a_subscription_that_has_read_nothing_that_is_left_goes_on_at_the_head(
    broker: RoomBroker, document: Document
) -> None:
    seen: list[Message] = []

    def put_back() -> None:
        draft = Draft(document.pk, 1, [Entry(message("cat", 1, insert("n")))])
        with transaction.atomic():
            JournalBatch.objects.all().delete()
            build_row(draft, "test").as_model().save(force_insert=True)

    broker.subscribe(document.pk, seen.append)
    await broker.publish(document.pk, message("bot", 1, insert("n")))
    await until(lambda: len(seen) == 1)
    await in_thread(put_back)
    counter = 1
    while len(seen) == 1:
        counter += 1
        await broker.publish(document.pk, message("bot", counter, put("n")))
    assert seen[1].id.startswith("bot:")


async def test_j66_a_subscription_that_has_read_nothing_yet_goes_on_at_the_head_as_well(
    broker: RoomBroker, document: Document
) -> None:
    """What it begins behind may be lost before it comes back, or while it waits."""
    ahead: list[Message] = []
    waiting: list[Message] = []

    def put_back() -> None:
        JournalBatch.objects.filter(first_seq__gt=1).delete()
        append(document, message("cat", 1, put("n")))

    await broker.publish(document.pk, message("bot", 1, insert("n")))
    broker.subscribe(document.pk, ahead.append, after=5)
    assert await broker.publish(document.pk, message("bot", 2, put("n"))) == 2
    await until(lambda: len(ahead) == 1)
    broker.subscribe(document.pk, waiting.append, after=2)
    assert await broker.publish(document.pk, message("bot", 2, put("n"))) == 2  # when that has begun
    await in_thread(put_back)
    counter = 2
    while not waiting:
        counter += 1
        assert await broker.publish(document.pk, message("bot", counter, put("n"))) < 6
        await asyncio.sleep(0.05)


async def test_a_handler_that_fails_harms_nobody(
    broker: RoomBroker, room: uuid.UUID, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Message] = []
    calls: list[int] = []

    def fail(received: Message) -> None:
        calls.append(received.server_seq)
        raise RuntimeError("this one")

    broker.subscribe(room, fail)
    broker.subscribe(room, seen.append)
    for counter in (1, 2):
        await broker.publish(room, message("bot", counter, insert("n"), id=f"b\n{counter}"))
    await until(lambda: calls == seqs(seen) == [1, 2])
    told = [line for line in caplog.messages if "failed with message" in line]
    assert [line.rpartition(" ")[2] for line in told] == [r"'b\n1'", r"'b\n2'"], (
        "a line each, whatever the ids"
    )


async def test_a_stale_unsubscribe_does_not_remove_newcomers(broker: RoomBroker, room: uuid.UUID) -> None:
    """The reference's does: it deletes the room's current set when its own old one is empty."""
    old: list[Message] = []
    new: list[Message] = []
    unsubscribe = broker.subscribe(room, old.append)
    unsubscribe()
    broker.subscribe(room, new.append)
    unsubscribe()
    await broker.delete_room(room)
    broker.subscribe(room, new.append)
    unsubscribe()
    await broker.publish(room, message("bot", 1, insert("n")))
    await until(lambda: new)
    assert (old, seqs(new)) == ([], [1])


async def test_clearing_keeps_subscriptions_and_deleting_ends_them(
    broker: RoomBroker, room: uuid.UUID
) -> None:
    seen: list[Message] = []
    broker.subscribe(room, seen.append)
    await broker.clear_room(room)
    await broker.publish(room, message("bot", 1, insert("n")))
    await until(lambda: seqs(seen) == [1])
    await broker.delete_room(room)
    await broker.publish(room, message("bot", 2, put("n")))
    late: list[Message] = []
    broker.subscribe(room, late.append, after=1)
    await until(lambda: seqs(late) == [2])
    assert seqs(seen) == [1]


async def test_members_are_kept_for_all_processes_and_handed_out_as_copies(
    broker: RoomBroker, room: uuid.UUID, make_broker: Callable[[], Any]
) -> None:
    assert await broker.get_members(room) == {}
    ann = Member("ann", {"ann": 3}, 1_764_000_000.5)
    await broker.set_member(room, ann)
    await broker.set_member(room, Member("bob", {}, 1_764_000_001.5, connected=False))
    async with make_broker() as other:
        assert await other.get_members(room) == {
            "ann": ann,
            "bob": Member("bob", {}, 1_764_000_001.5, connected=False),
        }
        newer = Member("ann", {"ann": 4}, 1_764_000_002.5, connected=False)
        await other.set_member(room, newer)
    members = await broker.get_members(room)
    assert members["ann"] == newer
    members.clear()
    assert set(await broker.get_members(room)) == {"ann", "bob"}
    await broker.remove_member(room, "ann")
    await broker.remove_member(room, "nobody")
    assert set(await broker.get_members(room)) == {"bob"}
    await broker.clear_room(room)
    assert await broker.get_members(room) == {}


async def test_a_member_that_is_sent_away_is_disconnected(broker: RoomBroker, room: uuid.UUID) -> None:
    """Nobody holds a socket of it; commands that wait for a room to empty must not wait for it."""
    await broker.set_member(room, Member("bot"))
    live = RoomsLive()
    assert await in_thread(lambda: live.connected(room)) == 1
    await in_thread(lambda: live.close_all(room))
    assert await in_thread(lambda: live.connected(room)) == 0
    assert not (await broker.get_members(room))["bot"].connected
    await broker.set_member(room, Member("bot"))
    assert (await broker.get_members(room))["bot"].connected


async def test_the_clients_of_a_live_room_are_members_and_their_messages_are_published(
    broker: RoomBroker, room: uuid.UUID
) -> None:
    hub = current_hub()
    seen: list[Message] = []
    broker.subscribe(room, seen.append)
    async with Socket("room", "ann") as ann:
        id = ann.edit(insert("n"))
        await ann.until(lambda: id in ann.acks)
        await until(lambda: [each.id for each in seen] == [id])
        assert (await broker.get_members(room))["ann"].connected
        await broker.remove_member(room, "ann")
        assert set(await broker.get_members(room)) == {"ann"}, "its connection makes it one"
        await broker.publish(room, message("bot", 1, put("n"), lt=2))
        await ann.until(lambda: ann.seen == ["bot:1"])
        await in_thread(
            lambda: site.edit("room", [{"ot": "number.set", "key": "n", "path": "x", "value": 3}])
        )
        await until(lambda: seqs(seen) == [1, 2, 3])
    await hub.stop()
    assert await broker.get_members(room) == {}


async def test_two_processes_hear_each_other(
    broker: RoomBroker, room: uuid.UUID, make_broker: Callable[[], Any]
) -> None:
    async with make_broker() as other:
        here: list[Message] = []
        there: list[Message] = []
        broker.subscribe(room, here.append)
        other.subscribe(room, there.append)
        await broker.publish(room, message("bot", 1, insert("n")))
        await until(lambda: there)
        await asyncio.gather(
            *(broker.publish(room, message("a", n, put("n"))) for n in range(1, 6)),
            *(other.publish(room, message("b", n, put("n"))) for n in range(1, 6)),
        )
        await until(lambda: len(here) == len(there) == 11)
        assert here == there
        assert seqs(here) == list(range(1, 12))


def test_a_process_without_a_server_follows_and_writes_what_clients_see(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes: a server, the bot of docs/embed.md, and this one with a client."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    example = re.search(r"```python\n# answering.py\n(.*?)```", (ROOT / "docs/embed.md").read_text(), re.S)
    assert example is not None
    bot = f"{example[1]}\nprint(*asyncio.run(answer('stage')))"
    with ServerProcess(tmp_path, settings={"HEAD_POLL_S": 3600}) as server:
        server.create_documents(["stage"])

        async def play() -> str:
            running = asyncio.create_task(
                asyncio.to_thread(server.manage, "shell", "--no-imports", "-c", bot)
            )
            async with NativeClient(server, "stage", "ann") as ann:
                await ann.edit(insert("n"))
                await ann.until(lambda: [each["id"] for each in ann.broadcasts] == ["bot:1"])
                return await running

        assert asyncio.run(play()).strip() == "2 ['ann', 'bot']"
