"""Which commits of one's own are on the way to the server: a window of those that it has not acknowledged, in order."""

from collections.abc import Iterable
from itertools import islice

from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.size import size_of

WINDOW_MAX = 200
"""Commits on the way at a time.  Far below the burst that a server takes, far above what one group commit holds."""
WINDOW_BYTES_MAX = 4_194_304
"""Of their operations, about: likewise.  One commit travels however large it is."""


class SendWindow:
    """Ids of the commits on the way over this connection."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        """With their sizes."""
        self._bytes = 0

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def fill(self, unacked: Iterable[Message]) -> list[Message]:
        """The next of these that may travel; afterwards they are on the way."""
        room = WINDOW_MAX - len(self._ids)
        fresh = []
        for message in islice((message for message in unacked if message.id not in self._ids), max(room, 0)):
            size = size_of(message)
            if self._ids and self._bytes + size > WINDOW_BYTES_MAX:
                break
            self._ids[message.id] = size
            self._bytes += size
            fresh.append(message)
        return fresh

    def discard(self, message_id: str) -> None:
        """Note that a commit has arrived, or will not."""
        self._bytes -= self._ids.pop(message_id, 0)

    def clear(self) -> None:
        """Note that nothing is on the way: all of it may travel again."""
        self._ids.clear()
        self._bytes = 0


__all__ = ["WINDOW_BYTES_MAX", "WINDOW_MAX", "SendWindow"]
