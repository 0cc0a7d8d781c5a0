"""J24: who loses races asks for a turn, and holds up nobody by that."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from journal.models import Document
from journal.turn import LOSSES_PER_QUESTION, note_loss, note_win

connection: Any = connections["default"]
pytestmark = pytest.mark.django_db(transaction=True)


def lose(document: Document, times: int = LOSSES_PER_QUESTION) -> int:
    """How many turns are wanted afterwards."""
    for _ in range(times):
        note_loss(document.pk)
    document.refresh_from_db()
    return document.turns_wanted


@contextmanager
def row_locked(document: Document) -> Iterator[None]:
    """As another process's projection has it."""
    rival = connections.create_connection(connection.alias)
    try:
        with rival.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                f"SELECT 1 FROM {Document._meta.db_table} WHERE _id = %s FOR NO KEY UPDATE", [document.pk]
            )
            yield
            cursor.execute("ROLLBACK")
    finally:
        rival.close()


def test_j24_who_has_lost_twice_asks_and_again_at_every_second_loss(document: Document) -> None:
    assert [lose(document, 1) for _ in range(4)] == [0, 1, 1, 2]
    note_loss(document.pk)
    note_win(document.pk)
    assert lose(document, 1) == 2


@pytest.mark.sql
def test_j24_nobody_waits_for_a_document_row_that_somebody_holds(document: Document) -> None:
    """SQLite has no locks on rows."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        with row_locked(document):
            begun_at = time.monotonic()
            assert lose(document) == 0
            assert time.monotonic() - begun_at < 5
        connection.close_pool()  # the time-out stays with the session
    assert lose(document) == 1
