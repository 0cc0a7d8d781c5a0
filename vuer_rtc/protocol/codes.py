"""Every code a client may meet, and the fault that carries one.

ClientFault          the sender's mistake: costs it one `error`, the room nothing
"""

from enum import IntEnum, StrEnum, unique


@unique
class ErrorCode(StrEnum):
    """Why one message is refused; nothing of it has any effect (rule E1)."""

    BAD_FRAME = "bad-frame"
    """Not JSON in a text frame, not msgpack in a binary one, or not a map."""
    UNKNOWN_MTYPE = "unknown-mtype"
    """No message a client may send is called that."""
    BAD_MESSAGE = "bad-message"
    """A field is missing, or is not what it has to be."""
    MISSING_ID = "missing-id"
    """The message has no id."""
    BAD_CLIENT = "bad-client"
    """The message has no client id, or a reserved one."""
    FOREIGN_CLIENT = "foreign-client"
    """The message, or a character id in it, is not of the client of this connection."""
    FOREIGN_CLOCK = "foreign-clock"
    """The clock claims to have seen what no other client has sent."""
    BAD_OP = "bad-op"
    """An operation is in no published form."""
    UNKNOWN_OP = "unknown-op"
    """No operation is called that (`CREATE`, `UPDATE`, `DELETE` and `TRANSFORM` included)."""
    UNKNOWN_KEY = "unknown-key"
    """A property operation on root level, which is not a node."""
    RESERVED_PATH = "reserved-path"
    """No operation writes this name."""
    NOT_FINITE = "not-finite"
    """A number is NaN, infinite, or too large for a double."""
    OVER_LIMIT = "over-limit"
    """Larger, longer, deeper or more than the document takes; the text names the limit."""
    LAMPORT_JUMP = "lamport-jump"
    """The Lamport time is too far ahead of the document's."""
    TOO_MANY_NODES = "too-many-nodes"
    """The document has as many nodes as it takes."""
    ID_REUSED = "id-reused"
    """This id, or this clock counter of the client, belongs to another message already."""
    TOO_LATE = "too-late"
    """The message to undo or redo has been folded away."""
    UNKNOWN_TARGET = "unknown-target"
    """The message to undo or redo is unknown, and may be somebody else's."""
    FOREIGN_UNDO = "foreign-undo"
    """The message to undo or redo is somebody else's."""
    STALE_EPOCH = "stale-epoch"
    """Made before the document was reset, by who has not seen that; it is of no use any more."""
    FORBIDDEN = "forbidden"
    """The connection lacks the right."""
    RATE_LIMITED = "rate-limited"
    """Too many messages; send it again after a pause."""
    DAMAGED = "damaged"
    """The document's journal is damaged: it can be looked at until an operator has repaired it."""
    UNAVAILABLE = "unavailable"
    """The journal does not answer.  The message waits for it; send it again when no `ack` comes."""

    @property
    def is_retryable(self) -> bool:
        """True when the same message may succeed later."""
        return self in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)


@unique
class CloseCode(IntEnum):
    """Why the server closes a connection (rule E4).  Below 4000: RFC 6455; from 4000: ours."""

    GOING_AWAY = 1001
    """The server stops; connect again, with a pause."""
    TOO_BIG = 1009
    """A frame over `frame_bytes_max`; do not send it again."""
    INTERNAL = 1011
    """The server failed; connect again, with a pause."""
    PROTOCOL = 4400
    """Too many frames that are no messages; mend the client."""
    TOKEN_EXPIRED = 4401
    """The token's time is over; get another one, then connect again."""
    LOGGED_OUT = 4402
    """The login or the account that the connection came in by is over; log in again."""
    FORBIDDEN = 4403
    """The right to see the document was taken away."""
    UNKNOWN_ROOM = 4404
    """There is no such document, or none you may see."""
    BAD_CLIENT = 4406
    """The address names no usable client id."""
    BAD_TOKEN = 4407
    """Not a token of this site, one for another client id, or one for single use that was used; get another."""
    SLOW_CLIENT = 4408
    """The client did not read fast enough; connect again."""
    CLIENT_TAKEN = 4409
    """The client id is another user's in this document; choose another."""
    REPLACED = 4410
    """A newer connection of the same client took over; stay away."""
    KICKED = 4411
    """A moderator closed the connection; stay away until a person decides otherwise."""
    ROOM_FULL = 4413
    """As many connections as the document takes."""
    RATE = 4429
    """Went on sending too fast; connect again after a pause."""
    UNAVAILABLE = 4503
    """The document cannot be read at the moment; connect again, with a pause."""

    @property
    def reason(self) -> str:
        """The name in the close frame, for example `unknown-room`."""
        return self.name.lower().replace("_", "-")

    @property
    def is_retryable(self) -> bool:
        """True when a client should connect again by itself, after a pause that doubles."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        *(CloseCode.GOING_AWAY, CloseCode.INTERNAL, CloseCode.UNAVAILABLE),
        *(CloseCode.SLOW_CLIENT, CloseCode.ROOM_FULL, CloseCode.RATE),
    }
)


class ClientFault(Exception):
    """Something a client sent is refused; its connection lives on."""

    def __init__(self, code: ErrorCode, detail: str, message_id: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.message_id = message_id
        """The refused message's id, as far as it could be read."""
