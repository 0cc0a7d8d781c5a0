"""Native clients hold the very same document as the room, at every sequence (rules N1 to N8)."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from rooms import kept_state, native
from tests.crdt.history import History, make_history, with_resets
from vuer_rtc.crdt.message import Message, Op, cut_record, numbered
from vuer_rtc.protocol.session import Right, SendState, SyncSession
from vuer_rtc.protocol.wire import Dialect, Edition, Framing, Naming

from .build import insert, message, put, submission, undo
from .fake_room import NATIVE, Journal, NativeReplica, Peer, Room

PACKED = Dialect(Framing.MSGPACK, Naming.COMPRESSED, Edition.NATIVE)


class Follower:
    """A native peer and the replica it feeds."""

    def __init__(self, room: Room, name: str, dialect: Dialect, *, is_batched: bool = False) -> None:
        self.room = room
        self.peer = Peer(name, dialect, is_batched=is_batched)
        self.replica = NativeReplica(name)

    def join(self, since: int | None = None) -> "Follower":
        self.room.join(self.peer, since)
        return self

    def come_back(self) -> None:
        """Leave, and join again where it was."""
        self.read()
        self.room.leave(self.peer)
        self.peer.frames.clear()

    def send(self, *ops: Op, auth: bool = False, lt: int | None = None) -> None:
        sent = message(self.peer.client, len(self.replica.sent) + 1, *ops, lt=lt)
        self.replica.sent[sent.id] = sent
        journalled = numbered(sent, 0) if not auth else Message(
            sent.id, sent.client, sent.clock, sent.lt, sent.ts, sent.ops, auth=True
        )  # fmt: skip
        self.room.submit(submission(journalled, self.peer))

    def read(self) -> None:
        for wire in self.peer.wires:
            self.replica.take(wire)
        self.peer.frames.clear()

    def assert_same(self) -> None:
        self.read()
        assert self.replica.seq == self.room.graph.head_seq
        assert self.replica.graph.full_digest() == self.room.graph.full_digest()
        assert self.replica.graph.digest() == self.room.standing().digest


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def room(journal: Journal) -> Room:
    return Room(journal)


async def cut_away(room: Room, journal: Journal, lt: int) -> None:
    """What a compaction writes."""
    seq = room.graph.head_seq + 1
    journal.add(cut_record(f"=cut/{seq}", lt, 1.0), first_seq=seq)
    await room.catch_up()


async def test_replicas_equal_the_room_at_every_step(room: Room, journal: Journal) -> None:
    """N3, N4, N7: an undo by a moderator, waiting ops, a late message and a compaction while connected."""
    ann, bob = Follower(room, "ann", NATIVE).join(), Follower(room, "bob", PACKED).join()
    everybody = [ann, bob]

    def commit() -> None:
        room.commit()
        dialect = (NATIVE, PACKED)[len(everybody) % 2]
        everybody.append(Follower(room, f"late-{len(everybody)}", dialect).join())
        for one in everybody:
            one.assert_same()

    ann.send(insert("n"), put("missing", "x", 3))
    commit()
    bob.send(put("n", "x", 7))
    bob.send(put("n", "x", 8))
    commit()
    ann.send(undo("bob:2"), auth=True)
    commit()
    assert room.graph.undone_ids() == {"bob:2"}
    assert room.graph.nodes()["n"].properties["x"] == 7
    ann.send(put("n", "y", 1), lt=9)
    commit()
    await cut_away(room, journal, 5)
    for one in everybody:
        one.assert_same()
    bob.send(put("n", "z", 5), lt=3)
    commit()
    assert bob.replica.graph.cut == 5
    ann.send(insert("missing"), lt=12)
    commit()
    assert room.graph.nodes()["missing"].properties["x"] == 3


async def live_through(history: History, rng: random.Random) -> dict[str, int]:
    """Feeds a history with cuts to a room that native clients enter, leave and come back to; how often they came
    back without a state, and how often they were sent an older state and what had happened since."""
    journal = Journal()
    room = Room(journal)
    followers: list[Follower] = []
    met = {"resumed": 0, "older": 0}
    making = None
    for position in range(len(history.journal)):
        if rng.random() < 0.3:
            dialect = rng.choice([NATIVE, PACKED])
            one = Follower(room, f"f{position}", dialect, is_batched=rng.random() < 0.5)
            followers.append(one.join())
            met["older"] += one.peer.got[1] != f"state {room.graph.head_seq}"
        if rng.random() < 0.2:
            making = asyncio.create_task(room.prepare("new", rng.choice([NATIVE, PACKED])))
        await asyncio.sleep(0)
        away = [one for one in followers if rng.random() < 0.2]
        for one in away:
            one.come_back()
        journal.add(history.record(position), first_seq=position + 1)
        if rng.random() < 0.7:  # else they come together
            await room.catch_up()
        for one in away:
            one.join(one.replica.seq)
            met["resumed"] += "welcome" in one.peer.got[0] and "resumed" in one.peer.got[0]
        for one in followers:
            one.assert_same()
    if making is not None:
        await making
    return met


@pytest.mark.parametrize("share", [kept_state.TAIL_SHARE, 1000])
async def test_random_histories_with_cuts_leave_native_clients_with_the_same_document(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N3 to N6, A4: whatever happens while a state is made in turns, and since it was."""
    monkeypatch.setattr(kept_state, "TAIL_SHARE", share)
    monkeypatch.setattr(native, "NODES_PER_TURN", 1)
    monkeypatch.setattr(native, "COMMITS_PER_TURN", 2)
    met = Counter[str]()
    for seed in range(300):
        rng = random.Random(seed)
        history = make_history(rng)
        if seed % 3 == 0:
            history = with_resets(rng, history)
        try:
            met.update(await live_through(history, rng))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}\n{history.show()}") from error
    assert met["resumed"] > 100
    assert met["older"] > (10 if share < 1 else 200)


def test_the_welcome_comes_first_and_names_what_may_be_undone(room: Room, settings: Any) -> None:
    """N2."""
    ann = Follower(room, "ann", NATIVE).join()
    for ops in ([insert("n")], [put()], [put()], [undo("ann:2")], [put()]):
        ann.send(*ops)
        room.commit()
    bob = Follower(room, "bob", NATIVE).join()
    bob.send(put())
    room.commit()
    settings.VUER_RTC = {"UNDOABLE_MESSAGES_MAX": 2}
    again = room.enter("ann", NATIVE)
    assert again.got == ["welcome 6", "state 5", "bob:1 at 6"]
    assert again.wires[0]["undoable"] == ["ann:3", "ann:5"]
    assert bob.peer.wires[0]["undoable"] == []


def test_who_comes_back_gets_what_it_missed_or_a_state(room: Room) -> None:
    """N5."""
    ann = Follower(room, "ann", NATIVE).join()
    for _ in range(3):
        ann.send(insert("n"))
        room.commit()
    assert room.enter("bob", NATIVE, since=1).got == ["welcome 3 resumed", "ann:2 at 2", "ann:3 at 3"]
    assert room.enter("bob", NATIVE, since=3).got == ["welcome 3 resumed"]
    assert room.enter("bob", NATIVE, since=4).got == ["welcome 3", "state 3"]


def test_what_the_room_does_not_remember_is_taken_from_the_journal(settings: Any) -> None:
    """N5."""
    settings.VUER_RTC = {"RECENT_MESSAGES_MAX": 2}
    room = Room(Journal())
    ann = Follower(room, "ann", NATIVE).join()
    for _ in range(5):
        ann.send(insert("n"))
        room.commit()
    read = [numbered(sent, seq) for seq, sent in enumerate(ann.replica.sent.values(), 1)]
    assert (room.holds_after(3), room.holds_after(2)) == (True, False)
    for known, wanted in ((read[1:3], "resumed"), (read[1:2], ""), ([], "")):
        bob = Peer("bob", NATIVE)
        room.join(bob, 1, known)
        rest = [f"ann:{n} at {n}" for n in range(2, 6)] if wanted else ["state 5"]
        assert bob.got == [f"welcome 5 {wanted}".strip(), *rest]


def test_one_commit_comes_in_one_frame(room: Room) -> None:
    """N6: acks and broadcasts together, in sequence; the same frame for all who wrote nothing."""
    ann, bob, cy = (room.enter(name, NATIVE, is_batched=True) for name in ("ann", "bob", "cy"))
    for counter in (1, 2):
        room.submit(submission(message("ann", counter, insert("n")), ann))
        room.submit(submission(message("bob", counter), bob))
    room.commit()
    assert ann.got[2:] == ["[ack ann:1 1, bob:1 at 2, ack ann:2 3, bob:2 at 4]"]
    assert bob.got[2:] == ["[ann:1 at 1, ack bob:1 2, ann:2 at 3, ack bob:2 4]"]
    assert cy.got[2:] == ["[ann:1 at 1, bob:1 at 2, ann:2 at 3, bob:2 at 4]"]
    room.submit(submission(message("ann", 3), ann))
    room.commit()
    assert cy.got[3:] == ["ann:3 at 5"]


async def test_a_native_client_is_sent_its_own_message_that_another_process_wrote(
    room: Room, journal: Journal
) -> None:
    """N8."""
    ann = Follower(room, "ann", NATIVE).join()
    ann.send(insert("n"))
    journal.add(ann.replica.sent["ann:1"], first_seq=1)
    await room.catch_up()
    assert room.next_batch() is None
    assert ann.peer.got[2:] == ["ann:1 at 1", "ack ann:1 1"]
    ann.assert_same()


def test_a_native_sync_is_answered_with_a_state() -> None:
    """S3: a clock does not tell which of the server's records are missing."""
    frame = '{"mtype":"sync","vectorClock":{"ann":1}}'
    limits = Room(Journal()).limits
    native = SyncSession("ann", frozenset(Right), limits, edition=Edition.NATIVE)
    assert native.receive(frame, 0) == [SendState()]
    assert native.dialect.edition is Edition.NATIVE
