from collections import deque
from typing import Any

import msgspec
import pytest

from rooms.batch import Batch, Bounds, Submission, build_batch
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, cut_record, numbered
from vuer_rtc.protocol.codes import ErrorCode
from vuer_rtc.protocol.limit import Limits

from .build import BOUNDS, insert, message, put, submission, undo


def build(
    graph: Graph, *sent: Message | Submission, bounds: Bounds = BOUNDS
) -> tuple[Batch, deque[Submission]]:
    waiting = deque(item if isinstance(item, Submission) else submission(item) for item in sent)
    return build_batch(graph, waiting, bounds), waiting


def graph_of(*messages: Message) -> Graph:
    graph = Graph()
    for seq, item in enumerate(messages, 1):
        graph.apply(numbered(item, seq))
    return graph


def ids(submissions: Any) -> list[str]:
    return [item.message.id for item in submissions]


def test_new_messages_are_numbered_after_the_head() -> None:
    batch, waiting = build(graph_of(message("ann", 1)), message("ann", 2), message("bob", 1))
    assert batch.first_seq == 2
    assert [(m.id, m.server_seq) for m in batch.messages] == [("ann:2", 2), ("bob:1", 3)]
    assert not waiting


def test_a_message_sent_twice_goes_in_once_and_both_wait_for_the_commit() -> None:
    batch, _ = build(Graph(), message("ann", 1), message("ann", 1))
    assert ids(batch.accepted) == ["ann:1"]
    assert [(index, s.message.id) for index, s in batch.repeats] == [(0, "ann:1")]
    assert ids(batch.submissions) == ["ann:1", "ann:1"]


def test_a_message_that_cannot_be_looked_into_costs_only_its_sender(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours, which sending the message again would bring back: the room must not end over it."""

    def refusal(_: Graph, item: Message) -> str | None:
        if item.client == "bob":
            raise AttributeError("a fault of ours")
        return None

    monkeypatch.setattr(Graph, "refusal", refusal)
    batch, waiting = build(Graph(), message("ann", 1), message("bob", 1, id="b\n1"), message("cy", 1))
    assert not waiting
    assert [(m.id, m.server_seq) for m in batch.messages] == [("ann:1", 1), ("cy:1", 2)]
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("b\n1", ErrorCode.BAD_MESSAGE)]
    assert caplog.messages == [r"message 'b\n1' could not be looked into"], "one line, whatever the id"
    assert "a fault of ours" in caplog.text


def test_a_journalled_message_is_acknowledged_with_its_sequence() -> None:
    graph = graph_of(message("ann", 1), message("ann", 2))
    batch, _ = build(graph, message("ann", 2))
    assert [(s.message.id, seq) for s, seq in batch.known] == [("ann:2", 2)]
    assert not batch.accepted


def test_a_message_that_was_folded_away_is_acknowledged_without_a_sequence() -> None:
    graph = graph_of(message("ann", 1, insert("n")))
    graph.apply(numbered(cut_record("=cut", 1, 1.0), 2))
    batch, _ = build(graph, message("ann", 1, insert("n")))
    assert [(s.message.id, seq) for s, seq in batch.known] == [("ann:1", None)]


def test_the_same_id_with_another_content_is_refused_in_the_graph_and_in_the_batch() -> None:
    other = message("ann", 1, put(value="something else"))
    batch, _ = build(graph_of(message("ann", 1)), other)
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("ann:1", "id-reused")]
    batch, _ = build(Graph(), message("ann", 1), other)
    assert ids(batch.accepted) == ["ann:1"]
    assert [fault.code for _, fault in batch.refused] == ["id-reused"]


def test_the_same_counter_with_another_id_is_refused() -> None:
    batch, _ = build(Graph(), message("ann", 1), message("ann", 1, id="ann:again"))
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("ann:again", "id-reused")]


def test_an_undo_waits_for_the_commit_of_its_target() -> None:
    batch, waiting = build(
        Graph(), message("ann", 1, id="m-1"), message("ann", 2, undo("m-1")), message("bob", 1)
    )
    assert ids(batch.accepted) == ["m-1"]
    assert ids(waiting) == ["ann:2", "bob:1"]
    batch, _ = build(graph_of(message("ann", 1, id="m-1")), *waiting)
    assert ids(batch.accepted) == ["ann:2", "bob:1"]


def test_what_the_graph_refuses_is_refused_with_its_code() -> None:
    batch, _ = build(
        graph_of(message("ann", 1)), message("bob", 1, undo("ann:1")), message("bob", 2, undo("cy:9"))
    )
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [
        ("bob:1", "foreign-undo"),
        ("bob:2", "unknown-target"),
    ]


def test_a_lamport_time_far_ahead_of_everybody_is_refused() -> None:
    batch, _ = build(graph_of(message("ann", 5)), message("bob", 1, lt=1006), message("bob", 2, lt=1005))
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("bob:1", "lamport-jump")]
    assert ids(batch.accepted) == ["bob:2"]


def test_a_clock_that_claims_what_nobody_sent_is_refused() -> None:
    liar = msgspec.structs.replace(message("bob", 1), clock={"bob": 1, "ann": 2})
    honest = msgspec.structs.replace(message("bob", 2), clock={"bob": 2, "ann": 1})
    batch, _ = build(graph_of(message("ann", 1)), liar, honest)
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("bob:1", "foreign-clock")]
    assert ids(batch.accepted) == ["bob:2"]


def test_of_a_clock_its_author_s_entry_is_kept() -> None:
    """C4, I1: with everybody in it who ever edited the document, each node made would keep a copy."""
    crowd = {f"visitor-{number}": 1 for number in range(50)}
    graph = graph_of(*(message(client, 1) for client in crowd))
    honest = msgspec.structs.replace(message("bob", 1, insert("m")), clock={"bob": 1, **crowd})
    alone = msgspec.structs.replace(honest, clock={"bob": 1})
    batch, _ = build(graph, honest, alone)
    assert [item.clock for item in batch.messages] == [{"bob": 1}]
    assert [index for index, _ in batch.repeats] == [0]
    for journalled in (batch.messages[0], msgspec.structs.replace(honest, server_seq=51)):
        after = graph_of(*(message(client, 1) for client in crowd), journalled)
        again, _ = build(after, honest, alone, msgspec.structs.replace(honest, ts=2))
        assert [seq for _, seq in again.known] == [51, 51]
        assert [fault.code for _, fault in again.refused] == ["id-reused"]


def test_a_full_document_takes_no_more_nodes_but_other_work() -> None:
    bounds = Bounds(100, 100_000, Limits(nodes_max=2))
    sent = [message("ann", n, insert(f"n{n}")) for n in (1, 2, 3)]
    batch, _ = build(Graph(), *sent, message("ann", 4), bounds=bounds)
    assert ids(batch.accepted) == ["ann:1", "ann:2", "ann:4"]
    assert [(s.message.id, fault.code) for s, fault in batch.refused] == [("ann:3", "too-many-nodes")]


def test_a_batch_is_bounded_in_messages_and_bytes_but_takes_at_least_one() -> None:
    sent = [submission(message("ann", n), size=60) for n in (1, 2, 3)]
    batch, waiting = build(Graph(), *sent, bounds=Bounds(2, 1000, Limits()))
    assert ids(batch.accepted) == ["ann:1", "ann:2"]
    assert ids(waiting) == ["ann:3"]
    batch, waiting = build(Graph(), *sent, bounds=Bounds(100, 130, Limits()))
    assert ids(batch.accepted) == ["ann:1", "ann:2"]
    batch, waiting = build(Graph(), *sent, bounds=Bounds(100, 10, Limits()))
    assert ids(batch.accepted) == ["ann:1"]
