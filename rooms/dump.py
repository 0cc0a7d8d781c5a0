"""What a dump of another vuer-rtc server holds: its messages and snapshots, in whatever shape they were stored.

How the Node server lays out its rows is not published; what is known is that they are MongoDB documents around messages
as they travel.  So a line may be, in JSON or MongoDB's Extended JSON:

    a message             `{id, client, clock, lt, ts, ops}`, by any of their names below
    a frame               `{mtype: crdt | broadcast, msg}`, `{mtype: state, snapshot, journal}`
    a journal batch       `{…, messages | operations | entries: [message, …]}`; an entry may be `{msg}` or JSON text;
                          any of it packed: MongoDB's binary, of JSON or msgpack, perhaps with gzip or zlib
    operation rows        `{msgId, sessionId, otype, key, path, value, vectorClock, lamportTime, timestamp}`, one an op;
                          by any of their names, too
    a snapshot            `{graph, vectorClock, lt, journalIndex, textRopes?}`, or a row that has one; likewise
"""

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from journal.error import TransferRefused
from journal.packed import GZIP_MAGIC

LIST_NAMES = ("messages", "operations", "entries", "journal")
DOCUMENT_NAMES = ("documentId", "roomId", "document", "room", "document_id", "room_id")
NUMBER_WRAPPERS = ("$numberInt", "$numberLong", "$numberDouble", "$numberDecimal")
ZLIB_MAGIC = b"\x78"
UNPACKED_BYTES_MAX = 1 << 28
"""A packed batch is larger than that in nobody's database."""
ROW_ID_NAMES = ("msgId", "messageId", "msg_id", "message_id")
CLOCK_NAMES = ("clock", "vectorClock", "vector_clock")
LT_NAMES = ("lt", "lamportTime", "lamport_time")
MESSAGE_NAMES = {
    "id": ("id", *ROW_ID_NAMES),
    "client": ("client", "sessionId", "session_id"),
    "clock": CLOCK_NAMES,
    "lt": LT_NAMES,
    "ts": ("ts", "timestamp"),
}
SNAPSHOT_NAMES = {
    "graph": ("graph",),
    "vectorClock": CLOCK_NAMES,
    "lt": LT_NAMES,
    "journalIndex": ("journalIndex", "journal_index"),
    "textRopes": ("textRopes", "text_ropes"),
}
"""By field, the names it may have, the first of which that there is counts."""

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message as it was stored."""

    line: int
    fields: Fields
    """Of a whole message, by the first of their names; of an operation row, as they are."""
    document: str | None


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """A whole state as it was stored."""

    line: int
    fields: Fields
    document: str | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is neither."""

    line: int
    detail: str
    document: str | None = None


Found = FoundMessage | FoundSnapshot | Unknown


def read_dump(lines: Iterator[tuple[int, bytes]]) -> Iterator[Found]:
    """Everything in a dump, in its order.  Memory: a line, and the rows of one message."""
    rows: list[FoundMessage] = []
    for line, raw in lines:
        for found in _read_line(line, raw):
            if isinstance(found, FoundMessage) and _row_id(found.fields) is not None:
                if rows and _row_id(rows[0].fields) != _row_id(found.fields):
                    yield _joined(rows)
                    rows = []
                rows.append(found)
                continue
            if rows:
                yield _joined(rows)
                rows = []
            yield found
    if rows:
        yield _joined(rows)


def _read_line(line: int, raw: bytes) -> Iterator[Found]:
    text = raw.strip().rstrip(b",").strip()
    if line == 1 and text.startswith(b"[") and not text.endswith(b"]"):
        text = text[1:].strip()  # `mongoexport --jsonArray`: one array over all lines
    elif text.endswith(b"]") and not text.startswith(b"["):
        text = text[:-1].strip()
    if not text:
        return
    try:
        value = plain_json(json.loads(text.decode()))
    except UnicodeDecodeError as error:
        yield Unknown(line, f"its encoding is not UTF-8: {error}")
        return
    except (ValueError, RecursionError) as error:
        yield Unknown(line, f"not JSON: {error}")
        return
    yield from _read_value(line, value, None)


def _read_value(line: int, value: Any, document: str | None) -> Iterator[Found]:
    if isinstance(value, str):
        try:
            value = plain_json(json.loads(value))
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, list):
        for member in value:
            yield from _read_value(line, member, document)
        return
    if not isinstance(value, dict):
        yield Unknown(line, "neither a message nor a snapshot", document)
        return
    yield from _read_fields(line, value, _document_of(value) or document)


def _document_of(fields: Fields) -> str | None:
    """The document that a row names; one that has a snapshot may be the document's own."""
    names = (*DOCUMENT_NAMES, "_id") if isinstance(fields.get("snapshot"), dict) else DOCUMENT_NAMES
    return next((fields[name] for name in names if isinstance(fields.get(name), str)), None)


def _read_fields(line: int, fields: Fields, document: str | None) -> Iterator[Found]:
    lists = [fields[name] for name in LIST_NAMES if isinstance(fields.get(name), list)]
    if isinstance(fields.get("msg"), dict | str):
        yield from _read_value(line, fields["msg"], document)
    elif isinstance(fields.get("ops"), list):
        yield FoundMessage(line, _named(fields, MESSAGE_NAMES) | {"ops": fields["ops"]}, document)
    elif _row_id(fields) is not None:
        yield FoundMessage(line, fields, document)
    elif isinstance(fields.get("graph"), dict):
        yield FoundSnapshot(line, _named(fields, SNAPSHOT_NAMES), document)
    elif isinstance(fields.get("snapshot"), dict) or lists:
        if isinstance(fields.get("snapshot"), dict) and fields["snapshot"]:
            yield from _read_fields(line, fields["snapshot"], document)
        for members in lists:
            yield from _read_value(line, members, document)
    else:
        yield Unknown(line, "neither a message nor a snapshot", document)


def _named(fields: Fields, names: dict[str, tuple[str, ...]]) -> Fields:
    return {
        field: found[0]
        for field, spellings in names.items()
        if (found := [fields[name] for name in spellings if fields.get(name) is not None])
    }


def plain_json(value: Any) -> Any:
    """The value without MongoDB's wrappers: ids and dates as text and seconds, numbers as numbers."""
    if isinstance(value, list):
        return [plain_json(member) for member in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(name, inner)] = value.items()
        if name == "$oid":
            return inner
        if name == "$date":
            return plain_json(inner)
        if name == "$binary":
            return unpacked(inner)
        if name in NUMBER_WRAPPERS and isinstance(inner, str):
            return _number(inner, name)
    return {name: plain_json(member) for name, member in value.items()}


def unpacked(binary: Any) -> Any:
    """What is in a packed field: JSON or msgpack, perhaps as gzip or zlib has it; None for anything else."""
    try:
        data = base64.b64decode(binary["base64"] if isinstance(binary, dict) else binary)
        if data[:2] == GZIP_MAGIC or data[:1] == ZLIB_MAGIC:
            inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            data = inflater.decompress(data, UNPACKED_BYTES_MAX)
        return plain_json(json.loads(data) if data[:1] in (b"{", b"[") else msgspec.msgpack.decode(data))
    except (ValueError, TypeError, KeyError, zlib.error, RecursionError, msgspec.DecodeError):
        return None


def _number(text: str, wrapper: str) -> int | float:
    number = float(text)
    if wrapper in ("$numberInt", "$numberLong"):
        return int(text)
    return int(number) if wrapper == "$numberDouble" and text.lstrip("-").isdigit() else number


# Operation rows


def _row_id(fields: Fields) -> str | None:
    """Id of the message that an operation row is of; None for what is none."""
    if "ops" in fields or not isinstance(fields.get("otype", fields.get("ot")), str):
        return None
    return next((fields[name] for name in ROW_ID_NAMES if isinstance(fields.get(name), str)), None)


def _joined(rows: list[FoundMessage]) -> FoundMessage:
    """The message of neighbouring rows."""
    first = rows[0].fields
    envelope = _named(first, MESSAGE_NAMES) | {"id": _row_id(first), "ops": [row.fields for row in rows]}
    return FoundMessage(rows[0].line, envelope, rows[0].document)


def one_document(found: Iterator[Found], wanted: str | None) -> Iterator[Found]:
    """What is of the document `wanted`, or of the only one there is; what names none is of the only one that is named.

    Raises: TransferRefused `several-documents`; `no-such-source` when nothing names `wanted`.
    """
    only, names_wanted = wanted, False
    unnamed_line = other_line = 0
    for each in found:
        if each.document is None:
            unnamed_line = unnamed_line or (0 if isinstance(each, Unknown) else each.line)
        elif only is None or each.document == only:
            only, names_wanted = each.document, True
        elif wanted is None:
            detail = f"this is of {each.document!r}, what came before of {only!r}; say which with --source"
            raise TransferRefused("several-documents", each.line, detail)
        else:
            other_line = other_line or each.line
        if unnamed_line and other_line:
            detail = f"it does not say of which document it is, and line {other_line} is of another one"
            raise TransferRefused("several-documents", unnamed_line, detail)
        if each.document in (None, only):
            yield each
    if wanted is not None and not names_wanted:
        raise TransferRefused("no-such-source", 0, f"nothing in it names the document {wanted!r}")
