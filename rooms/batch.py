"""What goes into a room's next journal batch: decided from the graph and the queue alone.

A message is decided on when its batch is built, never when it arrives: only then is everything before it
known, in the graph or in the same batch.  Whoever builds a batch again after a conflict decides again.
"""

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rooms.capacity import Capacity, Growing
from vuer_rtc.crdt.graph import Identity
from vuer_rtc.crdt.message import Message, content_of, numbered
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.limit import Limits, check_clock

logger = logging.getLogger(__name__)

REFUSALS = {
    ErrorCode.BAD_MESSAGE: "the message could not be looked into",
    ErrorCode.ID_REUSED: "this id or clock counter belongs to another message already",
    ErrorCode.LAMPORT_JUMP: "the Lamport time is too far ahead of the document's",
    ErrorCode.TOO_MANY_NODES: "the document has as many nodes as it takes",
    ErrorCode.TOO_LATE: "the message to undo or redo has been folded away",
    ErrorCode.UNKNOWN_TARGET: "the message to undo or redo is unknown",
    ErrorCode.STALE_EPOCH: "the document has been reset since",
    ErrorCode.FOREIGN_UNDO: "the message to undo or redo is somebody else's",
}
"""What people read beside the codes that are decided here."""


class GraphReader(Growing, Protocol):
    """What a decision needs to know of the room's graph."""

    @property
    def head_seq(self) -> int: ...
    @property
    def lt(self) -> int: ...
    @property
    def clock(self) -> Mapping[str, int]: ...
    def identify(self, message: Message) -> Identity: ...
    def refusal(self, message: Message) -> str | None: ...
    def seq_of(self, message_id: str) -> int | None: ...


@dataclass(slots=True, eq=False)
class Submission:
    """One message that waits to be journalled, and whom to tell."""

    message: Message
    origin: Any
    """The connection it came in by; opaque here."""
    user: str | None
    """Primary key of the sender's account, as text."""
    session: str | None
    """Key of the sender's session."""
    received_at: float
    """Server's clock, seconds since the epoch."""
    size: int
    """Bytes of the frame it came in."""
    is_warned: bool = False
    """Its sender was told that the journal is unavailable."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one batch may hold, and what the document takes."""

    messages_max: int
    bytes_max: int
    limits: Limits
    lost: Mapping[str, int] = field(default_factory=dict)
    """Clock of what the document had before its database was put back: a message may have seen that."""


@dataclass(slots=True)
class Batch:
    """One batch, and what became of the messages that do not go into it."""

    first_seq: int
    accepted: list[Submission] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    """Those of `accepted`, with their `server_seq`."""
    repeats: list[tuple[int, Submission]] = field(default_factory=list)
    """Sent again while the original is in this batch: (index in `accepted`, submission); acknowledged with
    it."""
    known: list[tuple[Submission, int | None]] = field(default_factory=list)
    """Journalled before; acknowledged again with the sequence, None when that is folded away, behind the commit, which
    looks whether that is there still (rule J66)."""
    refused: list[tuple[Submission, ClientFault]] = field(default_factory=list)
    """Refused, and why."""

    @property
    def submissions(self) -> Iterator[Submission]:
        """Everybody who waits for the commit."""
        yield from self.written
        yield from (submission for submission, _ in self.known)

    @property
    def written(self) -> Iterator[Submission]:
        """Those whose messages are in it."""
        yield from self.accepted
        yield from (submission for _, submission in self.repeats)


def build_batch(graph: GraphReader, waiting: deque[Submission], bounds: Bounds) -> Batch:
    """Takes from the left of `waiting` what one batch may hold; everything taken is in exactly one list of
    the result."""
    return _Builder(graph, bounds).build(waiting)


class _Builder:
    def __init__(self, graph: GraphReader, bounds: Bounds) -> None:
        self.graph = graph
        self.bounds = bounds
        self.batch = Batch(graph.head_seq + 1)
        self.by_id: dict[str, int] = {}
        self.by_counter: dict[tuple[str, int], int] = {}
        self.lt = graph.lt
        self.capacity = Capacity(graph, bounds.limits)
        self.size = 0

    def build(self, waiting: deque[Submission]) -> Batch:
        while waiting and not self.is_full(waiting[0]) and not self.must_wait(waiting[0].message):
            self.decide(waiting.popleft())
        return self.batch

    def is_full(self, submission: Submission) -> bool:
        accepted = len(self.batch.accepted)
        return accepted >= self.bounds.messages_max or (
            accepted > 0 and self.size + submission.size > self.bounds.bytes_max
        )

    def must_wait(self, message: Message) -> bool:
        """True for an undo whose target is in this very batch: whose it is shows when that is committed."""
        return any(op.target in self.by_id for op in message.ops if isinstance(op.target, str))

    def decide(self, submission: Submission) -> None:
        message = submission.message
        original = self.original(message)
        if original is not None:
            if content_of(self.batch.accepted[original].message) == content_of(message):
                self.batch.repeats.append((original, submission))
            else:
                self.refuse(submission, ErrorCode.ID_REUSED)
            return
        match self.graph.identify(message):
            case Identity.DUPLICATE:
                self.batch.known.append((submission, self.graph.seq_of(message.id)))
            case Identity.REUSED:
                self.refuse(submission, ErrorCode.ID_REUSED)
            case Identity.NEW:
                self.admit(submission)

    def original(self, message: Message) -> int | None:
        """Index of the accepted message with the same id or counter."""
        by_id = self.by_id.get(message.id)
        return by_id if by_id is not None else self.by_counter.get((message.client, message.counter))

    def admit(self, submission: Submission) -> None:
        """Into the batch, unless the document is against it."""
        message = submission.message
        try:
            self.check(message)
        except ClientFault as fault:
            self.batch.refused.append((submission, fault))
            return
        except Exception:  # costs its sender the message, and nobody the room
            logger.exception("message %r could not be looked into", message.id)
            self.refuse(submission, ErrorCode.BAD_MESSAGE)
            return
        index = len(self.batch.accepted)
        self.by_id[message.id] = self.by_counter[(message.client, message.counter)] = index
        self.lt = max(self.lt, message.lt)
        self.size += submission.size
        self.batch.accepted.append(submission)
        self.batch.messages.append(numbered(message.with_own_clock(), self.batch.first_seq + index))

    def check(self, message: Message) -> None:
        """Afterwards what it adds is reckoned with.  Raises: ClientFault."""
        if message.lt > self.lt + self.bounds.limits.lamport_jump_max:
            raise fault_of(message, ErrorCode.LAMPORT_JUMP)
        check_clock(message, self.graph.clock, self.bounds.lost)
        refusal = self.graph.refusal(message)
        if refusal is not None:
            raise fault_of(message, ErrorCode(refusal))
        self.capacity.take(message)

    def refuse(self, submission: Submission, code: ErrorCode) -> None:
        self.batch.refused.append((submission, fault_of(submission.message, code)))


def fault_of(message: Message, code: ErrorCode) -> ClientFault:
    """The refusal of a message, with a text for people."""
    return ClientFault(code, REFUSALS[code], message.id)
