"""Messages and submissions for tests of the live side."""

import time
from typing import Any

from rooms.batch import Bounds, Submission
from vuer_rtc.crdt.message import Message, Op
from vuer_rtc.protocol.limit import Limits

BOUNDS = Bounds(messages_max=100, bytes_max=100_000, limits=Limits(lamport_jump_max=1000, nodes_max=1000))


def put(key: str = "n", path: str = "x", value: Any = 1) -> Op:
    return Op(ot="number.set", key=key, path=path, value=value)


def insert(key: str, parent: str = "") -> Op:
    return Op(ot="node.insert", key=parent, path="children", value={"key": key, "tag": "mesh"})


def undo(target: str) -> Op:
    return Op(ot="meta.undo", key="_meta", path="_meta", target=target)


def message(client: str, counter: int, *ops: Op, id: str | None = None, lt: int | None = None) -> Message:
    """The message of `client` with that counter; its Lamport time is the counter unless given."""
    lt = counter if lt is None else lt
    return Message(id=id or f"{client}:{counter}", client=client, clock={client: counter}, lt=lt, ts=1e9 + lt,
                   ops=list(ops) or [put(value=counter)])  # fmt: skip


def submission(sent: Message, origin: Any = None, size: int = 100) -> Submission:
    return Submission(sent, origin, user=None, session=None, received_at=time.time(), size=size)
