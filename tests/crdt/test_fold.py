"""Lists and maps that several ops build up are changed in place, and nobody can tell."""

import random
from unittest.mock import Mock

import pytest

from tests.crdt.history import assert_equal
from tests.crdt.oracle.graph import OracleGraph
from tests.crdt.scenario import Author, graph_of, insert, prop, redo, undo, value
from vuer_rtc.crdt.message import Op
from vuer_rtc.crdt.property import CHECKPOINT_DISTANCE
from vuer_rtc.crdt.value import json_key

MEMBERS = (1, 1.0, True, 0, False, "a", None, [1], [True], {"a": 1}, {"a": True}, [[1.0]])


def any_op(rng: random.Random) -> Op:
    member = rng.choice(MEMBERS)
    if rng.random() < 0.02:
        return rng.choice((prop("array.set", "x", [member, 1]), prop("object.set", "x", {"b": 2})))
    verb = rng.choice(("push", "push", "union", "remove", "move", "merge"))
    match verb:
        case "merge":
            return prop("object.merge", "x", rng.choice(({"a": member}, {"b": 1}, member)))
        case "move":
            return prop(
                "array.move", "x", None, from_=rng.choice((0, 1, 2.0, -1, 99)), to=rng.choice((-1, 1, 9))
            )
        case "union":
            return prop("array.union", "x", rng.choice(([member, *MEMBERS[:2]], member)))
        case _:
            return prop(f"array.{verb}", "x", member)


@pytest.mark.parametrize("seed", range(8))
def test_what_changes_in_place_is_what_changes_by_copies(seed: int) -> None:
    """P1, N4, N5: undone, redone and late, in one message and in many, and behind checkpoints."""
    rng, author, other = random.Random(seed), Author("al"), Author("bo")
    count = rng.choice((20, 3 * CHECKPOINT_DISTANCE))
    start = rng.choice(([], {}, list(MEMBERS), dict.fromkeys("abc", 1)))
    messages = [author(1, insert("n", x=start))]
    messages += [author(10 + 2 * number, any_op(rng)) for number in range(count)]
    graph, oracle = graph_of(messages), OracleGraph()
    for message in messages:
        oracle.apply(message)
    for turn in range(6):
        target = rng.choice(messages[1:]).id
        late = other(11 + 2 * rng.randrange(count), *(any_op(rng) for _ in range(rng.choice((1, 1, 9)))))
        for message in (late, author(9000 + turn, rng.choice((undo, undo, redo))(target))):
            assert graph.apply(message).relay == oracle.apply(message).relay
            assert_equal(graph, oracle)
    assert repr(messages[0].ops[0].value["x"]) == repr(start)


def test_an_undo_looks_at_each_member_of_a_list_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand unions with a list of a hundred thousand members took four minutes."""
    author, members, count = Author("al"), 500, 300
    unions = [author(10 + n, prop("array.union", "x", [n, -n])) for n in range(count)]
    graph = graph_of(
        [author(1, insert("n")), author(2, prop("array.set", "x", list(range(members)))), *unions]
    )
    looks = Mock(side_effect=json_key)
    monkeypatch.setattr("vuer_rtc.crdt.fold.json_key", looks)
    monkeypatch.setattr("vuer_rtc.crdt.dtype.array.json_key", looks)
    graph.apply(author(1000, undo("al:11")))
    assert looks.call_count <= 2 * (members + 2 * count)
    assert value(graph, "x")[members:] == [-n for n in range(2, count)]


def test_what_was_read_does_not_change_with_what_comes_later() -> None:
    """A reader keeps lists and maps; so do checkpoints and messages."""
    author, other, operand = Author("al"), Author("bo"), {"a": 1}
    merges = [author(10 + n, prop("object.merge", "x", {f"k{n}": n})) for n in range(200)]
    graph = graph_of([author(1, insert("n")), author(2, prop("object.set", "x", operand)), *merges])
    read = value(graph, "x")
    seen = dict(read)
    for message in (undo("al:11"), redo("al:11"), prop("object.merge", "x", {"late": 1})):
        graph.apply(
            other(15, message)
            if message.ot == "object.merge"
            else author(2000 + (message.ot == "meta.redo"), message)
        )
    assert read == seen
    assert operand == {"a": 1}
    assert value(graph, "x") == {**seen, "late": 1}
