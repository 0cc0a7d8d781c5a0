"""Writes the row of a session, without waiting long for others who write."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, IntegrityError, OperationalError, connections, router

from journal.lock_wait import PATIENCE_MS, impatient
from rooms.models import Session
from rooms.session import is_read_only, owner_of_client


def record_session(session: Session) -> bool:
    """Afterwards the session's row is there; False, and it is not, when the client id is another account's.

    Asked again after it is written: of two accounts that claim one client id at the same time, whoever's row is
    older has it.  Idempotent.  Raises: NotRecorded, before long; django.db.Error.
    """
    if owner_of_client(session.document_id, session.client) not in (None, session.user_id):
        return False
    try:
        with _impatient():
            session.save(force_insert=True)
    except Error as error:
        if isinstance(error, OperationalError) or is_read_only(error):
            raise NotRecorded(str(error)) from error
        if not (isinstance(error, IntegrityError) and Session.objects.filter(pk=session.pk).exists()):
            raise  # else an earlier try has written it, of which nobody was told
    if owner_of_client(session.document_id, session.client) not in (None, session.user_id):
        session.delete()
        return False
    return True


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
