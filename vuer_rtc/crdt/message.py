"""The canonical message: what every other part of the project passes around.

A message is the envelope of one commit.  Whatever naming and whichever published form it arrived in,
`vuer_rtc.crdt.canonical` has turned it into these two types once, and nothing after that looks at the wire form.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

SERVER_CLIENT = "=server"
"""Author of server records.  Client ids that begin with `=` are refused at ingestion, so nobody can pose as it."""

SITE_CLIENT = "=site"
"""Author of what the site's own code writes.  For the merge it is a client like any other."""

RESTORE_PREFIX = "=restore:"
"""Begins the ids of the site's messages that put a document back to what it was (rules R1 to R7)."""

INTEGER_MAX = 2**53 - 1
"""Largest integer that is exact as an IEEE double (rule N2)."""

Stamp = tuple[int, str, str]
"""Place of a message in total order: (lt, client, id).  `str` compares by code point, which is UTF-8 byte order."""


class Op(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One operation, in compressed names and current form.

    Values are plain JSON (`None, bool, int, float, str, list, dict`) without cycles, finite, integers within
    ±`INTEGER_MAX` (larger ones have become floats).  A field that the operation does not carry is `UNSET`.
    """

    ot: str
    """`dtype.verb`, for example `vector3.add`; a bare dtype has become `dtype.set`."""
    key: str = msgspec.field(default_factory=str)
    """Node the op is about; for `node.*` the parent (`""` is root level); `_meta` for `meta.*`.  Made, so that it is
    encoded even when it is empty: on the wire every operation has its key and its path (PROTOCOL.md, F6)."""
    path: str = msgspec.field(default_factory=str)
    """Property name, one flat string even with dots in it; `children` for `node.*`; `.` is the node itself."""
    value: Any = UNSET
    """Operand.  `node.insert/upsert/inset`: `{key, tag?, name?, …properties}`.  `node.remove`: the node's key.
    `node.move`: `{nodeKey, newParent}`.  `text.insert/replace`: `[anchor id or None, content]`."""
    separator: Any = UNSET
    """`string.concat`: put between the two, default `""`."""
    order: Any = UNSET
    """`vector3.applyEuler`: one of the six axis orders, default `XYZ`."""
    intrinsic: Any = UNSET
    """`vector3.applyEuler`: default true."""
    alpha: Any = UNSET
    """`color.blend`: weight of the operand, default 0.5, clamped to [0, 1]."""
    from_: Any = msgspec.field(default=UNSET, name="from")
    """`array.move`: index to take from."""
    to: Any = UNSET
    """`array.move`: index to put at."""
    target: Any = msgspec.field(default=UNSET, name="targetMsgId")
    """`meta.*`: id of the message undone or redone."""
    id: Any = UNSET
    """`text.insert/replace`: id `client:n` of the first character."""
    seq: Any = UNSET
    """`text.insert/replace`: the author's highest seq plus one; later seq stands first among siblings."""
    ts: Any = UNSET
    """`text.insert/replace`: wall clock of the author, breaks ties of `seq`, earlier first.
    `node.insert/upsert/inset` by the server: createdAt of the node, instead of the message's `ts` (rule T7)."""
    rm: Any = UNSET
    """`text.delete/replace`: `[[id, length], …]`, ranges of characters."""


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One commit of one client (or one record of the server)."""

    id: str
    """Unique in its document; never empty."""
    client: str
    """Author; `SERVER_CLIENT` for server records."""
    clock: dict[str, int]
    """The author's vector clock after counting this message; its own entry is this message's counter."""
    lt: int
    """Lamport time, 0 to `INTEGER_MAX`."""
    ts: int | float
    """The author's wall clock: seconds below 1e11, else milliseconds; sorts siblings, nothing else."""
    ops: list[Op]
    """In order; later ops of a message see the effect of earlier ones."""
    auth: bool = False
    """Set by the server only: its meta ops count on anybody's messages."""
    server_seq: int = msgspec.field(default=0, name="serverSeq")
    """Sequence in the document's journal, from 1; 0: not journalled yet."""

    @property
    def stamp(self) -> Stamp:
        return (self.lt, self.client, self.id)

    @property
    def counter(self) -> int:
        """This message's own clock entry; 0 when its clock lacks one."""
        return self.clock.get(self.client, 0)

    def with_own_clock(self) -> "Message":
        """The same, its clock without others' entries, which nobody needs; their number is that of everybody who ever
        edited the document, and each node keeps the clock that it was made with."""
        if len(self.clock) <= 1:
            return self
        return msgspec.structs.replace(self, clock={self.client: self.counter})

    @property
    def is_server_record(self) -> bool:
        return self.client == SERVER_CLIENT

    @property
    def touches_restore(self) -> bool:
        """True when it is a restore, or undoes or redoes one: published clients cannot follow (rule R7)."""
        for op in self.ops:
            if op.target is not UNSET and str(op.target).startswith(RESTORE_PREFIX):
                return True
        return is_restore(self.id)


def numbered(message: Message, seq: int) -> Message:
    """The message as the journal has it, at that sequence."""
    return msgspec.structs.replace(message, server_seq=seq)


def content_of(message: Message) -> Message:
    """The message without what is not its author's (where it stands, what its undos are worth, how far others were):
    equal where it is the same one (rule I1)."""
    return msgspec.structs.replace(message.with_own_clock(), server_seq=0, auth=False)


def is_restore(message_id: str) -> bool:
    return message_id.startswith(RESTORE_PREFIX)


class Epoch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a document counts its resets by (rules E1 to E4)."""

    number: int = 0
    """Resets so far, at least."""
    lt: int = 0
    """Lamport time up to which messages are of older epochs; 0: there was no reset."""


def reset_record(record_id: str, epoch: Epoch, ts: float) -> Message:
    """The server record that begins an epoch, with an empty document (rule E1)."""
    value = {"epoch": epoch.number, "lt": epoch.lt}
    ops = [Op(ot="server.reset", value=value)]
    return Message(id=record_id, client=SERVER_CLIENT, clock={}, lt=0, ts=ts, ops=ops)


def epoch_of(record: Message) -> Epoch | None:
    """The epoch that a server record begins; None when it begins none."""
    found = None
    for op in record.ops:
        value = op.value
        if op.ot == "server.reset" and type(value) is dict:
            number, lt = value.get("epoch"), value.get("lt")
            if type(number) is int and type(lt) is int:
                found = Epoch(number, lt)
    return found


def cut_record(record_id: str, cut: int, ts: float) -> Message:
    """The server record that folds history up to Lamport time `cut` away (rule K1)."""
    return Message(
        id=record_id, client=SERVER_CLIENT, clock={}, lt=0, ts=ts, ops=[Op(ot="server.cut", value=cut)]
    )


def cut_of(record: Message) -> int:
    """The Lamport time up to which a server record folds history away; 0 when it folds none."""
    return max([0, *(op.value for op in record.ops if op.ot == "server.cut" and type(op.value) is int)])


__all__ = [
    "INTEGER_MAX",
    "RESTORE_PREFIX",
    "SERVER_CLIENT",
    "SITE_CLIENT",
    "UNSET",
    "Epoch",
    "Message",
    "Op",
    "Stamp",
    "UnsetType",
    "content_of",
    "cut_of",
    "cut_record",
    "epoch_of",
    "is_restore",
    "numbered",
    "reset_record",
]
