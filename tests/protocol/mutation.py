"""Frames that are almost right: valid ones in both framings and namings, changed where it may hurt."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tests.crdt.history import CLIENTS, Writer
from vuer_rtc.crdt.dtype import META_OPS, PROPERTY_OPS, TEXT_OPS
from vuer_rtc.protocol.codec import message_fields
from vuer_rtc.protocol.wire import Frame, Naming

Fields = dict[str, Any]
OPS = sorted(
    {*PROPERTY_OPS} | TEXT_OPS | META_OPS | {"node.insert", "node.upsert", "node.move", "node.remove"}
)
VALID = 0.4
"""Share of frames that stay as they are: without them the room would hardly ever have anything to lose."""


def nested(levels: int, *, is_list: bool) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if is_list else {"k": value}
    return value


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.0, -0.0, 0.1, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    2**31, 2**53 - 1, 2**53, -(2**53), 2**63, 2**64 - 1, 2**64, -(2**63), 10**30,
    "", ".", "a", "al", "bo", "al:1", "bo:2", "=", "=server", "=al:1/0:0", "al:0", "al:-1", "al:99999999999999999999",
    "x" * 129, "x" * 257, "x" * 5000, "\x00", "\ud800", "\udfff\ud800", "é", "😀", "\u2028", "1e5", "NaN",
    "__proto__", "constructor", "children", "key", "_crdt", "_textCrdt.s", "_meta", "name", "tag",
    "#ff0000", "#gggggg", "XYZ", "ZZZ", "CREATE", "number.", ".set", "number.set.set",
    [], {}, [[]], [None], [1, 2, 3], [1, 2, 3, 4], [1, 2], ["a", "b"], [float("nan")] * 3, [["al:0", 1]],
    [["al:0", 2**53]], [["al:0", -1]], [[None, 1]], ["al:0", "x"], [None, "x" * 100], list(range(300)), [{}] * 50,
    {"key": "a"}, {"key": "a", "children": ["b"]}, {"nodeKey": "a", "newParent": "a"},
    {"nodeKey": "a", "newParent": "b"},
    {"al": 1}, {"al": 10**6}, {"": 1}, {"a": {"b": {"c": {}}}}, {"__proto__": {"x": 1}}, {"k" * 300: 1},
    nested(31, is_list=True), nested(33, is_list=False), nested(127, is_list=False), nested(140, is_list=True),
    nested(300, is_list=False), b"", b"\xff\xfe", b"\x00" * 100,
)  # fmt: skip


class FrameWriter:
    """Frames of one lifetime of a room, and the client that sends each."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.writer = Writer(rng)
        self.sent: list[tuple[str, Frame]] = []

    def frame(self) -> tuple[str, Frame]:
        """(client, frame)."""
        rng = self.rng
        luck = rng.random()
        if luck < 0.03 and self.sent:
            made = rng.choice(self.sent)
        elif luck < 0.07:
            made = rng.choice(CLIENTS), encoded(self.question(), rng)
        else:
            message = self.writer.message()
            fields = message_fields(
                message, rng.choice((Naming.COMPRESSED, Naming.COMPRESSED, Naming.LEGACY))
            )
            wire = {"mtype": "crdt", "msg": fields} if rng.random() < 0.8 else fields
            made = message.client, self.sealed(wire)
        self.sent = [*self.sent[-20:], made]
        return made

    def question(self) -> Fields:
        rng = self.rng
        wire: Fields = rng.choice((
            {"mtype": "sync", "vectorClock": {"al": rng.randint(0, 9)}, "filter": b"", "count": 0},
            {"mtype": "sync"},
            {"mtype": "sync-check", "requestId": "r"},
            {"mtype": "heartbeat", "client": rng.choice(CLIENTS), "vectorClock": {"al": 1}},
            {"mtype": rng.choice(("state", "ack", "broadcast", "welcome", "room-reset", "batch", "presence"))},
        ))  # fmt: skip
        wire = dict(wire)
        if rng.random() < 0.3:
            mutate(wire, rng)
        return wire

    def sealed(self, wire: Fields) -> Frame:
        rng = self.rng
        if rng.random() < VALID:
            return encoded(wire, rng)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            mutate(wire, rng)
        frame = encoded(wire, rng)
        if rng.random() < 0.15:
            frame = damaged(frame, rng)
        if rng.random() < 0.02:
            frame = (
                frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame.decode("latin-1")
            )
        return frame


def encoded(wire: Any, rng: random.Random) -> Frame:
    """In either framing; in JSON when msgpack has no such value."""
    if rng.random() < 0.5:
        try:
            return msgspec.msgpack.encode(wire)
        except (OverflowError, UnicodeEncodeError, ValueError, RecursionError):
            pass
    return json.dumps(wire, default=lambda value: value.hex(), ensure_ascii=rng.random() < 0.7)


# Structure


def mutate(wire: Any, rng: random.Random) -> None:
    """Change one thing somewhere in the tree, in place."""
    spots = list(_spots(wire))
    if not spots:
        return
    holder, name = rng.choice(spots)
    rng.choice(CHANGES)(holder, name, rng)


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place (container, name or index), those nearer to the root first; deep ones are not worth the time."""
    rows = [value]
    for row in rows:
        if len(rows) > 200:
            return
        names: Any = list(row) if isinstance(row, dict) else range(len(row))
        for name in names:
            yield row, name
            if isinstance(row[name], (dict, list)) and row[name]:
                rows.append(row[name])


def _replace(holder: Any, name: Any, rng: random.Random) -> None:
    holder[name] = _copied(rng.choice(HOSTILE))


def _remove(holder: Any, name: Any, rng: random.Random) -> None:
    del holder[name]


def _double(holder: Any, name: Any, rng: random.Random) -> None:
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), _copied(holder[name]))
    else:
        holder[rng.choice(FIELDS)] = _copied(holder[name])


def _rename(holder: Any, name: Any, rng: random.Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(FIELDS)] = holder.pop(name)


def _wrap(holder: Any, name: Any, rng: random.Random) -> None:
    value = holder[name]
    holder[name] = rng.choice(([value], {"key": value}, [value, value], {"value": value}))


def _retype(holder: Any, name: Any, rng: random.Random) -> None:
    """An operation's value under another operation's name."""
    if isinstance(holder, dict):
        field = next((field for field in ("ot", "otype") if field in holder), None)
        if field is not None:
            holder[field] = rng.choice(OPS)
            return
    _replace(holder, name, rng)


def _nudge(holder: Any, name: Any, rng: random.Random) -> None:
    """A number beside the right one, a text a little longer."""
    value = holder[name]
    if isinstance(value, (int, float)):
        holder[name] = value + rng.choice((-2, -1, 1, 2, 10**6, 0.5))
    elif isinstance(value, str):
        holder[name] = value + rng.choice(("x", ":", "\x00", "/0:0", " "))
    else:
        _wrap(holder, name, rng)


def _multiply(holder: Any, name: Any, rng: random.Random) -> None:
    value = holder[name]
    if isinstance(value, (list, str)) and len(value) < 50:
        holder[name] = value * rng.choice((0, 2, 40, 1001))


def _copied(value: Any) -> Any:
    """Later mutations must not reach into what is shared."""
    if isinstance(value, dict):
        return {name: _copied(member) for name, member in value.items()}
    return [_copied(member) for member in value] if isinstance(value, list) else value


Change = Callable[[Any, Any, random.Random], None]
CHANGES: tuple[Change, ...] = (
    _replace, _replace, _replace, _remove, _double, _rename, _wrap, _retype, _retype, _nudge, _nudge, _multiply,
)  # fmt: skip
FIELDS = (
    "id", "client", "sessionId", "clock", "lt", "lamportTime", "ts", "timestamp", "ops", "ot", "otype", "key", "path",
    "value", "to", "toPath", "from", "rm", "seq", "target", "targetMsgId", "alpha", "order", "position", "length",
    "parent", "parentKey", "tag", "auth", "serverSeq", "server_seq", "cut", "mtype", "msg", "vectorClock", "x", "",
)  # fmt: skip


# Bytes


SPLINTERS = (
    b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc7\x00\x01", b"\xd6\xff\x00\x00\x00\x00",
    b"\x91" * 2000, b"[" * 2000, b"{", b"\\u0000", b"1e999",
)  # fmt: skip
"""Of msgpack: no code, maps and lists of four thousand million, extensions, depth; of JSON likewise."""


def damaged(frame: Frame, rng: random.Random) -> Frame:
    """A few bytes (or characters) are wrong, missing or there twice."""
    data = bytearray(frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 30)]
            case _:
                data[at:at] = rng.choice(SPLINTERS)
    return bytes(data).decode(errors="replace") if isinstance(frame, str) else bytes(data)
