"""Who is present in a document and where, on all processes: what is known, without sockets, time or waiting.

A presence belongs to one connection.  Of two connections of one client the newer one counts, whichever process
tells last; what a process is not heard of for a while is forgotten with it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from vuer_rtc.protocol.codec import encode_present
from vuer_rtc.protocol.wire import Framing, Present


class Source(NamedTuple):
    """The connection that a presence belongs to."""

    arrived_at: float
    """Seconds since the epoch; the newer connection of a client counts.  Clocks of two machines may differ: then the
    older one may be shown until it ends."""
    process: str


class Entry:
    """One client's presence; encoded once per framing, whoever it is sent to."""

    __slots__ = ("_frames", "present", "source")

    def __init__(self, source: Source, client: str, data: dict[str, Any], user: str | None = None) -> None:
        self.source = source
        self.present = Present(client, data, user)
        self._frames: dict[Framing, bytes] = {}

    def frame(self, framing: Framing) -> bytes:
        """As it stands in a `presence`."""
        frame = self._frames.get(framing)
        if frame is None:
            frame = self._frames[framing] = encode_present(self.present, framing)
        return frame


class Board:
    """The presences of one document."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._heard_at: dict[str, float] = {}
        """When each other process was last heard of here."""

    def __len__(self) -> int:
        return len(self._entries)

    def clients(self) -> Iterable[str]:
        return self._entries.keys()

    def get(self, client: str) -> Entry | None:
        return self._entries.get(client)

    def of(self, process: str) -> list[Entry]:
        """The presences whose connections that process has."""
        return [entry for entry in self._entries.values() if entry.source.process == process]

    def show(self, entry: Entry) -> bool:
        """Afterwards the client is there, unless a newer connection of it says otherwise; True when it is."""
        client = entry.present.client
        former = self._entries.get(client)
        if former is not None and former.source > entry.source:
            return False
        self._entries[client] = entry
        return True

    def withdraw(self, client: str, source: Source) -> bool:
        """Afterwards that connection's presence is gone; True when it was there."""
        former = self._entries.get(client)
        if former is None or former.source != source:
            return False
        del self._entries[client]
        return True

    # Other processes

    def hear(self, process: str, now: float) -> None:
        """The process lives."""
        self._heard_at[process] = now

    def keep_only(self, process: str, clients: Iterable[str]) -> list[str]:
        """Afterwards the process has no presences but these; the clients that are gone."""
        kept = set(clients)
        gone = [e.present.client for e in self.of(process) if e.present.client not in kept]
        for client in gone:
            del self._entries[client]
        return gone

    def forget_silent(self, before: float) -> list[str]:
        """Afterwards nothing is left of processes that were last heard of before then; the clients that are
        gone."""
        silent = [process for process, heard_at in self._heard_at.items() if heard_at < before]
        gone = []
        for process in silent:
            del self._heard_at[process]
            gone += self.keep_only(process, ())
        return gone
