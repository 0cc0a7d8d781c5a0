"""One client's copy of a document: the merge engine, what it began with, and everything it was told since."""

from collections.abc import Iterable

from msgspec.structs import replace

from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Applied
from vuer_rtc.crdt.message import INTEGER_MAX, Message

from .bootstrap import Origin
from .clock import VectorClock, merge_into
from .message import journalled

NOTHING = Applied(is_new=False)


class Replica:
    """All messages of a document that one client knows, merged."""

    def __init__(self, client: str, origin: Origin | None = None) -> None:
        self.client = client
        self.origin = origin or Origin()
        self.log: dict[str, Message] = {}
        """Messages beyond the origin by id, in the order of arrival."""
        self.clock: VectorClock = {**self.origin.clock}
        """What this client has seen or heard of: every counter in every clock received."""
        self.clock.setdefault(client, 0)
        self.lt = self.origin.lt
        self.graph = self.origin.graph()
        self._origin_cut = self.graph.cut

    @property
    def is_native(self) -> bool:
        """True for one that is told every message as it was journalled, in sequence (PROTOCOL.md, N)."""
        return bool(self.origin.native)

    def apply(self, message: Message, *, is_tail: bool = False) -> Applied:
        """Afterwards the replica holds the message; idempotent, also for what the origin holds.

        `is_tail`: it came with the snapshot, beside it, or was made here.
        """
        known = self.log.get(message.id)
        if known is not None:
            if not message.server_seq or known.server_seq:
                return NOTHING
            message = self._authorised(message)
        elif not is_tail and self.origin.holds(message):
            return NOTHING
        else:
            message = self._authorised(message)
        if self.origin.learn(message, self.log):
            self.begin_again()
        self.log[message.id] = message
        merge_into(self.clock, message.clock)
        applied = self.graph.apply(message)
        self.lt = max(
            self.lt, message.lt, self.graph.lt
        )  # a server record tells no time of its own, but may set one
        return applied

    def learn(self, messages: Iterable[Message]) -> None:
        """Afterwards what these messages, about to be applied, tell of the origin is known."""
        coming = {message.id: message for message in messages}
        known = {**self.log, **coming}
        if any([self.origin.learn(message, known) for message in coming.values()]):
            self.begin_again()

    def _authorised(self, message: Message) -> Message:
        """An undo that the server journalled counts, whoever's commit it is of: the server has asked for the right.
        Native clients are told which count."""
        if (
            self.is_native
            or not message.server_seq
            or message.auth
            or not any(op.ot in META_OPS for op in message.ops)
        ):
            return message
        return replace(message, auth=True)

    def acknowledge(self, message_id: str, server_seq: int, *, auth: bool = False) -> Applied:
        """Afterwards a message of our own stands in the journal at that sequence."""
        known = self.log.get(message_id)
        return NOTHING if known is None else self.apply(journalled(known, server_seq, auth=auth))

    def undoes_others(self, message_id: str) -> bool:
        """True for a commit that undoes or redoes somebody else's."""
        message = self.log.get(message_id)
        targets = (
            [self.log.get(op.target) for op in message.ops if op.ot in META_OPS]
            if message is not None
            else []
        )
        return any(target is not None and target.client != message.client for target in targets)  # type: ignore[union-attr]

    def take_back(self, message_id: str) -> Applied:
        """Afterwards it is as if a message that is not journalled had never been there.

        Native clients give its counter to the next commit if it was the last: gaps have a bound (`counter_gaps_max`),
        beyond which who has left one would be refused for ever.  Lamport times, and so ids, go on.
        """
        self.log.pop(message_id, None)
        applied = self.graph.take_back(message_id)
        if self.is_native:
            self.clock[self.client] = self.graph.clock.get(self.client, 0)
        return applied

    def begin_again(self) -> None:
        """Afterwards the origin, of which more is known now, is in the engine, and `graph` another object.  Costs as
        much as the history is long."""
        self.graph = self.origin.graph()
        for message in sorted(self.log.values(), key=lambda message: message.server_seq or INTEGER_MAX):
            self.graph.apply(message)

    def forget_folded(self) -> list[str]:
        """Afterwards what a cut has folded is in the origin and nowhere else; ids of the messages that went.

        Nothing happens while a commit of our own at or below the cut is not journalled: it may be late.
        """
        graph = self.graph
        if not self.is_native or graph.cut <= self._origin_cut:
            return []
        if graph.retained_count and graph.retained_lt(0) <= graph.cut:
            return []
        retained = {message.id: message for message in graph.retained_messages()}
        gone = [message_id for message_id in self.log if message_id not in retained]
        self.origin = Origin(dict(self.clock), self.lt, graph.head_seq, native=graph.snapshot())
        self._origin_cut = graph.cut
        self.log = retained
        return gone

    def is_undone(self, message_id: str) -> bool:
        """True while a commit that the replica knows is undone."""
        message = self.log.get(message_id)
        return message is not None and self.graph.is_said_undone(message)

    @property
    def sync_clock(self) -> VectorClock:
        """What this client really has, for a `sync`."""
        clock = dict(self.origin.clock)
        merge_into(
            clock, {client: n for client, n in self.graph.clock.items() if n > 0 and client[:1] != "="}
        )
        return clock

    @property
    def head_seq(self) -> int:
        """Highest sequence known; 0: nothing came from a journal."""
        return max(self.graph.head_seq, self.origin.head_seq)


__all__ = ["Replica"]
