"""What travels, one type each: inbound messages decoded and canonical, outbound ones before their encoding.

Field names on the wire are camelCase, the discriminator is `mtype`; PROTOCOL.md, "Messages", has every field.
"""

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from msgspec import Struct, field

from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.view import PublishedState

from .codes import ClientFault, ErrorCode


class Framing(Enum):
    """How messages become frames; the value is the address's `format`."""

    JSON = "json"
    """Text frames."""
    MSGPACK = "msgpack"
    """Binary frames."""


class Naming(Enum):
    """How message and operation fields are called; the value is the address's `naming`."""

    COMPRESSED = "compressed"
    """`client lt ts ot`, since 0.8."""
    LEGACY = "legacy"
    """`sessionId lamportTime timestamp otype`."""


class Edition(Enum):
    """What a connection can be told; the value is the address's `v`."""

    PUBLISHED = "1"
    """What published clients can read without harm."""
    NATIVE = "2"
    """Everything, as it is: snapshot, messages and records from which `Graph` makes the very same document."""


class Feature(StrEnum):
    """What a native client may ask for beside; the values are those of the address's `features`."""

    BATCH = "batch"
    """All that one commit has for a connection comes in one frame."""
    PRESENCE = "presence"
    """Tells where the others are, and takes where this client is."""


class Dialect(NamedTuple):
    """All that decides how a message is written: who shares it shares the frame."""

    framing: Framing
    naming: Naming = Naming.COMPRESSED
    edition: Edition = Edition.PUBLISHED


class Crdt(Struct, frozen=True, gc=False):
    """A commit of this client."""

    message: Message
    """Canonical; rights, limits and the document's rules are still to be asked."""


class Sync(Struct, frozen=True, gc=False):
    """The client asks for what its vector clock lacks; a Bloom filter beside it was ignored."""

    vector_clock: dict[str, int]
    """Empty when it sent none: it lacks everything."""


class SyncCheck(Struct, frozen=True, gc=False):
    """The client asks how far the document is, and for its digest."""

    request_id: str
    """The client's own; comes back in the answer."""


class Heartbeat(Struct, frozen=True, gc=False):
    """The client is alive, and this far."""

    vector_clock: dict[str, int]
    client: str | None = None
    """None when it did not say; the connection knows."""


class Presence(Struct, frozen=True, gc=False):
    """Where the client is now; nothing of the document."""

    data: dict[str, Any] | None
    """Plain JSON, the client's own; None: it is not present any more."""


class _Outbound(Struct, frozen=True, gc=False, tag_field="mtype", rename="camel", omit_defaults=True):
    pass


class Ack(_Outbound, frozen=True, tag="ack"):
    """The message is on disk, and in the document for ever."""

    msg_id: str
    server_seq: int | None = None
    """Its sequence; None for a message whose history has been folded away."""
    late: bool = False
    """It came after its Lamport time was folded away, and took effect right after the cut (rule K2)."""
    auth: bool = False
    """Its undos count on anybody's messages; native clients are told."""


class Error(_Outbound, frozen=True, tag="error"):
    """Something was refused."""

    msg_id: str
    """Id of the refused message; empty when it had none that could be read, or when none is concerned."""
    error: str
    """`<code>: <text for people>`."""
    code: ErrorCode
    retry: bool = False
    """The same message may succeed later."""
    about: str | None = None
    """The `mtype` of a refused message that had no id, as far as it can be read."""

    @classmethod
    def of(cls, fault: ClientFault, about: str | None = None) -> "Error":
        return cls.because(fault.code, fault.detail, fault.message_id, about)

    @classmethod
    def because(
        cls, code: ErrorCode, detail: str, message_id: str | None = None, about: str | None = None
    ) -> "Error":
        return cls(message_id or "", f"{code}: {detail}", code, code.is_retryable, about)


class NativeDocument(Struct, frozen=True, gc=False):
    """A document as `Graph` takes it: restore the snapshot, then apply the journal."""

    snapshot: bytes
    """`Graph.snapshot`."""
    journal: Sequence[bytes]
    """Every retained message as it was journalled, in sequence: encoded, in the framing that this will be in."""
    at: str | None = None
    """Id of the newest message, be it folded away or not; None: not known."""


class State(Struct, frozen=True, gc=False):
    """The document as of `server_seq`; the next message is the one after."""

    document: PublishedState | NativeDocument
    server_seq: int


class Broadcast(Struct, frozen=True, gc=False):
    """Another client's message, journalled; its `server_seq` travels inside."""

    message: Message
    late: bool = False
    """As in `Ack`."""


class Standing(Struct, frozen=True, gc=False, rename="camel"):
    """How far a document is; two replicas with equal clocks have equal digests."""

    vector_clock: dict[str, int]
    """Highest counter by client."""
    server_seq: int
    digest: str
    """Canonical digest, hexadecimal (PROTOCOL.md, "Digest")."""


class SyncStatus(_Outbound, frozen=True, tag="sync-status"):
    """Answer to `sync-check`."""

    request_id: str
    status: Standing


class Promise(Struct, frozen=True, gc=False, rename="camel"):
    """What an acknowledgement is worth here."""

    is_full: bool = field(name="full")
    """What was acknowledged survives a power cut of the server."""
    detail: str
    """The database's settings, for people."""


class Welcome(_Outbound, frozen=True, tag="welcome"):
    """The first message to a native client."""

    version: int
    document: str
    """Key of the document: under the same name there may be another one later."""
    epoch: int
    """How often it was reset."""
    server_seq: int
    """How far the document is."""
    resumed: bool
    """True: what was asked for with `since` follows, up to `server_seq`; no `state` comes."""
    features: list[Feature]
    """Those granted of those that were asked for."""
    rights: list[str]
    """Rights of this connection now."""
    limits: dict[str, float]
    """Limits in force in this document, by name."""
    durability: Promise
    undoable: list[str]
    """Ids of the client's own messages that it may undo, oldest first; the newest ones when there are many."""
    arrived_at: float = 0.0
    """When this connection began, seconds since the epoch: the client's next one comes after it."""


class Rights(_Outbound, frozen=True, tag="rights"):
    """The connection has other rights, or limits, than it was told; native clients are told."""

    rights: list[str]
    """All that it has now."""
    limits: dict[str, Any] | None = None
    """All that hold now; None: as before."""


class Batch(Struct, frozen=True, gc=False):
    """Everything that one commit has for one connection."""

    frames: Sequence["Frame"]
    """Encoded messages, in sequence, all in the framing that the batch will be in."""


class Presences(Struct, frozen=True, gc=False):
    """Where others are now."""

    entries: Sequence[bytes]
    """Encoded `Present`, all in the framing that this will be in."""


class Present(Struct, frozen=True, gc=False):
    """One client's presence, as others are told."""

    client: str
    data: dict[str, Any] | None
    """None: it is not present any more."""
    user: str | None = None
    """Name of its account; None without one."""


class RoomReset(_Outbound, frozen=True, tag="room-reset"):
    """From the server: the document was emptied; a `state` follows.  From a moderator: empty it."""

    epoch: int = 0
    """The one that the moderator wants to end; the server tells none."""


Inbound = Crdt | Sync | SyncCheck | Heartbeat | Presence | RoomReset


Outbound = Welcome | Rights | Ack | Error | State | Broadcast | Batch | SyncStatus | RoomReset | Presences

Frame = bytes | str
"""A msgpack frame is bytes, a JSON frame str."""

Fields = dict[str, Any]
"""A map as it stands on the wire."""
