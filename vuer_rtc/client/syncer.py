"""What a client says and does over one room's connections; decides, never waits.

It is a native client (PROTOCOL.md, N): it holds the document that the server has, to the last thing a later merge may
depend on, and knows up to which sequence.

connect    the server sends `welcome`, and then either what is missing since that sequence, or a `state` to begin from
commits    travel in order, a window of them unacknowledged at a time.  After a break, or a refusal for now, everything
           unacknowledged travels again, in order: the server knows duplicates
a gap      in the sequences means that something was lost: come back, and be sent what is missing
"""

import math
from dataclasses import replace
from typing import Any

import msgspec

from vuer_rtc.crdt.graph import Identity
from vuer_rtc.crdt.message import Message, epoch_of
from vuer_rtc.protocol.codec import message_fields
from vuer_rtc.protocol.codes import ErrorCode

from .answer import Refusal, Status, Welcome
from .clock import merge_into
from .graph_store import GraphStore
from .message import native_message
from .outbox import Outbox, OutboxError
from .send_window import SendWindow
from .store import Store

Wire = dict[str, Any]

FRAME_LIMIT = "frame_bytes_max"
JUMP_LIMIT = "lamport_jump_max"


class NotNative(RuntimeError):
    """The server does not speak to native clients."""


class Syncer:
    """Wire messages in, wire messages out, a store between."""

    def __init__(self, store: GraphStore, outbox: Outbox | None = None) -> None:
        self.store = store
        self.outbox = outbox
        self.welcome = Welcome()
        self.is_joined = False
        """True once a `state` has come, ever."""
        self.is_live = False
        """True while connected and caught up."""
        self.has_lost_track = False
        """True when this connection is of no more use: come back."""
        self.must_pause = False
        """True after a refusal for now: send again after a pause, with `again`."""
        self.refusals: list[Refusal] = []
        """Since somebody cleared it, or took some of them away."""
        self.taken = 0
        """Commits that the server has taken."""
        self.untold: list[Refusal] = []
        """Those of which nobody has been told, until somebody takes them."""
        self.faults: dict[str, Wire] = {}
        """By `mtype`, the last error about such a message, where that is no commit."""
        self.asked = 0
        """How many questions there were; only the last one waits for an answer."""
        self.answered = 0
        """The last of them that has got one."""
        self.answer = Status(0, {}, "")
        """That one."""
        self.is_verified = False
        """Whether that one compares digests."""
        self.beginnings = 0
        """How often the document began from a `state`."""
        self._seq = 0
        """Everything up to here is known."""
        self._message_id = ""
        """Of the message at that sequence; empty: not known."""
        self._live_at = 0
        """The sequence at which this connection has caught up."""
        self.is_welcome = False
        """True once this connection's `welcome` has come."""
        self._may_send = False
        self._is_choosing = False
        """`to_send` is at work: what listeners commit meanwhile it finds itself, behind what came before."""
        self._must_verify = False
        self._window = SendWindow()
        if outbox is not None:
            self._begin_from(outbox)

    def _begin_from(self, outbox: Outbox) -> None:
        inner = self.store.inner
        inner.replica.clock[inner.client] = outbox.counter
        inner.replica.lt = outbox.lt
        inner.restore(outbox.messages())

    @property
    def epoch(self) -> int:
        """How often the document has been reset."""
        return self.store.inner.replica.graph.epoch.number

    @property
    def waiting(self) -> list[str]:
        """Ids of own commits that are not settled."""
        return list(self.store.inner.unacked)

    # The connection

    @property
    def since(self) -> int | None:
        """The sequence up to which this client knows everything, for the next connection; None: it begins anew."""
        return self._seq if self.is_joined else None

    @property
    def at(self) -> str:
        """Id of the message at `since`, by which the server finds a journal that was put back; empty: not known."""
        return self._message_id if self.is_joined else ""

    def connected(self) -> None:
        """A connection stands; the server will send `welcome`."""
        self.lost()
        self.must_pause = self.has_lost_track = self.is_welcome = self._may_send = False

    def lost(self) -> None:
        """The connection is gone."""
        self.is_live = False
        self._window.clear()

    def receive(self, wire: Wire) -> list[Wire]:
        """Take in what the server sent; what to send now.

        Raises: NotNative; ValueError for what no server sends.
        """
        for part in wire["messages"] if wire.get("mtype") == "batch" else (wire,):
            if not self.has_lost_track:
                self._take(part)
        return self.to_send()

    def _take(self, wire: Wire) -> None:
        match wire.get("mtype"):
            case "broadcast" | "crdt":
                self._take_message(native_message(wire["msg"]))
            case "ack":
                self._take_ack(str(wire["msgId"]), wire.get("serverSeq") or 0, auth=bool(wire.get("auth")))
            case "error":
                self._take_error(wire)
            case "sync-status":
                self._take_status(wire)
            case "welcome":
                self._take_welcome(wire)
            case "rights":
                limits = wire.get("limits", self.welcome.limits)
                self.welcome = replace(self.welcome, rights=frozenset(wire["rights"]), limits=limits)
            case "state":
                self._take_state(wire)

    # Commits

    def committed(self, message: Message) -> list[Wire]:
        """The store has made a commit; what to send now.

        Raises: OutboxError when it cannot be kept; it is taken back then.
        """
        if self.outbox is not None:
            try:
                self.outbox.add(message)
            except OutboxError:
                self.store.reject(message.id)
                raise
        return self.to_send()

    def to_send(self) -> list[Wire]:
        """Commits that may travel now."""
        if not self._may_send or self.must_pause or self.has_lost_track or self._is_choosing:
            return []
        wires, self._is_choosing = [], True
        try:
            while messages := self._window.fill(self.store.inner.unacked.values()):
                for message in messages:
                    wire = {"mtype": "crdt", "msg": message_fields(message)}
                    if self._fits(message.id, wire):
                        wires.append(wire)
        except BaseException:
            self._window.clear()  # what was chosen is not sent
            raise
        finally:
            self._is_choosing = False
        return wires

    def _fits(self, message_id: str, wire: Wire) -> bool:
        """False for a commit whose frame the server would not take: it would close the connection, each time that the
        commit is sent (rule L6).  It is refused here, as the server refuses what is over another limit."""
        size, bytes_max = len(msgspec.msgpack.encode(wire)), self.welcome.limits.get(FRAME_LIMIT, math.inf)
        if size > bytes_max:
            text = f"over-limit: {FRAME_LIMIT} is {bytes_max}, here are {size}"
            self._refuse(Refusal(message_id, "over-limit", text))
            self.store.reject(message_id)  # last: listeners hear of it, and may raise
        return size <= bytes_max

    def again(self) -> list[Wire]:
        """The pause is over: everything that is not settled travels again."""
        self.must_pause = False
        self._window.clear()
        return self.to_send()

    def ask(self, *, verify: bool = False) -> Wire:
        """A question how far the document is; `verify` compares digests, which reads the whole scene."""
        self.asked, self._must_verify = self.asked + 1, verify
        return {"mtype": "sync-check", "requestId": f"check-{self.asked}"}

    def heartbeat(self) -> Wire:
        """That this client is alive, and how far it is."""
        clock = self.store.inner.replica.sync_clock
        return {"mtype": "heartbeat", "client": self.store.client, "vectorClock": clock}

    # What the server sends

    def _take_welcome(self, wire: Wire) -> None:
        known, self.welcome, self.is_welcome = self.welcome.document, Welcome.of(wire), True
        self._live_at = wire["serverSeq"]
        if not wire.get("resumed"):
            return
        if known != self.welcome.document:
            self._lose_track(begin_anew=True)
            return
        self._may_send = True
        self._look_whether_live()

    def _take_state(self, wire: Wire) -> None:
        if "native" not in wire:
            raise NotNative("the server does not speak protocol version 2 (v=2)")
        journal = [native_message(each) for each in wire["journal"]]
        fresh = Store.native(self.store.client, wire["native"], journal)
        self._carry_over(self.store.inner, fresh)
        self.store.replace(fresh)
        self._seq = wire["serverSeq"]
        self._message_id = wire.get("at", "")
        self._window.clear()
        self.is_joined = self._may_send = True
        self.beginnings += 1
        self._look_whether_live()

    def _carry_over(self, old: Store, fresh: Store) -> None:
        """What is not settled goes on top of what the server says; what the server has is settled."""
        replica, client = fresh.replica, old.client
        jump_max = self.welcome.limits.get(JUMP_LIMIT, math.inf)
        lt_max = replica.lt + jump_max
        unsettled = []
        for message in old.unacked.values():
            identity = replica.graph.identify(message)
            if identity is Identity.DUPLICATE:
                self._forget(message.id)
            elif identity is Identity.REUSED:
                self._refuse(Refusal.reused(message.id))
            elif replica.graph.is_stale(message):
                self._refuse(Refusal.stale(message.id))
            elif message.lt > lt_max:
                self._refuse(Refusal.ahead(message.id))
            else:
                unsettled.append(message)
                lt_max = max(lt_max, message.lt + jump_max)  # the document will have come so far by the next
        replica.clock[client] = max(replica.clock[client], old.replica.clock.get(client, 0))
        if old.replica.lt <= lt_max:  # else there was a reset, and then a database without it was put back
            replica.lt = max(replica.lt, old.replica.lt)
        fresh.restore(unsettled)
        fresh.pending.take(old.pending)

    def _take_message(self, message: Message) -> None:
        if not self._note_seq(message.server_seq, message.id):
            return
        if epoch_of(message) is not None:
            self._drop_unsettled()
        if message.client == self.store.client:
            self._make_room(message)
        is_own = message.id in self.store.inner.unacked
        self.store.receive(message)
        if is_own:
            self._settle(message.id)
        self._look_whether_live()

    def _make_room(self, message: Message) -> None:
        """Refuse what has the id or the counter of another message of ours that is journalled: an earlier life of this
        client sent that, just before it ended, and nobody knew when this one began."""
        inner = self.store.inner
        if inner.replica.graph.identify(message) is Identity.REUSED:
            for own in list(inner.unacked.values()):
                if own.id == message.id or own.counter == message.counter:
                    self.store.reject(own.id)
                    self._refuse(Refusal.reused(own.id))

    def _drop_unsettled(self) -> None:
        """Before a reset: what is not journalled was made for a document that is no more (rule R5)."""
        ids = self.waiting
        self.store.inner.reject(*ids)
        for message_id in ids:
            self._refuse(Refusal.stale(message_id))

    def _refuse(self, refusal: Refusal) -> None:
        self._forget(refusal.message_id)
        self.refusals.append(refusal)
        self.untold.append(refusal)

    def _take_ack(self, message_id: str, seq: int, *, auth: bool) -> None:
        if message_id not in self.store.inner.unacked:
            self._note_seq(seq, message_id)
        elif not seq:
            # It stands in history that is folded away, and so may more of what we show.
            self._lose_track(begin_anew=True)
        elif self._note_seq(seq, message_id):
            self.store.ack(message_id, seq, auth=auth)
            self._settle(message_id)
        self._look_whether_live()

    def _note_seq(self, seq: int, message_id: str) -> bool:
        """Note that this message has come, at that sequence; False when others before it have not."""
        if seq > self._seq + 1:
            self._lose_track()
            return False
        if seq > self._seq:
            self._seq, self._message_id = seq, message_id
        return True

    def _lose_track(self, *, begin_anew: bool = False) -> None:
        self.has_lost_track = True
        self.is_live = False
        if begin_anew:
            self.is_joined = False

    def _look_whether_live(self) -> None:
        if self._may_send and not self.has_lost_track and self._seq >= self._live_at:
            self.is_live = True

    def _settle(self, message_id: str) -> None:
        self.taken += 1
        self._forget(message_id)

    def _forget(self, message_id: str) -> None:
        self._window.discard(message_id)
        if self.outbox is not None:
            self.outbox.discard(message_id)

    def _take_error(self, wire: Wire) -> None:
        message_id = str(wire.get("msgId") or "")
        if not message_id:
            self.faults[str(wire.get("about", ""))] = wire
        if wire.get("retry") or self._is_ahead_of_its_target(message_id, wire):
            self.must_pause = self.must_pause or message_id in self._window
        elif (own := self.store.inner.unacked.get(message_id)) is not None:
            self.store.reject(message_id)
            refusal = Refusal.of(wire)
            if refusal.code == ErrorCode.ID_REUSED:
                merge_into(self.store.inner.replica.clock, own.clock)  # somebody has this counter
            self._refuse(refusal)

    def _is_ahead_of_its_target(self, message_id: str, wire: Wire) -> bool:
        """An undo that arrived, while its target was refused for now: both will travel again, in order."""
        unacked = self.store.inner.unacked
        if wire.get("code") != "unknown-target" or message_id not in unacked:
            return False
        return any(op.target in unacked for op in unacked[message_id].ops)

    def _take_status(self, wire: Wire) -> None:
        if wire.get("requestId") != f"check-{self.asked}":
            return
        status, self.is_verified = Status.of(wire), self._must_verify
        if self._must_verify:
            status = replace(status, is_same=self._is_same(status.digest))
        self.answer, self.answered = status, self.asked

    def _is_same(self, digest: str) -> bool | None:
        if self.waiting or not self.is_live:
            return None
        return self.store.inner.replica.graph.digest() == digest


__all__ = ["NotNative", "Syncer"]
