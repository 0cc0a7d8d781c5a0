"""Clients over a network that breaks: everything committed arrives once, and everybody shows the same."""

import random

import pytest

from vuer_rtc.client.syncer import WINDOW_MAX

from .fuzz import insert_op, random_op, shown
from .network import FakeServer, Line


def calm_op(rng: random.Random) -> dict[str, object]:
    return random_op(rng, texts=())


@pytest.mark.parametrize("seed", range(60))
def test_clients_converge_over_connections_that_break(seed: int) -> None:
    rng = random.Random(seed)
    server = FakeServer()
    lines = [Line(server, client) for client in ("alice", "bob", "carol")]
    committed = 0
    for line in lines:
        line.connect()
        while line.step(rng):
            pass
    for _ in range(200):
        line = rng.choice(lines)
        action = rng.random()
        if action < 0.4:
            line.store.edit(calm_op(rng))
            line.commit()
            committed += 1
        elif action < 0.45:
            line.undo()
        elif action < 0.5:
            line.cut()
        elif action < 0.6 and not line.is_up:
            line.connect()
        else:
            line.step(rng)
    settle(lines, rng)
    assert committed > 50
    assert not [message for line in lines for message in line.syncer.waiting]
    ids = [message.id for message in server.journal]
    assert len(ids) == len(set(ids)) >= committed
    digests = {line.store._store.replica.graph.digest() for line in lines}
    assert digests == {server.graph.digest()}
    scenes = [shown(line.store.graph) for line in lines]
    assert scenes[0] == scenes[1] == scenes[2]


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


def test_a_commit_in_doubt_is_shown_once_its_acknowledgement_tells() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    settle([line], random.Random(0))
    for _ in range(2):
        line.store.edit({"ot": "number.add", "key": "n", "path": "x", "value": 1})
        line.commit()
    server.receive("alice", line.up[1])
    line.cut()
    line.connect()
    line.down.append(server.state())
    settle([line], random.Random(0))
    assert line.store.graph.nodes["n"].properties["x"] == 2
    assert line.syncer.waiting == []
    assert line.store._store.replica.graph.digest() == server.graph.digest()


def test_pending_edits_survive_a_document_that_begins_anew() -> None:
    server = FakeServer()
    line = joined(server, "alice")
    line.store.edit(insert_op("", "n", x=0))
    line.commit()
    settle([line], random.Random(0))
    line.store.edit({"ot": "number.set", "key": "n", "path": "x", "value": 5})
    line.syncer.receive(server.state())
    assert line.store.graph.nodes["n"].properties["x"] == 5
    line.store.cancel()
    assert line.store.graph.nodes["n"].properties["x"] == 0
