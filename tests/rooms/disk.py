"""What a server process has in its database, read beside it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from journal.entry import decode_entries
from vuer_rtc.crdt.message import Message

BATCHES = """
    SELECT batch.first_seq, batch.payload FROM vuer_journal_journalbatch AS batch
    JOIN vuer_journal_document AS document ON document._id = batch.document_id
    WHERE document.slug = ? ORDER BY batch.first_seq
"""
SESSIONS = """
    SELECT session.client, session.closed_at IS NULL, session.close_code, session.acked_seq
    FROM vuer_rooms_session AS session ORDER BY session.connected_at
"""


def open_database(data_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(data_dir / "db.sqlite3", timeout=20)


def rows_of(data_dir: Path, query: str, values: tuple[Any, ...], database_url: str = "") -> list[Any]:
    """The rows of a query with `?` marks, on the SQLite database in the folder or on that PostgreSQL."""
    if database_url.startswith("postgres"):
        with psycopg.connect(database_url) as server:
            return server.execute(query.replace("?", "%s"), values).fetchall()
    with closing(open_database(data_dir)) as database:
        return database.execute(query, values).fetchall()


def journal_messages(data_dir: Path, slug: str, database_url: str = "") -> list[Message]:
    """Every journalled message, in sequence."""
    rows = rows_of(data_dir, BATCHES, (slug,), database_url)
    return [entry.message for first_seq, payload in rows for entry in decode_entries(payload, first_seq)]


def sessions(data_dir: Path) -> list[tuple[str, bool, int | None, int]]:
    """(client, is open, close code, acked seq) of every session row, oldest first."""
    with closing(open_database(data_dir)) as database:
        return [
            (client, bool(is_open), code, acked)
            for client, is_open, code, acked in database.execute(SESSIONS)
        ]


def assert_journalled_once(
    data_dir: Path, slug: str, acked: set[str], database_url: str = ""
) -> list[Message]:
    """Every acknowledged message is on disk exactly once, and the sequence has no gap."""
    messages = journal_messages(data_dir, slug, database_url)
    assert [message.server_seq for message in messages] == list(range(1, len(messages) + 1))
    ids = [message.id for message in messages]
    assert len(set(ids)) == len(ids)
    assert acked <= set(ids)
    return messages
