"""Where the others are and what they look at, and what they are told of us (PROTOCOL.md, W).

Cursors, cameras, selections: told, not kept.  Nothing of it is in the document, and all of it goes with a connection.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vuer_rtc.crdt.plain import plain as check

from .assignment import plain
from .watcher import Watchers

Wire = dict[str, Any]

FEATURE = "presence"


@dataclass(frozen=True)
class Present:
    """Somebody who is in the room."""

    client: str
    data: Mapping[str, Any]
    """As they sent it: mostly `cursor`, `camera`, `selection`, `color`, `name`."""
    user: str | None = None
    """Name of their account, for which the server vouches; None: they have none."""


class Presence:
    """What this client shows of itself, and what it knows of the others."""

    def __init__(self, on_wanted: Callable[[], object], watchers: Watchers) -> None:
        self.mine: Mapping[str, Any] | None = None
        """What the others are told; None: nothing."""
        self._on_wanted = on_wanted
        self._watchers = watchers
        self._others: dict[str, Present] = {}
        self._is_dirty = False
        self._is_granted = False

    @property
    def others(self) -> Mapping[str, Present]:
        """Who else is here, by client; live, to be read only."""
        return MappingProxyType(self._others)

    def show(self, data: Mapping[str, Any]) -> None:
        """Tell the others this, instead of what they were told before; of several in a moment the newest travels.

        It is copied; arrays of numpy become lists.  Raises: InvalidMessage, a ValueError, for what is no JSON.
        """
        self._set(check(plain(dict(data))))

    def hide(self) -> None:
        """Afterwards, soon, the others see nothing of this client."""
        self._set(None)

    def _set(self, data: Mapping[str, Any] | None) -> None:
        if data != self.mine:
            self.mine, self._is_dirty = data, True
            self._on_wanted()

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Clients that came, changed or went since the last turn, as often as there are any; ends with the room."""
        return self._watchers.changes()

    def wake(self) -> None:
        """Let who iterates over the changes see that the room has ended."""
        self._watchers.wake()

    # The wire

    def welcomed(self, features: frozenset[str]) -> None:
        """A connection has joined: the others are told anew, and so are we."""
        self._is_granted = FEATURE in features
        self._is_dirty = self.mine is not None
        self._on_wanted()

    def lost(self) -> None:
        """The connection is gone, and with it everybody's presence."""
        self._is_granted = False
        gone = list(self._others)
        self._others.clear()
        if gone:
            self._watchers.tell(gone)

    def take(self, wire: Wire) -> None:
        """Some have come, changed or gone."""
        for entry in wire.get("clients", ()):
            client, data = entry["client"], entry.get("data")
            if data is None:
                self._others.pop(client, None)
            else:
                self._others[client] = Present(client, data, entry.get("user"))
        self._watchers.tell(entry["client"] for entry in wire.get("clients", ()))

    def to_send(self) -> list[Wire]:
        """What the others have not been told."""
        if not (self._is_dirty and self._is_granted):
            return []
        self._is_dirty = False
        return [{"mtype": "presence", "data": None if self.mine is None else dict(self.mine)}]


__all__ = ["Presence", "Present"]
