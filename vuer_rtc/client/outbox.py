"""Commits that wait for their acknowledgement, on disk: they outlive the process that made them.

One file for one client in one room.  A commit is in the file before it is sent and leaves it with its acknowledgement;
the last counter and Lamport time stay, so that a later life never uses an id again.  SQLite in WAL mode: what a killed
process had committed is there; a power cut may take the last moments.
"""

import contextlib
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
    """The file is in use by another process, belongs to another client or room, is damaged, or cannot be written."""


class Outbox:
    """The file; everything it does is done when the call returns."""

    def __init__(self, path: str | Path) -> None:
        """Open or create it.

        Raises: OutboxError when another process has it open, or it is no outbox.
        """
        self.path = Path(path)
        self._settled: list[str] = []
        """Ids of commits that are to leave the file."""
        try:
            self._open()
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path} cannot be used: {error}") from error

    def _open(self) -> None:
        self._base = sqlite3.connect(self.path, isolation_level=None, timeout=0.5, check_same_thread=False)
        try:
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.executescript(LAYOUT)
            self._base.execute("INSERT OR REPLACE INTO fact VALUES ('opened', 1)")
            facts = dict(self._base.execute("SELECT name, value FROM fact"))
        except sqlite3.Error:
            self._base.close()
            raise
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
        """Afterwards the commit is in the file; idempotent.

        Raises: OutboxError when it cannot be written; the file is as it was.
        """
        self.counter, self.lt = max(self.counter, message.counter), max(self.lt, message.lt)
        facts = [("counter", self.counter), ("lt", self.lt)]
        try:
            with self._base:
                self._base.execute("BEGIN")
                row = message.id, message_json(message)
                self._base.execute("INSERT OR IGNORE INTO message (id, body) VALUES (?, ?)", row)
                self._base.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts)
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path} cannot be written: {error}") from error

    def discard(self, message_id: str) -> None:
        """Afterwards the commit is not in the file, or goes with the next one for which there is room: until then it
        would be sent once more, which does no harm.  Idempotent."""
        self._settled.append(message_id)
        with contextlib.suppress(sqlite3.OperationalError):
            self._base.executemany("DELETE FROM message WHERE id = ?", [(known,) for known in self._settled])
            self._settled.clear()

    def messages(self) -> list[Message]:
        """What waits, oldest first.

        Raises: OutboxError when something of it cannot be read.
        """
        try:
            rows = self._base.execute("SELECT body FROM message ORDER BY position")
            return [message_from_json(body) for (body,) in rows]
        except (sqlite3.Error, ValueError, TypeError, AssertionError) as error:
            raise OutboxError(f"{self.path} is damaged: {error}") from error

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
