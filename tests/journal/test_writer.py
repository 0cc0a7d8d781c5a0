"""J6 to J9: one contract for both ways to insert."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connections
from django.test import override_settings

from journal import batch_sql
from journal import batch_table as batch_table_module
from journal.batch_sql import PostgresTable, SqliteTable, batch_table
from journal.batch_table import OrmTable
from journal.entry import decode_entries, encode_entries
from journal.error import BatchTooLarge, JournalUnavailable, OpenTransaction
from journal.models import Document, JournalBatch
from journal.position import TRUNCATED
from journal.sqlite_file import Opened
from journal.writer import (
    Appended,
    Conflict,
    Draft,
    Fenced,
    Outcome,
    TableOf,
    append_batches,
)
from tests.journal.history import entries, message, ranges

connection: Any = connections["default"]

Append = Callable[..., list[Outcome]]

pytestmark = pytest.mark.django_db(transaction=True)  # no transaction around: as in a server


@pytest.fixture(params=[pytest.param(batch_table, marks=pytest.mark.sql), OrmTable])
def table_of(request: pytest.FixtureRequest) -> TableOf:
    way: TableOf = request.param
    return way


@pytest.fixture
def append(table_of: TableOf) -> Append:
    def append(*drafts: Draft) -> list[Outcome]:
        return append_batches(drafts, "host-1", table_of)

    return append


def draft(document: Document, first_seq: int, *lts: int) -> Draft:
    return Draft(document.pk, first_seq, entries(*[message(lt) for lt in lts or (first_seq,)]))


def test_j6_an_appended_batch_is_there_whole(append: Append, document: Document) -> None:
    assert append(draft(document, 1, 5, 6, 7)) == [Appended(1, 3)]
    row = JournalBatch.objects.get()
    assert (row.document, row.first_seq, row.last_seq, row.message_count) == (document, 1, 3, 3)
    assert row.writer == "host-1"
    found = decode_entries(bytes(row.payload), row.first_seq)
    assert [(entry.message.id, entry.message.server_seq) for entry in found] == [
        ("ann:5", 1),
        ("ann:6", 2),
        ("ann:7", 3),
    ]


def test_j7_of_two_batches_at_one_place_the_first_stays(append: Append, document: Document) -> None:
    append(draft(document, 1, 1))
    assert append(draft(document, 1, 2, 3)) == [Conflict()]
    assert ranges(document.pk) == [(1, 1)]


def test_j7_a_conflict_in_one_document_does_not_hold_up_the_others(
    append: Append, document: Document, other: Document
) -> None:
    append(draft(document, 1))
    assert append(draft(document, 1), draft(other, 1, 1, 2)) == [Conflict(), Appended(1, 2)]
    assert append(draft(other, 3), draft(document, 2)) == [Appended(3, 3), Appended(2, 2)]


def test_j8_a_writer_that_slept_through_a_compaction_takes_its_row_back(
    append: Append, document: Document, other: Document
) -> None:
    append(draft(document, 1), draft(other, 1))
    append(draft(document, 2))
    Document.objects.filter(pk=document.pk).update(truncated_seq=2)
    JournalBatch.objects.filter(document=document).delete()
    assert append(draft(document, 2, 20, 21), draft(other, 2)) == [Fenced(), Appended(2, 2)]
    assert (ranges(document.pk), ranges(other.pk)) == ([], [(1, 1), (2, 2)])


def test_j8_only_the_own_row_is_taken_back(append: Append, document: Document) -> None:
    """A leftover at or below the truncation point is the compaction's to delete."""
    append(draft(document, 1))
    Document.objects.filter(pk=document.pk).update(truncated_seq=2)
    assert append(draft(document, 2)) == [Fenced()]
    assert append(draft(document, 1)) == [Conflict()]
    assert ranges(document.pk) == [(1, 1)]


def test_j8_right_above_the_truncation_point_is_free(append: Append, document: Document) -> None:
    Document.objects.filter(pk=document.pk).update(truncated_seq=2)
    assert append(draft(document, 3)) == [Appended(3, 3)]


def test_j8_a_document_that_is_gone_fences_its_writer_and_nobody_else(
    append: Append, document: Document
) -> None:
    gone = Document(id=uuid4(), slug="gone")
    assert append(draft(gone, 1), draft(document, 1)) == [Fenced(), Appended(1, 1)]
    assert JournalBatch.objects.count() == 1


def test_j66_a_batch_goes_only_behind_the_one_that_its_writer_knows(
    append: Append, document: Document, other: Document
) -> None:
    """A database that was put back has nothing at that place, or something else."""
    [first, _] = append(draft(document, 1), draft(other, 1))
    [second] = append(behind(first, draft(document, 2)))
    assert second == Appended(2, 2)
    JournalBatch.objects.filter(document=document, first_seq=2).delete()
    assert append(behind(second, draft(document, 3)), draft(other, 2)) == [Fenced(), Appended(2, 2)]
    append(draft(document, 2, 20))
    assert append(behind(second, draft(document, 3))) == [Fenced()]
    assert (ranges(document.pk), ranges(other.pk)) == ([(1, 1), (2, 2)], [(1, 1), (2, 2)])


def test_j66_what_a_compaction_has_folded_away_may_be_gone(append: Append, document: Document) -> None:
    [first] = append(draft(document, 1))
    Document.objects.filter(pk=document.pk).update(truncated_seq=1)
    JournalBatch.objects.all().delete()
    assert append(behind(first, draft(document, 2))) == [Appended(2, 2)]


def test_j66_right_above_the_truncation_point_only_what_ended_there_is_followed(
    append: Append, document: Document
) -> None:
    """The database was put back, others wrote on, and a compaction truncated just where the writer had come to."""
    [first] = append(draft(document, 1))
    JournalBatch.objects.all().delete()
    [other] = append(draft(document, 1, 10))
    assert isinstance(other, Appended)
    Document.objects.filter(pk=document.pk).update(truncated_seq=1, truncated_batch=other.batch)
    JournalBatch.objects.all().delete()
    assert append(behind(first, draft(document, 2))) == [Fenced()]
    assert append(replace(draft(document, 2), predecessor=TRUNCATED)) == [Appended(2, 2)]
    JournalBatch.objects.all().delete()
    assert append(behind(other, draft(document, 2))) == [Appended(2, 2)]


def behind(outcome: Outcome, draft: Draft) -> Draft:
    assert isinstance(outcome, Appended)
    return replace(draft, predecessor=outcome.batch)


@pytest.mark.sql
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_j8_a_truncation_between_the_insert_and_the_fence_is_seen(
    append: Append, document: Document, isolation: str, table_of: TableOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite nobody comes between.  The portable way relies on the site's isolation, the other sets its own."""
    if connection.vendor == "sqlite" or (table_of is OrmTable and isolation == "REPEATABLE READ"):
        assert append(draft(document, 1)) == [Appended(1, 1)]
        return

    def truncate(point: str) -> None:
        if point == "append.inserted":
            rival = connections.create_connection(connection.alias)
            with rival.cursor() as cursor:
                cursor.execute(f"UPDATE {Document._meta.db_table} SET truncated_seq = 1")
            rival.close()

    for module in (batch_sql, batch_table_module):
        monkeypatch.setattr(module, "reach", truncate)
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}")
    assert append(draft(document, 1)) == [Fenced()]
    assert ranges(document.pk) == []


@pytest.mark.sqlite
def test_j9_nothing_is_committed_to_a_file_that_has_lost_its_name(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "vuer_opened", Opened("/nowhere", 0, 0), raising=False)
    with pytest.raises(JournalUnavailable, match="moved, deleted or replaced"):
        append_batches([draft(document, 1)], "host-1")
    monkeypatch.undo()
    assert ranges(document.pk) == []


@pytest.mark.sql
@pytest.mark.parametrize(
    ("durability", "told", "found"),
    [("full", "off", "on"), ("full", "remote_apply", "remote_apply"), ("relaxed", "off", "off")],
)
def test_j9_a_commit_waits_for_the_disk_whatever_the_server_has_been_told_since(
    document: Document, durability: str, told: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite is asked by each connection for itself."""
    if connection.vendor == "sqlite":
        return
    shown: list[Any] = []

    def commit(table: PostgresTable) -> None:
        shown.append(table._execute("SHOW synchronous_commit"))
        table._execute("COMMIT")

    monkeypatch.setattr(PostgresTable, "_commit", commit)
    with connection.cursor() as cursor:
        cursor.execute(f"SET synchronous_commit = {told}")
        with override_settings(VUER_RTC={"JOURNAL_DURABILITY": durability}):
            assert append_batches([draft(document, 1)], "host-1") == [Appended(1, 1)]
        cursor.execute("RESET synchronous_commit")
    assert shown[0].fetchone() == (found,)


@pytest.mark.sql
def test_statements_may_be_prepared(append: Append, document: Document, other: Document) -> None:
    """Where no pooler shares sessions between transactions; a fence that fails a transaction is none to the next."""
    if connection.vendor == "postgresql":
        connection.ensure_connection()
        connection.connection.prepare_threshold = 0
    for seq in range(1, 4):
        assert append(draft(document, seq), draft(other, seq)) == [Appended(seq, seq)] * 2
    Document.objects.filter(pk=document.pk).update(truncated_seq=5)
    assert append(draft(document, 4), draft(other, 4)) == [Fenced(), Appended(4, 4)]
    assert append(draft(document, 6), draft(other, 4)) == [Appended(6, 6), Conflict()]
    if connection.vendor == "postgresql":
        connection.connection.prepare_threshold = None


def test_many_documents_go_in_one_transaction(append: Append, db: None) -> None:
    documents = [Document.objects.create(slug=f"room-{n}") for n in range(230)]
    assert append(*[draft(d, 1) for d in documents]) == [Appended(1, 1)] * 230
    assert JournalBatch.objects.count() == 230


def test_nothing_in_nothing_out(append: Append) -> None:
    assert append() == []


def test_two_drafts_of_one_document_are_refused(append: Append, document: Document) -> None:
    with pytest.raises(ValueError, match="one draft per document"):
        append(draft(document, 1), draft(document, 2))


@pytest.mark.parametrize(("first_seq", "count"), [(0, 1), (1, 0)])
def test_empty_batches_and_places_below_one_are_refused(
    append: Append, document: Document, first_seq: int, count: int
) -> None:
    with pytest.raises(ValueError, match="at least one entry"):
        append(Draft(document.pk, first_seq, entries(*[message(1)] * count)))


def test_a_batch_too_large_for_a_row_writes_nothing(
    append: Append, document: Document, other: Document
) -> None:
    with override_settings(VUER_RTC={"JOURNAL_BATCH_BYTES_MAX": 300}), pytest.raises(BatchTooLarge):
        append(draft(other, 1), draft(document, 1, *range(1, 50)))
    assert JournalBatch.objects.count() == 0


def test_a_batch_may_be_as_large_as_a_row(append: Append, document: Document) -> None:
    size = len(encode_entries(draft(document, 1).entries))
    for allowed, outcome in ((size - 1, pytest.raises(BatchTooLarge)), (size, nullcontext())):
        with override_settings(VUER_RTC={"JOURNAL_BATCH_BYTES_MAX": allowed}), outcome:
            assert append(draft(document, 1)) == [Appended(1, 1)]


def test_j24_who_loses_twice_in_a_row_asks_the_others_for_a_turn(append: Append, document: Document) -> None:
    def turns_wanted() -> int:
        document.refresh_from_db()
        return document.turns_wanted

    [first] = append(draft(document, 1))
    assert isinstance(first, Appended)
    assert first.turns_wanted == 0
    for asked in (0, 1, 1, 2):
        assert append(draft(document, 1)) == [Conflict()]
        assert turns_wanted() == asked
    [second] = append(draft(document, 2))
    assert isinstance(second, Appended)
    assert second.turns_wanted == 2
    assert append(draft(document, 1)) == [Conflict()]
    assert turns_wanted() == 2


# Failures of a real database


@pytest.fixture
def impatient(db: None) -> Iterator[None]:
    """This connection waits 20 ms for a lock."""
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA busy_timeout").fetchone()[0] if is_sqlite else 0
        cursor.execute("PRAGMA busy_timeout=20" if is_sqlite else "SET lock_timeout = 20")
        yield
        cursor.execute(f"PRAGMA busy_timeout={before}" if is_sqlite else "RESET lock_timeout")


@contextmanager
def rival_holding_the_lock() -> Iterator[None]:
    """Another connection has the lock that an append needs."""
    rival = connections.create_connection(connection.alias)
    with rival.cursor() as cursor:
        if rival.vendor == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        else:
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE {JournalBatch._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        yield
        cursor.execute("ROLLBACK")
    rival.close()


@pytest.mark.sql
def test_j9_a_lock_that_lasts_is_a_conflict(append: Append, impatient: None) -> None:
    document = Document.objects.create(slug="room")
    with rival_holding_the_lock():
        assert append(draft(document, 1)) == [Conflict(was_locked=True)]
    assert append(draft(document, 1)) == [Appended(1, 1)]


@pytest.mark.sql
def test_j9_a_database_that_cannot_write_is_unavailable_until_it_can(append: Append) -> None:
    document = Document.objects.create(slug="room")
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=ON" if is_sqlite else "SET default_transaction_read_only = on")
        with pytest.raises(JournalUnavailable):
            append(draft(document, 1))
    if is_sqlite:
        connection.close()
    assert append(draft(document, 1)) == [Appended(1, 1)]


@pytest.mark.sql
def test_j9_nothing_is_said_to_be_durable_where_somebody_else_commits(append: Append) -> None:
    document = Document.objects.create(slug="room")
    connection.set_autocommit(False)
    try:
        with pytest.raises(OpenTransaction):
            append(draft(document, 1))
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert not JournalBatch.objects.exists()


@pytest.mark.sql
def test_j9_a_commit_of_unknown_outcome_shows_as_a_conflict_with_ourselves(
    append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Document.objects.create(slug="room")

    def and_lose_the_answer(commit: Callable[..., None]) -> Callable[..., None]:
        def do(*table: Any) -> None:
            commit(*table)
            raise OperationalError("server closed the connection unexpectedly")

        return do

    with monkeypatch.context() as patch:
        for owner in (connection, SqliteTable, PostgresTable):
            patch.setattr(owner, "_commit", and_lose_the_answer(owner._commit))
        with pytest.raises(JournalUnavailable):
            append(draft(document, 1))
    assert append(draft(document, 1)) == [Conflict()]
    [row] = JournalBatch.objects.all()
    assert decode_entries(bytes(row.payload), 1)[0].message.id == "ann:1"
