"""No input raises, slows down out of proportion or leaves a state that cannot be encoded (rule O4)."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crdt.history import assert_equal_views
from tests.crdt.oracle.graph import OracleGraph
from tests.crdt.scenario import Author, insert, journalled, move, node, prop, undo
from vuer_rtc.crdt.dtype import CLIENT_OPS
from vuer_rtc.crdt.graph import Graph, SnapshotError
from vuer_rtc.crdt.message import UNSET, Message, Op

KEYS = st.sampled_from(["a", "b", "c", "", ".", "_meta"])
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 1e308, -1e308, 2**53 - 1, 1 - 2**53, 5e-324, 0.1, -0.0]),
    st.integers(-5, 5),
    st.floats(-9, 9),
)
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "#ff0000",
        "#00FF00",
        "XYZ",
        "al:0",
        "bo:1",
        "=al:1/0:0",
        "al:99999999999999999",
        "😀",
        "a",
        "b",
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["key", "nodeKey", "newParent", "tag", "name", "x", "children", "_crdt"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
ANYTHING = st.one_of(
    JSON,
    st.fixed_dictionaries({"key": KEYS}, optional={"x": JSON, "name": JSON, "tag": JSON, "t": TEXTS}),
    st.fixed_dictionaries({"nodeKey": KEYS, "newParent": KEYS}),
    st.lists(NUMBERS, min_size=3, max_size=4),
)
EXTRAS = st.one_of(st.just(UNSET), st.just(UNSET), JSON)
OPS = st.builds(
    Op,
    ot=st.sampled_from(sorted(CLIENT_OPS)),
    key=KEYS,
    path=st.sampled_from(["x", "t", "name", "", ".", "key", "_textCrdt.t"]),
    value=st.one_of(ANYTHING, st.just(UNSET)),
    separator=EXTRAS,
    order=EXTRAS,
    intrinsic=EXTRAS,
    alpha=EXTRAS,
    from_=EXTRAS,
    to=EXTRAS,
    target=st.one_of(TEXTS, st.sampled_from(["al/0", "bo/1"]), EXTRAS),
    id=st.one_of(TEXTS, EXTRAS),
    seq=st.one_of(NUMBERS, EXTRAS),
    ts=st.one_of(NUMBERS, EXTRAS),
    rm=st.one_of(st.lists(st.tuples(TEXTS, st.integers(-1, 4)).map(list), max_size=2), EXTRAS),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    messages = []
    for number in range(draw(st.integers(1, 6))):
        client = draw(st.sampled_from(["al", "bo"]))
        ops = draw(st.lists(OPS, min_size=1, max_size=4))
        lt = draw(st.integers(0, 6))
        messages.append(
            Message(
                f"{client}/{number}",
                client,
                {client: number + 1},
                lt,
                draw(st.floats(0, 2e12)),
                ops,
                draw(st.booleans()),
            )
        )
    return messages


@given(messages=histories(), cut=st.integers(0, 6), place=st.integers(0, 6))
def test_arbitrary_messages_leave_a_state_that_can_be_encoded(
    messages: list[Message], cut: int, place: int
) -> None:
    engine, oracle = Graph(), OracleGraph()
    journal: list[Message | int] = [*messages[:place], cut, *messages[place:]]
    for message in journalled(journal):
        applied, expected = engine.apply(message), oracle.apply(message)
        assert applied.relay == expected.relay
        assert applied.changed >= expected.changed
    assert_equal_views(engine, oracle)
    msgspec.msgpack.encode(list(engine.nodes().values()))
    msgspec.json.encode(engine.state(3))
    restored = Graph.restore(engine.snapshot())
    for message in journalled(journal):
        restored.apply(message)
    assert restored.full_digest() == engine.full_digest()


@given(data=st.binary(max_size=40))
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        Graph.restore(data)


def deep(levels: int) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    return nested


def test_nesting_as_deep_as_a_decoder_allows_can_be_kept() -> None:
    author = Author("al")
    graph = Graph()
    for message in journalled(
        [author(1, insert("n", x=deep(200))), author(2, prop("array.union", "x", [deep(200)])), 2]
    ):
        graph.apply(message)
    assert Graph.restore(graph.snapshot()).digest() == graph.digest()


@pytest.mark.parametrize("order", ["in order", "reversed", "shuffled"])
def test_ten_thousand_moves_of_one_node_cost_no_more_each_than_a_thousand(order: str) -> None:
    """T4: a node with children, so that every move is checked for cycles."""
    import random

    def seconds(count: int) -> float:
        author = Author("al")
        first = [author(lt, insert(key)) for lt, key in enumerate(("p", "q", "n"), 1)] + [
            author(4, insert("child", "n"))
        ]
        moves = [author(lt, move("n", "p" if lt % 2 else "q")) for lt in range(10, 10 + count)]
        if order == "reversed":
            moves.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(moves)
        graph = Graph()
        for message in first:
            graph.apply(message)
        started = time.process_time()
        for message in moves:
            graph.apply(message)
        spent = time.process_time() - started
        assert node(graph).parent == ("p" if (9 + count) % 2 else "q")
        return spent / count

    assert seconds(10_000) < 6 * seconds(1_000) + 50e-6


def test_a_long_run_of_adds_is_not_folded_anew_for_each_that_comes_late() -> None:
    """Checkpoints bound what an op near the end of a run without sets re-folds."""
    al, bo = Author("al"), Author("bo")
    graph = Graph()
    graph.apply(al(1, insert("n", x=0)))
    for lt in range(2, 20_002):
        graph.apply(al(2 * lt, prop("number.add", "x", 1)))
    started = time.process_time()
    for lt in range(19_000, 20_000):
        graph.apply(bo(2 * lt + 1, prop("number.add", "x", 1)))
    assert (time.process_time() - started) / 1000 < 3e-3
    assert node(graph).properties["x"] == 21_000


def test_undoing_and_redoing_one_message_for_ever_stays_quick() -> None:
    author = Author("al")
    graph = Graph()
    graph.apply(author(1, insert("n", x=0)))
    graph.apply(author(2, prop("number.set", "x", 5)))
    started = time.process_time()
    for lt in range(3, 2003):
        graph.apply(author(lt, undo("al:2") if lt % 2 else Op("meta.redo", "_meta", "_meta", target="al:2")))
    assert (time.process_time() - started) / 2000 < 5e-3
    assert node(graph).properties["x"] == 5
