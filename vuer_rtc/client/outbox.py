"""Commits that wait for their acknowledgement, on disk: they outlive the process that made them.

One file for one client in one room.  A commit is in the file before it is sent and leaves it with its acknowledgement;
the last counter and Lamport time stay, so that a later life never uses an id again.  SQLite in WAL mode: what a killed
process had committed is there; a power cut may take the last moments.
"""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from vuer_rtc.crdt.message import Message

from .message import message_from_json, message_json

LAYOUT = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
"""


class OutboxError(RuntimeError):
    """The file is in use by another process, or belongs to another client or room."""


class Outbox:
    """The file; everything it does is done when the call returns."""

    def __init__(self, path: str | Path) -> None:
        """Open or create it.

        Raises: OutboxError when another process has it open.
        """
        self.path = Path(path)
        self._base = sqlite3.connect(self.path, isolation_level=None, timeout=0.5, check_same_thread=False)
        try:
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.executescript(LAYOUT)
            self._base.execute("INSERT OR REPLACE INTO fact VALUES ('opened', 1)")
        except sqlite3.OperationalError as error:
            self._base.close()
            raise OutboxError(f"{self.path} cannot be used: {error}") from error
        facts = dict(self._base.execute("SELECT name, value FROM fact"))
        self.client: str | None = facts.get("client")
        self.room: str | None = facts.get("room")
        self.counter: int = facts.get("counter", 0)
        """The client's highest counter ever used."""
        self.lt: int = facts.get("lt", 0)
        """The highest Lamport time ever used."""

    def claim(self, client: str, room: str) -> None:
        """Afterwards the file belongs to this client in this room.

        Raises: OutboxError when it belongs to another.
        """
        for name, mine, wanted in (("client", self.client, client), ("room", self.room, room)):
            if mine not in (None, wanted):
                raise OutboxError(f"{self.path} belongs to {name} {mine}, not {wanted}")
        self._base.executemany(
            "INSERT OR REPLACE INTO fact VALUES (?, ?)", [("client", client), ("room", room)]
        )
        self.client, self.room = client, room

    def add(self, message: Message) -> None:
        """Afterwards the commit is in the file; idempotent."""
        self.counter, self.lt = max(self.counter, message.counter), max(self.lt, message.lt)
        base = self._base
        base.execute("BEGIN")
        base.execute(
            "INSERT OR IGNORE INTO message (id, body) VALUES (?, ?)", (message.id, message_json(message))
        )
        base.executemany(
            "INSERT OR REPLACE INTO fact VALUES (?, ?)", [("counter", self.counter), ("lt", self.lt)]
        )
        base.execute("COMMIT")

    def discard(self, message_id: str) -> None:
        """Afterwards the commit is not in the file; idempotent."""
        self._base.execute("DELETE FROM message WHERE id = ?", (message_id,))

    def messages(self) -> list[Message]:
        """What waits, oldest first."""
        return [
            message_from_json(body)
            for (body,) in self._base.execute("SELECT body FROM message ORDER BY position")
        ]

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM message").fetchone()[0])

    def close(self) -> None:
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["Outbox", "OutboxError"]
