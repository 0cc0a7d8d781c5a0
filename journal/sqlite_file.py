"""Whether a SQLite database is still the file of its name.

Who has it open goes on with a file that was moved, deleted or replaced: what is written then nobody finds again.  With
a rollback journal SQLite looks for itself, with a write-ahead log it does not.
"""

import os
from typing import Any, NamedTuple

from journal.durability import Connection
from journal.error import JournalUnavailable


class Opened(NamedTuple):
    """The file that a connection has open."""

    path: str
    device: int
    inode: int


def note_opened(connection: Connection, **_: Any) -> None:
    """For Django's signal: the connection has just been made."""
    if connection.vendor == "sqlite":
        rows = connection.connection.execute("PRAGMA database_list")
        path = next(path for _, name, path in rows if name == "main")
        connection.vuer_opened = _found(path) if path else None  # else it is in memory


def refuse_moved(connection: Connection) -> None:
    """Returns when what this connection has open is what its path leads to.

    Raises: JournalUnavailable.
    """
    opened: Opened | None = getattr(connection, "vuer_opened", None)
    if opened is not None and _found(opened.path) != opened:
        raise JournalUnavailable(
            f"{opened.path} is not the file that is open: that was moved, deleted or replaced.  Put it back at once; or"
            " stop all servers, and remove its -wal and -shm before they start with another one"
        )


def _found(path: str) -> Opened | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Opened(path, found.st_dev, found.st_ino)
