"""A Yjs client for `benchmarks.crowd` that speaks Hocuspocus: enough of both formats to put a server under load.

Sources: lib0 `encoding.js` (numbers, strings, `writeAny`), yjs `UpdateEncoderV1` and `Item.write`, y-protocols
`sync.js`, Hocuspocus `MessageReceiver.ts`.  `tests/test_yjs_frames.py` compares what is written here with bytes of yjs.
"""

import os
import struct
import time
from typing import Any

from benchmarks.crowd import Client, Room

SYNC, AUTH, SYNC_STATUS = 0, 2, 8
"""Kinds of Hocuspocus messages."""
STEP_1, STEP_2, UPDATE = 0, 1, 2
"""Kinds of sync messages."""
OTHERS, OWN = "at", "me"
"""Keys of the time an edit was sent at; an observer's own comes back among the others' and is no delay of theirs."""
PADDING = "p" * 160
"""Makes an edit's frame 256 bytes, as those of its base class are."""


def varuint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(0x80 | number & 0x7F)
        number >>= 7
    written.append(number)
    return bytes(written)


def sized(content: bytes) -> bytes:
    return varuint(len(content)) + content


def text(value: str) -> bytes:
    return sized(value.encode())


def any_value(value: Any) -> bytes:
    """A JSON value; numbers are always written as doubles, which yjs does where nothing shorter holds them."""
    match value:
        case float():
            return b"\x7b" + struct.pack(">d", value)
        case str():
            return b"\x77" + text(value)
        case dict():
            return b"\x76" + varuint(len(value)) + b"".join(text(k) + any_value(v) for k, v in value.items())
        case list():
            return b"\x75" + varuint(len(value)) + b"".join(map(any_value, value))
    raise TypeError(f"not used here: {value!r}")


def first_setting(replica: int, key: str, value: Any) -> bytes:
    """The update in which `replica` sets a key of the map `nodes`: its first, and the key's."""
    item = b"\x28\x01" + text("nodes") + text(key) + b"\x01" + any_value(value)
    return b"\x01\x01" + varuint(replica) + b"\x00" + item + b"\x00"


def next_setting(replica: int, clock: int, value: Any) -> bytes:
    """The update in which `replica` replaces what it set at `clock - 1`, and deletes that."""
    origin = varuint(replica) + varuint(clock - 1)
    item = b"\xa8" + origin + b"\x01" + any_value(value)
    deleted = b"\x01" + varuint(replica) + b"\x01" + varuint(clock - 1) + b"\x01"
    return b"\x01\x01" + varuint(replica) + varuint(clock) + item + deleted


class YjsClient(Client):
    """Sets its own key of the room's map again and again.

    An acknowledgement is Hocuspocus's SyncStatus: the edit is in the server's memory.
    """

    def __init__(self, name: str, room: Room, **options: Any) -> None:
        super().__init__(name, room, **options)
        self.replica = int.from_bytes(os.urandom(4))
        self._sent_at_key = OWN if self.is_observer else OTHERS

    def greet(self) -> None:
        """Authentication, which Hocuspocus waits for, and the question for everything there is."""
        self.address = text(self.path.split("/")[3])
        self.send_bytes(self.address + bytes([AUTH, 0]) + text("anybody"))
        self.send_bytes(self.address + bytes([SYNC, STEP_1]) + sized(b"\x00"))

    def insert(self) -> None:
        self.counter += 1
        self._send_update(first_setting(self.replica, self.name, {"tag": "Mesh"}))

    def edit(self) -> None:
        position = [1.25, self.counter * 0.5, -3.75]
        value = {self._sent_at_key: time.perf_counter(), "p": PADDING, "position": position}
        self._send_update(next_setting(self.replica, self.counter, value))
        self.counter += 1

    def _send_update(self, update: bytes) -> None:
        self.send_bytes(self.address + bytes([SYNC, UPDATE]) + sized(update))

    def take_message(self, payload: bytes) -> None:
        kind = payload[len(self.address) : len(self.address) + 2]
        if kind == bytes([SYNC_STATUS, 1]):
            self.heard -= 1  # the server sends everybody his own edits too
            self.acks += 1
            self.on_ack(self)
        elif kind == bytes([SYNC, UPDATE]):
            self.heard += payload.count(b"\x02at\x7b") + payload.count(b"\x02me\x7b")
            if self.is_observer:
                self.observe(payload, b"\x02at\x7b")
        elif kind == bytes([SYNC, STEP_2]) and not self.joined.done():
            self.joined.set_result(None)
