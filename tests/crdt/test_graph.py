"""What a replica answers besides its merges."""

import random
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from tests.crdt.fuzz import history_of
from tests.crdt.history import assert_equal
from tests.crdt.oracle.graph import OracleGraph
from tests.crdt.scenario import (
    Author,
    converged,
    graph_of,
    insert,
    journalled,
    move,
    node,
    prop,
    remove,
    typed,
    undo,
    upsert,
    value,
)
from vuer_rtc.crdt.graph import Graph, Identity, SnapshotOvertaken
from vuer_rtc.crdt.item import Item, creates
from vuer_rtc.crdt.message import SERVER_CLIENT, Epoch, Message, Op, cut_of, cut_record, reset_record
from vuer_rtc.crdt.register import step
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.tree import NAMED_MIN, Tree
from vuer_rtc.crdt.undo import Meta


def scene() -> list[Message]:
    author = Author("al")
    return [author(1, insert("p")), author(2, insert("n", "p", x=1)), author(3, prop("number.set", "x", 2))]


def test_a_message_is_new_then_a_duplicate_and_its_id_cannot_be_used_again() -> None:
    """I1."""
    first, *rest = scene()
    graph = Graph()
    assert graph.identify(first) is Identity.NEW
    graph.apply(first)
    assert graph.identify(msgspec.structs.replace(first, server_seq=9)) is Identity.DUPLICATE
    assert graph.identify(msgspec.structs.replace(first, ops=rest[0].ops)) is Identity.REUSED
    assert graph.identify(msgspec.structs.replace(first, id="other")) is Identity.REUSED


def test_seq_of_knows_journalled_messages_only() -> None:
    graph = graph_of(scene()[:1])
    assert graph.seq_of("al:1") is None
    graph.apply(msgspec.structs.replace(scene()[0], server_seq=1))
    assert (graph.seq_of("al:1"), graph.head_seq) == (1, 1)


def test_messages_since_a_clock_come_by_sequence_until_they_are_folded() -> None:
    graph = graph_of(journalled(scene()))
    assert [message.id for message in graph.messages_since({"al": 1}) or []] == ["al:2", "al:3"]
    graph = graph_of(journalled([*scene(), 2]))
    assert graph.messages_since({"al": 1}) is None
    assert [message.id for message in graph.messages_since({"al": 2}) or []] == ["al:3"]


def test_what_was_journalled_after_a_later_message_of_its_client_comes_with_every_answer() -> None:
    """S3: a clock of 3 does not tell whether 2 is there."""
    author = Author("al")
    messages = [author(number, prop("number.set", "x", number)) for number in (1, 2, 3)]
    graph = Graph()
    for seq, index in enumerate((0, 2, 1), 1):
        graph.apply(msgspec.structs.replace(messages[index], server_seq=seq))
    assert [message.counter for message in graph.messages_since({"al": 3}) or []] == [2]
    assert [message.counter for message in graph.messages_since({"al": 1}) or []] == [3, 2]


def test_changed_names_the_node_and_the_parents_it_left_and_joined() -> None:
    """C3."""
    author, graph = Author("al"), Graph()
    changes = [
        graph.apply(message).changed
        for message in (
            author(1, insert("p")),
            author(2, insert("q")),
            author(3, insert("n", "p")),
            author(4, prop("number.set", "x", 1)),
            author(5, move("n", "q")),
            author(6, remove("n")),
            author(7, undo("al:5")),
        )
    ]
    assert changes == [{"p"}, {"q"}, {"n", "p"}, {"n"}, {"n", "p", "q"}, {"n", "q"}, {"n"}]


def test_changed_since_a_sequence_is_the_union_of_what_changed_after_it() -> None:
    graph = graph_of(journalled(scene()))
    assert [graph.changed_since(seq) for seq in range(4)] == [{"p", "n"}, {"p", "n"}, {"n"}, set()]
    restored = Graph.restore(graph_of(journalled([*scene(), 3])).snapshot())
    assert (restored.changed_since(2), restored.changed_since(4)) == (None, set())


def test_a_message_that_gets_its_sequence_tells_what_that_changed() -> None:
    """K2, U2: late messages by sequence; an undo that the server let count."""
    author, other = Author("al"), Author("bo")
    below = list(journalled([author(1, insert("n", x=1)), insert_of_other := other(2, insert("m")), 1]))
    late = [author(0, prop(f"number.{verb}", "x", 3), message_id=name)
            for verb, name in (("add", "al:9"), ("multiply", "al:10"))]  # fmt: skip
    undoing = author(9, undo(insert_of_other.id))
    graph = graph_of([*below, *late, undoing])
    assert value(graph, "x") == 6
    changed = [
        graph.apply(msgspec.structs.replace(message, server_seq=seq, auth=True)).changed
        for seq, message in enumerate([*late, undoing], 4)
    ]
    assert value(graph, "x") == 12
    assert changed[0] >= {"n"}
    assert "m" in changed[2]
    assert graph.apply(msgspec.structs.replace(undoing, server_seq=6)).changed == frozenset()


@pytest.mark.parametrize(
    "heard",
    [
        {"ts": 9},
        {"clock": {"al": 2, "bo": 4}},
        {"clock": {"al": 1}},
        {"clock": {"al": 9}},
        {"lt": 1},
        {"lt": 9},
        {"id": "al:4.5"},
        {"ops": [insert("m", "p", x=2)]},
    ],
    ids=str,
)
def test_of_two_messages_under_one_id_or_counter_the_journalled_one_counts_whatever_they_differ_in(
    heard: dict[str, Any],
) -> None:
    """I1: the one that was heard first is of another life of its client, which is where it ended."""
    al, bo = Author("al"), Author("bo")
    messages = [
        bo(1, insert("p")),
        al(4, ts=1),
        al(5, insert("m", "p", x=1), ts=2),
        bo(6, insert("n", "p"), ts=3),
    ]
    expected, graph = graph_of(journalled(messages)), Graph()
    other = msgspec.structs.replace(messages[2], **heard)
    graph.apply(other)
    for message in journalled(messages):
        graph.apply(message)
    assert not graph.apply(other).is_new
    assert node(graph, "p").children == ["m", "n"]
    assert graph.everything() == expected.everything()


def test_many_messages_at_once_are_as_one_after_the_other() -> None:
    messages = [*journalled(scene()), cut_record("=server:1", 2, 0.0)]
    graph, many = graph_of(messages), Graph()
    many.apply_all(messages[:1])
    many.apply_all(messages[1:])
    assert many.everything() == graph.everything()
    assert [many.changed_since(seq) for seq in range(4)] == [{"p", "n"}, {"p", "n"}, {"p", "n"}, set()]


def test_views_of_some_keys_are_those_of_all() -> None:
    graph = graph_of(scene())
    assert graph.views(["n", "zz"]) == {"n": node(graph), "zz": None}


@pytest.mark.parametrize("nodes_max", [1, 2, 15, 16, 17, 100_000])
def test_a_snapshot_in_parts_is_the_same_snapshot(nodes_max: int) -> None:
    """K5."""
    author = Author("al")
    messages: list[Message | int] = [author(lt, insert(f"n{lt}", x=lt)) for lt in range(1, 41)]
    graph = graph_of(journalled([*messages, 35]))
    parts = list(graph.snapshot_parts(nodes_max))
    assert len(parts) == 1 + -(-35 // nodes_max)
    restored = Graph.restore(b"".join(parts))
    assert restored.full_digest() == Graph.restore(graph.snapshot()).full_digest()
    assert restored.snapshot() == graph.snapshot()


def test_what_is_applied_between_the_parts_of_a_snapshot_is_not_in_it() -> None:
    """K5."""
    graph = graph_of(journalled([*scene(), 3]))
    expected, parts = graph.snapshot(), graph.snapshot_parts(1)
    first = next(parts)
    graph.apply(msgspec.structs.replace(Author("bo")(9, prop("number.set", "x", 9)), server_seq=5))
    assert Graph.restore(first + b"".join(parts)).snapshot() == Graph.restore(expected).snapshot()


@pytest.mark.parametrize("lt", [2, 9])
def test_a_snapshot_is_given_up_when_something_is_folded_between_its_parts(lt: int) -> None:
    graph = graph_of(journalled([*scene(), 3]))
    parts = graph.snapshot_parts(1)
    next(parts)
    late = msgspec.structs.replace(Author("bo")(lt, prop("number.set", "x", 9)), server_seq=5)
    graph.apply(late)
    graph.apply(msgspec.structs.replace(cut_record("=cut/6", lt, 0), server_seq=6))
    with pytest.raises(SnapshotOvertaken):
        list(parts)


@pytest.mark.parametrize(("cut", "folded_seq"), [(0, 0), (1, 1), (2, 2), (3, 4)])
def test_everything_up_to_the_folded_seq_is_in_the_snapshot(cut: int, folded_seq: int) -> None:
    """K5."""
    graph = graph_of(journalled([*scene(), cut] if cut else scene()))
    assert graph.folded_seq == folded_seq


def test_what_is_not_journalled_says_nothing_of_what_is_folded() -> None:
    graph = graph_of(journalled([*scene(), 3]))
    graph.apply(Author("bo")(9, prop("number.set", "x", 9)))
    assert (graph.folded_seq, graph.head_seq) == (4, 4)


def test_what_waits_in_a_snapshot_is_no_change_of_what_begins_from_it() -> None:
    """P2."""
    waiting = Author("al")(1, prop("number.set", "x", 1))
    graph = Graph.restore(graph_of(journalled([waiting, 1])).snapshot())
    assert graph.waiting_count == 1
    assert graph.apply(Author("bo")(2, insert("m"))).changed == {"m"}


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("al:1", "too-late"),
        ("al:2", None),
        ("al:9", None),
        ("bo:3", "foreign-undo"),
        ("bo:1", "too-late"),
        ("bo:9", "unknown-target"),
        ("nobody:1", "unknown-target"),
        ("bo:\u0661", "unknown-target"),
        ("bo:\u00b2", "unknown-target"),
        ("bo:" + "0" * 16 + "1", "unknown-target"),
        ("bo:", "unknown-target"),
        ("", "unknown-target"),
    ],
)
def test_an_undo_that_cannot_count_is_refused_for_its_reason(target: str, code: str | None) -> None:
    """U4: a folded message is told by its name."""
    al, bo = Author("al"), Author("bo")
    graph = graph_of(
        journalled([al(1, insert("n")), 1, al(2, prop("number.set", "x", 1)), bo(3, insert("m"))])
    )
    assert graph.refusal(al(4, prop("number.set", "x", 2), undo(target))) == code
    assert graph.refusal(al(4, undo(target), auth=True)) == (code if code == "too-late" else None)


def test_a_message_that_is_retained_is_not_folded_whatever_its_name_tells() -> None:
    """U4."""
    al = Author("al")
    graph = graph_of(
        journalled([al(1, insert("n")), 1, al(9, prop("number.set", "x", 1), message_id="al:0")])
    )
    assert graph.refusal(al(10, undo("al:0"))) is None


def test_what_is_read_alike_came_behind_a_sequence_and_stands_last() -> None:
    """A4."""
    al = Author("al")
    graph = graph_of(journalled([al(1, insert("n")), al(3, prop("number.set", "x", 1)), al(2, insert("m"))]))
    assert [graph.is_read_alike(count, since) for count, since in ((3, 0), (3, 1), (2, 1), (1, 2))] == [
        True,
        False,
        True,
        False,
    ]


def test_replay_skips_what_the_snapshot_holds() -> None:
    """K5."""
    graph = graph_of(journalled([*scene(), 2]))
    restored = Graph.restore(graph.snapshot())
    assert node(restored).properties == {"x": 1}
    assert [restored.apply(message).is_new for message in journalled([*scene(), 2])] == [
        False,
        False,
        True,
        False,
    ]
    assert restored.full_digest() == graph.full_digest()


def test_a_late_message_says_so_and_loses_to_higher_stamps() -> None:
    """K2, K3."""
    graph = graph_of(journalled([*scene(), 3]))
    late = msgspec.structs.replace(
        Author("bo")(2, prop("number.set", "x", 9), prop("number.set", "y", 9)), server_seq=5
    )
    applied = graph.apply(late)
    assert applied.is_late
    assert applied.relay is not None
    assert [op.path for op in applied.relay.ops] == ["y"]
    assert node(graph).properties == {"x": 2, "y": 9}


def reset(number: int, lt: int, seq: int) -> Message:
    return msgspec.structs.replace(reset_record(f"=reset/{number}", Epoch(number, lt), 0), server_seq=seq)


def test_a_reset_begins_an_empty_document_that_remembers_whom_it_has_heard_of() -> None:
    """E1, E2."""
    author, graph = Author("al"), graph_of(journalled(scene()))
    author.counter = 3
    pending = author(4, insert("q"))
    graph.apply(pending)
    applied = graph.apply(reset(1, 100, seq=4))
    assert (applied.is_new, applied.changed) == (True, {"p", "n", "q"})
    assert (graph.digest(), graph.node_count) == (Graph().digest(), 0)
    assert (graph.epoch, graph.lt, graph.cut) == (Epoch(1, 100), 100, 100)
    assert graph.pending_count == 0
    assert [graph.identify(message) for message in scene()] == [Identity.DUPLICATE] * 3
    assert graph.messages_since({}) is None
    assert not any(graph.apply(message).is_new for message in journalled(scene()))
    assert graph.apply(author(101, insert("n"))).is_new
    assert list(graph.nodes()) == ["n"]


def test_a_message_of_an_older_epoch_is_refused_and_is_late_where_it_is_journalled_all_the_same() -> None:
    """E3."""
    author, graph = Author("al"), graph_of(journalled(scene()))
    graph.apply(reset(1, 100, seq=4))
    for lt in (4, 100):
        assert graph.refusal(author(lt, insert("q"))) == "stale-epoch"
    assert graph.refusal(author(101, insert("q"))) is None
    author.counter = 3
    late = msgspec.structs.replace(author(4, insert("q")), server_seq=5)
    assert graph.apply(late).is_late


def test_no_lamport_time_journalled_before_a_reset_counts_after_it() -> None:
    """E2: whatever the record says."""
    graph = graph_of(journalled(scene()))
    graph.apply(reset(1, 0, seq=4))
    assert graph.epoch == Epoch(1, 3)


def test_a_reset_to_an_epoch_that_has_begun_changes_nothing() -> None:
    """E4."""
    graph = graph_of(journalled(scene()))
    graph.apply(reset(2, 100, seq=4))
    before = graph.full_digest()
    for number in (1, 2):
        assert not graph.apply(reset(number, 900, seq=5)).is_new
    assert graph.full_digest() == before
    assert graph.apply(reset(3, 900, seq=6)).is_new


def test_a_snapshot_keeps_the_epoch() -> None:
    graph = graph_of(journalled(scene()))
    graph.apply(reset(2, 100, seq=4))
    restored = Graph.restore(graph.snapshot())
    assert restored.epoch == Epoch(2, 100)
    assert restored.full_digest() == graph.full_digest()
    assert not any(restored.apply(message).is_new for message in [*journalled(scene()), reset(2, 100, seq=4)])


def test_a_record_that_makes_no_sense_does_nothing() -> None:
    """O4."""
    graph = graph_of(journalled(scene()))
    before = graph.full_digest()
    resets = (None, 1, {}, {"epoch": 1}, {"epoch": "1", "lt": 1}, {"epoch": True, "lt": 9})
    ops = [Op("server.reset", value=each) for each in resets]
    ops += [Op("server.cut", value=each) for each in (None, "9", True, 9.0, -1, [9], {"lt": 9})]
    for op in (*ops, Op("server.later", value=9)):
        record = Message("=r", SERVER_CLIENT, {}, 0, 0, [op], server_seq=4)
        assert not graph.apply(record).is_new
        assert cut_of(record) == 0
    assert graph.full_digest() == before


def test_a_message_that_undoes_one_many_times_looks_once_at_what_was_said_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """U2: a thousand undos of one message looked at all that ever undid it, a thousand times."""
    author, looks = Author("al"), Mock(side_effect=Meta.counts_on)
    monkeypatch.setattr(Meta, "counts_on", lambda *arguments: looks(*arguments))
    messages = [author(1, insert("n")), author(2, prop("number.set", "x", 2))]
    graph, said = graph_of(messages), author(3, *[undo("al:2")] * 300)
    converged(*messages, said)
    looks.reset_mock()
    assert graph.apply(said).relay == said
    assert looks.call_count == 300 + 1


def test_a_message_that_undoes_many_folds_each_property_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """U1: a thousand undos in one message are no thousand folds, which would hold everybody up."""
    author, count = Author("al"), 300
    edits = [prop("number.set" if number % 7 == 0 else "number.add", "x", number) for number in range(count)]
    messages = [author(1, insert("n", x=0)), *(author(2 + number, edit) for number, edit in enumerate(edits))]
    undone = author(1000, *(undo(f"al:{2 + number}") for number in range(count) if number % 3))
    graph, plain = graph_of(messages), graph_of(messages)
    counted = Mock(wraps=step)
    monkeypatch.setattr("vuer_rtc.crdt.property.step", counted)
    graph.apply(undone)
    assert counted.call_count <= count
    for number, each in enumerate(undone.ops, 1001):
        plain.apply(author(number, each))
    assert node(graph).properties == node(plain).properties
    converged(*messages, undone)


@pytest.mark.parametrize(
    "op",
    [
        prop("number.add", "x", 1),
        prop("number.set", "x", 1),
        prop("object.merge", ".", {"x": 1}),
        prop("vector3.set", "x", [1, 2, 3]),
    ],
    ids=lambda op: op.ot,
)
def test_a_message_that_writes_a_property_often_before_others_folds_it_once(
    op: Op, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: four thousand sums before four thousand others took half a minute."""
    author, other, count = Author("al"), Author("bo"), 100
    adds = [author(100 + number, prop("number.add", "x", number)) for number in range(count)]
    messages = [author(1, insert("n", x=0)), *adds]
    late = other(50, *[op] * count)
    graph, oracle = graph_of(messages), OracleGraph()
    counted = Mock(wraps=step)
    monkeypatch.setattr("vuer_rtc.crdt.property.step", counted)
    applied = graph.apply(late)
    assert counted.call_count <= 5 * count
    monkeypatch.undo()
    for message in messages:
        oracle.apply(message)
    assert applied.relay == oracle.apply(late).relay
    between = other(60, prop("number.add", "x", 1))
    assert graph.apply(between).relay == oracle.apply(between).relay
    assert_equal(graph, oracle)


@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize(
    "ops",
    [[insert("n")], [upsert("n", x=1)], [upsert("n", y=1)], [remove("n"), insert("n", x=1)]],
    ids=("insert", "upsert", "upsert other", "again"),
)
def test_a_message_that_makes_a_node_often_folds_its_properties_once(
    ops: list[Op], is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T1, T2, T8: a thousand insertions that changed nothing folded everything behind them a thousand times."""
    author, other, count = Author("al"), Author("bo"), 100
    adds = [author(100 + number, prop("number.add", "x", number)) for number in range(count)]
    messages = [author(1, insert("n", x=0)), *adds, *([] if is_last else [author(900, insert("m"))])]
    late = other(50, *(ops * count))
    graph, oracle = graph_of(messages), OracleGraph()
    counted = Mock(wraps=step)
    monkeypatch.setattr("vuer_rtc.crdt.property.step", counted)
    applied = graph.apply(late)
    assert counted.call_count <= 5 * count
    monkeypatch.undo()
    for message in messages:
        oracle.apply(message)
    assert applied.relay == oracle.apply(late).relay
    assert_equal(graph, oracle)


NEAR = 1.7e308
"""Twice that has no double."""


def test_each_op_of_such_a_message_is_told_if_it_fits_what_is_there() -> None:
    """C1, N3: its earlier ops applied; also where a sum has no double any more, and where other ops stand between."""
    rng = random.Random(1)
    numbers = [1, -9, 1e200, NEAR, -NEAR, "x"]
    sums = [
        prop(f"number.{verb}", "x", n) for verb in ("add", "multiply", "multiply", "set") for n in numbers
    ]
    others = [prop("array.push", "x", 1), prop("string.set", "x", "s"), prop("string.concat", "x", "a"),
              prop("object.merge", ".", {"x": 3, "key": 1}), prop("number.add", "key", 1), remove("n"),
              upsert("n", x=3), insert("n", x=2), prop("number.add", "x", 1, key="m"), insert("m", x=0)]  # fmt: skip

    def message(author: Author, lt: int, likely: float) -> Message:
        ops = [rng.choice(sums if rng.random() < likely else others) for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.1:
            ops.insert(0, typed(f"{author.client}:{9 * lt}", None, "c", path="x"))
        return author(lt, *ops)

    for _ in range(1500):
        author, other = Author("al"), Author("bo")
        likely = rng.choice((1, 0.9, 0.5))
        messages = [author(1, insert("n", x=rng.choice([*numbers, "s", [1]])))]
        messages += [message(author, 100 + number, likely) for number in range(rng.randint(1, 3))]
        graph, oracle = graph_of(messages), OracleGraph()
        for known in messages:
            oracle.apply(known)
        for lt in (50, 51, 200):
            one = message(other, lt, likely)
            assert graph.apply(one).relay == oracle.apply(one).relay
        assert_equal(graph, oracle)


def test_an_upsert_among_such_ops_counts_for_those_behind_it() -> None:
    """C1, P3."""
    author = Author("al")
    later = author(100, prop("number.add", "x", 1), insert("m"))
    graph = graph_of([author(1, insert("n", x=0)), later])
    ops = [prop("number.set", "x", 1), upsert("n", x="s"), prop("number.add", "x", 1)]
    relay = graph.apply(Author("bo")(50, *ops)).relay
    assert relay is not None
    assert relay.ops == ops[:2]


def test_a_late_message_of_many_moves_checks_those_after_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """T3: each move of a thousand would check all later ones again."""
    author, other, count, rng = Author("al"), Author("bo"), 200, random.Random(1)
    keys = [f"k{number}" for number in range(20)]
    made = author(1, *(insert(key) for key in keys))
    moves = [author(100 + number, move(*rng.sample(keys, 2))) for number in range(count)]
    late = other(50, *(move(*rng.sample(keys, 2)) for _ in range(count)))
    graph, checks, check = graph_of([made, *moves]), 0, Tree._check

    def counted(*args: Any) -> bool:
        nonlocal checks
        checks += 1
        return check(*args)

    monkeypatch.setattr(Tree, "_check", counted)
    graph.apply(late)
    assert checks <= 3 * count
    converged(made, *moves, late)


def test_a_move_behind_all_others_climbs_a_tower_without_making_a_node_of_each_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T4: a thousand moves below the top of one of eight thousand floors took half a minute."""
    author, floors = Author("al"), 60
    made = author(1, insert("f0"), *(insert(f"f{n}", f"f{n - 1}") for n in range(1, floors)))
    boxes = author(2, *(insert(f"b{n}") for n in range(5)), *(insert(f"in{n}", f"b{n}") for n in range(5)))
    moves = author(
        3, *(move(f"b{n}", f"f{floors - 1}") for n in range(5)), move("f0", "in1"), move("b2", "in2")
    )
    journal = list(journalled([made, boxes, 2, moves, author(4, insert("f3", "in3"), move("f3", "in3"))]))
    graph = graph_of(journal[:3])
    looks = Mock(side_effect=Item.parent_at)
    monkeypatch.setattr(Item, "parent_at", lambda *arguments: looks(*arguments))
    for message in journal[3:]:
        graph.apply(message)
    assert looks.call_count == 0
    parents = [node(graph, key).parent for key in ("b1", "f0", "b2", "f3")]
    assert parents == [f"f{floors - 1}", "", f"f{floors - 1}", "f2"]
    monkeypatch.undo()
    converged(made, boxes, moves)


def test_an_undo_looks_up_each_parent_of_a_tower_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """T4: a thousand moves after the one that is undone climbed all floors anew, each one a search of its history."""
    author, floors, count = Author("al"), 30, 100
    made = author(1, insert("q"), insert("f0"), *(insert(f"f{n}", f"f{n - 1}") for n in range(1, floors)))
    boxes = author(2, insert("b0"), insert("b1"), insert("in0", "b0"), insert("in1", "b1"))
    again = [remove("f5"), insert("f5", "f4")]
    moves = [author(10 + n, move(f"b{n % 2}", f"f{floors - 1 - n % 3}"), *again) for n in range(count)]
    messages = [made, boxes, author(3, move("f0", "q")), *moves]
    graph = graph_of(messages)
    looks = Mock(side_effect=Item.parent_at)
    monkeypatch.setattr(Item, "parent_at", lambda *arguments: looks(*arguments))
    graph.apply(author(1000, undo("al:3")))
    assert looks.call_count <= floors + 3
    monkeypatch.undo()
    converged(*messages, author(1000, undo("al:3")))


def test_the_root_is_found_by_one_look_at_each_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: where nothing stands at root level, each of a thousand insertions there looked at all before it."""
    author, count = Author("al"), 100
    messages = [author(1, insert("n", "nowhere")), *(author(2 + n, insert("n")) for n in range(count))]
    graph = graph_of(messages)
    looks = Mock(side_effect=creates)
    monkeypatch.setattr("vuer_rtc.crdt.item.creates", looks)
    assert graph.flat()["root"] == ""
    assert looks.call_count <= count + 1
    monkeypatch.undo()
    converged(*messages, author(1000, remove("n"), insert("n")))


def test_a_fold_writes_no_text_that_it_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """K1, K2: a long one takes a while, and a node that has one is edited elsewhere, too."""
    author, late = Author("al"), Author("bo")
    typing = [author(2 + number, typed(f"al:{number}", None, "x", seq=number)) for number in range(9)]
    elsewhere = [late(1, prop("number.set", "x", 1)), author(20, prop("number.set", "y", 1))]
    journal = list(journalled([author(1, insert("n")), *typing, 10, elsewhere[0], elsewhere[1], 20]))
    graph, oracle = graph_of(journal[:11]), OracleGraph(is_terse=True)
    encode, texts = Text.encode, 0

    def counted(text: Text) -> Any:
        nonlocal texts
        texts += 1
        return encode(text)

    monkeypatch.setattr(Text, "encode", counted)
    for message in journal[11:]:
        graph.apply(message)
    assert texts == 0
    for message in journal:
        oracle.apply(message)
    assert_equal(graph, oracle)
    assert_equal(Graph.restore(graph.snapshot()), oracle)


def test_a_merge_that_waits_is_one_operation_and_an_undone_upsert_none() -> None:
    """P2: what `waiting_count` counts, which a document bounds."""
    author = Author("al")
    graph = graph_of(
        [
            author(1, prop("object.merge", ".", {"x": 1, "y": 2}), prop("number.set", "x", 1)),
            author(2, upsert("u", x=1, y=2)),
            author(3, undo("al:2")),
        ]
    )
    assert graph.waiting_count == 2


def test_what_is_folded_of_nodes_that_never_came_is_forgotten_but_for_what_waits() -> None:
    """O4: removals and moves of any number of made-up keys, and moves to them, cost no memory that lasts."""
    author = Author("al")
    made = author(1, insert("n"), prop("number.set", "x", 1, key="later"))
    undone = [author(2, upsert("u", x=1), upsert("later", x=5, y=5)), author(3, undo("al:2"))]
    ghosts = [
        author(4 + number, remove(f"r{number}"), move(f"m{number}", "n"), move("n", f"p{number}"))
        for number in range(NAMED_MIN)
    ]
    journal = list(journalled([made, *undone, *ghosts, author(2000, move("n", "")), 3000]))
    graph, oracle = graph_of(journal), OracleGraph(is_terse=True)
    for message in journal:
        oracle.apply(message)
    assert graph.scene.live.keys() == {"later"}
    assert graph.scene.live["later"].properties.keys() == {"x"}
    assert graph.scene.children == {"": {"n"}}
    assert not any(graph.scene.tree.is_named(f"p{number}") for number in range(NAMED_MIN))
    later = author(4000, insert("later"), move("n", "later"), move("later", "n"))
    for replica in (graph, oracle):
        replica.apply(later)
    assert_equal(graph, oracle)
    assert node(graph, "later").properties == {"x": 1}


def test_a_set_over_a_text_of_the_base_hides_it_whatever_else_of_the_node_came_before() -> None:
    """X2: its characters are read when they are needed, not when the node is first edited."""
    author = Author("al")
    below = list(journalled([author(1, insert("n")), author(2, typed("al:0", None, "ab")), 2]))
    above = [author(3, prop("number.set", "x", 1)), author(4, prop("string.set", "t", "c"))]
    graph, oracle = Graph.restore(graph_of(below).snapshot()), OracleGraph(is_terse=True)
    for message in below:
        oracle.apply(message)
    for message in journalled(above, first_seq=4):
        graph.apply(message)
        oracle.apply(message)
    assert node(graph).properties == {"x": 1, "t": "c"}
    assert_equal(graph, oracle)


def test_a_set_after_sums_stands_for_itself_when_a_late_one_comes() -> None:
    """K3: what a late set is compared with is the last set, not an earlier one behind which sums came."""
    author = Author("al")
    ops = [prop("number.set", "x", 1), prop("number.add", "x", 1), prop("number.set", "x", 5)]
    journal = [author(1, insert("n")), *(author(10 * n, op) for n, op in enumerate(ops, 1)), 30]
    graph = graph_of(journalled([*journal, Author("bo")(20, prop("number.set", "x", 9))]))
    assert node(graph).properties == {"x": 5}


def test_what_is_said_of_a_message_after_it_was_folded_is_not_said() -> None:
    """U3."""
    author = Author("al")
    said = author(2, insert("m"))
    history = list(
        journalled([author(1, insert("n")), said, author(3, undo("al:2")), 1, author(4, undo("al:1"))])
    )
    graph = graph_of(history)
    assert [graph.is_said_undone(message) for message in history[:2]] == [False, True]


@pytest.mark.parametrize("number", range(60))
@pytest.mark.parametrize("kind", ["", "reset/"])
def test_what_is_taken_back_has_never_been_there(kind: str, number: int) -> None:
    """Wherever it stood among what is journalled, folded away, emptied by a reset, or not journalled either."""
    rng = random.Random(f"{kind}taken back/{number}")
    history = history_of(f"{kind}taken back/{number}")
    until = rng.randint(0, len(history.journal))
    journal = [history.record(position) for position in range(len(history.journal))]
    here = {message.id for message in journal[:until]}
    pending = [message for message in history.messages if message.id not in here]
    gone = {message.id for message in pending if rng.random() < 0.5}
    arrivals = journal[:until]
    for message in pending:
        arrivals.insert(rng.randint(0, len(arrivals)), message)
    graph, other = Graph(), Graph()
    for message in arrivals:
        graph.apply(message)
        if message.id not in gone:
            other.apply(message)
    for message_id in gone:
        graph.take_back(message_id)
        assert not graph.take_back(message_id).is_new
    assert (graph.full_digest(), graph.flat()) == (other.full_digest(), other.flat())
    assert Graph.restore(graph.snapshot()).full_digest() == Graph.restore(other.snapshot()).full_digest()
    for message in journal[until:]:
        graph.apply(message)
        other.apply(message)
    assert graph.full_digest() == other.full_digest()
