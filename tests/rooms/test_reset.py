"""What a live room does when its document is emptied; rule R5."""

import pytest

from vuer_rtc.crdt.message import Epoch, Message, reset_record
from vuer_rtc.protocol.codes import ErrorCode

from .build import insert, message, put, submission
from .fake_room import NATIVE, Journal, NativeReplica, Peer, Room

FLOOR = 1000


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def room(journal: Journal) -> Room:
    return Room(journal)


def reset(number: int = 1, lt: int = FLOOR) -> Message:
    return reset_record(f"=server:{number}", Epoch(number, lt), 0)


def replica_of(peer: Peer) -> NativeReplica:
    replica = NativeReplica(peer.client)
    for wire in peer.wires:
        replica.take(wire)
    return replica


def edit(room: Room, peer: Peer, *messages: Message) -> None:
    for item in messages:
        room.submit(submission(item, peer))
    room.next_batch()


async def test_published_clients_are_told_and_sent_the_empty_document_and_native_ones_the_record(
    room: Room, journal: Journal
) -> None:
    ann, bot = room.enter("ann"), room.enter("bot", NATIVE)
    room.submit(submission(message("ann", 1, insert("n")), ann))
    room.commit()
    journal.add(reset(), first_seq=2)
    await room.catch_up()
    assert ann.got == ["state 0", "ack ann:1 1", "room-reset", "state 2"]
    state = ann.wires[-1]["snapshot"]
    assert state["graph"] == {"nodes": {}, "rootKey": ""}
    assert (state["vectorClock"], state["lt"], ann.wires[-1]["journal"]) == ({"ann": 1}, FLOOR, [])
    assert bot.got == ["welcome 0", "state 0", "ann:1 at 1", "=server:1 at 2"]
    replica = replica_of(bot)
    assert replica.graph.full_digest() == room.graph.full_digest()
    assert replica.graph.epoch == Epoch(1, FLOOR)


async def test_what_was_read_with_it_is_in_the_state_or_gone(room: Room, journal: Journal) -> None:
    ann, bot = room.enter("ann"), room.enter("bot", NATIVE)
    journal.add(
        message("cy", 1, insert("old")), reset(), message("cy", 2, insert("new"), lt=FLOOR + 1), first_seq=1
    )
    await room.catch_up()
    assert ann.got == ["state 0", "room-reset", "state 3"]
    assert list(ann.wires[-1]["snapshot"]["graph"]["nodes"]) + [
        m["id"] for m in ann.wires[-1]["journal"]
    ] == ["cy:2"]
    assert replica_of(bot).graph.full_digest() == room.graph.full_digest()


async def test_work_of_the_old_epoch_is_refused_and_what_was_journalled_is_acked_again(
    room: Room, journal: Journal
) -> None:
    ann = room.enter("ann")
    done = message("ann", 1, insert("n"))
    room.submit(submission(done, ann))
    room.commit()
    waiting = message("ann", 2, put())
    room.submit(submission(waiting, ann))
    journal.add(reset(), first_seq=2)
    await room.catch_up()
    assert room.next_batch() is None
    edit(room, ann, done, message("ann", 3, put(), lt=FLOOR))
    edit(room, ann, message("ann", 2, insert("n"), lt=FLOOR + 1, id="ann:new"))
    assert ann.got[2:] == [
        "room-reset", "state 2", f"error ann:2 {ErrorCode.STALE_EPOCH}", "ack ann:1 None",
        f"error ann:3 {ErrorCode.STALE_EPOCH}",
    ]  # fmt: skip


async def test_a_room_that_was_overtaken_by_a_compaction_tells_of_the_reset_too(
    room: Room, journal: Journal
) -> None:
    ann, bot = room.enter("ann"), room.enter("bot", NATIVE)
    journal.add(message("cy", 1, insert("n")), reset(), first_seq=1)
    journal.is_truncated = True
    await room.catch_up()
    assert ann.got == ["state 0", "room-reset", "state 2"]
    assert bot.got == ["welcome 0", "state 0", "state 2"]
    assert replica_of(bot).graph.epoch.number == 1


async def test_who_comes_back_finds_the_reset_among_what_it_missed(room: Room, journal: Journal) -> None:
    journal.add(message("cy", 1, insert("n")), reset(), first_seq=1)
    await room.catch_up()
    bot = room.enter("bot", NATIVE, since=1)
    assert bot.got == ["welcome 2 resumed", "=server:1 at 2"]
    assert room.enter("ann").got == ["state 2"]
