"""How much a message may add to what a replica holds: reckoned, not measured, for it is asked of every message."""

from typing import Any

import msgspec

from .message import Message

OP_BYTES = 32
"""Of one op in a snapshot beside what it says: its stamp, and the names of fields."""

_encode = msgspec.msgpack.Encoder().encode


def size_of(message: Message) -> int:
    """About the bytes, as msgpack, that the ops of the message take in a log, or in a snapshot when they are folded."""
    ops = message.ops
    return len(_encode(ops)) + OP_BYTES * len(ops)


def value_size(value: Any) -> int:
    """Bytes of a value as msgpack."""
    return len(_encode(value))
