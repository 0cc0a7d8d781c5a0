"""Canonical form, rules C1 to C14 of `vuer_rtc/protocol/PROTOCOL.md`."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuer_rtc.crdt.canonical import InvalidMessage, canonical_clock, canonical_message, canonical_ops
from vuer_rtc.crdt.dtype import CLIENT_OPS, DTYPES, PROPERTY_OPS
from vuer_rtc.crdt.message import INTEGER_MAX, UNSET, Message, Op

VECTORS = Path(__file__).parent / "vectors"


def raw_message(*ops: Any, **fields: Any) -> dict[str, Any]:
    envelope = {"id": "alice:7", "client": "alice", "clock": {"alice": 3, "bob": 1}, "lt": 7, "ts": 1.5}
    return {**envelope, "ops": list(ops) or [number_set()], **fields}


def number_set(value: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"ot": "number.set", "key": "n", "path": "x", "value": value, **fields}


def canonical_op(**op: Any) -> Op:
    return canonical_message(raw_message(op)).ops[0]


def assert_refused(code: str, raw: dict[str, Any], message_id: str | None = "alice:7") -> None:
    with pytest.raises(InvalidMessage) as caught:
        canonical_message(raw)
    assert (caught.value.code, caught.value.message_id) == (code, message_id)
    assert len(caught.value.detail) < 200
    caught.value.detail.encode()


def assert_op_refused(code: str, **op: Any) -> None:
    assert_refused(code, raw_message(op))


# Whose ids, rule C2


def test_only_the_server_uses_ids_that_begin_with_an_equals_sign() -> None:
    raw = raw_message(id="=site:1", client="=site", clock={"=site": 1})
    assert_refused("bad-message", raw, "=site:1")
    assert_refused("bad-client", {**raw, "id": "site:1"}, "site:1")
    assert canonical_message(raw, is_from_server=True).client == "=site"


def test_only_the_server_says_when_a_node_was_created() -> None:
    dated = {"ot": "node.insert", "key": "", "path": "children", "value": {"key": "n"}, "ts": 5}
    assert canonical_message(raw_message(dated)).ops[0].ts is UNSET
    raw = raw_message(dated, id="=site:1", client="=site", clock={"=site": 1})
    assert canonical_message(raw, is_from_server=True).ops[0].ts == 5
    assert canonical_ops([dated], "=site", 1.5)[0].ts == 5


# Names, rule C1


def test_both_namings_give_one_message() -> None:
    legacy = {
        "id": "alice:7",
        "sessionId": "alice",
        "clock": {"alice": 3, "bob": 1},
        "lamportTime": 7,
        "timestamp": 1.5,
        "ops": [{"otype": "number.set", "key": "n", "path": "x", "value": 1}],
    }
    expected = Message("alice:7", "alice", {"alice": 3, "bob": 1}, 7, 1.5, [Op("number.set", "n", "x", 1)])
    assert canonical_message(legacy) == canonical_message(raw_message()) == expected


def test_namings_may_be_mixed_and_the_compressed_one_wins() -> None:
    raw = raw_message(sessionId="bob", lamportTime=99)
    del raw["ts"]
    message = canonical_message({**raw, "timestamp": 2.5})
    assert (message.client, message.lt, message.ts) == ("alice", 7, 2.5)


def test_what_only_the_server_sets_is_dropped() -> None:
    message = canonical_message(raw_message(auth=True, serverSeq=9, server_seq=9, description="moved"))
    assert (message.auth, message.server_seq) == (False, 0)


def test_extras_stay_with_the_operations_that_know_them() -> None:
    assert canonical_op(**number_set(alpha=1, position=2, auth=True)) == Op("number.set", "n", "x", 1)
    moved = canonical_op(ot="array.move", key="n", path="list", **{"from": 1, "to": 0})
    assert moved == Op("array.move", "n", "list", from_=1, to=0)


# C2 to C4: the envelope


@pytest.mark.parametrize("message_id", [None, "", 7, b"alice:7", ["alice:7"]])
def test_a_message_without_an_id_is_refused(message_id: Any) -> None:
    assert_refused("missing-id", raw_message(id=message_id), None)


def test_ids_of_the_server_are_refused() -> None:
    assert_refused("bad-message", raw_message(id="=cut/1"), "=cut/1")
    assert_refused("bad-client", raw_message(client="=server"))


@pytest.mark.parametrize("client", [None, "", 7, "__proto__"])
def test_a_message_without_a_client_is_refused(client: Any) -> None:
    assert_refused("bad-client", raw_message(client=client))


@pytest.mark.parametrize(
    "clock",
    [None, [], {}, {"bob": 1}, {"alice": 0}, {"alice": -1}, {"alice": 1.5}, {"alice": True}, {"alice": "1"}],
)
def test_a_clock_without_an_own_counter_is_refused(clock: Any) -> None:
    assert_refused("bad-message", raw_message(clock=clock))


@pytest.mark.parametrize(
    "entry", [{2: 3}, {"bob": math.nan}, {"bob": math.inf}, {"bob": 2**53}, {"bob": "1"}]
)
def test_every_entry_of_a_clock_is_checked(entry: Any) -> None:
    assert_refused("bad-message", raw_message(clock={"alice": 1, **entry}))


@pytest.mark.parametrize("lt", [None, -1, 1.5, True, "7", 2**53, 10**400, math.nan, math.inf])
def test_a_bad_lamport_time_is_refused(lt: Any) -> None:
    assert_refused("bad-message", raw_message(lt=lt))


def test_whole_floats_are_integers() -> None:
    message = canonical_message(raw_message(lt=7.0, clock={"alice": 3.0}))
    assert type(message.lt) is int
    assert type(message.counter) is int


@pytest.mark.parametrize(("ts", "code"), [(None, "bad-message"), ("1", "bad-message"), (True, "bad-message")])
def test_a_timestamp_is_a_number(ts: Any, code: str) -> None:
    assert_refused(code, raw_message(ts=ts))


@pytest.mark.parametrize("ts", [math.nan, -math.inf, 10**400])
def test_a_timestamp_is_finite(ts: Any) -> None:
    assert_refused("not-finite", raw_message(ts=ts))


@pytest.mark.parametrize("ops", [None, [], {}, "ops", {"ot": "number.set"}])
def test_a_message_without_operations_is_refused(ops: Any) -> None:
    assert_refused("bad-message", raw_message(ops=ops))


def test_a_clock_alone_is_checked_likewise() -> None:
    assert canonical_clock({"alice": 0}) == {"alice": 0}
    with pytest.raises(InvalidMessage):
        canonical_clock({"alice": -1})


# C5: names of operations


@pytest.mark.parametrize(
    "ot", ["CREATE", "UPDATE", "DELETE", "TRANSFORM", "number.subtract", "text", "node", None]
)
def test_unknown_operations_are_refused(ot: Any) -> None:
    assert_op_refused("unknown-op", ot=ot, key="n", path="x", value=1)


@pytest.mark.parametrize("ot", ["server.cut", ["number.set"], {"a": 1}, 3, "x" * 10_000, "number.set\ud800"])
def test_names_nobody_could_mean_are_refused(ot: Any) -> None:
    assert_op_refused("unknown-op", ot=ot, key="n", path="x", value=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bare_dtype_is_its_set(dtype: str) -> None:
    assert canonical_op(ot=dtype, key="n", path="x", value=1).ot == f"{dtype}.set"


@pytest.mark.parametrize("ot", sorted(CLIENT_OPS))
def test_every_operation_of_the_merge_is_known(ot: str) -> None:
    raw = raw_message({"ot": ot})
    try:
        canonical_message(raw)
    except InvalidMessage as refusal:
        assert refusal.code != "unknown-op"  # noqa: PT017


def test_an_operation_is_a_map() -> None:
    for op in (None, "number.set", 3, ["number.set"]):
        assert_refused("bad-op", raw_message(op))


# C6: property operations


@pytest.mark.parametrize("key", [None, "", "."])
@pytest.mark.parametrize("ot", ["number.add", "text.init", "object.merge"])
def test_root_level_has_no_properties(ot: str, key: str | None) -> None:
    op = {"ot": ot, "path": "x", "value": "1"} | ({} if key is None else {"key": key})
    assert_refused("unknown-key", raw_message(op))


def test_keys_and_paths_are_strings() -> None:
    assert_op_refused("bad-op", ot="number.set", key=3, path="x", value=1)
    assert_op_refused("bad-op", ot="number.set", key="n", path=3, value=1)
    assert_op_refused("bad-op", ot="number.set", key="n", value=1)


@pytest.mark.parametrize("ot", sorted(set(PROPERTY_OPS) - {"array.move"}))
def test_a_property_operation_has_a_value(ot: str) -> None:
    assert_op_refused("bad-op", ot=ot, key="n", path="x")
    assert canonical_op(ot=ot, key="n", path="x", value=None).value is None


def test_merging_into_the_node_itself() -> None:
    for path in ({}, {"path": None}, {"path": "."}, {"path": ""}):
        op = canonical_op(ot="object.merge", key="n", value={"x": 1}, **path)
        assert op == Op("object.merge", "n", ".", {"x": 1})


def test_concat_with_its_separator_inside_the_value() -> None:
    old = canonical_op(ot="string.concat", key="n", path="s", value={"value": "b", "separator": "-"})
    assert old == canonical_op(ot="string.concat", key="n", path="s", value="b", separator="-")


def test_dotted_paths_are_one_flat_string() -> None:
    assert canonical_op(**number_set(path="transform._crdt.key")).path == "transform._crdt.key"


# C7: node operations


def test_the_three_forms_of_insert() -> None:
    value = {"tag": "Mesh", "name": "Cube", "color": "#ff0000"}
    current = canonical_op(
        ot="node.insert", key="p", path="children", value={"key": "n", **value, "children": ["c"]}
    )
    assert current == Op("node.insert", "p", "children", {"key": "n", **value})
    first = canonical_op(otype="node.insert", key="n", path="n", parent="p", value={"key": "a-uuid", **value})
    assert first == Op("node.insert", "p", "children", {"key": "n", **value, "id": "a-uuid"})
    second = canonical_op(
        otype="node.insert",
        key="n",
        path="",
        tag="Mesh",
        parentKey="p",
        value={"name": "Cube", "color": "#ff0000"},
    )
    assert second == current


@pytest.mark.parametrize("ot", ["node.insert", "node.upsert", "node.inset"])
@pytest.mark.parametrize("parent", [{}, {"key": ""}, {"key": "."}])
def test_both_names_of_root_level_are_one(ot: str, parent: dict[str, str]) -> None:
    op = canonical_op(ot=ot, path="children", value={"key": "n"}, **parent)
    assert op == Op(ot, "", "children", {"key": "n"})


def test_an_old_insert_without_a_parent_is_at_root_level() -> None:
    for parent in ({}, {"parent": None}, {"parentKey": "."}):
        assert canonical_op(ot="node.insert", key="n", path="n", value={}, **parent).key == ""
    assert canonical_op(ot="node.insert", key="n", path="", tag="Group").value == {"key": "n", "tag": "Group"}


@pytest.mark.parametrize("key", [None, "", ".", 3, ["n"]])
def test_a_node_needs_a_key(key: Any) -> None:
    assert_op_refused("bad-op", ot="node.insert", key="p", path="children", value={"key": key})
    assert_op_refused("bad-op", ot="node.remove", key=key, path="children", value=None)
    assert_op_refused(
        "bad-op", ot="node.move", key="p", path="children", value={"nodeKey": key, "newParent": "q"}
    )


def test_an_insert_in_no_published_form_is_refused() -> None:
    assert_op_refused("bad-op", ot="node.insert", key="n", path="somewhere", value={})
    assert_op_refused("bad-op", ot="node.insert", key="n", path="children")
    assert_op_refused("bad-op", ot="node.insert", key="n", path="children", value=["key", "n"])
    assert_op_refused("bad-op", ot="node.insert", key="n", path="n", parent=3, value={})


def test_both_forms_of_remove() -> None:
    assert canonical_op(ot="node.remove", key="p", path="children", value="n") == Op(
        "node.remove", "p", "children", "n"
    )
    assert canonical_op(otype="node.remove", key="n", path="") == Op("node.remove", "", "children", "n")


def test_both_forms_of_move() -> None:
    nested = canonical_op(ot="node.move", key="p", path="children", value={"nodeKey": "n", "newParent": "q"})
    assert nested == Op("node.move", "p", "children", {"nodeKey": "n", "newParent": "q"})
    flat = canonical_op(ot="node.move", key="n", to="q", toPath="children")
    assert flat == Op("node.move", "", "children", {"nodeKey": "n", "newParent": "q"})


def test_a_move_says_where_to() -> None:
    assert canonical_op(ot="node.move", key="n", to=".").value["newParent"] == ""
    assert_op_refused("bad-op", ot="node.move", key="n")
    assert_op_refused("bad-op", ot="node.move", key="p", value={"nodeKey": "n"})
    assert_op_refused("bad-op", ot="node.move", key="n", to=["q"])


# C8: text operations


def test_text_travels_without_positions() -> None:
    op = {"key": "n", "path": "body", "id": "alice:0", "seq": 1, "ts": 2.5, "position": 4, "length": 2}
    inserted = canonical_op(ot="text.insert", value=["bob:1", "hi"], **op)
    assert inserted == Op("text.insert", "n", "body", ["bob:1", "hi"], id="alice:0", seq=1, ts=2.5)
    replaced = canonical_op(ot="text.replace", value=(None, ""), rm=[("bob:0", 2.0)], **op)
    assert replaced == Op(
        "text.replace", "n", "body", [None, ""], id="alice:0", seq=1, ts=2.5, rm=[["bob:0", 2]]
    )
    deleted = canonical_op(ot="text.delete", key="n", path="body", rm=[], position=0, length=9)
    assert deleted == Op("text.delete", "n", "body", rm=[])


@pytest.mark.parametrize(
    "op",
    [
        {"ot": "text.insert", "position": 0, "value": "hi"},
        {"ot": "text.insert", "position": 0, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:0", "seq": 1},
        {"ot": "text.insert", "id": "alice:0", "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:0", "seq": 1, "value": "hi"},
        {"ot": "text.insert", "id": "alice:0", "seq": 1, "value": [None]},
        {"ot": "text.insert", "id": "alice:0", "seq": 1, "value": [None, 3]},
        {"ot": "text.insert", "id": "alice:0", "seq": 1, "value": [3, "hi"]},
        {"ot": "text.insert", "id": "alice:0", "seq": -1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:-1", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:01", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:\u0663", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": f"alice:{2**53}", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": {"agent": "alice", "seq": 0}, "seq": 1, "value": [None, "hi"]},
        {"ot": "text.insert", "id": "alice:0", "seq": 1, "ts": "now", "value": [None, "hi"]},
        {"ot": "text.delete", "position": 0, "length": 1},
        {"ot": "text.delete", "rm": {"alice:0": 1}},
        {"ot": "text.delete", "rm": [["alice:0"]]},
        {"ot": "text.delete", "rm": [["alice:0", 0]]},
        {"ot": "text.delete", "rm": [["alice:0", -1]]},
        {"ot": "text.delete", "rm": ["alice:0"]},
        {"ot": "text.replace", "id": "alice:0", "seq": 1, "value": [None, "hi"]},
        {"ot": "text.init", "value": ["hi"]},
    ],
)
def test_text_in_any_other_shape_is_refused(op: dict[str, Any]) -> None:
    assert_op_refused("bad-op", key="n", path="body", **op)


def test_text_ids_belong_to_their_sender() -> None:
    op = {"ot": "text.insert", "key": "n", "path": "body", "seq": 1, "ts": 1, "value": ["bob:0", "hi"]}
    assert_op_refused("foreign-client", id="bob:1", **op)
    colon = canonical_message(raw_message({**op, "id": "a:b:1"}, client="a:b", clock={"a:b": 1}))
    assert colon.ops[0].id == "a:b:1"


def test_text_without_a_time_takes_the_messages() -> None:
    op = canonical_op(ot="text.insert", key="n", path="body", id="alice:0", seq=1, value=[None, "hi"])
    assert op.ts == 1.5


def test_text_init_with_and_without_a_value() -> None:
    assert canonical_op(ot="text.init", key="n", path="body", value=None).value is UNSET
    assert canonical_op(ot="text.init", key="n", path="body", value="hi").value == "hi"


# C13: meta operations


def test_undo_names_its_target() -> None:
    op = canonical_op(ot="meta.undo", key="", path="x", targetMsgId="alice:5", auth=True)
    assert op == Op("meta.undo", "_meta", "_meta", target="alice:5")
    for target in (None, "", 5):
        assert_op_refused("bad-op", ot="meta.redo", key="_meta", path="_meta", targetMsgId=target)


# C9 to C11: values


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, [1, -math.inf], {"a": [math.nan]}, 10**400, [-(10**400)]]
)
def test_only_finite_numbers_are_taken(value: Any) -> None:
    assert_op_refused("not-finite", **number_set(value))
    assert_op_refused("not-finite", ot="node.insert", key="", path="children", value={"key": "n", "x": value})
    assert_op_refused("not-finite", ot="color.blend", key="n", path="c", value="#000000", alpha=value)


def test_large_integers_become_doubles_at_any_depth() -> None:
    [exact, large, [nested]] = canonical_op(
        **number_set([INTEGER_MAX, INTEGER_MAX + 1, [{"x": -(2**60)}]])
    ).value
    assert (type(exact), type(large), type(nested["x"])) == (int, float, float)
    assert nested["x"] == -(2.0**60)


@pytest.mark.parametrize(
    "value",
    [b"raw", {1, 2}, datetime.datetime.now(datetime.UTC), msgspec.msgpack.Ext(1, b""), object(), {1: 2}],
)
def test_only_plain_json_is_taken(value: Any) -> None:
    assert_op_refused("bad-message", **number_set(value))
    assert_op_refused("bad-message", **number_set([{"deep": value}]))


@pytest.mark.parametrize("member", [1.5, 1, -INTEGER_MAX, "a", "é", True, None, [], {}, [1], {"a": 1}])
@pytest.mark.parametrize(
    ("odd", "code"),
    [
        *(
            (math.nan, "not-finite"),
            (10**400, "not-finite"),
            ("\0", "bad-message"),
            ("\ud800", "bad-message"),
        ),
        *((b"", "bad-message"), (object(), "bad-message"), ({1: 2}, "bad-message")),
        ({"__proto__": 1}, "reserved-path"),
    ],
)
def test_long_lists_and_maps_are_looked_at_as_closely_as_short_ones(member: Any, odd: Any, code: str) -> None:
    """C9 to C11: though most of them at a glance."""
    many = [member] * 99
    named = {f"n{index}": member for index in range(99)}
    assert canonical_op(**number_set(many)).value == many
    assert canonical_op(**number_set(tuple(many))).value == many
    assert canonical_op(**number_set(named)).value == named
    assert_op_refused(code, **number_set([*many, odd]))
    assert_op_refused(code, **number_set({**named, "odd": odd}))
    assert_op_refused("reserved-path", **number_set({**named, "__proto__": member}))
    assert_op_refused("bad-message", **number_set({**named, 1: member}))
    assert_op_refused("bad-message", **number_set({1: member, **named}))
    assert_op_refused("bad-message", **number_set({**named, "\0": member}))


def test_large_integers_in_long_lists_become_doubles() -> None:
    """C10."""
    for large in (INTEGER_MAX + 1, -INTEGER_MAX - 1):
        assert {type(member) for member in canonical_op(**number_set([large] * 99)).value} == {float}


def test_nesting_is_bounded() -> None:
    value: Any = []
    value.append(value)
    assert_op_refused("over-limit", **number_set(value))


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\0", "a\0b"])
def test_strings_that_cannot_be_stored_are_refused(text: str) -> None:
    assert_op_refused("bad-message", **number_set([text]))
    assert_op_refused("bad-message", **number_set({text: 1}))
    assert_op_refused("bad-message", **number_set(path=text))
    assert_op_refused("bad-message", **number_set(key=text))
    assert_op_refused("bad-message", ot="text.init", key="n", path="body", value=text)
    assert_op_refused("bad-message", ot="meta.undo", targetMsgId=text)
    assert_refused("bad-message", raw_message(client=f"a{text}"))
    assert_refused("bad-message", raw_message(clock={"alice": 1, text: 1}))
    assert_refused("bad-message", raw_message(id=text), None)


def test_the_input_is_left_untouched() -> None:
    value = {"key": "n", "list": [1, (2, 3)], "children": ["c"]}
    raw = raw_message({"ot": "node.insert", "key": ".", "path": "children", "value": value})
    canonical_message(raw).ops[0].value["list"][1].append(4)
    assert value == {"key": "n", "list": [1, (2, 3)], "children": ["c"]}


# C12: reserved names


@pytest.mark.parametrize(
    "path", ["", ".", "key", "children", "_crdt", "_textCrdt.", "_textCrdt.body", "__proto__"]
)
def test_reserved_paths_are_written_by_nobody(path: str) -> None:
    assert_op_refused("reserved-path", **number_set(path=path))
    assert_op_refused("reserved-path", ot="text.init", key="n", path=path)


@pytest.mark.parametrize("name", ["_crdt", "_textCrdt.body", "__proto__", "", "."])
def test_reserved_names_inside_new_nodes_and_merges(name: str) -> None:
    for ot in ("node.insert", "node.upsert", "node.inset"):
        assert_op_refused("reserved-path", ot=ot, key="", path="children", value={"key": "n", name: 1})
    assert_op_refused("reserved-path", ot="node.insert", key="n", path="n", value={name: 1})
    assert_op_refused("reserved-path", ot="object.merge", key="n", path=".", value={name: 1})


def test_a_merge_into_the_node_does_not_touch_its_place() -> None:
    for name in ("key", "children"):
        assert_op_refused("reserved-path", ot="object.merge", key="n", path=".", value={name: "x"})
    assert canonical_op(ot="object.merge", key="n", path="o", value={"key": "x"}).value == {"key": "x"}


def test_proto_is_refused_wherever_a_name_stands() -> None:
    assert_op_refused("reserved-path", **number_set([{"a": {"__proto__": 1}}]))
    assert_op_refused("reserved-path", **number_set(key="__proto__"))
    assert_op_refused("reserved-path", ot="node.insert", key="", path="children", value={"key": "__proto__"})
    assert_refused("reserved-path", raw_message(clock={"alice": 1, "__proto__": 1}))


# Any input at all

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary()
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=10
)
names = st.sampled_from(
    ["key", "path", "value", "id", "seq", "ts", "rm", "to", "from", "parent", "targetMsgId"]
)
wild_ops = st.builds(
    lambda ot, fields: {**fields, "ot": ot},
    st.sampled_from(sorted(CLIENT_OPS)) | anything,
    st.dictionaries(names, anything | st.sampled_from(["n", "children", "", ["alice:0", "x"], {"key": "n"}])),
)


@given(st.lists(wild_ops | anything), st.dictionaries(st.sampled_from(sorted(raw_message())), anything))
def test_any_input_gives_a_message_or_a_refusal(ops: list[Any], fields: dict[str, Any]) -> None:
    try:
        message = canonical_message({**raw_message(*ops), **fields})
    except InvalidMessage as refusal:
        assert refusal.code.isascii()  # noqa: PT017
        refusal.detail.encode()
    else:
        assert msgspec.json.decode(msgspec.json.encode(message)) is not None
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


@given(wild_ops)
def test_canonical_form_is_a_fixed_point(op: Any) -> None:
    try:
        message = canonical_message(raw_message(op))
    except InvalidMessage:
        return
    assert canonical_message(msgspec.to_builtins(message)) == message


@pytest.mark.parametrize("file", ["sequential.jsonl", "text.jsonl"])
def test_published_messages_lose_nothing_but_positions(file: str) -> None:
    lines = (VECTORS / file).read_text().splitlines()
    assert lines
    for message in (message for line in lines for message in json.loads(line)["messages"]):
        kept = [{k: v for k, v in op.items() if k not in ("position", "length")} for op in message["ops"]]
        canonical = canonical_message(message)
        wire = msgspec.to_builtins(canonical)
        wire["ops"] = [{"key": "", "path": "", **op} for op in wire["ops"]]
        assert wire == {**message, "ops": kept}


def test_c14_whether_a_value_fits_is_not_asked() -> None:
    for ot, value in (("number.add", "one"), ("vector3.set", {}), ("color.blend", [1]), ("boolean.or", None)):
        op = {"ot": ot, "key": "n", "path": "x", "value": value}
        fields = {"id": "al:1", "client": "al", "clock": {"al": 1}, "lt": 1, "ts": 1.0, "ops": [op]}
        assert canonical_message(fields).ops[0].value == value
