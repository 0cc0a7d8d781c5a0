"""Limits, rules L1 to L3."""

import ast
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol import limit
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.limit import (
    CONTAINER_WEIGHT,
    MEMBER_WEIGHT,
    OP_WEIGHT,
    Limits,
    TokenBucket,
    check_clock,
    check_message,
    weight_of,
)


def message(*ops: dict[str, Any], **envelope: Any) -> Message:
    fields = {"id": "alice:7", "client": "alice", "clock": {"alice": 3}, "lt": 7, "ts": 1.5}
    return canonical_message({**fields, "ops": list(ops) or [number_set(1)], **envelope})


def number_set(value: Any, **fields: Any) -> dict[str, Any]:
    return {"ot": "number.set", "key": "n", "path": "x", "value": value, **fields}


def insert(key: str = "n", parent: str = "", **properties: Any) -> dict[str, Any]:
    return {"ot": "node.insert", "key": parent, "path": "children", "value": {"key": key, **properties}}


def move(key: str, parent: str) -> dict[str, Any]:
    return {"ot": "node.move", "key": "", "path": "children", "value": {"nodeKey": key, "newParent": parent}}


def text(content: str = "hi", *, seq: int = 1, deleted: int = 1) -> dict[str, Any]:
    op = {"ot": "text.replace", "key": "n", "path": "body", "id": "alice:0", "seq": seq, "ts": 1}
    return {**op, "value": [None, content], "rm": [["bob:0", deleted]]}


AT_THE_LIMIT: list[tuple[str, int, Message, Message]] = [
    ("ops_per_message_max", 2, message(*[number_set(1)] * 2), message(*[number_set(1)] * 3)),
    ("op_bytes_max", 500, message(number_set("x" * 400)), message(number_set("x" * 500))),
    ("op_bytes_max", 500, message(insert(a="x" * 400)), message(insert(a=["é" * 250]))),
    ("value_depth_max", 2, message(number_set([{"a": 1}])), message(number_set([{"a": []}]))),
    ("value_depth_max", 2, message(insert(a=[1])), message(insert(a=[{}]))),
    ("id_chars_max", 7, message(), message(id="alice:77")),
    (
        "id_chars_max",
        7,
        message({"ot": "meta.undo", "targetMsgId": "alice:6"}),
        message({"ot": "meta.undo", "targetMsgId": "alice:66"}),
    ),
    ("client_id_chars_max", 5, message(), message(client="alices", clock={"alices": 1})),
    ("key_chars_max", 3, message(number_set(1, key="abc")), message(number_set(1, key="abcd"))),
    ("key_chars_max", 3, message(insert("abc", "abc")), message(insert("abcd", "abc"))),
    ("key_chars_max", 8, message(insert("abc", "abc")), message(insert("abc", "abcdefghi"))),
    ("key_chars_max", 8, message(move("abc", "abc")), message(move("abc", "abcdefghi"))),
    ("key_chars_max", 8, message(move("abc", "abc")), message(move("abcdefghi", "abc"))),
    (
        "key_chars_max",
        8,
        message({"ot": "node.remove", "key": "", "path": "children", "value": "abc"}),
        message({"ot": "node.remove", "key": "", "path": "children", "value": "abcdefghi"}),
    ),
    ("path_chars_max", 8, message(number_set(1, path="abc")), message(number_set(1, path="abcdefghi"))),
    ("path_chars_max", 8, message(insert(abc=1)), message(insert(abcdefghi=1))),
    (
        "path_chars_max",
        8,
        message({"ot": "object.merge", "key": "n", "path": ".", "value": {"abc": 1}}),
        message({"ot": "object.merge", "key": "n", "path": ".", "value": {"abcdefghi": 1}}),
    ),
    (
        "clock_entries_max",
        2,
        message(clock={"alice": 1, "b": 1}),
        message(clock={"alice": 1, "b": 1, "c": 0}),
    ),
    ("text_insert_chars_max", 2, message(text("hi")), message(text("hey"))),
    (
        "text_insert_chars_max",
        2,
        message({"ot": "text.init", "key": "n", "path": "body", "value": "hi"}),
        message({"ot": "text.init", "key": "n", "path": "body", "value": "hey"}),
    ),
    ("text_delete_chars_max", 3, message(text(deleted=3)), message(text(deleted=2**53 - 1))),
    (
        "text_delete_chars_max",
        3,
        message(text(deleted=1), text(deleted=2)),
        message(text(deleted=2), text(deleted=2)),
    ),
    ("text_seq_per_lt_max", 10, message(text(seq=80)), message(text(seq=81))),
]


@pytest.mark.parametrize(("name", "bound", "within", "beyond"), AT_THE_LIMIT)
def test_messages_within_a_limit_pass_and_beyond_it_are_refused(
    name: str, bound: int, within: Message, beyond: Message
) -> None:
    """L1."""
    limits = Limits(**{name: bound})  # type: ignore[arg-type]
    check_message(within, limits)
    with pytest.raises(ClientFault) as caught:
        check_message(beyond, limits)
    assert (caught.value.code, caught.value.message_id) == (ErrorCode.OVER_LIMIT, beyond.id)
    assert caught.value.detail.startswith(f"{name} ")


def test_ordinary_messages_are_within_the_defaults() -> None:
    ops = [insert(f"node-{i}", tag="Mesh", position=[0, 0, 0]) for i in range(1000)]
    check_message(message(*ops), Limits())
    check_message(message({"ot": "text.init", "key": "n", "path": "body"}), Limits())
    check_message(message({"ot": "text.delete", "key": "n", "path": "body", "rm": []}), Limits())


def test_a_clock_claims_nothing_of_other_clients() -> None:
    """L2."""
    claiming = message(clock={"alice": 9, "bob": 2, "carol": 0})
    check_clock(claiming, {"alice": 1, "bob": 2}, {})
    with pytest.raises(ClientFault) as caught:
        check_clock(claiming, {"alice": 9, "bob": 1}, {})
    assert (caught.value.code, caught.value.message_id) == (ErrorCode.FOREIGN_CLOCK, "alice:7")


def test_documents_override_single_limits() -> None:
    assert Limits().overridden({}) == Limits()
    limits = Limits().overridden({"nodes_max": 10, "messages_per_second_max": 2.5})
    assert (limits.nodes_max, limits.messages_per_second_max, limits.id_chars_max) == (10, 2.5, 200)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("nodes", 1), ("nodes_max", "1"), ("nodes_max", -1), ("nodes_max", 1.5), ("nodes_max", True)),
        *(("nodes_max", None), ("reads_per_second_max", math.nan), ("reads_per_second_max", -0.5)),
    ],
)
def test_overrides_that_are_no_limits_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Limits().overridden({name: value})


def test_every_limit_says_why() -> None:
    [body] = [
        node.body
        for node in ast.parse(Path(limit.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Limits"
    ]
    for field, documentation in zip(body[1::2], body[2::2], strict=False):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(documentation, ast.Expr)
    assert all(field.name.endswith("_max") for field in fields(Limits))


# Token bucket


def test_a_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    """L3."""
    bucket = TokenBucket(per_second=2, burst=3)
    assert [bucket.take(10) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(10.4)
    assert bucket.take(10.5)
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_s_things_may_be_many_and_turn_out_to_be_more() -> None:
    """L8: what is owed comes first."""
    bucket = TokenBucket(per_second=10, burst=5)
    assert bucket.take(0, 14)
    assert not bucket.take(0.9)
    bucket.owe(1)
    assert not bucket.take(1.0)
    assert bucket.take(1.1)


def test_a_frame_weighs_what_it_costs_to_look_at() -> None:
    """L8."""
    fields = {"mtype": "crdt", "msg": {"ops": [{"value": [[], {}, 1]}]}}
    lists_and_maps, members = 7, 2 + 1 + 1 + 1 + 3
    weight = 2000 + OP_WEIGHT + lists_and_maps * CONTAINER_WEIGHT + members * MEMBER_WEIGHT
    assert weight_of(fields, 2000, 10_000) == weight
    assert weight_of(fields["msg"], 2000, 10_000) == weight - CONTAINER_WEIGHT - 2 * MEMBER_WEIGHT
    assert weight_of(fields, 1024, 10_000) == 1024
    for odd in ({"msg": 1}, {"msg": {"ops": 1}}, {"ops": {}}):
        assert weight_of(odd, 2000, 10_000) < 2000 + OP_WEIGHT


def test_a_frame_is_weighed_no_further_than_it_matters() -> None:
    """L8: deep nesting in many lists stops at the level that is too much."""
    nested: Any = []
    for _ in range(100):
        nested = [nested]
    weight = weight_of({"a": [nested] * 1_000}, 2000, 100_000)
    assert 100_000 < weight < 150_000


def test_a_bucket_survives_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(per_second=1, burst=1)
    assert bucket.take(100)
    assert not bucket.take(50)
    assert not bucket.take(100.5)
    assert bucket.take(101)


@given(st.integers(0, 5), st.integers(0, 20), st.lists(st.floats(0, 3), max_size=200))
def test_a_bucket_never_lets_more_through_than_it_promises(
    rate: int, burst: int, pauses: list[float]
) -> None:
    bucket, now, passed = TokenBucket(rate, burst), 0.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take(now)
    assert passed <= burst + rate * now + 1e-6


def test_l7_a_bucket_that_is_resized_keeps_what_it_has_up_to_the_new_burst() -> None:
    """L7: what was used stays used."""
    bucket = TokenBucket(per_second=1, burst=5)
    assert bucket.take(0)
    bucket.resize(per_second=1, burst=2)
    assert [bucket.take(0) for _ in range(3)] == [True, True, False]
    bucket.resize(per_second=10, burst=4)
    assert [bucket.take(0.2) for _ in range(3)] == [True, True, False]
