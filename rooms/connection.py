"""One client's connection: what its frames ask for is done here, on the event loop and without waiting."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from time import thread_time

from rooms.address import Address
from rooms.admission import Admission
from rooms.batch import Submission
from rooms.debt import Debt
from rooms.fanout import WORK_FREE_S
from rooms.models import Session
from rooms.outbox import Outbox, Send
from rooms.room import LiveRoom
from rooms.server_extension import Write
from rooms.session import CLOSED_ABNORMALLY, End, Progress
from rooms.settings import settings
from rooms.tally import tally
from rooms.verdict import Verdict
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol import session as effect
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.codes import CloseCode, ErrorCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Effect, Right, SyncSession
from vuer_rtc.protocol.wire import (
    Dialect,
    Edition,
    Error,
    Feature,
    Frame,
    Outbound,
    Promise,
    Rights,
    SyncStatus,
    Welcome,
)

READS = effect.SendState | effect.SendMissing | effect.SendStatus
VERSION = 2
"""Of the protocol that native clients are spoken to in."""
EXPIRY_CHECK_S = 3600
"""Longest wait for a token's end in one go: the wall clock may be set meanwhile."""
UNRECORDED = "the database takes no rows now, so nothing can be edited; send it again later"
CLOCK_ENTRIES_NOTED_MAX = 1000
"""Of what a client says of others; the row is kept when it has left."""
BEHIND_BYTES = 65_536
"""Queued for a connection beyond which presence waits: commits go first."""


class Connection:
    """A member of a live room."""

    def __init__(
        self,
        address: Address,
        admission: Admission,
        room: LiveRoom,
        send: Send,
        write: Write,
        on_progress: Callable[["Connection"], None],
        promise: Promise,
        on_reset: Callable[["Connection", int], None],
        on_life: Callable[["Connection"], None],
        arrived_at: float,
        debt: Debt,
    ) -> None:
        self.client = address.client
        self.arrived_at = arrived_at
        self.admission = admission
        self.room = room
        self.vector_clock: dict[str, int] = {}
        self.acked_seq = 0
        self.heard_at = time.monotonic()
        self.close_code: CloseCode | None = None
        self._session_id = str(admission.session_id)
        self._protocol = SyncSession(
            address.client,
            admission.rights,
            admission.limits,
            address.framing,
            address.naming,
            address.edition,
            granted(address.features),
        )
        self._debt = debt
        self._protocol.charge(debt.owed_s(self.heard_at))
        self._features = self._protocol.features
        self._promise = promise
        self._outbox = Outbox(
            send,
            write,
            bytes_max=admission.limits.outbound_bytes_max,
            frames_max=admission.limits.outbound_frames_max,
            on_overflow=lambda: self.close(CloseCode.SLOW_CLIENT),
        )
        self._on_progress = on_progress
        self._on_reset = on_reset
        self._on_life = on_life
        self._has_spoken = False
        self._reader = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self.is_cut_off = False
        self.is_recorded = admission.is_recorded
        """Its session has a row; without one it may only look."""
        self._expiry = self._call_at_expiry()

    # What the client sends

    def receive(self, frame: Frame) -> None:
        """Do what the frame asks for; nothing once the connection is being closed (rule S7)."""
        if self.close_code is not None:
            return  # the peer may not read, and the close frame stand behind what it does not read
        self.heard_at = time.monotonic()
        if not self._has_spoken:
            self._has_spoken = True
            self._on_life(self)
        tally.received_bytes += len(frame)
        for wanted in self._protocol.receive(frame, self.heard_at):
            tally.received[type(wanted)] += 1
            if isinstance(wanted, READS):
                self._answer(wanted, frame)
            else:
                self._perform(wanted, frame)

    def _answer(self, wanted: Effect, frame: Frame) -> None:
        """Do what may cost as much as the document is large; who asks pays for it (rule L9)."""
        began_at = thread_time()
        self._perform(wanted, frame)
        work_s = thread_time() - began_at
        if work_s > WORK_FREE_S:
            self.note_work(work_s)

    def _perform(self, wanted: Effect, frame: Frame) -> None:
        match wanted:
            case effect.Submit(message):
                self._submit(message, len(frame))
            case effect.Reply(outbound):
                self.send(outbound)
            case effect.SendState():
                self.room.send_state(self)
            case effect.SendMissing(clock):
                self._note_clock(clock)
                self.room.send_missing(self, clock)
            case effect.SendStatus(request_id):
                self.send(SyncStatus(request_id, self.room.standing()))
            case effect.Heartbeat(clock):
                self._note_clock(clock)
            case effect.ShowPresence(data):
                self.room.presence.show(self, data)
            case effect.Reset(epoch):
                self._on_reset(self, epoch)
            case effect.Close(code):
                self.close(code)

    def _submit(self, message: Message, size: int) -> None:
        if not self.is_recorded:
            self.send(Error.because(ErrorCode.UNAVAILABLE, UNRECORDED, message.id))
            return
        user = self.admission.user
        self.room.submit(Submission(message, self, user, self._session_id, time.time(), size=size))

    # What the client is sent

    @property
    def dialect(self) -> Dialect:
        return self._protocol.dialect

    @property
    def is_batched(self) -> bool:
        """It wants one frame per commit."""
        return Feature.BATCH in self._features

    @property
    def wants_presence(self) -> bool:
        return Feature.PRESENCE in self._features

    @property
    def shown_name(self) -> str | None:
        """Name of the account, for the others."""
        return self.admission.shown_name

    @property
    def queued_bytes(self) -> int:
        """What its socket has not taken yet."""
        return self._outbox.queued_bytes

    @property
    def is_behind(self) -> bool:
        """More is on its way to it than it takes at once."""
        return self._outbox.queued_bytes > BEHIND_BYTES

    def welcome(self, server_seq: int, undoable: list[str], *, is_resumed: bool) -> None:
        """Tell a native client where it is."""
        self.send(
            Welcome(
                version=VERSION,
                document=str(self.admission.document_id),
                epoch=self.room.graph.epoch.number,
                server_seq=server_seq,
                resumed=is_resumed,
                features=sorted(self._features),
                rights=self.told_rights,
                limits=asdict(self.admission.limits),
                durability=self._promise,
                undoable=undoable,
                arrived_at=self.arrived_at,
            )
        )

    def push(self, frames: Sequence[Frame], size: int) -> None:
        self._outbox.push(frames, size)

    def push_document(self, frames: Sequence[Frame], size: int) -> None:
        self._outbox.push_document(frames, size)

    def send(self, outbound: Outbound) -> None:
        tally.sent[type(outbound)] += 1
        if type(outbound) is Error:
            tally.refused[outbound.code] += 1
        frame = encode(outbound, *self.dialect)
        self._outbox.push([frame], len(frame))

    # Rights

    def take_verdict(self, verdict: Verdict) -> None:
        """From now on it has these rights, or none: without `view` it is closed."""
        if isinstance(verdict, CloseCode):
            self.close(verdict)
        elif Right.VIEW not in verdict:
            self.close(CloseCode.FORBIDDEN)
        elif verdict != self._protocol.rights:
            self._protocol.rights = verdict
            self.tell_rights()

    def take_limits(self, limits: Limits) -> None:
        """From now on these hold here and in the room; a native client is told."""
        self.room.take_limits(limits)
        if limits != self._protocol.limits and self.close_code is None:
            self._protocol.limits = limits
            self._outbox.bound(limits.outbound_bytes_max, limits.outbound_frames_max)
            if self.dialect.edition is Edition.NATIVE:
                self.send(Rights(self.told_rights, asdict(limits)))

    @property
    def told_rights(self) -> list[str]:
        """What it can do now: of a room that is damaged nobody can edit anything, whatever the policy says."""
        rights = self._protocol.rights
        return sorted(rights if self.room.damage is None else rights & {Right.VIEW})

    def tell_rights(self) -> None:
        """Tell a native client what it can do now."""
        if self.dialect.edition is Edition.NATIVE:
            self.send(Rights(self.told_rights))

    # Progress

    def note_ack(self, seq: int) -> None:
        """One of its messages has that sequence."""
        self.acked_seq = max(self.acked_seq, seq)
        self._on_progress(self)

    def note_work(self, work_s: float) -> None:
        """What it sent has kept the event loop that long: its next ones have to wait (rule L9)."""
        self._protocol.charge(work_s)
        self._debt.add(work_s, time.monotonic())

    def _note_clock(self, clock: dict[str, int]) -> None:
        """Its row will say so, of clients that the document knows; of some: who may only look is to fill no disk."""
        known = self.room.graph.clock
        noted = (entry for entry in clock.items() if entry[0] in known)
        self.vector_clock = dict(islice(noted, CLOCK_ENTRIES_NOTED_MAX))
        self._on_progress(self)

    @property
    def progress(self) -> Progress:
        return Progress(self.admission.session_id, self.vector_clock, self.acked_seq)

    # The end

    def _call_at_expiry(self) -> asyncio.TimerHandle | None:
        """The timer that closes the connection when its token ends; None without a token."""
        expires_at = self.admission.credential.expires_at
        if expires_at is None:
            return None
        delay_s = min(max(0.0, expires_at - time.time()), EXPIRY_CHECK_S)
        return asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        expires_at = self.admission.credential.expires_at
        if expires_at is not None and time.time() >= expires_at:
            self.close(CloseCode.TOKEN_EXPIRED)
        else:
            self._expiry = self._call_at_expiry()

    def close(self, code: CloseCode) -> None:
        """Send what is queued, then the close frame; a peer that does not take it is cut off.  Idempotent."""
        if self.close_code is None:
            self.close_code = code
            self._outbox.close(code)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(settings.close_timeout_s, self._cut_off)

    def _cut_off(self) -> None:
        self.is_cut_off = True
        self._outbox.abandon()
        if self._reader is not None:
            self._reader.cancel()

    def ended(self, code: int) -> End:
        """The socket is gone, with that code if it was not ours: leave the room.  Returns what is to be
        recorded."""
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()
        self._outbox.release()
        self._reader = None
        self.room.leave(self)
        if self.close_code is not None:
            return End(self.progress, self.close_code, Session.ClosedBy.SERVER)
        is_lost = code == CLOSED_ABNORMALLY
        return End(self.progress, code, Session.ClosedBy.NOBODY if is_lost else Session.ClosedBy.CLIENT)


def granted(features: frozenset[Feature]) -> frozenset[Feature]:
    """Those that the site offers."""
    return features if settings.presence_updates_per_second else features - {Feature.PRESENCE}
