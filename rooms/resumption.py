"""What is on its way to those who came back: made for each of them alone, unlike a `state`, so it has a bound."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from rooms.connection import Connection
from rooms.settings import settings


class Resumptions:
    """Of all rooms of the process.  Who does not read keeps it in memory, a thousand times if they like."""

    def __init__(self) -> None:
        self._connections: WeakSet[Connection] = WeakSet()
        self._read_count = 0
        """How many are being read from the journal."""

    @property
    def is_full(self) -> bool:
        """True when the next one who comes back is to be sent the state."""
        queued = sum(connection.queued_bytes for connection in self._connections)
        return queued + self._read_count * settings.since_bytes_max >= settings.resumed_bytes_max

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In the block as much as it may turn out to be counts."""
        self._read_count += 1
        try:
            yield
        finally:
            self._read_count -= 1

    def note(self, connection: Connection) -> None:
        """What is queued for it counts, as long as it is."""
        self._connections.add(connection)
