"""The published message type, and the way between it and the core's."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from msgspec import convert, to_builtins

from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.message import Message, Op
from vuer_rtc.protocol.codec import message_fields

from .clock import VectorClock

Operation = dict[str, Any]
"""One operation as it travels: `ot`, `key`, `path`, mostly `value`, and what else the operation has."""


@dataclass
class CRDTMessage:
    """One commit: who made it, when, and its operations."""

    id: str
    client: str
    clock: VectorClock
    """The author's vector clock after counting this commit."""
    lt: int
    """Lamport time."""
    ts: float
    """The author's wall clock; seconds in Python clients, milliseconds in JavaScript ones."""
    ops: list[Operation] = field(default_factory=list)

    def toDict(self) -> dict[str, Any]:
        """As it travels, in compressed names; containers are copied, values are shared."""
        return {
            "id": self.id,
            "client": self.client,
            "clock": dict(self.clock),
            "lt": self.lt,
            "ts": self.ts,
            "ops": [dict(op) for op in self.ops],
        }

    @classmethod
    def fromDict(cls, d: dict[str, Any]) -> Self:
        """From either naming; what is missing is empty, except the id.

        Raises: KeyError without an id.
        """
        return cls(
            id=d["id"],
            client=d.get("client", d.get("sessionId", "")),
            clock=d.get("clock", {}),
            lt=d.get("lt", d.get("lamportTime", 0)),
            ts=d.get("ts", d.get("timestamp", 0.0)),
            ops=d.get("ops", []),
        )

    to_dict = toDict
    from_dict = fromDict


@dataclass
class OpMeta:
    """What an operation needs of the message it is in."""

    client: str
    clock: VectorClock
    lt: int
    ts: float


AnyMessage = CRDTMessage | Message | dict[str, Any]
"""What the store receives: the published type, the core's, or a decoded map."""


def core_message(message: AnyMessage) -> Message:
    """The canonical message; `serverSeq` of a map is kept.

    Raises: InvalidMessage, a ValueError.
    """
    if type(message) is Message:
        return message
    if isinstance(message, CRDTMessage):
        return canonical_message(vars(message), is_from_server=True)
    assert isinstance(message, dict)
    canonical = canonical_message(message, is_from_server=True)
    seq = message.get("serverSeq")
    return journalled(canonical, seq) if type(seq) is int else canonical


def journalled(message: Message, server_seq: int, *, auth: bool = False) -> Message:
    """The message as it stands in the journal."""
    return Message(
        message.id,
        message.client,
        message.clock,
        message.lt,
        message.ts,
        message.ops,
        message.auth or auth,
        server_seq,
    )


def native_message(fields: dict[str, Any]) -> Message:
    """A message as a server tells native clients: in canonical form already (rule N3).

    Raises: msgspec.ValidationError, a ValueError.
    """
    return convert(fields, Message)


def published_message(message: Message) -> CRDTMessage:
    """The message in the published type."""
    ops = [op_fields(op) for op in message.ops]
    return CRDTMessage(message.id, message.client, dict(message.clock), message.lt, message.ts, ops)


def op_fields(op: Op) -> Operation:
    """An operation as it travels; the value is a copy."""
    fields: Operation = to_builtins(op)
    return fields


def message_json(message: Message) -> str:
    """The message as JSON, as `message_from_json` reads it."""
    return json.dumps(message_fields(message), ensure_ascii=False, separators=(",", ":"))


def message_from_json(text: str) -> Message:
    return core_message(json.loads(text))


__all__ = [
    "AnyMessage",
    "CRDTMessage",
    "OpMeta",
    "Operation",
    "core_message",
    "journalled",
    "message_from_json",
    "message_json",
    "native_message",
    "op_fields",
    "published_message",
]
