"""What a client says and does over one room's connections; decides, never waits.

connect    the server sends `state`.  The first one ever is where the store begins; after a break the store lives on and
           asks with `sync` for what its clock lacks.  A further `state` means that this is folded away: begin anew.
commits    travel in order, a window of them unacknowledged at a time.  After a break, or a refusal for now, everything
           unacknowledged travels again, in order: the server knows duplicates.
in doubt   a commit that a fresh `state` may or may not contain is not shown, but sent again: its acknowledgement tells.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codec import message_fields

from .graph_store import GraphStore
from .message import core_message, journalled
from .outbox import Outbox
from .state import Snapshot
from .store import Store

Wire = dict[str, Any]

WINDOW_MAX = 200
"""Commits on the way at a time.  Far below the burst that a server takes, far above what one group commit holds."""


@dataclass(frozen=True)
class Refusal:
    """A commit that the server does not take; it has been taken back here."""

    message_id: str
    code: str
    text: str


@dataclass(frozen=True)
class Status:
    """How far the document was when the server answered."""

    server_seq: int
    vector_clock: dict[str, int]
    digest: str
    is_same: bool | None = None
    """Whether the scene here was the document then; None: nobody asked, or own commits were on the way."""


class Syncer:
    """Wire messages in, wire messages out, a store between."""

    def __init__(self, store: GraphStore, outbox: Outbox | None = None) -> None:
        self.store = store
        self.outbox = outbox
        self.is_joined = False
        """True once a `state` has come, ever."""
        self.is_live = False
        """True while connected and caught up."""
        self.must_pause = False
        """True after a refusal for now: send again after a pause, with `again`."""
        self.refusals: list[Refusal] = []
        """Since somebody cleared it."""
        self.answers: dict[str, Status] = {}
        """By the id of the question, until somebody takes them."""
        self._has_state = False
        self._resume_id = ""
        self._whole_seq = 0
        self._whole_clock: dict[str, int] = {}
        """How far nothing was missing, when last a connection broke."""
        self._numbers = itertools.count(1)
        self._to_verify: set[str] = set()
        self.beginnings = 0
        """How often the document began anew from a `state`."""
        self._in_flight: dict[str, None] = {}
        self._doubtful: dict[str, Message] = {}
        if outbox is not None:
            self._begin_from(outbox)

    def _begin_from(self, outbox: Outbox) -> None:
        inner = self.store._store
        inner.replica.clock[inner.client] = outbox.counter
        inner.replica.lt = outbox.lt
        inner.restore(outbox.messages())

    @property
    def waiting(self) -> list[str]:
        """Ids of own commits that are not settled."""
        return [*self._doubtful, *self.store._store.unacked]

    # The connection

    def connected(self) -> None:
        """A connection stands; the server will send `state`."""
        self.lost()
        self._has_state, self.must_pause, self._resume_id = False, False, ""

    def lost(self) -> None:
        """The connection is gone.  What came while something was still missing does not count as seen."""
        if self.is_live:
            replica = self.store._store.replica
            self._whole_seq, self._whole_clock = replica.head_seq, replica.sync_clock
        self.is_live = False
        self._in_flight.clear()

    def receive(self, wire: Wire) -> list[Wire]:
        """Take in what the server sent; what to send now."""
        match wire.get("mtype"):
            case "state":
                return self._take_state(wire)
            case "broadcast" | "crdt":
                self._take_message(wire.get("msg"))
            case "ack":
                self._settle(str(wire.get("msgId")), wire.get("serverSeq") or 0)
            case "error":
                self._take_error(wire)
            case "sync-status":
                self._take_status(wire)
            case "room-reset":
                self._has_state, self.is_joined, self.is_live = False, False, False
        return self.to_send()

    # Commits

    def committed(self, message: Message) -> list[Wire]:
        """The store has made a commit; what to send now."""
        if self.outbox is not None:
            self.outbox.add(message)
        return self.to_send()

    def to_send(self) -> list[Wire]:
        """Commits that may travel now."""
        if not self._has_state or self.must_pause:
            return []
        room = WINDOW_MAX - len(self._in_flight)
        if room <= 0:
            return []
        own = itertools.chain(self._doubtful.values(), self.store._store.unacked.values())
        fresh = itertools.islice((message for message in own if message.id not in self._in_flight), room)
        return [self._travel(message) for message in list(fresh)]

    def _travel(self, message: Message) -> Wire:
        self._in_flight[message.id] = None
        return {"mtype": "crdt", "msg": message_fields(message)}

    def again(self) -> list[Wire]:
        """The pause is over: everything that is not settled travels again."""
        self.must_pause = False
        self._in_flight.clear()
        return self.to_send()

    def ask(self, *, verify: bool = False) -> tuple[str, Wire]:
        """A question how far the document is, and its id; `verify` compares digests, which reads the whole scene."""
        request = f"check-{next(self._numbers)}"
        if verify:
            self._to_verify.add(request)
        return request, {"mtype": "sync-check", "requestId": request}

    # What the server sends

    def _take_state(self, wire: Wire) -> list[Wire]:
        is_first, self._has_state = not self._has_state, True
        seq = wire.get("serverSeq") or wire["snapshot"].get("journalIndex", 0)
        if is_first and self.is_joined:
            if seq == self._whole_seq == self.store._store.replica.head_seq:
                self.is_live = True
                return self.to_send()
            return self._resume()
        self._begin_anew(Snapshot.from_dict(wire["snapshot"]), wire.get("journal") or [], seq)
        self.is_joined = True
        self.beginnings += 1
        self.is_live = not self._resume_id
        return self.to_send()

    def _resume(self) -> list[Wire]:
        """Ask for what was missed; the answer to the question after it says that it has all come."""
        self._resume_id, question = self.ask()
        request: Wire = {"mtype": "sync", "vectorClock": self._whole_clock, "filter": b"", "count": 0}
        return [request, question, *self.to_send()]

    def _begin_anew(self, snapshot: Snapshot, journal: Iterable[Wire], seq: int) -> None:
        """The document is what the server says, with what is not settled on top."""
        old = self.store._store
        fresh = Store(old.client, snapshot, head_seq=seq)
        fresh.load(journal)
        unsettled = [*self._doubtful.values(), *old.unacked.values()]
        seen = snapshot.vectorClock.get(old.client, 0)
        self._doubtful = {message.id: message for message in unsettled if message.counter <= seen}
        fresh.replica.clock[old.client] = max(seen, old.replica.clock.get(old.client, 0))
        fresh.replica.lt = max(fresh.replica.lt, old.replica.lt)
        fresh.restore(message for message in unsettled if message.counter > seen)
        fresh.take_pending(old)
        self._in_flight.clear()
        self.store.replace(fresh)

    def _take_message(self, raw: Any) -> None:
        message = core_message(raw) if isinstance(raw, dict) else None
        if message is None:
            return
        if message.id in self._doubtful:
            self._settle(message.id, message.server_seq)
            return
        is_own = message.id in self.store._store.unacked
        self.store.receive(message)
        if is_own:
            self._forget(message.id)

    def _settle(self, message_id: str, seq: int) -> None:
        """A commit of ours is in the journal."""
        doubtful = self._doubtful.pop(message_id, None)
        if doubtful is not None:
            if seq > self.store._store.replica.origin.head_seq:
                self.store.receive(journalled(doubtful, seq))
        else:
            self.store.ack(message_id, seq)
        self._forget(message_id)

    def _forget(self, message_id: str) -> None:
        self._in_flight.pop(message_id, None)
        if self.outbox is not None:
            self.outbox.discard(message_id)

    def _take_error(self, wire: Wire) -> None:
        message_id = str(wire.get("msgId") or "")
        if wire.get("retry"):
            self.must_pause = self.must_pause or message_id in self._in_flight
            return
        is_ours = self._doubtful.pop(message_id, None) is not None
        if message_id in self.store._store.unacked:
            self.store.reject(message_id)
            is_ours = True
        if is_ours:
            self._forget(message_id)
            text = str(wire.get("error", ""))
            self.refusals.append(Refusal(message_id, str(wire.get("code") or text.partition(":")[0]), text))

    def _take_status(self, wire: Wire) -> None:
        request, status = wire.get("requestId"), wire.get("status") or {}
        if request == self._resume_id:
            self._resume_id, self.is_live = "", True
            return
        self.answers[str(request)] = Status(
            status.get("serverSeq", 0),
            status.get("vectorClock", {}),
            status.get("digest", ""),
            self._is_same(status.get("digest")) if request in self._to_verify else None,
        )
        self._to_verify.discard(str(request))

    def _is_same(self, digest: Any) -> bool | None:
        if self.waiting or not self.is_live:
            return None
        return bool(self.store._store.replica.graph.digest() == digest)


__all__ = ["WINDOW_MAX", "Refusal", "Status", "Syncer"]
