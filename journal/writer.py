"""Appends batches: one transaction over all documents, arbitrated by the unique (document, first_seq).

No leader and no lock decides who writes next: whoever inserts a document's row at head + 1 first has written
it, the others see a conflict, read it and go on behind it.  Sound because a head is always some batch's
last_seq, and because of the fence: see FORMAT.md, rules J6 to J9.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import Error
from django.utils import timezone

from journal.batch_sql import batch_table
from journal.batch_table import BatchRow, BatchTable, Marks, is_fenced
from journal.durability import Connection, journal_connection, refuse_manual_commit
from journal.entry import Entry, checksum_of, encode_entries
from journal.error import BatchTooLarge, JournalUnavailable
from journal.failpoint import reach
from journal.models.row import new_key
from journal.renewal import renew, renew_if_dead
from journal.settings import settings
from journal.stored_row import tells_damage
from journal.turn import note_loss, note_win
from journal.turnstile import one_writer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch that wants to be written at one place."""

    document_id: uuid.UUID
    first_seq: int
    """One more than the document's head as the caller knows it."""
    entries: Sequence[Entry]
    """At least one; the n-th gets server sequence first_seq + n."""
    predecessor: uuid.UUID | None = None
    """Key of the batch that ends right before, as the caller knows it: it is written behind that one only (rule J66).
    None: the caller does not know."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is durable."""

    first_seq: int
    last_seq: int
    turns_wanted: int = field(default=0, compare=False)
    """`Document.turns_wanted` at the commit: when it has risen, another process asks for a turn (J24)."""
    batch: uuid.UUID | None = field(default=None, compare=False)
    """Its key."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: another batch is there, or a lock was in the way.  Read on, then try again.

    The other batch may be our own, when an earlier try ended with `JournalUnavailable`.
    """

    was_locked: bool = False
    """True: the whole transaction was rolled back for a lock, a serialization failure, or a row that is damaged."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """Nothing was written: the place is below the truncation point, what was to come before it is not there, or the
    document is gone.  Hydrate."""


Outcome = Appended | Conflict | Fenced
TableOf = Callable[[Connection], BatchTable]


def append_batches(drafts: Sequence[Draft], writer_id: str, table_of: TableOf = batch_table) -> list[Outcome]:
    """Writes what can be written of `drafts`, in one transaction; one outcome each, in the order given.

    At most one draft per document.  After `Appended` the batch is durable as far as the database promises;
    after any other outcome or an exception but `JournalUnavailable` nothing of that draft was written.

    Raises: JournalUnavailable when the database fails: what was written is then unknown, and trying again
    with the same drafts is right.  BatchTooLarge, OpenTransaction before anything is written.
    """
    if len({draft.document_id for draft in drafts}) != len(drafts):
        raise ValueError("one draft per document: the second would leave a gap when the first conflicts")
    if not drafts:
        return []
    rows = {draft.document_id: build_row(draft, writer_id) for draft in drafts}
    ordered = [rows[document_id] for document_id in sorted(rows)]  # one order everywhere: no deadlocks
    connection = journal_connection()
    reach("append.drafted")
    try:
        refuse_manual_commit(connection)
        with one_writer(connection):
            marks = table_of(connection).append(ordered)
    except Error as error:
        is_damaged = tells_damage(error)  # of one of the documents: each is tried alone then
        if is_damaged:
            logger.error("a commit of %d documents met what is damaged: %s", len(drafts), error)
        if is_damaged or is_lock_failure(error):
            return [Conflict(was_locked=True) for _ in drafts]
        _renew(connection)
        raise JournalUnavailable(f"the journal could not be written: {error}") from error
    reach("append.committed")
    outcomes = [_outcome(rows[draft.document_id], marks) for draft in drafts]
    for draft, outcome in zip(drafts, outcomes, strict=True):
        (note_loss if isinstance(outcome, Conflict) else note_win)(draft.document_id)
    return outcomes


def build_row(draft: Draft, writer_id: str) -> BatchRow:
    """The row of a draft.

    Raises: BatchTooLarge; ValueError for a draft without entries or a place below 1.
    """
    if not draft.entries or draft.first_seq < 1:
        raise ValueError("a batch has at least one entry and begins at 1 or later")
    payload = encode_entries(draft.entries)
    if len(payload) > settings.batch_bytes_max:
        raise BatchTooLarge(f"{len(payload)} bytes, {settings.batch_bytes_max} allowed")
    last_seq = draft.first_seq + len(draft.entries) - 1
    return BatchRow(
        new_key(),
        draft.document_id,
        draft.first_seq,
        last_seq,
        len(draft.entries),
        payload,
        checksum_of(payload, draft.document_id, draft.first_seq, last_seq),
        writer_id[:64],
        timezone.now(),
        draft.predecessor,
    )


def _outcome(row: BatchRow, marks: dict[uuid.UUID, Marks | None]) -> Outcome:
    if row.id not in marks:
        return Conflict()
    found = marks[row.id]
    if found is None or is_fenced(row, found):
        return Fenced()
    return Appended(row.first_seq, row.last_seq, found.turns_wanted, row.id)


# Failures

SQLITE_LOCKED = {5, 6}
"""SQLITE_BUSY, SQLITE_LOCKED: another transaction was in the way longer than the time-out."""
POSTGRESQL_LOCKED = {"40001", "40P01", "55P03"}
"""serialization_failure, deadlock_detected, lock_not_available."""


def is_lock_failure(error: Error) -> bool:
    """True when the database works but another transaction was in the way."""
    cause = error.__cause__  # the driver's
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in SQLITE_LOCKED
    return getattr(cause, "sqlstate", None) in POSTGRESQL_LOCKED


def _renew(connection: Connection) -> None:
    """The next try gets a new session if this one is dead, or perhaps cannot write any more: one that was made while a
    PostgreSQL only let itself be read stays so."""
    if connection.in_atomic_block:
        return
    if connection.vendor == "postgresql":
        renew(connection)
    else:
        renew_if_dead(connection)
