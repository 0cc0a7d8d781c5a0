"""One document, live: its graph, and the steps from what came in to what everybody is told.

All methods run on the event loop, and only `prepare` and `catch_up` wait, the latter between steps that could be calls
of their own.  So each is one atomic step: a connection that joins at sequence S gets S+1 next, and what is broadcast
has been committed and applied.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import thread_time
from typing import Protocol
from uuid import UUID

from journal.entry import Entry
from journal.error import CorruptJournal, JournalPutBack, JournalTruncated, UnknownDocument
from journal.failpoint import reach
from journal.reader import Hydrated
from journal.writer import Draft
from rooms.answer import Answers
from rooms.audience import Audience, Replies, send_state
from rooms.batch import Batch, Submission
from rooms.fanout import Delivery, Fanout
from rooms.foreign import Batches, in_steps
from rooms.native import undoable_ids
from rooms.peer import Peer, ack_of
from rooms.settings import settings
from rooms.tally import tally
from rooms.waiting import Budget, Waiting, refuse
from rooms.whereabouts import Whereabouts
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codes import CloseCode, ErrorCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.wire import (
    Ack,
    Dialect,
    Edition,
    Frame,
    Standing,
)

logger = logging.getLogger(__name__)

DAMAGED = "the document's journal is damaged; it can be looked at until an operator has repaired it"


class Reader(Protocol):
    """How a room reads its journal; the work is done elsewhere."""

    async def hydrate(self, document_id: UUID) -> Hydrated: ...
    def read_after(self, document_id: UUID, seq: int, last_batch: UUID | None) -> AsyncIterator[Batches]:
        """Everything behind `seq`, where that batch ended if it is known, in parts that memory has room for."""
        ...


class LiveRoom:
    """The live side of one document in this process."""

    def __init__(
        self,
        document_id: UUID,
        hydrated: Hydrated,
        *,
        limits: Limits,
        reader: Reader,
        budget: Budget,
        presence: Whereabouts,
        notify: Callable[["LiveRoom"], None],
        read_on: Callable[["LiveRoom"], object],
        on_change: Callable[["LiveRoom"], None],
        on_empty: Callable[["LiveRoom"], None],
        on_put_back: Callable[["LiveRoom", Hydrated], None],
        damage: CorruptJournal | None = None,
    ) -> None:
        self.document_id = document_id
        self.graph = hydrated.graph
        self.limits = limits
        self.presence = presence
        self._audience = Audience()
        self.connections: Mapping[str, Peer] = self._audience.connections
        self.is_closed = False
        self.is_taking = True
        self.damage = damage
        """What is wrong with the journal: the room is open for looking only; None: nothing."""
        self.conflicts_in_a_row = 0
        self.rival_until = 0.0
        self.turns_wanted: int | None = None
        self.last_batch = hydrated.last_batch
        self._reader = reader
        self._notify = notify
        self._read_on = read_on
        self._on_change = on_change
        self._on_empty = on_empty
        self._on_put_back = on_put_back
        self._waiting = Waiting(budget)
        self._lost_clock: dict[str, int] = {}
        """What it had of each client whenever the database was put back."""
        self._answers = Answers(self.graph, hydrated.last_id)

    # Members

    def join(self, peer: Peer, since: int | None = None, read: Sequence[Message] = ()) -> None:
        """From now on `peer` gets everything after the `state` it is sent; an older connection of the same
        client is closed.

        A native client that has everything up to `since` is sent what follows instead, if that is still held
        here, or is in `read`: messages from the journal, behind `since`.

        Raises: RoomFull; Overtaken, when this connection took so long to be let in that its client had given it up.
        """
        self._audience.enter(peer, self.limits.sessions_max)
        try:
            self._begin_with(peer, since, read)
        except BaseException:
            self.leave(peer)  # else nobody would ever take it out
            raise

    def _begin_with(self, peer: Peer, since: int | None, read: Sequence[Message]) -> None:
        missing = self._answers.after(since, read) if since is not None else None
        if peer.dialect.edition is Edition.NATIVE:
            undoable = undoable_ids(self.graph, peer.client, settings.undoable_messages_max)
            peer.welcome(self.graph.head_seq, undoable, is_resumed=missing is not None)
        if missing is None:
            send_state(peer, self._answers, is_joining=True)
        else:
            peer.push_document(*Fanout(missing).for_others(peer.dialect, is_batched=peer.is_batched))
        self.presence.join(peer)

    def replace_older(self, clients: Mapping[str, float]) -> None:
        """These have come in at another process, at those times: what they have here since before is closed."""
        self._audience.replace_older(clients)

    async def prepare(self, client: str, dialect: Dialect) -> None:
        """Afterwards it may join and be sent a `state`, and holds up nobody."""
        await self._answers.prepare(client, dialect)

    def take_limits(self, limits: Limits) -> None:
        """From now on these hold for the document."""
        self.limits = limits
        self.presence.silence_s_max = limits.presence_silence_s_max

    def holds_after(self, seq: int) -> bool:
        """True when everything behind `seq` is in memory."""
        return self._answers.holds_after(seq)

    def message_id_at(self, seq: int) -> str | None:
        """Of the message of that sequence; None when it is not in memory."""
        return self._answers.message_id_at(seq)

    def leave(self, peer: Peer) -> None:
        """Afterwards `peer` gets nothing; a newer connection of the same client is not touched.
        Idempotent."""
        self.presence.leave(peer)
        if self._audience.leave(peer) and not self.connections:
            self._on_empty(self)

    def close(self, code: CloseCode) -> None:
        """Close every connection; what waits is dropped without an answer."""
        self.is_closed = True
        self._waiting.close()
        self._audience.close(code)
        self.presence.close()

    def fail(self) -> None:
        """The room cannot go on: it closes, and the next join hydrates it anew."""
        self.close(CloseCode.INTERNAL)
        self._on_empty(self)

    # Answers from memory

    def send_state(self, peer: Peer) -> None:
        """The document as it is."""
        send_state(peer, self._answers)

    def send_missing(self, peer: Peer, clock: Mapping[str, int]) -> None:
        """What `clock` lacks, or the whole state when part of that is folded away."""
        deliveries = self._answers.beyond(clock)
        if deliveries is None:
            self.send_state(peer)
        else:
            peer.push(*Fanout(deliveries).for_others(peer.dialect, is_batched=peer.is_batched))

    def standing(self) -> Standing:
        """How far the document is."""
        return self._answers.standing()

    # Messages on their way to the journal

    def submit(self, submission: Submission) -> None:
        """Queue a message for the next batch; its sender is answered when its fate is known.  A room that is
        about to close takes no more: the sender gets no ack, and sends it again elsewhere."""
        if not self.is_taking or self.is_closed:
            return
        if self.damage is not None:
            refuse(submission, ErrorCode.DAMAGED, DAMAGED)
        elif self._waiting.take(submission):
            if self.graph.seq_of(submission.message.id) is not None:
                self._read_on(self)  # the database may be one that was put back (rule J66)
            self._notify(self)

    @property
    def waiting_count(self) -> int:
        """Messages that wait for the next batch."""
        return len(self._waiting)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting) and self.damage is None

    def next_batch(self) -> Batch | None:
        """The next batch, off the queue; what is refused, and without a batch what is known, has been answered."""
        if self.damage is not None:
            return None
        return self._waiting.next_batch(self.graph, self.limits, self._lost_clock)

    def draft(self, batch: Batch) -> Draft:
        entries = [
            Entry(message, submission.user, submission.session, submission.received_at)
            for message, submission in zip(batch.messages, batch.accepted, strict=True)
        ]
        return Draft(self.document_id, batch.first_seq, entries, self.last_batch)

    def settle(self, batch: Batch) -> None:
        """The batch is on disk: apply, acknowledge to the senders, broadcast to the others."""
        reach("settle.begun")
        deliveries = self._apply(batch.messages)
        reach("settle.applied")
        acks: dict[Peer, dict[int, list[Frame]]] = {}
        for index, submission in enumerate(batch.accepted):
            peer: Peer = submission.origin
            acks.setdefault(peer, {})[index] = self._audience.replies_to(peer, deliveries[index])
            peer.note_ack(batch.first_seq + index)
            if deliveries[index].is_heavy:
                peer.note_work(deliveries[index].work_s)
        self._fan_out(deliveries, acks)
        self._count(batch)
        for index, submission in batch.repeats:
            submission.origin.send(ack_of(submission.origin, deliveries[index]))
            submission.origin.note_ack(batch.first_seq + index)
        self._waiting.finish(batch)
        reach("settle.told")

    def _count(self, batch: Batch) -> None:
        count, now = len(batch.accepted), time.time()
        tally.batch_messages.note(count)
        tally.sent[Ack] += count
        for submission in batch.accepted:
            tally.ack_s.note(now - submission.received_at)

    def put_back(self, batch: Batch) -> None:
        """The batch is not on disk, or nobody knows: its messages wait again, before all others."""
        self._waiting.put_back(batch)

    def warn(self, batch: Batch | None = None) -> None:
        """Tell senders, once per message, that the journal is unavailable; those of a batch on its way, too."""
        self._waiting.warn(batch)

    def isolate(self, batch: Batch) -> None:
        """The batch cannot be written as it is: try half of it next, and refuse the one message at fault."""
        self._waiting.isolate(batch)

    # What others wrote

    async def catch_up(self) -> None:
        """Afterwards the room holds what others wrote.

        When that is damaged, the room stays as it is, for looking.  When there is no such document any more, everybody
        is sent away.

        Raises: JournalUnavailable.
        """
        if self.damage is None:
            try:
                await self._catch_up()
            except CorruptJournal as damage:
                self.suffer(damage)
            except UnknownDocument:
                self._vanish()

    def _vanish(self) -> None:
        """The document has been deleted (rule J52)."""
        self.close(CloseCode.UNKNOWN_ROOM)
        self._on_empty(self)

    async def _catch_up(self) -> None:
        try:
            place = self.document_id, self.graph.head_seq, self.last_batch
            async for batches in self._reader.read_after(*place):
                for step in in_steps(batches):
                    if self.is_closed:
                        return
                    self._absorb(step)
                    await asyncio.sleep(0)
        except JournalPutBack:
            await self._go_back()
        except JournalTruncated:
            await self._rehydrate()

    def _absorb(self, batches: Batches) -> None:
        """Apply and broadcast other writers' batches, and our own whose fate was unknown.

        A published client that has one of these messages waiting here gets no broadcast of it: its
        acknowledgement follows when the next batch is built and finds it journalled.
        """
        head_seq = self.graph.head_seq
        messages = [
            message for batch in batches for message in batch.messages if message.server_seq > head_seq
        ]
        if not messages:
            return
        self.last_batch = batches[-1].id
        deliveries = self._apply(messages)
        index_of = {message.id: index for index, message in enumerate(messages)}
        silence: dict[Peer, dict[int, list[Frame]]] = {}
        for submission in self._waiting:
            origin: Peer = submission.origin
            index = index_of.get(submission.message.id)
            if index is not None and not self._audience.shows_own(origin):
                silence.setdefault(origin, {})[index] = []
        self._fan_out(deliveries, silence)

    async def _rehydrate(self) -> None:
        """Start again from the newest snapshot: something of what was missed is folded away, so everybody gets
        the whole state."""
        self._replace_by(await self._reader.hydrate(self.document_id))

    async def _go_back(self) -> None:
        """The database is an older one than the room has seen (rule J66): everybody gets the state that it has."""
        hydrated = await self._reader.hydrate(self.document_id)
        logger.error(
            "document %s: the database does not hold what was acknowledged up to seq %d, it has been put back; the"
            " room goes on from seq %d",
            self.document_id,
            self.graph.head_seq,
            hydrated.head_seq,
        )
        for client, counter in self.graph.clock.items():
            self._lost_clock[client] = max(counter, self._lost_clock.get(client, 0))
        self._replace_by(hydrated)
        self._on_put_back(self, hydrated)

    def suffer(self, damage: CorruptJournal) -> None:
        """It is open for looking only.  What waits may be journalled or not; it waits on, and its senders know."""
        self.damage = damage
        self.warn()
        self._audience.tell_rights()
        self._on_change(self)

    def recover(self, hydrated: Hydrated) -> None:
        """The journal is in order again: everybody gets the whole state, and what waits is journalled."""
        self.damage = None
        self._replace_by(hydrated)
        self._audience.tell_rights()
        if self.has_waiting:
            self._notify(self)

    def _replace_by(self, hydrated: Hydrated) -> None:
        has_reset = hydrated.graph.epoch.number > self.graph.epoch.number
        self.graph, self.last_batch = hydrated.graph, hydrated.last_batch
        self._answers = Answers(self.graph, hydrated.last_id)
        self._audience.begin_anew(self._answers, has_reset=has_reset)
        self._on_change(self)

    # Inside

    def _apply(self, messages: Sequence[Message]) -> list[Delivery]:
        deliveries = []
        for message in messages:
            began_at = thread_time()
            applied = self.graph.apply(message)
            work_s = thread_time() - began_at
            deliveries.append(Delivery(message, applied.relay, applied.is_late, applied.size, work_s))
        self._answers.note(deliveries)
        return deliveries

    def _fan_out(self, deliveries: Sequence[Delivery], replies: Replies) -> None:
        self._audience.fan_out(deliveries, replies, self._answers)
        self._on_change(self)
