"""Any published form of a message in, the one canonical form out.

The rules (C1 to C13) stand in `vuer_rtc/protocol/PROTOCOL.md`, "Canonical form".  What is checked here is
structure: whether an operand fits its dtype is the fold's business (a misfit has no effect there), how large
anything may be is `vuer_rtc.protocol.limit`'s.

Errors: `InvalidMessage` (a `ValueError`), whatever the input was.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .dtype import CREATE_OPS, DTYPES, META_OPS, PROPERTY_OPS, TEXT_OPS
from .message import INTEGER_MAX, UNSET, Message, Op
from .plain import (
    FEW_MAX,
    InvalidMessage,
    plain,
    plain_count,
    plain_name,
    plain_number,
    plain_text,
    refuse,
    shown,
)

__all__ = ["InvalidMessage", "canonical_clock", "canonical_message", "canonical_ops"]

SERVER_PREFIX = "="
"""Begins the ids that only the server gives: its client, its records, characters made from plain strings."""

ROOT_KEYS = ("", ".")
"""Both mean root level; the canonical spelling is the first."""

RESERVED_PATHS = frozenset({"", ".", "key", "children", "_crdt", "__proto__"})
"""Names that no operation writes, `_textCrdt.…` beside them (C12)."""

TEXT_ID = re.compile(r"(?P<agent>.+):(?P<number>0|[1-9][0-9]{0,15})", re.DOTALL)

_EXTRAS: Mapping[str, Mapping[str, str]] = {
    "string.concat": {"separator": "separator"},
    "vector3.applyEuler": {"order": "order", "intrinsic": "intrinsic"},
    "color.blend": {"alpha": "alpha"},
    "array.move": {"from": "from_", "to": "to"},
}
"""By operation, the extra fields it knows: name on the wire to name in `Op`."""


def canonical_message(raw: Mapping[str, Any], *, is_from_server: bool = False) -> Message:
    """The message in compressed names and current forms; `raw`, decoded JSON or msgpack, is left untouched.

    Unknown fields are dropped, `auth` and `serverSeq` with them.  Cost is linear in the size of `raw`.  Ids that
    begin with `=` are taken only of what `is_from_server`.

    Raises: InvalidMessage.  Source: rules C1 to C13.
    """
    message_id: str | None = None
    try:
        message_id = _message_id(raw.get("id"))
        if message_id.startswith(SERVER_PREFIX) and not is_from_server:
            refuse("bad-message", f"message ids that begin with `{SERVER_PREFIX}` are the server's")
        client = _client_id(_either(raw, "client", "sessionId"), is_from_server)
        ts = plain_number(_either(raw, "ts", "timestamp"), "bad-message")
        ops = raw.get("ops")
        if type(ops) not in (list, tuple) or not ops:
            refuse("bad-message", "`ops` is not a list of at least one operation")
        return Message(
            id=message_id,
            client=client,
            clock=_clock(raw.get("clock"), client),
            lt=plain_count(_either(raw, "lt", "lamportTime"), "lt", "bad-message"),
            ts=ts,
            ops=canonical_ops(ops, client, ts),
        )
    except InvalidMessage as refusal:
        refusal.message_id = message_id
        raise


def canonical_clock(raw: Any) -> dict[str, int]:
    """A vector clock: client id to counter, 0 to `INTEGER_MAX`.

    Raises: InvalidMessage.
    """
    if type(raw) is not dict:
        refuse("bad-message", "`clock` is not a map of client to counter")
    if len(raw) > FEW_MAX and set(map(type, raw.values())) == {int}:
        counters = raw.values()
        if min(counters) >= 0 and max(counters) <= INTEGER_MAX:
            long_clock: dict[str, int] = plain(raw)
            return long_clock
    clock = {}
    for client, counter in raw.items():
        is_counter = type(counter) is int and 0 <= counter <= INTEGER_MAX
        clock[plain_name(client)] = counter if is_counter else plain_count(counter, "clock", "bad-message")
    return clock


def canonical_ops(raw: Iterable[Mapping[str, Any]], client: str, ts: int | float) -> list[Op]:
    """The operations of a message of `client` at `ts`, in canonical form.

    Raises: InvalidMessage.
    """
    return [_op(op, client, ts) for op in raw]


def _either(raw: Mapping[str, Any], name: str, legacy_name: str) -> Any:
    value = raw.get(name)
    return raw.get(legacy_name) if value is None else value


# The envelope


def _message_id(value: Any) -> str:
    if type(value) is not str or not value:
        refuse("missing-id", "the message has no `id` that is a non-empty string")
    return plain_text(value)


def _client_id(value: Any, is_from_server: bool) -> str:
    if type(value) is not str or not value:
        refuse("bad-client", "the message has no `client` that is a non-empty string")
    if (value.startswith(SERVER_PREFIX) and not is_from_server) or value == "__proto__":
        refuse("bad-client", f"the client id {shown(value)} is reserved")
    return plain_text(value)


def _clock(raw: Any, client: str) -> dict[str, int]:
    clock = canonical_clock(raw)
    if clock.get(client, 0) < 1:
        refuse("bad-message", "the clock's own entry is not a counter from 1")
    return clock


# Operations


def _op(raw: Any, client: str, ts: int | float) -> Op:
    if type(raw) is not dict:
        refuse("bad-op", f"an operation is {shown(raw)}, not a map")
    ot = _either(raw, "ot", "otype")
    build = _BUILDERS.get(ot) if type(ot) is str else None
    if build is None:
        refuse("unknown-op", f"no operation is called {shown(ot)}")
    return build(raw, ot, client, ts)


def _property_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    if "." not in ot:
        ot += ".set"
    key = _key(raw)
    if not key:
        refuse("unknown-key", f"{ot} on root level, which has no properties")
    path, value = raw.get("path"), raw.get("value", UNSET)
    if value is UNSET and ot != "array.move":
        refuse("bad-op", f"{ot} has no `value`")
    if ot == "object.merge" and path in (None, "", "."):
        return Op(ot, key, ".", _properties(value) if type(value) is dict else plain(value))
    if ot == "string.concat" and type(value) is dict and "value" in value:
        raw, value = value, value["value"]
    if value is not UNSET:
        value = plain(value)
    if ot not in _EXTRAS:
        return Op(ot, key, _path(path, ot), value)
    extras = {field: plain(raw[extra]) for extra, field in _EXTRAS[ot].items() if raw.get(extra) is not None}
    return Op(ot, key, _path(path, ot), value, **extras)


def _create_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    value = raw.get("value")
    path = raw.get("path")
    if value is None and path != "children":
        value = {}
    if type(value) is not dict:
        refuse("bad-op", f"the value of {ot} is not a map")
    if path == "children":
        node = {"key": _node_key(value.get("key"), ot), **_properties(value, dropped=("key", "children"))}
        return Op(ot, _key(raw), "children", node, ts=_created_at(raw, client))
    key = _node_key(raw.get("key"), ot)
    if path not in (None, "", key):
        refuse("bad-op", f"{ot} with path {shown(path)}: it is `children`, empty or the new node's key")
    labels = {name: raw[name] for name in ("tag", "name") if raw.get(name) is not None}
    if value.get("key") is not None:
        labels["id"] = value["key"]
    node = {"key": key, **_properties({**value, **labels}, dropped=("key", "children"))}
    return Op(ot, _parent(_either(raw, "parent", "parentKey"), ot), "children", node)


def _created_at(raw: dict[str, Any], client: str) -> Any:
    """The createdAt that the server gives a node; clients cannot."""
    if not client.startswith(SERVER_PREFIX) or raw.get("ts", UNSET) is UNSET:
        return UNSET
    return plain_number(raw["ts"], "bad-op")


def _remove_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    if raw.get("value") is None:
        return Op(ot, "", "children", _node_key(raw.get("key"), ot))
    return Op(ot, _key(raw), "children", _node_key(raw["value"], ot))


def _move_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    value = raw.get("value")
    if type(value) is dict:
        old_parent, node_key, new_parent = _key(raw), value.get("nodeKey"), value.get("newParent", UNSET)
    else:
        old_parent, node_key, new_parent = "", raw.get("key"), raw.get("to", UNSET)
    if new_parent is UNSET:
        refuse("bad-op", f"{ot} names no new parent")
    target = {"nodeKey": _node_key(node_key, ot), "newParent": _parent(new_parent, ot)}
    return Op(ot, old_parent, "children", target)


def _meta_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    target = raw.get("targetMsgId")
    if type(target) is not str or not target:
        refuse("bad-op", f"{ot} has no `targetMsgId`")
    return Op(ot, "_meta", "_meta", target=plain_text(target))


def _text_op(raw: dict[str, Any], ot: str, client: str, ts: int | float) -> Op:
    key = _key(raw)
    if not key:
        refuse("unknown-key", f"{ot} on root level, which has no properties")
    path = _path(raw.get("path"), ot)
    value = raw.get("value")
    if ot == "text.init":
        if value is None:
            return Op(ot, key, path)
        return Op(ot, key, path, _content(value, ot))
    rm = _ranges(raw.get("rm"), ot) if ot != "text.insert" else UNSET
    if ot == "text.delete":
        return Op(ot, key, path, rm=rm)
    if value is None or raw.get("id") is None or raw.get("seq") is None:
        refuse("bad-op", f"{ot} by position alone: `id`, `seq` and `value` have to travel")
    if type(value) not in (list, tuple) or len(value) != 2:
        refuse("bad-op", f"the value of {ot} is not [anchor, content]")
    agent, text_id = _text_id(raw["id"], ot)
    if agent != client:
        refuse("foreign-client", f"{ot} gives out the id {shown(text_id)}, which is not its author's")
    anchor = None if value[0] is None else _text_id(value[0], ot)[1]
    seq = plain_count(raw["seq"], "seq", "bad-op")
    typed_at = ts if raw.get("ts") is None else plain_number(raw["ts"], "bad-op")
    return Op(ot, key, path, [anchor, _content(value[1], ot)], id=text_id, seq=seq, ts=typed_at, rm=rm)


_Build = Callable[[dict[str, Any], str, str, int | float], Op]
_BUILDERS: Mapping[str, _Build] = {
    **dict.fromkeys([*PROPERTY_OPS, *DTYPES], _property_op),
    **dict.fromkeys(CREATE_OPS, _create_op),
    **dict.fromkeys(TEXT_OPS, _text_op),
    **dict.fromkeys(META_OPS, _meta_op),
    "node.remove": _remove_op,
    "node.move": _move_op,
}
"""By name as sent; a bare dtype is its `set`."""


# Fields of operations


def _key(raw: Mapping[str, Any]) -> str:
    """The op's key; `""` for root level, which is also the default."""
    key = raw.get("key", "")
    if type(key) is not str:
        refuse("bad-op", f"`key` is {shown(key)}, not a string")
    return "" if key in ROOT_KEYS else plain_name(key)


def _node_key(value: Any, ot: str) -> str:
    if type(value) is not str or value in ROOT_KEYS:
        refuse("bad-op", f"{ot} names {shown(value)}, which cannot be a node's key")
    return plain_name(value)


def _parent(value: Any, ot: str) -> str:
    if value is None or value in ROOT_KEYS:
        return ""
    return _node_key(value, ot)


def _path(value: Any, ot: str) -> str:
    if type(value) is not str:
        refuse("bad-op", f"{ot} has no `path` that is a string")
    if value in RESERVED_PATHS or value.startswith("_textCrdt."):
        refuse("reserved-path", f"no operation writes {shown(value)}")
    return plain_text(value)


def _properties(value: dict[Any, Any], dropped: tuple[str, ...] = ()) -> dict[str, Any]:
    """A node's properties, reserved names refused except those dropped."""
    return {
        _path(plain_name(name), "a node"): plain(member, 1)
        for name, member in value.items()
        if name not in dropped
    }


def _content(value: Any, ot: str) -> str:
    if type(value) is not str:
        refuse("bad-op", f"the content of {ot} is {shown(value)}, not a string")
    return plain_text(value)


def _text_id(value: Any, ot: str) -> tuple[str, str]:
    """(agent, id) of a character id `agent:n`."""
    match = TEXT_ID.fullmatch(value) if type(value) is str else None
    if match is None or int(match["number"]) > INTEGER_MAX:
        refuse("bad-op", f"{ot} has {shown(value)} where a character id `client:n` belongs")
    return match["agent"], plain_text(value)


def _ranges(value: Any, ot: str) -> list[list[str | int]]:
    """`[[id, length], …]` as sent by a delete; lengths from 1."""
    if type(value) not in (list, tuple):
        refuse("bad-op", f"{ot} by position alone: `rm: [[id, length], …]` has to travel")
    ranges: list[list[str | int]] = []
    for pair in value:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            refuse("bad-op", f"{ot} has a range that is not [id, length]")
        length = plain_count(pair[1], "rm", "bad-op")
        if length == 0:
            refuse("bad-op", f"{ot} has a range of no characters")
        ranges.append([_text_id(pair[0], ot)[1], length])
    return ranges
