"""A SQLite file of a test's own, whatever database the tests are run on."""

from pathlib import Path

from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

FULL = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
"""As the project sets SQLite up: what is committed outlives a power cut."""


def sqlite_connection(
    folder: Path, init_command: str = FULL, transaction_mode: str | None = "IMMEDIATE"
) -> DatabaseWrapper:
    """A connection, of the alias `own`, to a file there."""
    options = {"init_command": init_command, "transaction_mode": transaction_mode}
    values = {
        **connections["default"].settings_dict,
        "NAME": str(folder / "own.sqlite3"),
        "OPTIONS": options,
    }
    return DatabaseWrapper(values, alias="own")
