"""Frames, rules F1 to F6."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.published.process import published_directory
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.message import Message, Op, cut_record
from vuer_rtc.crdt.view import PublishedState
from vuer_rtc.protocol.codec import decode_fields, encode, encode_commit, inbound_of, message_fields
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.wire import (
    Ack,
    Batch,
    Broadcast,
    Crdt,
    Edition,
    Error,
    Feature,
    Frame,
    Framing,
    Heartbeat,
    Inbound,
    Naming,
    NativeDocument,
    Outbound,
    Promise,
    RoomReset,
    Standing,
    State,
    Sync,
    SyncCheck,
    SyncStatus,
    Welcome,
)

COMMIT: dict[str, Any] = {
    "id": "alice:7",
    "client": "alice",
    "clock": {"alice": 3, "bob": 1},
    "lt": 7,
    "ts": 1.5,
    "ops": [{"ot": "vector3.set", "key": "n", "path": "position", "value": [1, 2.5, -3]}],
}
LEGACY_COMMIT = {
    "id": "alice:7",
    "sessionId": "alice",
    "clock": {"alice": 3, "bob": 1},
    "lamportTime": 7,
    "timestamp": 1.5,
    "ops": [{"otype": "vector3.set", "key": "n", "path": "position", "value": [1, 2.5, -3]}],
}
MESSAGE = canonical_message(COMMIT)


def packed(wire: Any) -> bytes:
    return msgpack.packb(wire, use_bin_type=True)  # type: ignore[no-any-return]


def both_framings(wire: dict[str, Any]) -> list[Frame]:
    return [json.dumps(wire), packed(wire)]


def commit_with(value: Any) -> dict[str, Any]:
    return {"mtype": "crdt", "msg": {**COMMIT, "ops": [{**COMMIT["ops"][0], "value": value}]}}


def decoded(frame: Frame) -> Any:
    return json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)


def decode_frame(frame: Frame) -> Inbound:
    """As a session does, which looks at the fields in between."""
    return inbound_of(decode_fields(frame))


def assert_refused(code: ErrorCode, frame: Frame, message_id: str | None = None) -> None:
    with pytest.raises(ClientFault) as caught:
        decode_frame(frame)
    assert (caught.value.code, caught.value.message_id) == (code, message_id)


# Reading


def test_commits_are_read_in_both_framings_and_namings() -> None:
    for wire in (COMMIT, LEGACY_COMMIT):
        for frame in both_framings({"mtype": "crdt", "msg": wire}):
            assert decode_frame(frame) == Crdt(MESSAGE)


def test_a_bare_commit_is_read() -> None:
    """F2: old samples send the message without an envelope."""
    for frame in both_framings(LEGACY_COMMIT):
        assert decode_frame(frame) == Crdt(MESSAGE)


def test_the_other_messages_are_read() -> None:
    clock = {"alice": 3}
    for frame in both_framings({"mtype": "sync", "vectorClock": clock, "filter": None, "count": 0}):
        assert decode_frame(frame) == Sync(clock)
    for frame in both_framings({"mtype": "sync-check", "requestId": "r1"}):
        assert decode_frame(frame) == SyncCheck("r1")
    for name in ("client", "sessionId"):
        for frame in both_framings({"mtype": "heartbeat", name: "alice", "vectorClock": clock}):
            assert decode_frame(frame) == Heartbeat(clock, "alice")
    assert decode_frame('{"mtype":"heartbeat"}') == Heartbeat({}, None)


@pytest.mark.parametrize("bloom", [b"\xff\x00", "text", None, 3, [math.nan], {"x": b""}])
def test_a_filter_of_any_kind_is_ignored(bloom: Any) -> None:
    assert decode_frame(packed({"mtype": "sync", "filter": bloom, "count": 2})) == Sync({})


def test_unknown_fields_are_ignored_and_the_last_of_two_counts() -> None:
    """F4."""
    assert decode_frame('{"mtype":"sync-check","requestId":"a","new":[1],"requestId":"b"}') == SyncCheck("b")


BAD_TEXT_FRAMES = [
    "",
    "{",
    "[]",
    "null",
    "3",
    '"crdt"',
    "NaN",
    '{"a":1e999}',
    '{"a":"\\ud800"}',
    '{"a":"\ud800"}',
]
BAD_BINARY_FRAMES = [
    *(b"", b"\xc1", b"\x90", b"\xc0", b"{}", b"\x81\x01\x02"),
    *(b"\x81\xa1a\xa1\xff", b"\x81\xa1a\xa3\xed\xa0\x80"),  # not UTF-8, a surrogate
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),  # lengths without content
    b"\x81\xa1a\xd7\xff" + b"\xff" * 8,  # a timestamp out of range
]
BAD_DEEP_FRAMES = ["[" * 100_000, '{"a":' * 100_000, b"\x91" * 100_000, b"\x81\xa1a" * 100_000]


@pytest.mark.parametrize("value", ["1e999", "NaN", r'"\ud83d"', r'"half \ud83d and more"', r'{"\ude00": 1}'])
@pytest.mark.parametrize(
    "frame", ['{"mtype":"crdt","msg":{"ops":[VALUE],"id":"al:1"}}', '{"ops":VALUE,"id":"al:1"}']
)
def test_f3_a_commit_that_json_cannot_hold_is_refused_by_its_id(frame: str, value: str) -> None:
    """Half an emoji, say: a client that is told of no commit sends it for ever."""
    assert_refused(ErrorCode.BAD_FRAME, frame.replace("VALUE", value), "al:1")


def test_f3_a_commit_with_bytes_that_are_no_string_is_refused_by_its_id() -> None:
    frame = msgspec.msgpack.encode({"mtype": "crdt", "msg": {"id": "al:1", "ops": ["half"]}})
    assert_refused(ErrorCode.BAD_FRAME, frame.replace(b"half", b"\xed\xa0\xbdf"), "al:1")


def test_an_id_that_no_error_could_carry_is_left_out() -> None:
    """F3."""
    assert_refused(ErrorCode.BAD_FRAME, r'{"ops":[1e999],"id":"\ud83d"}')
    assert_refused(ErrorCode.BAD_FRAME, r'{"ops":[1e999],"id":7}')


@pytest.mark.parametrize("frame", [*BAD_TEXT_FRAMES, *BAD_BINARY_FRAMES, *BAD_DEEP_FRAMES])
def test_what_is_no_map_in_its_framing_is_a_bad_frame(frame: Frame) -> None:
    """F1."""
    assert_refused(ErrorCode.BAD_FRAME, frame)


@pytest.mark.parametrize(
    "mtype", ["ack", "broadcast", "state", "CRDT", "", None, 3, ["crdt"], {"crdt": 1}, b"crdt"]
)
def test_what_clients_do_not_send_is_an_unknown_mtype(mtype: Any) -> None:
    assert_refused(ErrorCode.UNKNOWN_MTYPE, packed({"mtype": mtype, "msg": COMMIT}))
    assert_refused(ErrorCode.UNKNOWN_MTYPE, "{}")


def test_a_refusal_carries_the_id_when_it_can_be_read() -> None:
    """F3."""
    assert_refused(ErrorCode.NOT_FINITE, packed(commit_with(math.nan)), "alice:7")
    assert_refused(ErrorCode.NOT_FINITE, json.dumps(commit_with(10**400)), "alice:7")
    assert_refused(ErrorCode.BAD_MESSAGE, packed(commit_with({1: 2})), "alice:7")
    assert_refused(ErrorCode.BAD_MESSAGE, packed(commit_with(b"raw")), "alice:7")
    assert_refused(ErrorCode.BAD_MESSAGE, packed(commit_with(msgpack.Timestamp(1))), "alice:7")
    assert_refused(ErrorCode.BAD_MESSAGE, packed(commit_with(msgpack.ExtType(5, b"x"))), "alice:7")
    assert_refused(ErrorCode.MISSING_ID, packed({"mtype": "crdt", "msg": {}}))
    assert_refused(ErrorCode.BAD_MESSAGE, packed({"mtype": "crdt"}))
    assert_refused(ErrorCode.BAD_MESSAGE, packed({"mtype": "sync-check"}))
    assert_refused(ErrorCode.BAD_MESSAGE, packed({"mtype": "sync", "vectorClock": [1]}))
    assert_refused(ErrorCode.BAD_MESSAGE, packed({"mtype": "heartbeat", "client": 3}))


def test_large_integers_are_doubles() -> None:
    for value in (2**53, 2**64 - 1, -(2**63)):
        for frame in both_framings(commit_with(value)):
            [op] = decode_frame(frame).message.ops  # type: ignore[union-attr]
            assert (type(op.value), op.value) == (float, float(value))


@pytest.mark.parametrize("depth", [100, 127, 128, 200, 500, 900, 5_000])
def test_nesting_gives_a_message_or_a_fault(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    frame = json.dumps(commit_with(0)).replace('"value": 0', f'"value": {deep}')
    packs = packed(commit_with(0))
    assert packs.endswith(b"\xa5value\x00")
    codes = {refusal(frame), refusal(packs[:-1] + b"\x91" * depth + b"\xc0")}
    assert codes <= ({None} if depth <= 128 else {ErrorCode.OVER_LIMIT, ErrorCode.BAD_FRAME})


def refusal(frame: Frame) -> ErrorCode | None:
    try:
        decode_frame(frame)
    except ClientFault as fault:
        return fault.code
    return None


# Any bytes at all


def assert_answered(frame: Frame) -> None:
    try:
        inbound = decode_frame(frame)
    except ClientFault as fault:
        for framing in Framing:
            assert decoded(encode(Error.of(fault), framing))["mtype"] == "error"  # noqa: PT017
        return
    if isinstance(inbound, Crdt):
        for framing in Framing:
            for naming in Naming:
                again = decode_frame(
                    encode(Broadcast(inbound.message), framing, naming).replace(*_as_commit(framing))
                )
                assert again == inbound


def _as_commit(framing: Framing) -> tuple[Any, Any]:
    broadcast, crdt = {"mtype": "broadcast"}, {"mtype": "crdt"}
    if framing is Framing.JSON:
        return '"mtype":"broadcast"', '"mtype":"crdt"'
    return packed(broadcast)[1:], packed(crdt)[1:]


@given(st.binary() | st.text(st.characters(codec=None)))
def test_arbitrary_frames_are_answered(frame: Frame) -> None:
    assert_answered(frame)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(list(COMMIT)), inner),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries({"mtype": st.sampled_from(["crdt", "sync", "sync-check", "heartbeat"])}),
    json_values,
)
def test_arbitrary_fields_are_answered(head: dict[str, Any], body: Any) -> None:
    for name in ("msg", "vectorClock", "requestId", "client"):
        assert_answered(json.dumps({**head, name: body}))
    assert_answered(json.dumps(body))


@given(st.sampled_from(Framing), st.data())
def test_mutated_frames_are_answered(framing: Framing, data: st.DataObject) -> None:
    commit = {**COMMIT, "ops": data.draw(st.lists(st.sampled_from(OPS), min_size=1, max_size=3))}
    wire = {"mtype": "crdt", "msg": commit}
    frame = bytearray(packed(wire) if framing is Framing.MSGPACK else json.dumps(wire).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame)))
        end = at + data.draw(st.integers(0, 9))
        frame[at:end] = data.draw(st.sampled_from([b"", bytes(frame[at:end]) * 2]) | st.binary(max_size=9))
    assert_answered(bytes(frame) if framing is Framing.MSGPACK else frame.decode(errors="surrogateescape"))


OPS: list[dict[str, Any]] = [
    {"ot": "node.insert", "key": "", "path": "children", "value": {"key": "n", "tag": "Mesh", "x": 1}},
    {"ot": "node.move", "key": "p", "path": "children", "value": {"nodeKey": "n", "newParent": "q"}},
    {"ot": "node.remove", "key": "p", "path": "children", "value": "n"},
    {"ot": "vector3.applyEuler", "key": "n", "path": "v", "value": [1, 2, 3], "order": "ZYX"},
    {"ot": "array.move", "key": "n", "path": "list", "from": 0, "to": 3},
    {"ot": "object.merge", "key": "n", "path": ".", "value": {"a": {"b": [None, True, "c"]}}},
    {"ot": "text.init", "key": "n", "path": "body"},
    {
        "ot": "text.insert",
        "key": "n",
        "path": "body",
        "value": ["bob:3", "hé"],
        "id": "alice:0",
        "seq": 4,
        "ts": 2,
    },
    {"ot": "text.delete", "key": "n", "path": "body", "rm": [["bob:0", 2]]},
    {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "alice:3"},
]


# Writing


def test_a_message_travels_without_what_only_the_server_knows() -> None:
    """F6: no `auth`, no empty fields, but `serverSeq`, and `key` and `path` on every operation."""
    ops = [
        Op("node.insert", "", "children", {"key": "n"}),
        Op("meta.undo", "_meta", "_meta", target="alice:3"),
    ]
    message = Message("alice:7", "alice", {"alice": 3}, 7, 1.5, ops, auth=True, server_seq=42)
    assert message_fields(message) == {
        "id": "alice:7",
        "client": "alice",
        "clock": {"alice": 3},
        "lt": 7,
        "ts": 1.5,
        "ops": [
            {"ot": "node.insert", "key": "", "path": "children", "value": {"key": "n"}},
            {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "alice:3"},
        ],
        "serverSeq": 42,
    }


def test_a_message_goes_out_in_either_naming() -> None:
    assert message_fields(MESSAGE) == COMMIT
    assert message_fields(MESSAGE, Naming.LEGACY) == LEGACY_COMMIT


def document(**fields: Any) -> PublishedState:
    node = {"key": "n", "tag": "Mesh", "name": "", "children": [], "_crdt": {"lamportTime": 7}}
    graph = {"nodes": {"n": node}, "rootKey": "n"}
    state = {"graph": graph, "vector_clock": {"alice": 3}, "lt": 7, "text_ropes": {}, "journal": [MESSAGE]}
    return PublishedState(**{**state, **fields})


OUTBOUND: list[tuple[Outbound, dict[str, Any]]] = [
    (Ack("alice:7", 42), {"mtype": "ack", "msgId": "alice:7", "serverSeq": 42}),
    (Ack("alice:7"), {"mtype": "ack", "msgId": "alice:7"}),
    (Ack("alice:7", 42, late=True), {"mtype": "ack", "msgId": "alice:7", "serverSeq": 42, "late": True}),
    (
        Error.because(ErrorCode.BAD_OP, "no value", "alice:7"),
        {"mtype": "error", "msgId": "alice:7", "error": "bad-op: no value", "code": "bad-op"},
    ),
    (
        Error.of(ClientFault(ErrorCode.UNAVAILABLE, "wait")),
        {"mtype": "error", "msgId": "", "error": "unavailable: wait", "code": "unavailable", "retry": True},
    ),
    (
        Error.because(ErrorCode.FORBIDDEN, "no", about="room-reset"),
        {"mtype": "error", "msgId": "", "error": "forbidden: no", "code": "forbidden", "about": "room-reset"},
    ),
    (Broadcast(MESSAGE), {"mtype": "broadcast", "msg": COMMIT}),
    (Broadcast(MESSAGE, late=True), {"mtype": "broadcast", "msg": COMMIT, "late": True}),
    (
        SyncStatus("r1", Standing({"alice": 3}, 42, "ab12")),
        {
            "mtype": "sync-status",
            "requestId": "r1",
            "status": {"vectorClock": {"alice": 3}, "serverSeq": 42, "digest": "ab12"},
        },
    ),
    (RoomReset(), {"mtype": "room-reset"}),
    (
        State(document(), 42),
        {
            "mtype": "state",
            "snapshot": {"graph": document().graph, "vectorClock": {"alice": 3}, "lt": 7, "journalIndex": 0},
            "journal": [COMMIT],
            "serverSeq": 42,
        },
    ),
]


@pytest.mark.parametrize(("outbound", "wire"), OUTBOUND)
def test_outbound_messages_on_the_wire(outbound: Outbound, wire: dict[str, Any]) -> None:
    text, binary = encode(outbound, Framing.JSON), encode(outbound, Framing.MSGPACK)
    assert isinstance(text, str)
    assert isinstance(binary, bytes)
    assert decoded(text) == decoded(binary) == wire


def test_a_state_in_legacy_names() -> None:
    ropes = {"n": {"body": {"_tree": {}, "agentId": "", "clock": 0, "maxSeq": 0}}}
    wire = decoded(encode(State(document(text_ropes=ropes), 42), Framing.JSON, Naming.LEGACY))
    assert wire["snapshot"]["lamportTime"] == 7
    assert "lt" not in wire["snapshot"]
    assert wire["snapshot"]["textRopes"] == ropes
    assert wire["journal"] == [LEGACY_COMMIT]


# The published client


def read_by_the_published_client(frames: list[Frame]) -> list[Any]:
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("published_reader.py"))],
        input="".join(f"{frame.hex()}\n" for frame in frames if isinstance(frame, bytes)),
        env={**os.environ, "PYTHONPATH": str(published_directory()), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_the_published_client_reads_what_we_send() -> None:
    ops = [canonical_message({**COMMIT, "ops": [op]}).ops[0] for op in OPS]
    envelope = {"client": "alice", "clock": {"alice": 3}, "lt": 7, "ts": 1.5}
    messages = [
        Message(id=f"m{i}", ops=[op], auth=True, server_seq=i + 1, **envelope) for i, op in enumerate(ops)
    ]
    frames = [encode(Broadcast(message), Framing.MSGPACK) for message in messages]
    others = [
        encode(outbound, Framing.MSGPACK) for outbound, _ in OUTBOUND if not isinstance(outbound, Broadcast)
    ]
    *read, graph = read_by_the_published_client(frames + others)
    for message, wire in zip(messages, read, strict=False):
        fields = message_fields(message)
        del fields["serverSeq"]
        assert wire == {"mtype": "broadcast", "message": fields}
    assert [wire["mtype"] for wire in read[len(messages) :]] == [decoded(frame)["mtype"] for frame in others]
    assert graph.keys() == {"n"}


def test_the_published_client_reads_legacy_envelopes() -> None:
    [read, _] = read_by_the_published_client([encode(Broadcast(MESSAGE), Framing.MSGPACK, Naming.LEGACY)])
    assert (read["message"]["client"], read["message"]["lt"], read["message"]["ts"]) == ("alice", 7, 1.5)


def test_published_commits_are_read() -> None:
    vectors = Path(__file__).parents[1] / "crdt" / "vectors" / "sequential.jsonl"
    for line in vectors.read_text().splitlines()[:20]:
        for message in json.loads(line)["messages"]:
            inbound = decode_frame(packed({"mtype": "crdt", "msg": message}))
            assert isinstance(inbound, Crdt)
            assert msgspec.json.decode(encode(Broadcast(inbound.message), Framing.JSON))["msg"] == message


# Native clients: rules N2, N3, N4, N6 and N7


def as_sent(outbound: Any, framing: Framing, edition: Edition = Edition.NATIVE) -> Any:
    frame = encode(outbound, framing, Naming.COMPRESSED, edition)
    return json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)


AUTHORISED = Message(
    "ann:1", "ann", {"ann": 1}, 1, 1.5, [Op("meta.undo", "_meta", "_meta", target="bob:1")], True, 3
)
CUT = msgspec.structs.replace(cut_record("=cut/4", 2, 1.0), server_seq=4)


@pytest.mark.parametrize("framing", Framing)
@pytest.mark.parametrize("message", [AUTHORISED, CUT])
def test_native_clients_get_a_message_as_it_was_journalled(framing: Framing, message: Message) -> None:
    """N3; and F6: others never see `auth`."""
    native = as_sent(Broadcast(message), framing)
    assert msgspec.convert(native["msg"], Message) == message
    assert "auth" not in as_sent(Broadcast(message), framing, Edition.PUBLISHED)["msg"]


@pytest.mark.parametrize("framing", Framing)
def test_a_native_state_is_a_snapshot_and_raw_messages(framing: Framing) -> None:
    """N4."""
    document = NativeDocument(b"\x00\xff", [encode_commit(message, framing) for message in (AUTHORISED, CUT)])
    state = as_sent(State(document, 4), framing)
    assert set(state) == {"mtype", "native", "journal", "serverSeq"}
    assert as_sent(State(msgspec.structs.replace(document, at=CUT.id), 4), framing) == {**state, "at": CUT.id}
    assert state["native"] == ("AP8=" if framing is Framing.JSON else b"\x00\xff")
    assert msgspec.convert(state["journal"], list[Message]) == [AUTHORISED, CUT]


@pytest.mark.parametrize("framing", Framing)
@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_batch_is_whole_messages(framing: Framing, count: int) -> None:
    """N6."""
    frames = [encode(Ack(f"ann:{n}", n, auth=True), framing) for n in range(count)]
    inner = [{"mtype": "ack", "msgId": f"ann:{n}", "serverSeq": n, "auth": True} for n in range(count)]
    assert as_sent(Batch(frames), framing) == {"mtype": "batch", "messages": inner}


def test_a_welcome_says_where_one_is() -> None:
    """N2."""
    promise = Promise(True, "SQLite")
    welcome = Welcome(2, "d", 1, 7, False, [Feature.BATCH], ["view"], {"nodes_max": 5}, promise, ["ann:1"])
    assert as_sent(welcome, Framing.JSON) == {
        "mtype": "welcome",
        "version": 2,
        "document": "d",
        "epoch": 1,
        "serverSeq": 7,
        "resumed": False,
        "features": ["batch"],
        "rights": ["view"],
        "limits": {"nodes_max": 5},
        "durability": {"full": True, "detail": "SQLite"},
        "undoable": ["ann:1"],
    }


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 65_535, 65_536])
def test_a_batch_of_any_size_is_one_map_with_its_messages_in_order(count: int) -> None:
    """N6."""
    binary = encode(Batch([msgspec.msgpack.encode(n) for n in range(count)]), Framing.MSGPACK)
    text = encode(Batch([str(n) for n in range(count)]), Framing.JSON)
    wanted = {"mtype": "batch", "messages": list(range(count))}
    assert msgspec.msgpack.decode(binary) == msgspec.json.decode(text) == wanted
