"""Wire messages as plain maps, and their msgpack frames, as the published library has them.

`mtype` is the discriminator: `crdt`, `broadcast`, `ack`, `error`, `state`, `sync`, `sync-check`, `sync-status`,
`heartbeat`.
"""

from typing import Any

import msgspec

from .message import CRDTMessage

WireMessage = dict[str, Any]


def serialize(msg: WireMessage) -> bytes:
    """The msgpack frame of a wire message."""
    return msgspec.msgpack.encode(msg)


def deserialize(data: bytes | bytearray | memoryview) -> WireMessage:
    """The wire message of a msgpack frame.

    Raises: msgspec.DecodeError for bytes that are no msgpack.
    """
    wire: WireMessage = msgspec.msgpack.decode(data)
    return wire


def msg_to_wire(msg: CRDTMessage) -> WireMessage:
    """A commit on its way to the server."""
    return {"mtype": "crdt", "msg": msg.toDict()}


def wire_to_msg(wire: WireMessage) -> CRDTMessage:
    """The commit in a `broadcast` or `crdt` message, in either naming."""
    return CRDTMessage.fromDict(wire["msg"])


__all__ = ["WireMessage", "deserialize", "msg_to_wire", "serialize", "wire_to_msg"]
