"""Writes the row of a session, without waiting long for others who write."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import Error, IntegrityError, OperationalError, connections, router

from journal.lock_wait import PATIENCE_MS, impatient
from rooms.models import Session
from rooms.session import is_read_only, owner_of_client

HELD_S = 10
"""How long newcomers of a document do not wait for a lock of PostgreSQL's that was in the way of another one: each of a
crowd would keep a thread for `PATIENCE_MS`, and everybody else would stand behind them."""
LOCK_NOT_AVAILABLE = "55P03"

_held: dict[UUID, float] = {}
"""Documents whose sessions met such a lock, and until when that counts; of all threads."""


def record_newcomer(session: Session) -> bool:
    """As `record_session`, but not tried where somebody's lock has just been in the way."""
    if time.monotonic() >= _held.get(session.document_id, 0):
        return record_session(session)
    if not _is_free(session):
        return False
    raise NotRecorded("a lock was in the way of another one")


def record_session(session: Session) -> bool:
    """Afterwards the session's row is there; False, and it is not, when the client id is another account's.

    Asked again after it is written: of two accounts that claim one client id at the same time, whoever's row is
    older has it.  Idempotent.  Raises: NotRecorded, before long; django.db.Error.
    """
    if not _is_free(session):
        return False
    try:
        with _impatient():
            session.save(force_insert=True)
    except Error as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            _note_held(session.document_id)
        if isinstance(error, OperationalError) or is_read_only(error):
            raise NotRecorded(str(error)) from error
        if not (isinstance(error, IntegrityError) and Session.objects.filter(pk=session.pk).exists()):
            raise  # else an earlier try has written it, of which nobody was told
    _held.pop(session.document_id, None)
    if not _is_free(session):
        session.delete()
        return False
    return True


def forget_sessions(keys: Collection[UUID]) -> None:
    """Afterwards these sessions have no rows.  Raises: django.db.Error, before long."""
    with _impatient():
        Session.objects.filter(pk__in=keys).delete()


def _is_free(session: Session) -> bool:
    """The client id is nobody's in the document, or this account's."""
    return owner_of_client(session.document_id, session.client) in (None, session.user_id)


def _note_held(document_id: UUID) -> None:
    now = time.monotonic()
    for other in [each for each, until in list(_held.items()) if until < now]:
        _held.pop(other, None)
    _held[document_id] = now + HELD_S


class NotRecorded(Exception):
    """The database took no row: its disk is full or read-only, or somebody else writes for too long."""


@contextmanager
def _impatient() -> Iterator[None]:
    """No database waits for another writer as long as it otherwise would."""
    connection = connections[router.db_for_write(Session)]
    if connection.vendor != "sqlite":
        with impatient(connection.alias):
            yield
        return
    with connection.cursor() as cursor:
        usual_ms = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout = {min(usual_ms, PATIENCE_MS)}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {usual_ms}")
