"""Clients over a network that breaks: everything committed arrives once, and everybody shows the same."""

import random
from dataclasses import dataclass, replace

import pytest

from vuer_rtc.client.message import core_message, journalled
from vuer_rtc.client.send_window import WINDOW_BYTES_MAX, WINDOW_MAX
from vuer_rtc.client.syncer import NotNative
from vuer_rtc.crdt.message import cut_record

from .fuzz import insert_op, random_op, shown
from .network import FakeServer, Line


@dataclass
class Run:
    """What clients did over connections that break, until everything is settled."""

    server: FakeServer
    lines: list[Line]
    committed: int = 0
    begun_anew: int = 0
    refused: int = 0


def play(seed: int, *, cuts: bool, resets: bool = False) -> Run:
    rng = random.Random(seed)
    server = FakeServer()
    run = Run(server, [Line(server, client) for client in ("alice", "bob", "carol")])
    for line in run.lines:
        line.connect()
        while line.step(rng):
            pass
    for _ in range(300):
        line = rng.choice(run.lines)
        action = rng.random()
        if action < 0.3:
            line.store.edit(random_op(rng))
            line.commit()
            run.committed += 1
        elif action < 0.34:
            line.undo()
        elif action < 0.38:
            line.cut()
        elif action < 0.44 and not line.is_up:
            line.connect()
        elif action < 0.46 and line.is_up and line.down:
            del line.down[
                rng.randrange(len(line.down))
            ]  # no network does that; the gap is noticed all the same
        elif action < 0.48 and cuts:
            server.cut(rng)
        elif action < 0.49 and resets:
            server.reset()
        else:
            line.step(rng)
    settle(run.lines, rng)
    for line in run.lines:
        line.cut()
    settle(run.lines, rng)
    run.begun_anew = sum(line.syncer.beginnings for line in run.lines) - len(run.lines)
    run.refused = sum(len(line.syncer.refusals) for line in run.lines)
    return run


def assert_converged(run: Run) -> None:
    """Everybody has what the server has, to the last thing a later merge may depend on."""
    assert [line.syncer.waiting for line in run.lines] == [[], [], []]
    assert all(line.syncer.is_live for line in run.lines)
    ids = [message.id for message in run.server.journal]
    assert len(ids) == len(set(ids))
    for line in run.lines:
        assert line.syncer.at == run.server.journal[-1].id
        assert line.store.inner.replica.graph.digest() == run.server.graph.digest()
        assert line.store.inner.replica.graph.full_digest() == run.server.graph.full_digest()
    scenes = [shown(line.store.graph) for line in run.lines]
    assert scenes[0] == scenes[1] == scenes[2]


@pytest.mark.parametrize("seed", range(40))
def test_clients_converge_over_connections_that_break(seed: int) -> None:
    run = play(seed, cuts=False)
    assert run.committed > 50
    assert run.refused == 0
    assert_converged(run)


@pytest.mark.parametrize("seed", range(40, 80))
def test_clients_converge_while_the_server_folds_history_away(seed: int) -> None:
    run = play(seed, cuts=True)
    assert run.committed > 50
    assert run.server.graph.cut > 0
    assert_converged(run)


@pytest.mark.parametrize("seed", range(80, 110))
def test_clients_converge_while_the_document_is_reset(seed: int) -> None:
    run = play(seed, cuts=True, resets=True)
    assert_converged(run)
    codes = {refusal.code for line in run.lines for refusal in line.syncer.refusals}
    assert codes <= {"stale-epoch", "too-late", "unknown-target"}
    assert run.server.graph.epoch.number == 0 or run.server.graph.lt > 1_000_000


def test_what_was_not_journalled_before_a_reset_is_dropped_and_told() -> None:
    server = FakeServer()
    alice, bob = joined(server, "alice"), joined(server, "bob")
    for line in (alice, bob):
        line.store.edit(insert_op("", line.store.client, x=0))
        line.commit()
    settle([alice], random.Random(0))
    bob.cut()
    alice.store.edit({"ot": "number.set", "key": "alice", "path": "x", "value": 5})
    alice.commit()
    server.reset()
    settle([alice, bob], random.Random(0))
    for line, refused in ((alice, "alice:2"), (bob, "bob:1")):
        assert [(r.message_id, r.code) for r in line.syncer.refusals] == [(refused, "stale-epoch")]
        assert line.syncer.waiting == []
        assert not line.store.graph.nodes
        assert line.store.inner.undo() is None
    alice.store.edit(insert_op("", "new", x=1))
    alice.commit()
    settle([alice, bob], random.Random(0))
    for line in (alice, bob):
        assert list(line.store.graph.nodes) == ["new"]
        assert line.store.inner.replica.graph.full_digest() == server.graph.full_digest()


def test_j66_a_client_goes_on_when_the_database_was_put_back_before_a_reset() -> None:
    """Where it would stay behind the reset's Lamport time, all that it ever commits would be refused."""
    server, after = FakeServer({"lamport_jump_max": 1000}), FakeServer({"lamport_jump_max": 1000})
    alice = joined(server, "alice")
    server.reset()
    settle([alice], random.Random(0))
    alice.store.edit(insert_op("", "lost", x=0))
    alice.commit()
    alice.up.clear()
    alice.down.extend(after.state("alice"))
    alice.server = after
    settle([alice], random.Random(0))
    assert [each.code for each in alice.syncer.refusals] == ["lamport-jump"]
    alice.store.edit(insert_op("", "kept", x=0))
    alice.commit()
    settle([alice], random.Random(0))
    assert (alice.syncer.waiting, len(alice.syncer.refusals)) == ([], 1)
    assert list(after.graph.nodes()) == ["kept"]
    assert after.graph.lt < 1000


def test_more_commits_than_a_jump_may_be_made_offline_and_carried_over() -> None:
    """Each takes the document's Lamport time along for the next."""
    server = FakeServer({"lamport_jump_max": 5})
    alice = joined(server, "alice")
    alice.cut()
    for number in range(12):
        alice.store.edit(insert_op("", f"n{number}", x=0))
        alice.commit()
    server.truncated_seq = 1
    alice.connect()
    settle([alice], random.Random(0))
    assert (alice.syncer.refusals, alice.syncer.waiting) == ([], [])
    assert len(server.graph.nodes()) == 12


def test_a_copy_is_the_same_while_one_of_two_late_commits_is_on_the_way() -> None:
    """K2: what was committed before a cut came, and journalled behind it, is late in the copy, too."""
    server = FakeServer()
    alice, bob = joined(server, "alice"), joined(server, "bob")
    alice.store.edit(insert_op("", "n", x=1))
    alice.commit()
    settle([alice, bob], random.Random(0))
    alice.cut()
    for path in ("y", "x"):
        bob.store.edit({"ot": "number.set", "key": "n", "path": path, "value": 10})
        bob.commit()
    settle([bob], random.Random(0))
    for _ in range(2):
        alice.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 5})
        alice.commit()
    server.append(cut_record("=server:cut", server.graph.lt, 1))
    alice.connect()
    while alice.down:
        alice.send(alice.syncer.receive(alice.down.pop(0)))
    alice.down.extend(server.receive("alice", alice.up.pop(0)))
    alice.syncer.receive(alice.down.pop(0))
    inner = alice.store.inner
    copied = inner.copy()
    assert len(alice.syncer.waiting) == 1
    assert inner.read().nodes["n"].properties["x"] == copied.read().nodes["n"].properties["x"] == 20
    assert copied.replica.graph.full_digest() == inner.replica.graph.full_digest()
    assert [each.message_id for each in copied.journal.entries] == [
        each.message_id for each in inner.journal.entries
    ]


@pytest.mark.parametrize(("code", "counter"), [("forbidden", 1), ("id-reused", 4)])
def test_the_commit_after_a_refused_one_leaves_no_gap_in_the_counters(code: str, counter: int) -> None:
    """PROTOCOL.md, counter_gaps_max: a client that left one would be refused from then on; but what is another's is not
    tried again."""
    alice = joined(FakeServer(), "alice")
    for number in range(3):
        alice.store.edit(insert_op("", f"n{number}", x=0))
        alice.commit()
    sent = [wire["msg"]["id"] for wire in alice.up]
    alice.up.clear()
    alice.down.extend({"mtype": "error", "msgId": each, "error": f"{code}: ", "code": code} for each in sent)
    settle([alice], random.Random(0))
    alice.store.edit(insert_op("", "n", x=0))
    alice.commit()
    [wire] = alice.up
    assert wire["msg"]["clock"] == {"alice": counter}
    assert wire["msg"]["id"] not in sent


def test_some_clients_begin_anew_and_some_undos_come_too_late() -> None:
    runs = [play(seed, cuts=True) for seed in range(40, 50)]
    assert sum(run.begun_anew for run in runs) > 0
    assert sum(run.refused for run in runs) > 0


def settle(lines: list[Line], rng: random.Random) -> None:
    for line in lines:
        if not line.is_up:
            line.connect()
    while any([line.step(rng) for line in lines]):
        pass


def joined(server: FakeServer, client: str) -> Line:
    line = Line(server, client)
    line.connect()
    settle([line], random.Random(0))
    return line


def test_a_window_of_commits_travels_at_a_time() -> None:
    line = joined(FakeServer(), "alice")
    for number in range(WINDOW_MAX + 50):
        line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": number})
        line.commit()
    assert len(line.up) == WINDOW_MAX
    settle([line], random.Random(0))
    assert len(line.server.journal) == WINDOW_MAX + 50


def test_a_window_holds_only_so_many_bytes_but_always_one_commit() -> None:
    """L8: what a server takes at once is bounded."""
    line = joined(FakeServer(), "alice")
    for _ in range(10):
        line.store.edit({"ot": "string.set", "key": "n", "path": "x", "value": "x" * (WINDOW_BYTES_MAX // 4)})
        line.commit()
    assert len(line.up) == 3
    settle([line], random.Random(0))
    assert len(line.server.journal) == 10
    line.store.edit({"ot": "string.set", "key": "n", "path": "x", "value": "x" * (WINDOW_BYTES_MAX + 1)})
    line.commit()
    assert len(line.up) == 1
    settle([line], random.Random(0))
    assert len(line.server.journal) == 11


def test_a_refusal_for_now_sends_everything_unsettled_again_in_order() -> None:
    line = joined(FakeServer(), "alice")
    for number in range(3):
        line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": number})
        line.commit()
    line.up.clear()
    line.syncer.receive({"mtype": "error", "msgId": "alice:1", "code": "rate-limited", "retry": True})
    assert line.syncer.must_pause
    assert line.syncer.to_send() == []
    assert [wire["msg"]["id"] for wire in line.syncer.again()] == ["alice:1", "alice:2", "alice:3"]


def test_an_undo_that_overtakes_its_refused_target_travels_again_behind_it() -> None:
    """E3: its refusal is for good only when the target's is."""
    line = joined(FakeServer(), "alice")
    line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": 1})
    line.commit()
    line.undo()
    [target, undo] = [wire["msg"]["id"] for wire in line.up]
    unknown = {"mtype": "error", "msgId": undo, "error": "unknown-target: ", "code": "unknown-target"}
    line.up.clear()
    line.syncer.receive({"mtype": "error", "msgId": target, "code": "rate-limited", "retry": True})
    line.syncer.receive(unknown)
    assert (line.syncer.waiting, line.syncer.refusals) == ([target, undo], [])
    line.send(line.syncer.again())
    assert [wire["msg"]["id"] for wire in line.up] == [target, undo]
    line.syncer.receive({"mtype": "error", "msgId": target, "error": "over-limit: ", "code": "over-limit"})
    line.syncer.receive(unknown)
    assert [refusal.code for refusal in line.syncer.refusals] == ["over-limit", "unknown-target"]


def test_a_listener_that_raises_when_a_commit_is_refused_here_keeps_no_others_back() -> None:
    line = joined(FakeServer(), "alice")
    line.syncer.welcome = replace(line.syncer.welcome, limits={"frame_bytes_max": 1000})
    line.syncer.must_pause = True
    for key, size in (("before", 1), ("large", 1000)):
        line.store.edit(insert_op("", key, blob="x" * size))
        line.commit()

    def listen() -> None:
        raise RuntimeError

    unsubscribe = line.store.subscribe(listen)
    with pytest.raises(RuntimeError):
        line.syncer.again()
    unsubscribe()
    assert [refusal.code for refusal in line.syncer.refusals] == ["over-limit"]
    line.store.edit(insert_op("", "behind"))
    line.commit()
    assert [wire["msg"]["id"] for wire in line.up] == ["alice:1", "alice:3"]


def test_what_the_server_refuses_to_one_who_waits_is_not_cleared_by_the_next() -> None:
    syncer = joined(FakeServer(), "alice").syncer
    for number, about in enumerate(("room-reset", "sync")):
        error = f"forbidden: {number}"
        syncer.receive({"mtype": "error", "msgId": "", "code": "forbidden", "error": error, "about": about})
        syncer.ask()
    assert {about: fault["error"] for about, fault in syncer.faults.items()} == {
        "room-reset": "forbidden: 0",
        "sync": "forbidden: 1",
    }


def test_a_refused_commit_is_taken_back_and_the_rest_stays() -> None:
    line = joined(FakeServer(), "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    for _ in range(2):
        line.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 1})
        line.commit()
    line.syncer.receive({"mtype": "error", "msgId": "alice:2", "error": "over-limit: too much"})
    assert line.store.graph.nodes["n"].properties["x"] == 1
    assert [refusal.code for refusal in line.syncer.refusals] == ["over-limit"]
    assert line.syncer.waiting == ["alice:1", "alice:3"]


def test_a_commit_that_a_fresh_state_holds_is_settled_and_one_that_it_does_not_hold_travels_again() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    settle([line], random.Random(0))
    for _ in range(2):
        line.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 1})
        line.commit()
    server.receive("alice", line.up[0])
    line.cut()
    server.append(cut_record("=server:1", server.graph.lt, 1))
    server.truncated_seq = len(server.journal)
    line.connect()
    line.send(line.syncer.receive(line.down.pop(0)))
    line.send(line.syncer.receive(line.down.pop(0)))
    assert line.syncer.beginnings == 2
    assert line.syncer.waiting == ["alice:3"]
    assert line.store.graph.nodes["n"].properties["x"] == 2
    settle([line], random.Random(0))
    assert line.syncer.waiting == []
    assert line.store.inner.replica.graph.full_digest() == server.graph.full_digest()


def test_a_commit_of_an_earlier_life_that_arrives_late_takes_the_place_of_one_under_the_same_id() -> None:
    """A3, N8: what was on the way when the program ended is journalled after the next one has begun."""
    server = FakeServer()
    former, bob = joined(server, "alice"), joined(server, "bob")
    former.store.edit(insert_op("", "n", x=1))
    former.commit()
    [sent] = former.up
    former.is_up = False
    again = joined(server, "alice")
    again.store.edit(insert_op("", "n", x=2))
    again.commit()
    server.append(core_message(sent["msg"]))
    settle([again, bob], random.Random(0))
    assert [(r.message_id, r.code) for r in again.syncer.refusals] == [("alice:1", "id-reused")]
    for line in (again, bob):
        assert line.syncer.waiting == []
        assert line.store.graph.nodes["n"].properties["x"] == 1
        assert line.store.inner.replica.graph.full_digest() == server.graph.full_digest()


def test_a_commit_whose_counter_an_earlier_life_had_is_refused() -> None:
    """I1, N8: under another id, for somebody else's commit was journalled between the two lives."""
    server = FakeServer()
    former, bob = joined(server, "alice"), joined(server, "bob")
    former.store.edit(insert_op("", "n", x=1))
    former.commit()
    [sent] = former.up
    former.is_up = False
    bob.store.edit(insert_op("", "m", x=1))
    bob.commit()
    settle([bob], random.Random(0))
    again = joined(server, "alice")
    again.store.edit(insert_op("", "n", x=2))
    again.commit()
    server.append(core_message(sent["msg"]))
    settle([again, bob], random.Random(0))
    server.append(cut_record("=server:cut", server.graph.lt, 1))
    settle([again, bob], random.Random(0))
    assert [(r.message_id, r.code) for r in again.syncer.refusals] == [("alice:2", "id-reused")]
    for line in (again, bob):
        assert line.syncer.waiting == []
        assert line.store.graph.nodes["n"].properties["x"] == 1
        assert line.store.inner.replica.graph.full_digest() == server.graph.full_digest()


def test_a_commit_whose_id_a_fresh_state_holds_for_another_is_refused() -> None:
    """A3: it was made offline, by a program that did not know what its id had done before."""
    server = FakeServer()
    former = joined(server, "alice")
    former.store.edit(insert_op("", "n", x=1))
    former.commit()
    settle([former], random.Random(0))
    again = Line(server, "alice")
    again.store.edit(insert_op("", "n", x=2))
    again.commit()
    again.connect()
    settle([again], random.Random(0))
    assert [(r.message_id, r.code) for r in again.syncer.refusals] == [("alice:1", "id-reused")]
    assert again.syncer.waiting == []
    assert again.store.graph.nodes["n"].properties["x"] == 1


def test_who_comes_back_after_a_reload_can_undo_what_they_did_before() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": 5})
    line.commit()
    settle([line], random.Random(0))
    line.cut()
    again = joined(server, "alice")
    again.undo()
    settle([again], random.Random(0))
    assert again.store.graph.nodes["n"].properties["x"] == 0
    assert server.graph.digest() == again.store.inner.replica.graph.digest()


def test_an_undo_of_another_counts_where_the_server_says_so() -> None:
    server = FakeServer()
    alice, bob = joined(server, "alice"), joined(server, "bob")
    alice.store.edit(insert_op("", "n", x=0))
    alice.commit()
    settle([alice, bob], random.Random(0))
    undo = {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "alice:1"}
    bob.store.edit(undo)
    bob.commit()
    message = core_message(bob.up.pop()["msg"])
    counting = journalled(message, 0, auth=True)
    server.append(counting, author="bob")
    bob.down.append({"mtype": "ack", "msgId": message.id, "serverSeq": 2, "auth": True})
    settle([alice, bob], random.Random(0))
    for line in (alice, bob):
        assert line.store.inner.replica.graph.full_digest() == server.graph.full_digest()
        assert line.store.node("n") is None


def test_what_a_cut_folds_away_is_let_go_of() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    for _ in range(99):
        line.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 1})
        line.commit()
    settle([line], random.Random(0))
    server.append(cut_record("=server:1", 90, 1))
    settle([line], random.Random(0))
    store = line.store.inner
    assert len(store.replica.log) == len(store.journal.entries) == 10
    assert line.store.graph.nodes["n"].properties["x"] == 99
    assert line.store.getState().snapshot.graph.nodes["n"].properties["x"] == 89
    assert line.store.getState().copy().graph.nodes["n"].properties["x"] == 99
    for _ in range(10):
        line.undo()
    settle([line], random.Random(0))
    assert line.store.undo() is None
    assert line.store.graph.nodes["n"].properties["x"] == 89
    assert store.replica.graph.full_digest() == server.graph.full_digest()


def test_what_a_cut_folds_away_is_let_go_of_while_commits_are_always_on_the_way() -> None:
    """A robot that commits more often than an ack takes to come has never a moment without."""
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    store = line.store.inner
    for number in range(1, 501):
        line.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 1})
        line.commit()
        line.down.extend(server.receive("alice", line.up.pop(0)))
        line.send(line.syncer.receive(line.down.pop(0)))
        assert line.syncer.waiting
        if number % 100 == 0:
            server.append(cut_record(f"=server:{number}", server.graph.lt - number // 100, 1))
            line.send(line.syncer.receive(line.down.pop(0)))
    assert len(store.replica.log) < 10
    assert len(store.journal.entries) < 10
    assert len(store._undoable._ids) < 10
    store.replica.begin_again()
    settle([line], random.Random(0))
    assert store.replica.graph.full_digest() == server.graph.full_digest()
    assert line.store.graph.nodes["n"].properties["x"] == 500


def test_a_server_that_speaks_to_published_clients_only_is_told_apart() -> None:
    line = Line(FakeServer(), "alice")
    line.syncer.connected()
    with pytest.raises(NotNative):
        line.syncer.receive({"mtype": "state", "snapshot": {}, "journal": [], "serverSeq": 0})


def test_another_document_under_the_same_address_is_begun_anew() -> None:
    line = joined(FakeServer(), "alice")
    line.syncer.connected()
    line.syncer.receive({"mtype": "welcome", "document": "two", "serverSeq": 0, "resumed": True})
    assert line.syncer.has_lost_track
    assert line.syncer.since is None


def test_a4_a_client_is_live_when_it_has_what_followed_the_state_too() -> None:
    server = FakeServer()
    joined(server, "alice").store.edit(insert_op("", "n", x=0))
    server.lines["alice"].commit()
    settle(list(server.lines.values()), random.Random(0))
    line = Line(server, "bob")
    welcome, state, missed = server.greeting("bob", None)
    for wire, is_live in ((welcome, False), (state, False), (missed, True)):
        line.syncer.receive(wire)
        assert line.syncer.is_live is is_live


def test_n5_a_client_names_the_message_behind_which_it_goes_on() -> None:
    server = FakeServer()
    alice, bob = joined(server, "alice"), joined(server, "bob")
    assert (alice.syncer.since, alice.syncer.at) == (0, "")
    for number in range(2):
        alice.store.edit(insert_op("", f"n{number}", x=0))
        alice.commit()
        settle(list(server.lines.values()), random.Random(0))
    written, told, begun = alice.syncer, bob.syncer, joined(server, "carol").syncer
    for syncer in (written, told, begun):
        assert (syncer.since, syncer.at) == (2, server.journal[-1].id)


def test_pending_edits_survive_a_document_that_begins_anew() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    settle([line], random.Random(0))
    line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": 5})
    for wire in server.state("alice"):
        line.syncer.receive(wire)
    assert line.store.graph.nodes["n"].properties["x"] == 5
    line.store.cancel()
    assert line.store.graph.nodes["n"].properties["x"] == 0
