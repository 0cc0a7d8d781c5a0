"""What is written about sessions: synchronous, for worker threads and commands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connections, router
from django.utils import timezone

from journal.chunk import chunks
from journal.lock_wait import impatient
from journal.pace import Pace
from journal.row_update import update_rows
from rooms.models import Session
from rooms.process import ProcessIdentity

CLOSED_ABNORMALLY = 1006
"""Close code of a connection that ended without one, as RFC 6455 has it."""
MEMBER_TRANSPORT = "broker"
"""Of rows that site code writes for members of its own (`rooms.member`)."""
READ_ONLY = {"25006", "42501"}
"""PostgreSQL's read_only_sql_transaction and insufficient_privilege."""
ROWS_MAX = 500
"""Rows of sessions that one statement closes or deletes, at most: nobody may have asked for years."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one session has come since its row was written."""

    session_id: UUID
    vector_clock: dict[str, int]
    acked_seq: int


@dataclass(frozen=True, slots=True)
class End:
    """How one session ended."""

    progress: Progress
    close_code: int
    closed_by: Session.ClosedBy


def is_away(error: Exception) -> bool:
    """True for what a database raises that is away, full or locked, whatever it is asked; anything else is about the
    row.  MongoDB's backend has nothing but the plain `DatabaseError` for that."""
    is_about_all = isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError
    return is_about_all or is_read_only(error)


def is_read_only(error: Exception) -> bool:
    """True when a PostgreSQL only lets itself be read: a standby, `default_transaction_read_only`, or a role that may
    not write.  Django has an InternalError or a ProgrammingError for that, SQLite's driver an OperationalError."""
    return getattr(error.__cause__, "sqlstate", None) in READ_ONLY


def owner_of_client(document_id: UUID, client: str) -> Any:
    """Primary key of the user whose client id this is in the document; None when it is nobody's."""
    used = Session.objects.filter(document_id=document_id, client=client, user__isnull=False)
    return used.order_by("connected_at", "id").values_list("user_id", flat=True).first()


def save_progress(progress: Iterable[Progress]) -> None:
    """Afterwards the rows know how far their sessions have come."""
    rows = [Session(id=p.session_id, vector_clock=p.vector_clock, acked_seq=p.acked_seq) for p in progress]
    with impatient(router.db_for_write(Session)):
        update_rows(rows, ["vector_clock", "acked_seq"])


def save_ends(ends: Iterable[End]) -> None:
    """Afterwards the rows say when and how their sessions ended."""
    now = timezone.now()
    rows = [
        Session(
            id=end.progress.session_id,
            vector_clock=end.progress.vector_clock,
            acked_seq=end.progress.acked_seq,
            last_seen_at=now,
            closed_at=now,
            close_code=end.close_code,
            closed_by=end.closed_by,
        )
        for end in ends
    ]
    with impatient(router.db_for_write(Session)):
        update_rows(
            rows, ["vector_clock", "acked_seq", "last_seen_at", "closed_at", "close_code", "closed_by"]
        )


def touch_sessions(process: ProcessIdentity) -> None:
    """Afterwards every open session of this process was seen just now."""
    with impatient(router.db_for_write(Session)):
        Session.objects.connected().filter(process=str(process)).update(last_seen_at=timezone.now())


def sessions_there(keys: Sequence[UUID]) -> set[UUID]:
    """Which of these sessions have rows."""
    there: set[UUID] = set()
    for some in chunks(keys):
        there.update(Session.objects.filter(pk__in=some).order_by().values_list("pk", flat=True))
    return there


def close_sessions_of_dead_processes(process: ProcessIdentity) -> int:
    """Close what crashed processes of this host left open; returns how many sessions that were."""
    open_in = Session.objects.connected().order_by().values_list("process", flat=True).distinct()
    dead = [
        text for text in open_in if (other := ProcessIdentity.parse(text)) and process.is_known_dead(other)
    ]
    return _close(Session.objects.connected().filter(process__in=dead)) if dead else 0


def close_sessions_unseen_for(age: timedelta, *, is_dry_run: bool = False) -> int:
    """Close sessions that no process has touched for `age`; returns how many, also when nothing was
    written."""
    stale = Session.objects.connected().filter(last_seen_at__lt=timezone.now() - age)
    return stale.count() if is_dry_run else _close(stale)


def forget_onlookers(age: timedelta, *, is_dry_run: bool = False) -> int:
    """Delete the rows of anonymous connections that ended so long ago and wrote nothing; returns how many, also when
    nothing was deleted.  Nobody's client id depends on them."""
    limit = timezone.now() - age
    going = Session.objects.filter(last_seen_at__lt=limit, closed_at__lt=limit, user=None, acked_seq=0)
    going = going.exclude(transport=MEMBER_TRANSPORT).order_by("last_seen_at")
    if is_dry_run:
        return going.count()
    connection, pace, gone = connections[router.db_for_write(Session)], Pace(ROWS_MAX), 0
    while some := list(going.values_list("pk", flat=True)[: pace.rows]):
        with pace.step(connection):
            gone += Session.objects.filter(pk__in=some).delete()[0]
    return gone


def _close(sessions: Any) -> int:
    keys = list(sessions.order_by().values_list("pk", flat=True))
    connection, pace, at, closed = connections[router.db_for_write(Session)], Pace(ROWS_MAX), 0, 0
    while some := keys[at : at + pace.rows]:
        at += len(some)
        with pace.step(connection):
            rows = sessions.filter(pk__in=some)  # but for those that were touched meanwhile
            closed += rows.update(closed_at=timezone.now(), close_code=CLOSED_ABNORMALLY)
    return closed
