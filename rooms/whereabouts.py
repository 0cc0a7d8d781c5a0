"""The presence of one live room: what comes from its connections and other processes, and who is told when.

Only the newest counts, so nothing is queued: each receiver has a set of clients whose presence it has not been told,
and is told of them at its next turn.  Turns come `presence_updates_per_second` times a second at most, less often
when they cost more than `SHARE` of the process's time, pass by receivers that are behind, and let the event loop do
other things in between when there are many receivers.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from rooms.news import PresenceAsked, PresenceTold, Told
from rooms.presence import Board, Entry, Source
from rooms.settings import settings
from rooms.tally import tally
from vuer_rtc.protocol.codec import encode, encode_present
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.wire import Dialect, Frame, Framing, Presences, Present

FRAME_BYTES_MAX = 65_536
"""Of one `presence`, about; what is more waits for the next turn, and commits go between."""
SHARE = 0.1
"""Of the process's time that one room's turns may take.  A thousand people who all move are told less often."""
PIECE_S = 0.005
"""Of a turn, before others have theirs: five hundred people who all move take a tenth of a second."""
ANSWER_PAUSE_S = 1
"""The whole is told no more often because somebody asks."""
REFRESHES = 3
"""How often the whole is told to the other processes while a silent one is not yet forgotten."""


class PresencePeer(Protocol):
    """What presence needs of a connection."""

    client: str
    arrived_at: float
    """When its handshake began, seconds since the epoch; grows with every handshake of the process."""
    heard_at: float
    """When its client last sent anything, monotonic."""

    @property
    def dialect(self) -> Dialect: ...
    @property
    def wants_presence(self) -> bool: ...
    @property
    def shown_name(self) -> str | None:
        """Name of the account, for the others."""

    @property
    def is_behind(self) -> bool:
        """More is on its way to it than it takes at once."""

    def push(self, frames: Sequence[Frame], size: int) -> None: ...


Tell = Callable[[PresenceAsked | PresenceTold], None]
Missed = dict[str, None]
"""Clients whose presence a receiver has not been told, in the order of their turns."""


@dataclass(slots=True)
class Turn:
    """Everybody is told what has changed, one after the other."""

    receivers: Iterator[PresencePeer]
    """Whose turn is still to come."""
    changed: Missed
    common: dict[Framing, tuple[Sequence[Frame], int, Missed]] = field(default_factory=dict)
    """What most of them are sent, and what had no room in it."""
    spent_s: float = 0.0


class Whereabouts:
    """Who is present in one room of this process, and tells the others in it."""

    def __init__(self, document_id: UUID, process: str, limits: Limits, tell: Tell) -> None:
        self.board = Board()
        self._document_id = document_id
        self._process = process
        self.silence_s_max = limits.presence_silence_s_max
        self._tell = tell
        self._shown: dict[PresencePeer, Entry] = {}
        """The connections of this process that are present, whether or not their presence is the one that counts."""
        self._receivers: dict[PresencePeer, Missed] = {}
        self._changed: Missed = {}
        """Since the last turn, for all receivers."""
        self._untold: dict[str, Told] = {}
        """Since the last turn, for the other processes."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_turn_at = 0.0
        self._told_whole_at = float("-inf")
        self._is_asked = False

    # Connections

    def join(self, peer: PresencePeer) -> None:
        """`peer` is told who is present, and of every change from now on."""
        if not peer.wants_presence:
            return
        if not self._receivers:
            self._tell(PresenceAsked(self._document_id, self._process))
        others = (client for client in self.board.clients() if client != peer.client)
        self._receivers[peer] = dict.fromkeys(others)
        self._offer(peer, {})
        if self._receivers[peer]:
            self._schedule()

    def leave(self, peer: PresencePeer) -> None:
        """Afterwards `peer` is not present and not told.  Idempotent."""
        self._receivers.pop(peer, None)
        self.show(peer, None)
        if not self._shown:
            self._tell_untold()  # the room, or the process, may end before the next turn

    def show(self, peer: PresencePeer, data: dict[str, Any] | None) -> None:
        """`peer` is there; None: it is not present any more."""
        shown = self._shown.pop(peer, None)
        if data is not None:
            source = shown.source if shown is not None else Source(peer.arrived_at, self._process)
            shown = self._shown[peer] = Entry(source, peer.client, data, peer.shown_name)
            is_new = self.board.show(shown)
        elif shown is not None:
            is_new = self.board.withdraw(peer.client, shown.source)
        else:
            return
        if is_new:
            self._note(peer.client)
            self._untold[peer.client] = Told(peer.client, shown.source.arrived_at, data, peer.shown_name)

    def close(self) -> None:
        """Nobody here is told any more."""
        self._receivers.clear()

    # Other processes

    def take(self, news: PresenceTold) -> None:
        """Another process says who is present there."""
        self.board.hear(news.process, time.monotonic())
        gone = []
        for told in news.clients:
            source = Source(told.arrived_at, news.process)
            if told.data is None:
                if self.board.withdraw(told.client, source):
                    gone.append(told.client)
            elif not self._is_known(told, source):
                entry = Entry(source, told.client, told.data, told.user)
                entry.frame(
                    Framing.MSGPACK
                )  # what cannot be written fails here, not each time somebody is told
                if self.board.show(entry):
                    self._note(told.client)
        if news.is_whole:
            gone += self.board.keep_only(news.process, [told.client for told in news.clients])
        self._note_gone(gone)

    def answer(self) -> None:
        """Another process asks who is present here; of many who ask, the first is answered at once, the others together
        at the next sweep: a client that comes and goes must not make every process tell everything each time."""
        if self._shown and time.monotonic() - self._told_whole_at >= ANSWER_PAUSE_S:
            self._tell_whole()
        else:
            self._is_asked = True

    def _is_known(self, told: Told, source: Source) -> bool:
        known = self.board.get(told.client)
        return known is not None and known.source == source and known.present.data == told.data

    def sweep(self, now: float) -> None:
        """Called once a second: ends what is silent, tells the other processes that the rest lives.  `now` is
        monotonic."""
        silent = [peer for peer in self._shown if now - peer.heard_at > self.silence_s_max]
        for peer in silent:
            self.show(peer, None)
        self._note_gone(self.board.forget_silent(now - self.silence_s_max))
        is_due = self._is_asked or now - self._told_whole_at > self.silence_s_max / REFRESHES
        if self._shown and is_due:
            self._tell_whole()

    # Turns

    def _note_gone(self, clients: Iterable[str]) -> None:
        """They are not present elsewhere any more; those that have a connection here are where that one is: theirs did
        not count as long as the other seemed newer."""
        gone = frozenset(clients)
        for client in gone:
            self._note(client)
        if gone:
            for peer, entry in self._shown.items():
                if peer.client in gone and self.board.show(entry):
                    present = entry.present
                    self._untold[peer.client] = Told(
                        peer.client, entry.source.arrived_at, present.data, present.user
                    )

    def _note(self, client: str) -> None:
        self._changed[client] = None
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._next_turn_at), self._turn)

    def _turn(self) -> None:
        """Everybody is told what they have not been told yet, but who is behind."""
        changed, self._changed = self._changed, {}
        self._tell_untold()
        self._go_on(Turn(iter(tuple(self._receivers)), changed))

    def _go_on(self, turn: Turn) -> None:
        """A piece of a turn; the next one follows when everybody else has had theirs."""
        self._timer = None
        loop, begun_at, spent_s = asyncio.get_running_loop(), time.perf_counter(), 0.0
        for peer in turn.receivers:
            if peer in self._receivers:
                self._tell_receiver(peer, turn)
            spent_s = time.perf_counter() - begun_at
            if spent_s >= PIECE_S:
                turn.spent_s += spent_s
                self._timer = loop.call_later(0, self._go_on, turn)
                return
        pause_s = max(1 / (settings.presence_updates_per_second or 1), (turn.spent_s + spent_s) / SHARE)
        self._next_turn_at = loop.time() + pause_s
        if self._changed or any(self._receivers.values()):
            self._schedule()

    def _tell_receiver(self, peer: PresencePeer, turn: Turn) -> None:
        missed = self._receivers[peer]
        if missed or peer.client in turn.changed or peer.is_behind:
            self._offer(peer, turn.changed)
            return
        framing = peer.dialect.framing
        if framing not in turn.common:
            turn.common[framing] = self._framed(turn.changed, framing)
        frames, size, rest = turn.common[framing]
        self._push(peer, frames, size)
        missed.update(rest)

    def _offer(self, peer: PresencePeer, changed: Missed) -> None:
        """Tell one receiver what it missed and what has changed, or remember it as missed."""
        missed = {**self._receivers[peer], **changed}
        missed.pop(peer.client, None)
        if missed and not peer.is_behind:
            frames, size, missed = self._framed(missed, peer.dialect.framing)
            self._push(peer, frames, size)
        self._receivers[peer] = missed

    def _push(self, peer: PresencePeer, frames: Sequence[Frame], size: int) -> None:
        tally.sent[Presences] += 1
        peer.push(frames, size)

    def _framed(self, clients: Missed, framing: Framing) -> tuple[Sequence[Frame], int, Missed]:
        """One frame about the first of these clients, its size, and the clients that it did not hold."""
        entries: list[bytes] = []
        size = 0
        waiting = list(clients)
        for client in clients:
            if size > FRAME_BYTES_MAX:
                break
            entry = self.board.get(client)
            shown = entry.frame(framing) if entry else encode_present(Present(client, None), framing)
            entries.append(shown)
            size += len(shown)
        frame = encode(Presences(entries), framing)
        return [frame], len(frame), dict.fromkeys(waiting[len(entries) :])

    def _tell_untold(self) -> None:
        untold, self._untold = self._untold, {}
        if untold:
            self._tell(PresenceTold(self._document_id, self._process, list(untold.values())))

    def _tell_whole(self) -> None:
        self._told_whole_at = time.monotonic()
        self._is_asked = False
        self._untold.clear()
        whole = [
            Told(entry.present.client, entry.source.arrived_at, entry.present.data, entry.present.user)
            for entry in self.board.of(self._process)
        ]
        self._tell(PresenceTold(self._document_id, self._process, whole, is_whole=True))
