"""The presence of rooms (rules W3 to W6, W8); peers are fakes, processes are lists of news, layers lose some."""

import asyncio
import json
import random
import time
import uuid
from typing import Any

import pytest

from rooms import whereabouts
from rooms.news import PresenceAsked, PresenceTold, Told
from rooms.whereabouts import FRAME_BYTES_MAX, Whereabouts
from tests.rooms.fake_room import NATIVE, Journal, Peer, Room
from tests.rooms.patience import until
from vuer_rtc.protocol.limit import Limits

DOCUMENT = uuid.UUID(int=1)


@pytest.fixture(autouse=True)
def quick(settings: Any) -> None:
    settings.VUER_RTC = {"PRESENCE_UPDATES_PER_SECOND": 1000}


class Process:
    """A process with one room, and what it told the others."""

    def __init__(self, name: str = "here") -> None:
        self.name = name
        self.told: list[PresenceAsked | PresenceTold] = []
        self.presence = Whereabouts(DOCUMENT, name, Limits(), self.told.append)

    def enter(self, client: str, arrived_at: float = 0.0) -> Peer:
        peer = Peer(client, NATIVE)
        peer.wants_presence = True
        peer.arrived_at = arrived_at
        peer.heard_at = time.monotonic()
        self.presence.join(peer)
        return peer

    @property
    def known(self) -> dict[str, Any]:
        board = self.presence.board
        entries = [board.get(client) for client in board.clients()]
        return {entry.present.client: entry.present.data for entry in entries if entry is not None}


def seen(peer: Peer) -> dict[str, Any]:
    """Whom its client sees, and where."""
    present: dict[str, Any] = {}
    for wire in peer.wires:
        for entry in wire["clients"]:
            present[entry["client"]] = entry["data"]
    return {client: data for client, data in present.items() if data is not None}


async def test_others_are_told_where_one_is_and_that_one_is_gone_and_never_oneself() -> None:
    """W3."""
    here = Process()
    ann, bob = here.enter("ann"), here.enter("bob")
    ann.shown_name = "Ann Lee"
    here.presence.show(ann, {"x": 1})
    here.presence.show(bob, {"x": 2})
    await until(lambda: seen(bob) and seen(ann))
    assert bob.wires == [
        {"mtype": "presence", "clients": [{"client": "ann", "user": "Ann Lee", "data": {"x": 1}}]}
    ]
    assert ann.wires == [{"mtype": "presence", "clients": [{"client": "bob", "data": {"x": 2}}]}]
    here.presence.show(ann, None)
    await until(lambda: not seen(bob))
    here.presence.show(ann, None)
    here.presence.leave(bob)
    await until(lambda: not seen(ann))
    assert here.known == {}


async def test_who_joins_is_told_who_is_present_at_once() -> None:
    """W4."""
    here = Process()
    for number in range(3):
        here.presence.show(here.enter(f"c{number}"), {"n": number})
    assert seen(here.enter("late")) == {"c0": {"n": 0}, "c1": {"n": 1}, "c2": {"n": 2}}


async def test_a_presence_belongs_to_its_connection() -> None:
    """W4."""
    here = Process()
    bob, old, new = here.enter("bob"), here.enter("ann", 1), here.enter("ann", 2)
    here.presence.show(old, {"at": "old"})
    here.presence.show(new, {"at": "new"})
    here.presence.leave(old)
    await until(lambda: seen(bob) == {"ann": {"at": "new"}})


async def test_a_fast_client_is_told_on_as_often_as_the_setting_says(settings: Any) -> None:
    """W5."""
    settings.VUER_RTC = {"PRESENCE_UPDATES_PER_SECOND": 20}
    here = Process()
    ann, bob, cy = (here.enter(name) for name in ("ann", "bob", "cy"))
    begun_at = time.monotonic()
    count = 0
    while time.monotonic() - begun_at < 0.5:
        count += 1
        here.presence.show(ann, {"n": count})
        here.presence.show(cy, {"n": count})
        await asyncio.sleep(0.001)
    await until(lambda: seen(bob) == {"ann": {"n": count}, "cy": {"n": count}})
    elapsed = time.monotonic() - begun_at
    assert len(bob.frames) <= 20 * elapsed + 2, "one frame for all who moved"
    assert len(here.told) <= 20 * elapsed + 3, "other processes are told no more often"


async def test_who_is_behind_is_told_the_newest_later_and_nothing_else() -> None:
    """W5."""
    here = Process()
    ann, bob, cy = (here.enter(name) for name in ("ann", "bob", "cy"))
    bob.is_behind = True
    for number in range(5):
        here.presence.show(ann, {"n": number})
        await until(lambda n=number: seen(cy) == {"ann": {"n": n}})
    here.presence.show(cy, {"n": 9})
    here.presence.show(cy, None)
    assert bob.frames == []
    bob.is_behind = False
    await until(lambda: bob.frames)
    assert seen(bob) == {"ann": {"n": 4}}
    assert len(bob.frames) == 1


async def test_who_is_behind_makes_turns_no_more_frequent(settings: Any) -> None:
    """W5."""
    settings.VUER_RTC = {"PRESENCE_UPDATES_PER_SECOND": 20}
    here, turns = Process(), 0
    ann, bob = here.enter("ann"), here.enter("bob")
    bob.is_behind = True
    take_turn = here.presence._turn

    def counted() -> None:
        nonlocal turns
        turns += 1
        take_turn()

    here.presence._turn = counted  # type: ignore[method-assign]
    here.presence.show(ann, {})
    begun_at = time.monotonic()
    await asyncio.sleep(0.5)
    assert 3 < turns <= 20 * (time.monotonic() - begun_at) + 2


async def test_many_receivers_are_told_in_pieces_and_others_have_their_turn_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whereabouts, "PIECE_S", 0)
    here = Process()
    peers = [here.enter(f"c{number}") for number in range(5)]
    for peer in peers:
        here.presence.show(peer, {"x": 1})
    told: list[int] = []
    while not told or told[-1] < 2:
        await asyncio.sleep(0)
        told.append(sum(bool(peer.frames) for peer in peers))
    assert told[-1] == 2, "one after the other"
    here.presence.leave(peers[4])
    here.presence.show(peers[0], {"x": 2})
    late = here.enter("late")
    await until(lambda: all(seen(peer).get("c0") == {"x": 2} for peer in (*peers[1:4], late)))
    for peer in (*peers[1:4], late):
        assert set(seen(peer)) == {"c0", "c1", "c2", "c3"} - {peer.client}
    assert peers[4].frames == []


async def test_more_than_fits_one_frame_comes_in_several() -> None:
    """W4: commits go between them."""
    here = Process()
    peers = [here.enter(f"c{number}") for number in range(60)]
    for peer in peers:
        here.presence.show(peer, {"text": "x" * 4000})
    late = here.enter("late")
    await until(lambda: len(seen(late)) == 60)
    await until(lambda: all(len(seen(peer)) == 59 for peer in peers))
    for peer in (late, *peers):
        assert len(peer.frames) > 3
        assert max(map(len, peer.frames)) < FRAME_BYTES_MAX + 8192


async def test_the_silent_are_gone_and_come_back_with_a_new_presence() -> None:
    """W6."""
    here = Process()
    ann, bob = here.enter("ann"), here.enter("bob")
    for peer in (ann, bob):
        peer.heard_at = 100
        here.presence.show(peer, {})
    here.presence.sweep(100 + 29)
    assert set(here.known) == {"ann", "bob"}
    bob.heard_at = 120
    here.presence.sweep(100 + 31)
    assert set(here.known) == {"bob"}
    await until(lambda: seen(bob) == {})
    here.presence.show(ann, {"back": True})
    await until(lambda: seen(bob) == {"ann": {"back": True}})


async def test_who_did_not_ask_for_presence_is_told_nothing() -> None:
    """W1."""
    here = Process()
    deaf = Peer("deaf", NATIVE)
    here.presence.join(deaf)
    here.presence.show(here.enter("ann"), {})
    await until(lambda: here.told[-1:] and isinstance(here.told[-1], PresenceTold))
    here.presence.leave(deaf)
    assert deaf.frames == []


async def test_a_room_that_opens_asks_the_other_processes_and_is_told_the_whole() -> None:
    """W8."""
    here, there = Process("here"), Process("there")
    there.presence.show(there.enter("bob"), {"n": 1})
    ann = here.enter("ann")
    assert here.told == [PresenceAsked(DOCUMENT, "here")]
    here.enter("cy")
    assert len(here.told) == 1, "one asks for all"
    there.presence.answer()
    whole = there.told[-1]
    assert whole == PresenceTold(DOCUMENT, "there", [Told("bob", 0.0, {"n": 1})], is_whole=True)
    here.presence.take(whole)
    await until(lambda: seen(ann) == {"bob": {"n": 1}})
    frames = len(ann.frames)
    here.presence.take(whole)
    await asyncio.sleep(0.02)
    assert len(ann.frames) == frames, "what is known is not told again"


async def test_what_cannot_be_written_is_not_shown() -> None:
    """It would fail each time that somebody joins or is told, whoever wrote it into the layer."""
    here = Process()
    ann = here.enter("ann")
    told = [Told("bob", 0.0, {"x": 1}), Told("cy", 0.0, {"x": 2**70}), Told("dan", 0.0, {"x": 1})]
    with pytest.raises(OverflowError):
        here.presence.take(PresenceTold(DOCUMENT, "there", told))
    bob = here.enter("bob")
    here.presence.show(bob, {"x": 2})
    await until(lambda: "bob" in seen(ann))
    assert "cy" not in here.known


async def test_many_who_ask_are_answered_together() -> None:
    """W8."""
    here = Process()
    here.presence.show(here.enter("ann"), {})
    told = len(here.told)
    for _ in range(100):
        here.presence.answer()
    assert len(here.told) == told + 1
    here.presence.sweep(time.monotonic())
    assert len(here.told) == told + 2
    here.presence.sweep(time.monotonic())
    assert len(here.told) == told + 2


async def test_a_process_that_dies_is_forgotten_and_a_client_that_came_over_is_not() -> None:
    """W8."""
    here = Process("here")
    ann = here.enter("ann")
    now = time.monotonic()
    here.presence.take(PresenceTold(DOCUMENT, "dead", [Told("bob", 1.0, {"n": 1}), Told("cy", 1.0, {})]))
    cy = here.enter("cy", arrived_at=2.0)
    here.presence.show(cy, {"n": 2})
    await until(lambda: set(seen(ann)) == {"bob", "cy"})
    ann.heard_at = cy.heard_at = now + 40
    here.presence.sweep(now + 29)
    assert set(here.known) == {"bob", "cy"}
    here.presence.sweep(now + 40)
    await until(lambda: seen(ann) == {"cy": {"n": 2}})


@pytest.mark.parametrize("ends", ["with its process", "by itself"])
async def test_who_came_over_from_a_process_whose_clock_is_fast_is_shown_once_that_is_over(ends: str) -> None:
    """W8: until then the connection there seems to be the newer one.  Its client stands still, and only lives."""
    here = Process("here")
    now = time.time()
    here.presence.take(PresenceTold(DOCUMENT, "fast", [Told("ann", now + 3600, {"x": 1})]))
    ann, bob = here.enter("ann", now), here.enter("bob", now)
    here.presence.show(ann, {"x": 2})
    await until(lambda: seen(bob) == {"ann": {"x": 1}})
    here.told.clear()
    if ends == "by itself":
        here.presence.take(PresenceTold(DOCUMENT, "fast", [Told("ann", now + 3600, None)]))
    else:
        ann.heard_at = time.monotonic() + 60
        here.presence.sweep(time.monotonic() + 60)
    await until(lambda: seen(bob) == {"ann": {"x": 2}})
    [told] = [news for news in here.told if isinstance(news, PresenceTold)]
    assert told.clients == [Told("ann", now, {"x": 2})]


@pytest.mark.parametrize("seed", range(20))
async def test_processes_agree_in_the_end_whatever_the_layer_loses_and_delays(seed: int) -> None:
    """W8: clients come, move, change over to another process and go; then each process tells the whole once."""
    dice = random.Random(seed)
    processes = [Process(name) for name in ("a", "b", "c")]
    peers: dict[str, tuple[Process, Peer]] = {}
    cursor = dict.fromkeys((p.name for p in processes), 0)
    clock = 0.0

    def deliver(sender: Process, loss: float) -> None:
        for news in sender.told[cursor[sender.name] :]:
            for receiver in processes:
                if receiver is not sender and dice.random() >= loss:
                    if isinstance(news, PresenceTold):
                        receiver.presence.take(news)
                    else:
                        receiver.presence.answer()
        cursor[sender.name] = len(sender.told)

    for step in range(150):
        clock += 1
        client = dice.choice("uvwxyz")
        match dice.randrange(7):
            case 0 | 3:
                process = dice.choice(processes)
                former = peers.get(client)
                peers[client] = process, process.enter(client, arrived_at=clock)
                process.presence.show(peers[client][1], {"step": step})
                if former is not None:
                    former[0].presence.leave(former[1])
            case 1 | 4 if client in peers:
                process, peer = peers[client]
                process.presence.show(peer, {"step": step})
            case 2 if client in peers:
                process, peer = peers.pop(client)
                process.presence.leave(peer)
            case _:
                await asyncio.sleep(0.001)
        if dice.random() < 0.4:
            deliver(dice.choice(processes), loss=0.3)
    await asyncio.sleep(0.01)
    for process in processes:
        deliver(process, loss=1)
    for _ in range(2):
        for process in processes:
            process.presence._tell_whole()
            deliver(process, loss=0)
    assert peers, "it exercised something"
    for process in processes:
        assert set(process.known) == set(peers)
        assert process.known == processes[0].known
    for process, peer in peers.values():
        expected = {client: data for client, data in process.known.items() if client != peer.client}
        await until(lambda peer=peer, expected=expected: seen(peer) == expected)


async def test_news_that_wait_for_the_layer_are_one() -> None:
    ann, bob = Told("ann", 1.0, {"n": 1}), Told("bob", 1.0, {})
    moved, gone = Told("ann", 1.0, {"n": 2}), Told("bob", 1.0, None)
    first, second = PresenceTold(DOCUMENT, "a", [ann, bob]), PresenceTold(DOCUMENT, "a", [moved])
    assert second.after(first).clients == [moved, bob]
    whole = PresenceTold(DOCUMENT, "a", [ann, bob], is_whole=True)
    assert whole.after(second) == whole
    assert PresenceTold(DOCUMENT, "a", [gone]).after(whole) == PresenceTold(
        DOCUMENT, "a", [ann, gone], is_whole=True
    )


async def test_a_room_tells_who_joins_after_the_state_and_forgets_who_leaves(settings: Any) -> None:
    """W4: in a live room."""
    room = Room(Journal())
    peers = {}
    for name in ("ann", "bob"):
        peers[name] = peer = Peer(name, NATIVE)
        peer.wants_presence = True
        room.join(peer)
        room.presence.show(peer, {"is": name})
    kinds = [wire["mtype"] for wire in peers["bob"].wires]
    assert kinds == ["welcome", "state", "presence"]
    room.leave(peers["bob"])
    await until(lambda: json.loads(peers["ann"].frames[-1])["mtype"] == "presence")
    assert json.loads(peers["ann"].frames[-1])["clients"] == [{"client": "bob", "data": None}]
