"""How much a replica reckons that it holds."""

import random

import pytest

from tests.crdt.history import make_history
from tests.crdt.scenario import Author, graph_of, insert, journalled, prop, undo
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Epoch, Message, Op, cut_record, reset_record
from vuer_rtc.crdt.size import size_of


def texts(count: int, size: int) -> list[Message]:
    author = Author("al")
    edits = [author(lt, prop("string.set", "x", "y" * size)) for lt in range(2, 2 + count)]
    return list(journalled([author(1, insert("n", tag="mesh")), *edits]))


def test_a_message_counts_by_its_values() -> None:
    author = Author("al")
    small, large = author(1, prop("number.set", "x", 1)), author(2, prop("array.set", "x", [0.5] * 1000))
    assert size_of(small) < 120
    assert 9000 < size_of(large) < 9120
    assert size_of(author(3, *large.ops, *large.ops)) == 2 * size_of(large) - 1
    assert size_of(author(4, undo("al:1"))) < 120


def test_what_is_open_counts_until_a_cut_folds_it_away() -> None:
    messages = texts(10, 1000)
    graph = graph_of(messages)
    assert graph.retained_bytes == sum(map(size_of, messages)) == graph.content_bytes
    assert [graph.retained_index(size) for size in (1, 1000, 3000, 10**6)] == [0, 1, 3, 10]
    graph.apply(cut_record("=cut", 6, 1))
    assert graph.retained_bytes == sum(map(size_of, messages[6:]))
    assert graph.folded_bytes == sum(map(size_of, messages[:6]))


def test_a_snapshot_tells_what_is_left_of_what_was_folded_away() -> None:
    graph = graph_of(texts(10, 1000))
    graph.apply(cut_record("=cut", 11, 1))
    assert graph.content_bytes > 10_000
    snapshot = b"".join(graph.snapshot_parts(1))
    assert graph.content_bytes == len(snapshot) < 1500
    assert Graph.restore(snapshot).content_bytes == len(snapshot)
    graph.apply(reset_record("=reset", Epoch(1, 50), 1))
    assert (graph.content_bytes, graph.retained_bytes) == (0, 0)


@pytest.mark.parametrize("seed", range(200))
def test_what_is_reckoned_fits_what_is_there(seed: int) -> None:
    """Whatever order, cuts, undos and late messages; clocks and ids in a snapshot are not reckoned with."""
    history = make_history(random.Random(seed))
    graph = Graph()
    beside = len(graph.snapshot())
    for position in range(len(history.journal)):
        graph.apply(history.record(position))
        assert graph.retained_bytes == sum(map(size_of, graph.retained_messages()))
    reckoned = graph.content_bytes
    graph.apply(cut_record("=last", graph.lt, 1))
    assert len(graph.snapshot()) <= reckoned + beside + 100 * len(graph.clock)
    assert graph.content_bytes == len(graph.snapshot())


def test_the_value_of_a_property_is_asked_for_where_it_is_large() -> None:
    graph = graph_of(texts(1, 500))
    assert [graph.value_bytes("n", path) for path in ("x", "tag", "z")] == [503, 5, None]
    graph.apply(Message("b:1", "b", {"b": 1}, 9, 9, [Op("number.set", "n", "z", 1)]))
    assert graph.value_bytes("n", "z") == 1
