"""Frames to messages and back; any bytes at all give a message or a `ClientFault`."""

import json
from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec

from vuer_rtc.crdt.canonical import canonical_clock, canonical_message
from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.plain import InvalidMessage, plain, plain_text, shown
from vuer_rtc.crdt.view import PublishedState

from .codes import ClientFault, ErrorCode
from .wire import (
    Batch,
    Broadcast,
    Crdt,
    Edition,
    Fields,
    Frame,
    Framing,
    Heartbeat,
    Inbound,
    Naming,
    NativeDocument,
    Outbound,
    Presence,
    Presences,
    Present,
    RoomReset,
    State,
    Sync,
    SyncCheck,
)

_LEGACY_MESSAGE = {"client": "sessionId", "lt": "lamportTime", "ts": "timestamp"}
_LEGACY_OP = {"ot": "otype"}

_json_decoder = msgspec.json.Decoder(Fields)
_msgpack_decoder = msgspec.msgpack.Decoder(Fields)
_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()


class _Named(msgspec.Struct):
    id: str = ""


class _Head(_Named):
    """All that is read of a frame that is refused unread; the rest is skipped, which costs next to nothing."""

    msg: _Named | None = None


class _Kind(msgspec.Struct):
    mtype: Literal["crdt", "sync", "sync-check", "heartbeat", "presence", "room-reset"] | None = None


_json_head_decoder = msgspec.json.Decoder(_Head)
_msgpack_head_decoder = msgspec.msgpack.Decoder(_Head)
_json_kind_decoder = msgspec.json.Decoder(_Kind)
_msgpack_kind_decoder = msgspec.msgpack.Decoder(_Kind)


def read_message_id(frame: Frame) -> str | None:
    """The id of the commit in a frame, as far as it can be read without the rest."""
    try:
        if isinstance(frame, str):
            head = _json_head_decoder.decode(frame)
        else:
            head = _msgpack_head_decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return (head.msg or head).id or None


def read_mtype(frame: Frame) -> str | None:
    """The `mtype` of a frame, likewise; None when clients send no such thing."""
    try:
        if isinstance(frame, str):
            return _json_kind_decoder.decode(frame).mtype
        return _msgpack_kind_decoder.decode(frame).mtype
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def inbound_of(fields: Fields) -> Inbound:
    """The message that the fields of a frame are; without `mtype` a bare commit.

    Raises: ClientFault, with the message's id as far as it can be read.  Source: rules F2 to F4.
    """
    mtype = fields.get("mtype", "crdt" if "ops" in fields else None)
    try:
        match mtype:
            case "crdt":
                return Crdt(_commit(fields.get("msg") if "mtype" in fields else fields))
            case "sync":
                return Sync(_clock(fields))
            case "sync-check":
                return SyncCheck(_string(fields, "requestId"))
            case "heartbeat":
                return Heartbeat(_clock(fields), _author(fields))
            case "presence":
                return Presence(_presence_data(fields))
            case "room-reset":
                return RoomReset(_epoch(fields))
    except InvalidMessage as refusal:
        raise ClientFault(ErrorCode(refusal.code), refusal.detail, refusal.message_id) from None
    raise ClientFault(ErrorCode.UNKNOWN_MTYPE, f"clients do not send {shown(mtype)}")


def decode_fields(frame: Frame) -> Fields:
    """What a frame holds, as it is written: text is JSON, bytes are msgpack.

    Raises: ClientFault `bad-frame`, with the message's id as far as it can be read.  Source: rules F1, F3.
    """
    try:
        return _json_decoder.decode(frame) if isinstance(frame, str) else _msgpack_decoder.decode(frame)
    except RecursionError:
        detail = "nested too deeply"
    except UnicodeError:
        detail = "a string is not Unicode"
    except msgspec.DecodeError as error:
        detail = str(error)
    message_id = _id_in_loose_json(frame) if isinstance(frame, str) else None
    if message_id is not None:
        detail = "a number is out of range, or a string holds a lone surrogate"
    raise ClientFault(ErrorCode.BAD_FRAME, detail, message_id or read_message_id(frame))


def _id_in_loose_json(frame: str) -> str | None:
    """The id of a commit that Python's own reader takes; None: there is none."""
    try:
        fields = json.loads(frame)
        message_id = (fields.get("msg") or fields).get("id")
        return plain_text(message_id) if type(message_id) is str else None
    except (ValueError, AttributeError, RecursionError):
        return None


def _commit(raw: Any) -> Message:
    if type(raw) is not dict:
        raise InvalidMessage("bad-message", "`msg` is not a map")
    return canonical_message(raw)


def _clock(fields: Fields) -> dict[str, int]:
    clock = fields.get("vectorClock")
    return {} if clock is None else canonical_clock(clock)


def _presence_data(fields: Fields) -> Fields | None:
    data = fields.get("data")
    if data is not None and type(data) is not dict:
        raise InvalidMessage("bad-message", f"`data` is {shown(data)}, neither a map nor null")
    return None if data is None else plain(data)


def _epoch(fields: Fields) -> int:
    epoch = fields.get("epoch")
    if type(epoch) is not int or epoch < 0:
        raise InvalidMessage("bad-message", f"`epoch` is {shown(epoch)}, not a number from 0")
    return epoch


def _author(fields: Fields) -> str | None:
    for name in ("client", "sessionId"):
        if fields.get(name) is not None:
            return _string(fields, name)
    return None


def _string(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if type(value) is not str:
        raise InvalidMessage("bad-message", f"`{name}` is {shown(value)}, not a string")
    return plain_text(value)


def encode(
    outbound: Outbound,
    framing: Framing,
    naming: Naming = Naming.COMPRESSED,
    edition: Edition = Edition.PUBLISHED,
) -> Frame:
    """One frame.  Costs as much as the message is large: encode once for all who share a dialect.

    Source: rules F5, F6, N3.
    """
    if isinstance(outbound, Batch):
        return _batch(outbound.frames, framing)
    wire = _wire(outbound, naming, edition)
    if framing is Framing.JSON:
        return _json_encoder.encode(wire).decode()
    return _msgpack_encoder.encode(wire)


def _batch(frames: Sequence[Frame], framing: Framing) -> Frame:
    """Put together by hand, in a fifth of the time: every author of a commit gets a batch of its own."""
    if framing is Framing.JSON:
        return f'{{"mtype":"batch","messages":[{",".join(cast(Sequence[str], frames))}]}}'
    size = _msgpack_encoder.encode([None] * len(frames))[: -len(frames) or None]
    return b"".join([b"\x82\xa5mtype\xa5batch\xa8messages", size, *cast(Sequence[bytes], frames)])


def encode_commit(message: Message, framing: Framing, naming: Naming = Naming.COMPRESSED) -> bytes:
    """One message of a `NativeDocument`."""
    form = _commit_form(message, naming, Edition.NATIVE)
    return (_json_encoder if framing is Framing.JSON else _msgpack_encoder).encode(form)


def encode_present(present: Present, framing: Framing) -> bytes:
    """One entry of a `Presences`: encoded once, whoever it is sent to and with which others."""
    fields = {"client": present.client, "user": present.user, "data": present.data}
    if present.user is None:
        del fields["user"]
    return (_json_encoder if framing is Framing.JSON else _msgpack_encoder).encode(fields)


def _wire(outbound: Outbound, naming: Naming, edition: Edition) -> Any:
    match outbound:
        case Broadcast(message, late):
            broadcast: Fields = {"mtype": "broadcast", "msg": _commit_form(message, naming, edition)}
            return {**broadcast, "late": True} if late else broadcast
        case Presences(entries):
            return {"mtype": "presence", "clients": [msgspec.Raw(entry) for entry in entries]}
        case State(NativeDocument(snapshot, retained, at), server_seq):
            raw = [msgspec.Raw(message) for message in retained]
            state: Fields = {"mtype": "state", "native": snapshot, "journal": raw, "serverSeq": server_seq}
            return {**state, "at": at} if at is not None else state
        case State(PublishedState() as document, server_seq):
            journal = [_commit_form(message, naming) for message in document.journal]
            published = _snapshot_fields(document, naming)
            return {"mtype": "state", "snapshot": published, "journal": journal, "serverSeq": server_seq}
    return outbound


def _commit_form(message: Message, naming: Naming, edition: Edition = Edition.PUBLISHED) -> Message | Fields:
    """What is encoded as `message_fields` is; in compressed names the message itself, in a fifth of the time."""
    if naming is Naming.LEGACY:
        return message_fields(message, naming, edition)
    return (
        msgspec.structs.replace(message, auth=False)
        if message.auth and edition is Edition.PUBLISHED
        else message
    )


def message_fields(
    message: Message, naming: Naming = Naming.COMPRESSED, edition: Edition = Edition.PUBLISHED
) -> Fields:
    """A message as it travels: no empty fields, every operation with its `key` and `path`; `auth` for native
    clients only."""
    fields: Fields = msgspec.to_builtins(message)
    if edition is Edition.PUBLISHED:
        fields.pop("auth", None)
    if naming is Naming.LEGACY:
        fields = _renamed(fields, _LEGACY_MESSAGE)
        fields["ops"] = [_renamed(op, _LEGACY_OP) for op in fields["ops"]]
    return fields


def _snapshot_fields(document: PublishedState, naming: Naming) -> Fields:
    fields: Fields = {
        "graph": document.graph,
        "vectorClock": document.vector_clock,
        "lamportTime" if naming is Naming.LEGACY else "lt": document.lt,
        "journalIndex": document.journal_index,
    }
    return {**fields, "textRopes": document.text_ropes} if document.text_ropes else fields


def _renamed(fields: Fields, names: dict[str, str]) -> Fields:
    return {names.get(name, name): value for name, value in fields.items()}
