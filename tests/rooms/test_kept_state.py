"""A4: who joins is sent a state that was made a moment ago, and what has happened since."""

import asyncio
import random
from typing import Any

import msgspec
import pytest

from rooms import answer, kept_state, native
from rooms.fanout import Delivery
from rooms.kept_state import KeptState
from tests.crdt.history import make_history, with_resets
from vuer_rtc.crdt.message import RESTORE_PREFIX, Epoch, Message, Op, cut_record, numbered, reset_record
from vuer_rtc.protocol.wire import Frame

from .build import insert, message, put, submission, undo
from .fake_room import JSON, NATIVE, Journal, Peer, Room


@pytest.fixture
def room() -> Room:
    return Room(Journal(), budget=1_000_000)


def edit(room: Room, author: Peer, count: int, *, key: str = "n") -> None:
    for _ in range(count):
        counter = room.graph.clock.get(author.client, 0) + 1
        sent = message(author.client, counter, put(key, value=counter), lt=room.graph.lt + 1)
        room.submit(submission(sent, author))
        room.commit()


def filled(room: Room, nodes: int = 60) -> Peer:
    """Somebody who has made these nodes."""
    ann = room.enter("ann", NATIVE)
    inserts = [insert("n"), *(insert(f"n{index}") for index in range(nodes))]
    room.submit(submission(message("ann", 1, *inserts), ann))
    room.commit()
    return ann


def delivery(seq: int, sent: Message | None = None) -> Delivery:
    sent = numbered(sent or message("ann", seq), seq)
    return Delivery(sent, sent)


def test_who_joins_gets_the_state_of_who_joined_before_and_what_followed(room: Room) -> None:
    ann = filled(room)
    first = [room.enter("bob", NATIVE), room.enter("cy")]
    edit(room, ann, 3)
    for earlier in first:
        later = room.enter("dan", earlier.dialect)
        since = earlier.frames.index(
            next(f for f in earlier.frames if "snapshot" in str(f) or "native" in str(f))
        )
        assert later.frames[since:] == earlier.frames[since:]
        assert later.got[since:] == ["state 1", "ann:2 at 2", "ann:3 at 3", "ann:4 at 4"]


def test_n6_who_wants_batches_gets_what_followed_in_one_frame(room: Room) -> None:
    ann = filled(room)
    room.enter("bob", NATIVE)
    edit(room, ann, 3)
    batched = [room.enter(name, NATIVE, is_batched=True) for name in ("cy", "dan")]
    assert batched[0].got == ["welcome 4", "state 1", "[ann:2 at 2, ann:3 at 3, ann:4 at 4]"]
    assert [id(frame) for frame in batched[0].frames[1:]] == [id(frame) for frame in batched[1].frames[1:]]


def test_what_has_happened_since_stays_a_share_of_the_whole(room: Room) -> None:
    ann = filled(room)
    for _ in range(60):
        edit(room, ann, 1)
        for dialect in (NATIVE, JSON):
            state, *tail = (
                frame for frame in room.enter("bob", dialect).frames if "welcome" not in str(frame)
            )
            assert sum(map(len, tail)) <= kept_state.TAIL_SHARE * len(state)


def test_what_has_happened_since_is_never_more_than_who_comes_back_is_sent(room: Room, settings: Any) -> None:
    """Beside a large document a quarter is so many frames that the outbox would close whoever joins."""
    settings.VUER_RTC = {"SINCE_MESSAGES_MAX": 3}
    ann = filled(room)
    for dialect in (NATIVE, JSON):
        room.enter("bob", dialect)
    edit(room, ann, 3)
    assert room.enter("cy").got == ["state 1", "ann:2 at 2", "ann:3 at 3", "ann:4 at 4"]
    edit(room, ann, 1)
    assert room.enter("dan").got == ["state 5"]
    assert room.enter("eve", NATIVE).got[1:] == ["state 5"]


def test_a_room_forgets_a_state_that_nobody_asks_for(room: Room, settings: Any) -> None:
    settings.VUER_RTC = {"RECENT_MESSAGES_MAX": 5}
    room = Room(Journal())
    ann = filled(room)
    edit(room, ann, 4)
    assert room._answers._kept
    edit(room, ann, 2)
    assert not room._answers._kept


def test_a_client_gets_its_own_messages_in_the_state(room: Room) -> None:
    """It counts its messages from what its `state` says."""
    ann = filled(room)
    room.enter("eve")
    edit(room, ann, 1)
    bob = room.enter("bob")
    assert bob.got == ["state 1", "ann:2 at 2"]
    edit(room, bob, 1)
    assert room.enter("cy").got == ["state 1", "ann:2 at 2", "bob:1 at 3"]
    assert room.enter("bob").got == ["state 3"]
    assert room.enter("bob", NATIVE).got[1:] == ["state 3"]
    edit(room, ann, 1)
    cy = room.enter("cy")
    room.send_state(cy)
    assert cy.got == ["state 3", "ann:3 at 4", "state 4"]  # it may have seen what stands behind an older one


def test_a_reset_and_for_published_clients_a_restore_begin_anew() -> None:
    restore = Message(f"{RESTORE_PREFIX}1", "=site", {"=site": 1}, 9, 1.0, [put()])
    reset = reset_record("=server:1", Epoch(1, 100), 1.0)
    for sent, native_goes_on, published_goes_on in (
        (cut_record("=cut", 3, 1.0), True, True),
        (restore, True, False),
        (reset, False, False),
    ):
        for dialect, goes_on in ((NATIVE, native_goes_on), (JSON, published_goes_on)):
            assert KeptState("x" * 10_000, 4, 0, dialect).extend([delivery(5, sent)], 0) is goes_on


@pytest.mark.parametrize(
    ("op", "published_goes_on"),
    [
        (put(), True),
        (insert("n"), True),
        ({"ot": "node.upsert", "key": "", "path": "children", "value": {"key": "n"}}, False),
        ({"ot": "array.move", "key": "n", "path": "a", "from": 0, "to": 1}, False),
        ({"ot": "node.move", "key": "p", "value": {"nodeKey": "n", "newParent": "q"}}, False),
        ({"ot": "node.remove", "key": "p", "value": "n"}, False),
        ({"ot": "string.set", "key": "n", "path": "name", "value": "N"}, False),
        ({"ot": "object.merge", "key": "n", "path": ".", "value": {"tag": "T"}}, False),
    ],
)
def test_a8_published_clients_that_join_need_not_apply_what_they_read_otherwise(
    op: Any, published_goes_on: bool
) -> None:
    sent = message("ann", 5, op if isinstance(op, Op) else msgspec.convert(op, Op))
    for dialect, goes_on in ((NATIVE, True), (JSON, published_goes_on)):
        assert KeptState("x" * 10_000, 4, 0, dialect).extend([delivery(5, sent)], 0) is goes_on


@pytest.mark.parametrize(
    ("sent", "published_goes_on"),
    [
        (message("bob", 1, put(), lt=5), True),
        (message("bob", 1, put(), lt=2), False),
        (message("ann", 5, undo("ann:2")), False),
        (message("bob", 1, Op("text.insert", "n", "s", [None, "b"], id="bob:0", seq=1, ts=1.0), lt=5), False),
    ],
    ids=["last", "late", "undo", "typing into a string"],
)
def test_a4_published_clients_that_join_are_sent_nothing_whose_effect_depends_on_what_they_lack(
    room: Room, sent: Message, published_goes_on: bool
) -> None:
    ann = filled(room)
    room.submit(submission(message("ann", 2, Op("string.set", "n", "s", "a")), ann))
    room.commit()
    edit(room, ann, 2)
    for dialect in (NATIVE, JSON):
        room._answers._kept.pop(dialect, None)
        room.enter("cy", dialect)
    room.submit(submission(sent, room.enter("bob", NATIVE) if sent.client == "bob" else ann))
    room.commit()
    for dialect, goes_on in ((NATIVE, True), (JSON, published_goes_on)):
        wanted = ["state 4", f"{sent.id} at 5"] if goes_on else ["state 5"]
        assert room.enter("dan", dialect).got[-len(wanted) :] == wanted


def test_a_state_of_which_much_is_folded_away_is_not_sent_any_more() -> None:
    for retained_count, is_kept in ((75, True), (74, False)):
        assert KeptState("x" * 10_000, 4, 100, NATIVE).extend([], retained_count) is is_kept


@pytest.mark.parametrize("share", [kept_state.TAIL_SHARE, 1000])
async def test_published_clients_of_random_histories_are_sent_what_those_before_them_were(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joined at that state and has been there since has the same frames."""
    monkeypatch.setattr(kept_state, "TAIL_SHARE", share)
    compared = 0
    for seed in range(100):
        rng = random.Random(seed)
        history = with_resets(rng, make_history(rng)) if seed % 2 else make_history(rng)
        journal = Journal()
        room = Room(journal)
        here: list[Peer] = []
        for position in range(len(history.journal)):
            here.append(peer := room.enter(f"p{position}"))
            for other in here[:-1]:
                since = from_last_state(other)
                if since[0] == peer.frames[0]:
                    assert since == peer.frames, f"seed {seed}\n{history.show()}"
                    compared += len(since) > 1
            journal.add(history.record(position), first_seq=position + 1)
            if rng.random() < 0.7:
                await room.catch_up()
    assert compared > (0 if share < 1 else 20)


def from_last_state(peer: Peer) -> list[Frame]:
    last = max(index for index, wire in enumerate(peer.wires) if wire["mtype"] == "state")
    return peer.frames[last:]


# In turns


async def test_a_crowd_that_comes_at_once_waits_for_one_state(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def noting(name: str) -> Any:
        real = getattr(native, name)

        def wrapper(*arguments: Any) -> Any:
            made.append(name)
            return real(*arguments)

        return wrapper

    for name in ("native_state", "native_state_in_turns"):
        monkeypatch.setattr(answer, name, noting(name))
    filled(room)
    made.clear()

    async def join(name: str) -> Peer:
        await room.prepare(name, NATIVE)
        return room.enter(name, NATIVE)

    room._answers._kept.clear()
    crowd = await asyncio.gather(*(join(f"c{number}") for number in range(300)))
    assert made == ["native_state_in_turns"]
    assert len({id(peer.frames[1]) for peer in crowd}) == 1


async def test_others_have_their_turns_while_a_state_is_made(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "NODES_PER_TURN", 1)
    filled(room, nodes=10)
    fold_away(room)
    room._answers._kept.clear()
    making = asyncio.create_task(room.prepare("bob", NATIVE))
    turns = 0
    while not making.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


async def test_cuts_that_spoil_what_is_made_in_turns_keep_nobody_waiting(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "NODES_PER_TURN", 1)
    ann = filled(room)
    fold_away(room)
    room._answers._kept.clear()
    making = asyncio.create_task(room.prepare("bob", NATIVE))
    while not making.done():
        edit(room, ann, 1)
        fold_away(room)
        await asyncio.sleep(0)
    await making
    assert room.graph.head_seq < 100
    bob = room.enter("bob", NATIVE)
    assert bob.got[1] == f"state {room.graph.head_seq}"


def fold_away(room: Room) -> None:
    """By a cut in a commit of its own."""
    record = cut_record(f"=cut/{room.graph.head_seq}", room.graph.lt, 1.0)
    room.submit(submission(record, Peer("=server", JSON)))
    room.commit()
