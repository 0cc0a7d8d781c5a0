"""The session, rules S1 to S7, F5, L3 to L5 and E1 to E3."""

import json
from typing import Any, NoReturn

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuer_rtc.protocol.codes import CloseCode, ErrorCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import (
    Close,
    Effect,
    Heartbeat,
    Reply,
    Reset,
    Right,
    Rights,
    SendMissing,
    SendState,
    SendStatus,
    ShowPresence,
    Submit,
    SyncSession,
)
from vuer_rtc.protocol.wire import Edition, Error, Feature, Frame, Framing, Naming

VIEWER: Rights = frozenset({Right.VIEW})
EDITOR: Rights = VIEWER | {Right.EDIT}
MODERATOR: Rights = EDITOR | {Right.MODERATE}

UNDO = {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "bob:3"}


def session(rights: Rights = EDITOR, **limits: Any) -> SyncSession:
    return SyncSession("alice", rights, Limits(**limits))


def commit(*ops: dict[str, Any], client: str = "alice") -> str:
    envelope = {"id": f"{client}:7", "client": client, "clock": {client: 3}, "lt": 7, "ts": 1.5}
    ops = ops or ({"ot": "number.set", "key": "n", "path": "x", "value": 1},)
    return json.dumps({"mtype": "crdt", "msg": {**envelope, "ops": ops}})


def ask(mtype: str, **fields: Any) -> str:
    return json.dumps({"mtype": mtype, **fields})


def assert_refused(effects: list[Effect], code: ErrorCode, message_id: str = "") -> None:
    assert len(effects) == 1
    assert_error(effects[0], code, message_id)


def assert_error(effect: Effect, code: ErrorCode, message_id: str = "") -> None:
    assert isinstance(effect, Reply)
    error = effect.outbound
    assert isinstance(error, Error)
    assert (error.code, error.msg_id) == (code, message_id)
    assert error.error.startswith(f"{code}: ")
    assert error.retry == code.is_retryable


# What is asked for


def test_a_commit_is_submitted_in_canonical_form() -> None:
    [effect] = session().receive(commit(), now=0)
    assert isinstance(effect, Submit)
    assert (effect.message.id, effect.message.auth, effect.message.server_seq) == ("alice:7", False, 0)


def test_sync_asks_for_what_the_clock_lacks() -> None:
    """S3."""
    assert session(VIEWER).receive(ask("sync", vectorClock={"bob": 2}), 0) == [SendMissing({"bob": 2})]
    for clock in ({}, {"vectorClock": {}}, {"vectorClock": None}):
        assert session(VIEWER).receive(ask("sync", **clock), 0) == [SendState()]


def test_sync_check_asks_for_the_status() -> None:
    """S4."""
    assert session(VIEWER).receive(ask("sync-check", requestId="r1"), 0) == [SendStatus("r1")]


def test_heartbeats_come_in_ones_own_name() -> None:
    """S5."""
    for name in ({}, {"client": "alice"}, {"sessionId": "alice"}):
        assert session().receive(ask("heartbeat", vectorClock={"alice": 3}, **name), 0) == [
            Heartbeat({"alice": 3})
        ]
    assert_refused(session().receive(ask("heartbeat", client="bob"), 0), ErrorCode.FOREIGN_CLIENT)


# What is refused


def test_a_message_in_another_clients_name_is_refused() -> None:
    """S1."""
    assert_refused(session().receive(commit(client="bob"), 0), ErrorCode.FOREIGN_CLIENT, "bob:7")


def test_a_viewer_changes_nothing() -> None:
    """S2."""
    assert_refused(session(VIEWER).receive(commit(), 0), ErrorCode.FORBIDDEN, "alice:7")
    assert_refused(session(VIEWER).receive(commit(UNDO), 0), ErrorCode.FORBIDDEN, "alice:7")


@pytest.mark.parametrize("frame", [commit(), ask("sync"), ask("sync-check", requestId="r"), ask("heartbeat")])
def test_without_a_right_nothing_is_answered(frame: str) -> None:
    """S2."""
    [effect] = session(frozenset()).receive(frame, 0)
    assert_error(effect, ErrorCode.FORBIDDEN, "alice:7" if "crdt" in frame else "")


def test_rights_may_change_while_the_connection_lives() -> None:
    """S2."""
    live = session(EDITOR)
    assert isinstance(live.receive(commit(), 0)[0], Submit)
    live.rights = VIEWER
    assert_refused(live.receive(commit(), 0), ErrorCode.FORBIDDEN, "alice:7")


def test_a_message_over_a_limit_is_refused() -> None:
    """L1."""
    assert_refused(session(id_chars_max=3).receive(commit(), 0), ErrorCode.OVER_LIMIT, "alice:7")


def test_only_moderators_speak_with_authority() -> None:
    """S6: whatever the message says."""
    claimed = commit({**UNDO, "auth": True}).replace('"lt"', '"auth": true, "lt"')
    for rights, frame, auth in (
        (EDITOR, claimed, False),
        (MODERATOR, claimed, True),
        (MODERATOR, commit(UNDO), True),
        (MODERATOR, commit(), False),
    ):
        [effect] = session(rights).receive(frame, 0)
        assert isinstance(effect, Submit)
        assert effect.message.auth is auth


# Framing


def test_without_a_wish_the_first_frame_decides_the_framing() -> None:
    """F5."""
    live = session()
    assert live.framing is Framing.MSGPACK
    live.receive("no message at all", 0)
    assert live.framing is Framing.JSON
    assert live.receive(msgpack.packb({"mtype": "heartbeat"}), 0) == [Heartbeat({})]
    assert live.framing is Framing.JSON


def test_a_wished_framing_stays() -> None:
    """F5."""
    live = SyncSession("alice", EDITOR, Limits(), Framing.MSGPACK)
    assert live.receive(ask("heartbeat"), 0) == [Heartbeat({})]
    assert live.framing is Framing.MSGPACK


# Rates and faults


def test_too_many_messages_are_refused_until_a_moment_later() -> None:
    """L3."""
    live = session(message_burst_max=2, messages_per_second_max=1)
    assert [type(live.receive(commit(), 5)[0]) for _ in range(2)] == [Submit, Submit]
    assert_refused(live.receive(commit(), 5.5), ErrorCode.RATE_LIMITED, "alice:7")
    assert isinstance(live.receive(commit(), 6)[0], Submit)


def test_reads_have_a_rate_of_their_own() -> None:
    """L4."""
    live = session(read_burst_max=1, reads_per_second_max=1)
    assert live.receive(ask("sync"), 0) == [SendState()]
    assert_refused(live.receive(ask("sync-check", requestId="r"), 0.5), ErrorCode.RATE_LIMITED)
    assert isinstance(live.receive(commit(), 0.5)[0], Submit)
    assert live.receive(ask("sync-check", requestId="r"), 1) == [SendStatus("r")]


def unread(*args: object) -> NoReturn:
    raise AssertionError("the frame is looked into")


@pytest.mark.parametrize("is_text", [True, False])
def test_l8_who_has_no_bytes_left_is_refused_unread_but_for_the_id(
    monkeypatch: pytest.MonkeyPatch, is_text: bool
) -> None:
    """L8, F3."""
    live = session(byte_burst_max=300, bytes_per_second_max=100)
    big = {"mtype": "crdt", "x": "x" * 500, "msg": {**json.loads(commit())["msg"], "id": "alice:8"}}
    frame = json.dumps(big) if is_text else msgpack.packb(big)
    assert isinstance(live.receive(frame, 0)[0], Submit)
    with monkeypatch.context() as patch:
        patch.setattr("vuer_rtc.protocol.session.decode_fields", unread)
        assert_refused(live.receive(frame, 0), ErrorCode.RATE_LIMITED, "alice:8")
        assert_refused(live.receive(json.dumps(big["msg"]), 0), ErrorCode.RATE_LIMITED, "alice:8")
        for nothing in (b"\xc1", "[" * 99_999, "{", '{"id": 1}', b"\x81" * 99_999, "\ud800", ask("sync")):
            assert_refused(live.receive(nothing, 0), ErrorCode.RATE_LIMITED)
    assert isinstance(live.receive(frame, 9)[0], Submit)


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        (ask("presence", data={}), "presence"),
        (ask("sync-check"), "sync-check"),
        (ask("heartbeat", client="bob"), "heartbeat"),
        (msgpack.packb({"requestId": 1, "mtype": "sync-check"}), "sync-check"),
        (ask("room-reset", epoch=0), "room-reset"),
        (ask("crdt", msg={"ops": []}), "crdt"),
        (commit(client="bob"), None),
        (ask("DROP TABLE"), None),
        ('{"mtype": "sync"', None),
        ("[]", None),
    ],
)
def test_e2_an_error_without_an_id_says_what_kind_of_message_it_is_about(
    frame: Frame, about: str | None
) -> None:
    """E2, L8: also when the message is refused unread."""
    live = session()
    read = live.receive(frame, 0)
    live.charge(1e9)
    for effect in (*read, *live.receive(frame, 0)):
        assert isinstance(effect, Reply)
        assert isinstance(effect.outbound, Error)
        assert effect.outbound.about == about
    assert effect.outbound.code is ErrorCode.RATE_LIMITED


def test_l8_a_robot_streams_and_a_flood_does_not() -> None:
    """L8."""
    robot, flooder, hollow = (session(byte_burst_max=3_000_000) for _ in range(3))
    points = commit({"ot": "array.set", "key": "n", "path": "x", "value": [[1.5, 2.25, 3.125]] * 7_000})
    lists = commit({"ot": "array.set", "key": "n", "path": "x", "value": [[]] * 80_000})
    streamed = [robot.receive(msgpack.packb(json.loads(points)), number / 30) for number in range(30)]
    assert all(isinstance(effect, Submit) for [effect] in streamed)
    flooded = [type(flooder.receive(commit() + " " * 1_000_000, number / 100)[0]) for number in range(30)]
    assert 3 <= flooded.count(Submit) <= 8
    hollowed = [type(hollow.receive(lists, number / 100)[0]) for number in range(30)]
    assert 1 <= hollowed.count(Submit) <= 3


def test_l9_who_keeps_the_server_busy_waits_four_times_as_long() -> None:
    """L9."""
    live = session(byte_burst_max=1_000, bytes_per_second_max=1_000)
    live.charge(1.0)
    assert_refused(live.receive(commit(), 0), ErrorCode.RATE_LIMITED, "alice:7")
    assert_refused(live.receive(commit(), 2.9), ErrorCode.RATE_LIMITED, "alice:7")
    assert isinstance(live.receive(commit(), 3.1)[0], Submit)


def test_what_is_too_much_at_first_sight_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """L1, L8."""
    monkeypatch.setattr("vuer_rtc.protocol.session.inbound_of", unread)
    heavy = commit({"ot": "array.set", "key": "n", "path": "x", "value": [[]] * 250_000})
    assert_refused(session().receive(heavy, 0), ErrorCode.OVER_LIMIT, "alice:7")
    shown = present_session(presence_bytes_max=50)
    assert_refused(shown.receive(ask("presence", data={"a": [[]] * 800}), 0), ErrorCode.OVER_LIMIT)


def test_a_clock_of_who_only_looks_may_be_as_long_as_a_document_has_clients() -> None:
    """S3, S5: they are not kept, and commits alone have `clock_entries_max`."""
    live, clock = session(VIEWER, clock_entries_max=3), {f"c{number}": number for number in range(99)}
    assert live.receive(ask("sync", vectorClock=clock), 0) == [SendMissing(clock)]
    assert live.receive(ask("heartbeat", vectorClock=clock), 0) == [Heartbeat(clock)]
    for odd in ({"x": -1}, {"x": 1.5}, {"x": True}, {"x": 2**53}, {"x": None}):
        frame = ask("heartbeat", vectorClock={**clock, **odd})
        assert_refused(live.receive(frame, 0), ErrorCode.BAD_MESSAGE)
    for name, code in (("__proto__", ErrorCode.RESERVED_PATH), ("\0", ErrorCode.BAD_MESSAGE)):
        assert_refused(live.receive(ask("heartbeat", vectorClock={**clock, name: 1}), 0), code)


@pytest.mark.parametrize(("frame", "code"), [("{", ErrorCode.BAD_FRAME), (b"\x80", ErrorCode.UNKNOWN_MTYPE)])
def test_who_goes_on_sending_no_messages_is_closed(frame: Frame, code: ErrorCode) -> None:
    """L5."""
    live = session(fault_burst_max=2, faults_per_second_max=1)
    assert_refused(live.receive(frame, 0), code)
    assert_refused(live.receive(frame, 0), code)
    assert_refused(live.receive(frame, 1), code)
    refusal, close = live.receive(frame, 1)
    assert_error(refusal, code)
    assert close == Close(CloseCode.PROTOCOL)
    assert live.is_closed


def test_who_goes_on_sending_too_fast_is_closed() -> None:
    """L5."""
    live = session(message_burst_max=1, messages_per_second_max=1, fault_burst_max=1)
    live.receive(commit(), 0)
    assert_refused(live.receive(commit(), 0), ErrorCode.RATE_LIMITED, "alice:7")
    refusal, close = live.receive(commit(), 0)
    assert_error(refusal, ErrorCode.RATE_LIMITED, "alice:7")
    assert close == Close(CloseCode.RATE)


def test_refused_messages_alone_close_nothing() -> None:
    """L5: an editor with a fault in one tool keeps its connection."""
    live = session(fault_burst_max=0, faults_per_second_max=0)
    for _ in range(50):
        assert_refused(live.receive(commit(client="bob"), 0), ErrorCode.FOREIGN_CLIENT, "bob:7")


@pytest.mark.parametrize("frame", ["x" * 101, b"x" * 101, "é" * 51, "\ud800" * 34])
def test_a_frame_over_the_limit_closes(frame: Frame) -> None:
    """L6."""
    live = session(frame_bytes_max=100)
    assert live.receive(frame, 0) == [Close(CloseCode.TOO_BIG)]
    assert live.is_closed


@pytest.mark.parametrize("frame", ["x" * 100, b"x" * 100, "é" * 50])
def test_a_frame_at_the_limit_is_read(frame: Frame) -> None:
    """L6: sizes are bytes."""
    assert_refused(session(frame_bytes_max=100).receive(frame, 0), ErrorCode.BAD_FRAME)


def test_nothing_is_taken_once_the_session_is_closed() -> None:
    """S7."""
    live = session(frame_bytes_max=200)
    live.receive("x" * 201, 0)
    assert live.receive(ask("heartbeat"), 0) == []


@given(
    st.lists(
        st.binary() | st.text(st.characters(codec=None)) | st.sampled_from([commit(), ask("sync"), "x" * 400])
    )
)
def test_any_frames_at_all_have_effects_and_raise_nothing(frames: list[Frame]) -> None:
    live = session(fault_burst_max=3, frame_bytes_max=300)
    effects = [effect for now, frame in enumerate(frames) for effect in live.receive(frame, now / 100)]
    closes = [index for index, effect in enumerate(effects) if isinstance(effect, Close)]
    assert closes == ([len(effects) - 1] if live.is_closed else [])


def present_session(**limits: Any) -> SyncSession:
    features = frozenset({Feature.PRESENCE})
    return SyncSession(
        "alice", VIEWER, Limits(**limits), Framing.JSON, Naming.COMPRESSED, Edition.NATIVE, features
    )


def test_viewers_show_where_they_are_and_that_they_are_gone() -> None:
    """W2."""
    shown = present_session()
    data = {"cursor": [0, 1.5, 2], "selection": ["cube"]}
    assert shown.receive(ask("presence", data=data), 0) == [ShowPresence(data)]
    assert shown.receive(ask("presence", data=None), 0) == [ShowPresence(None)]
    assert shown.receive(ask("presence"), 0) == [ShowPresence(None)]


def test_presence_is_plain_json_in_a_map() -> None:
    """W2, C9 to C11."""
    shown = present_session()
    assert_refused(shown.receive(ask("presence", data=[1]), 0), ErrorCode.BAD_MESSAGE)
    assert_refused(shown.receive(ask("presence", data={"a": "\0"}), 0), ErrorCode.BAD_MESSAGE)
    assert_refused(shown.receive(ask("presence", data={"__proto__": 1}), 0), ErrorCode.RESERVED_PATH)
    nan = msgpack.packb({"mtype": "presence", "data": {"a": float("nan")}})
    assert_refused(shown.receive(nan, 0), ErrorCode.NOT_FINITE)


def test_who_did_not_ask_for_presence_has_none() -> None:
    """W1."""
    assert_refused(session().receive(ask("presence", data={}), 0), ErrorCode.UNKNOWN_MTYPE)


def test_presence_has_bounds_and_a_rate_of_its_own() -> None:
    """W7."""
    shown = present_session(presence_bytes_max=50, value_depth_max=3, message_burst_max=1)
    assert_refused(shown.receive(ask("presence", data={"a": "x" * 60}), 0), ErrorCode.OVER_LIMIT)
    assert_refused(shown.receive(ask("presence", data={"a": [[[1]]]}), 0), ErrorCode.OVER_LIMIT)
    quick = present_session(presence_burst_max=3, presence_per_second_max=1, fault_burst_max=2)
    for _ in range(3):
        assert quick.receive(ask("presence", data={}), 0) == [ShowPresence({})]
    assert quick.receive(ask("heartbeat"), 0) == [Heartbeat({})]
    for _ in range(2):
        assert_refused(quick.receive(ask("presence", data={}), 0), ErrorCode.RATE_LIMITED)
    assert quick.receive(ask("presence", data={}), 0)[-1] == Close(CloseCode.RATE)


def test_a_moderator_s_native_client_resets_the_document_and_nobody_else_s() -> None:
    """R6."""
    native = SyncSession("alice", MODERATOR, Limits(), edition=Edition.NATIVE)
    assert native.receive(ask("room-reset", epoch=2), 0) == [Reset(2)]
    for epoch in (None, -1, 1.5, True, "1"):
        assert_refused(native.receive(ask("room-reset", epoch=epoch), 0), ErrorCode.BAD_MESSAGE)
    native.rights = EDITOR
    assert_refused(native.receive(ask("room-reset", epoch=2), 0), ErrorCode.FORBIDDEN)
    assert_refused(session(MODERATOR).receive(ask("room-reset", epoch=2), 0), ErrorCode.UNKNOWN_MTYPE)
