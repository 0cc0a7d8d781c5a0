"""What one connection's frames ask for.

`SyncSession` decides and never waits; whoever owns it performs the effects, in order.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.message import Message

from . import wire
from .codec import decode_fields, inbound_of, read_message_id, read_mtype
from .codes import ClientFault, CloseCode, ErrorCode
from .limit import Limits, TokenBucket, check_fields, check_message, check_presence, weight_of


class Right(StrEnum):
    """What a connection may do in its document."""

    VIEW = "view"
    """See it, and follow its changes."""
    EDIT = "edit"
    """Change it."""
    MODERATE = "moderate"
    """Undo other people's messages."""


Rights = frozenset[Right]


class Submit(Struct, frozen=True, gc=False):
    """Journal this message, then acknowledge it and send it to the others."""

    message: Message


class Reply(Struct, frozen=True, gc=False):
    """Send this to the client."""

    outbound: wire.Outbound


class SendState(Struct, frozen=True, gc=False):
    """Send the client the document as it is."""


class SendMissing(Struct, frozen=True, gc=False):
    """Send the client every message that this vector clock lacks; a state when those are folded away."""

    vector_clock: dict[str, int]


class SendStatus(Struct, frozen=True, gc=False):
    """Answer with the document's clock, sequence and digest."""

    request_id: str


class Heartbeat(Struct, frozen=True, gc=False):
    """The client is alive, and this far."""

    vector_clock: dict[str, int]


class ShowPresence(Struct, frozen=True, gc=False):
    """Tell the others where the client is; None: not here any more."""

    data: dict[str, Any] | None


class Reset(Struct, frozen=True, gc=False):
    """Empty the document, if that is its epoch."""

    epoch: int


class Close(Struct, frozen=True, gc=False):
    """Close the connection; it takes no more frames."""

    code: CloseCode


Effect = Submit | Reply | SendState | SendMissing | SendStatus | Heartbeat | ShowPresence | Reset | Close

WORK_SHARE_MAX = 0.25
"""Of the server's time, for heavy messages of one connection in the long run."""

_NO_MESSAGE = frozenset({ErrorCode.BAD_FRAME, ErrorCode.UNKNOWN_MTYPE})


class SyncSession:
    """One connection of one client, as a state machine: frames and times in, effects out."""

    def __init__(
        self,
        client: str,
        rights: Rights,
        limits: Limits,
        framing: wire.Framing | None = None,
        naming: wire.Naming = wire.Naming.COMPRESSED,
        edition: wire.Edition = wire.Edition.PUBLISHED,
        features: frozenset[wire.Feature] = frozenset(),
    ) -> None:
        self.client = client
        self.rights = rights
        """May change while the connection lives."""
        self.framing = framing or wire.Framing.MSGPACK
        """How to write to the client; without a wish of its own, as its first frame came (rule F5)."""
        self.naming = naming
        self.edition = edition
        self.features = features
        self.is_closed = False
        self._limits = limits
        self._follows_framing = framing is None
        self._messages = TokenBucket(limits.messages_per_second_max, limits.message_burst_max)
        self._bytes = TokenBucket(limits.bytes_per_second_max, limits.byte_burst_max)
        self._reads = TokenBucket(limits.reads_per_second_max, limits.read_burst_max)
        self._presences = TokenBucket(limits.presence_per_second_max, limits.presence_burst_max)
        self._faults = TokenBucket(limits.faults_per_second_max, limits.fault_burst_max)

    @property
    def dialect(self) -> wire.Dialect:
        """How to write to the client now."""
        return wire.Dialect(self.framing, self.naming, self.edition)

    @property
    def limits(self) -> Limits:
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        """May change while the connection lives."""
        self._limits = limits
        self._messages.resize(limits.messages_per_second_max, limits.message_burst_max)
        self._bytes.resize(limits.bytes_per_second_max, limits.byte_burst_max)
        self._reads.resize(limits.reads_per_second_max, limits.read_burst_max)
        self._presences.resize(limits.presence_per_second_max, limits.presence_burst_max)
        self._faults.resize(limits.faults_per_second_max, limits.fault_burst_max)

    def receive(self, frame: wire.Frame, now: float) -> list[Effect]:
        """What the frame asks for, in order; nothing once the session is closed.

        Never raises, whatever the frame.  `now` is monotonic, in seconds.
        """
        if self.is_closed:
            return []
        if self._follows_framing:
            self.framing = wire.Framing.JSON if isinstance(frame, str) else wire.Framing.MSGPACK
            self._follows_framing = False
        size = _size(frame, self._limits.frame_bytes_max)
        if size > self._limits.frame_bytes_max:
            return [self._close(CloseCode.TOO_BIG)]
        try:
            inbound = self._read(frame, size, now)
            is_presence = isinstance(inbound, wire.Presence)
            self._spend(self._presences if is_presence else self._messages, now, inbound)
            return [self._decide(inbound, now)]
        except ClientFault as fault:
            about = None if fault.message_id else read_mtype(frame)
            return self._refuse(fault, about, now)

    def charge(self, work_s: float) -> None:
        """What the client sent has kept the server busy that long: it owes bytes for it (rule L9)."""
        self._bytes.owe(int(work_s / WORK_SHARE_MAX * self._limits.bytes_per_second_max))

    def _read(self, frame: wire.Frame, size: int, now: float) -> wire.Inbound:
        """The message of a frame, whose bytes have been paid for before anybody looks into it (rule L8)."""
        if not self._bytes.take(now, size):
            detail = "too many bytes, wait a moment"
            raise ClientFault(ErrorCode.RATE_LIMITED, detail, read_message_id(frame))
        fields = decode_fields(frame)
        weight = weight_of(fields, size, self._limits.frame_weight_max)
        self._bytes.owe(weight - size)
        check_fields(fields, size, weight, self._limits)
        return inbound_of(fields)

    def _decide(self, inbound: wire.Inbound, now: float) -> Effect:
        if Right.VIEW not in self.rights:
            raise ClientFault(ErrorCode.FORBIDDEN, "you may not see this document", _id_of(inbound))
        match inbound:
            case wire.Crdt(message):
                return Submit(self._authorised(message))
            case wire.Sync(clock):
                self._spend(self._reads, now, inbound)
                is_native = self.edition is wire.Edition.NATIVE
                return SendMissing(clock) if clock and not is_native else SendState()
            case wire.SyncCheck(request_id):
                self._spend(self._reads, now, inbound)
                return SendStatus(request_id)
            case wire.Heartbeat(clock, client):
                if client is not None and client != self.client:
                    raise ClientFault(ErrorCode.FOREIGN_CLIENT, "a heartbeat in another client's name")
                return Heartbeat(clock)
            case wire.Presence(data):
                return self._shown(data)
            case wire.RoomReset(epoch):
                return self._reset(epoch)

    def _shown(self, data: dict[str, Any] | None) -> Effect:
        if wire.Feature.PRESENCE not in self.features:
            raise ClientFault(ErrorCode.UNKNOWN_MTYPE, "`presence` is for who asked for that feature")
        check_presence(data, self._limits)
        return ShowPresence(data)

    def _reset(self, epoch: int) -> Effect:
        if self.edition is not wire.Edition.NATIVE:
            raise ClientFault(ErrorCode.UNKNOWN_MTYPE, "`room-reset` is for native clients")
        if Right.MODERATE not in self.rights:
            raise ClientFault(ErrorCode.FORBIDDEN, "you may not reset this document")
        return Reset(epoch)

    def _authorised(self, message: Message) -> Message:
        """The message as it may go into the journal (rules S1, S2, S6)."""
        if Right.EDIT not in self.rights:
            raise ClientFault(ErrorCode.FORBIDDEN, "you may not edit this document", message.id)
        if message.client != self.client:
            raise ClientFault(ErrorCode.FOREIGN_CLIENT, "a message in another client's name", message.id)
        check_message(message, self._limits)
        if Right.MODERATE in self.rights and any(op.ot in META_OPS for op in message.ops):
            return replace(message, auth=True)
        return message

    def _spend(self, bucket: TokenBucket, now: float, inbound: wire.Inbound) -> None:
        if not bucket.take(now):
            raise ClientFault(ErrorCode.RATE_LIMITED, "too many messages, wait a moment", _id_of(inbound))

    def _refuse(self, fault: ClientFault, about: str | None, now: float) -> list[Effect]:
        """The error; and the end for a client that does not stop sending what is no use (rule L5)."""
        refusal = Reply(wire.Error.of(fault, about))
        is_too_fast = fault.code is ErrorCode.RATE_LIMITED
        if (is_too_fast or fault.code in _NO_MESSAGE) and not self._faults.take(now):
            return [refusal, self._close(CloseCode.RATE if is_too_fast else CloseCode.PROTOCOL)]
        return [refusal]

    def _close(self, code: CloseCode) -> Close:
        self.is_closed = True
        return Close(code)


def _id_of(inbound: wire.Inbound) -> str | None:
    return inbound.message.id if isinstance(inbound, wire.Crdt) else None


def _size(frame: wire.Frame, bound: int) -> int:
    """Bytes of the frame; text is encoded only when its characters do not decide."""
    if isinstance(frame, bytes) or len(frame) > bound or len(frame) * 4 <= bound:
        return len(frame)
    return len(frame.encode(errors="surrogatepass"))
