"""J14, J15: compaction changes no state, deletes nothing unproven, and may be killed anywhere."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection, models
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from journal import compaction, cut, lease, snapshot
from journal.compaction import KeepRules, has_work
from journal.entry import encode_entries
from journal.error import CorruptJournal, JournalBusy, JournalUnavailable
from journal.history import reach_of
from journal.label import label_state
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from journal.reader import hydrate, read_after
from journal.snapshot import draft_snapshot, take_snapshot
from journal.truncation import delete_truncated, has_truncated
from journal.writer import Appended, Draft, Fenced, append_batches
from tests.journal.history import (
    ALL,
    HISTORY,
    append,
    append_each,
    compact,
    entries,
    head_of,
    insert,
    message,
    put,
    ranges,
    state,
    undo,
)
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, cut_record, numbered


def digest_with(document: Document, *messages: Message) -> str:
    """Digest of the document after more messages, which are not journalled."""
    found = hydrate(document.pk)
    for seq, item in enumerate(messages, found.head_seq + 1):
        found.graph.apply(numbered(item, seq))
    return found.graph.digest()


def everything() -> list[Any]:
    """Every row of this app."""
    tables: list[type[models.Model]] = [Document, JournalBatch, Operation, SceneObject, Snapshot]
    return [list(table._default_manager.order_by("pk").values()) for table in tables]


# What it does


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("kept", [0, 1, 4, 8])
def test_j15_the_state_is_the_same_before_and_after(document: Document, size: int, kept: int) -> None:
    append_each(document, HISTORY, size)
    _, before = state(document)
    report = compact(document, KeepRules(messages=kept, days=0))
    head_seq, after = state(document)
    assert after == before
    assert head_seq == head_of(document)
    if report.outcome == "compacted":
        assert ranges(document.pk)[0][0] == report.truncated_seq + 1
        assert report.truncated_seq <= 8 - kept


def test_j15_all_that_can_be_folded_is_folded(document: Document) -> None:
    append_each(document, HISTORY)
    ending = JournalBatch.objects.get(last_seq=8).pk
    report = compact(document)
    assert (report.outcome, report.truncated_seq, report.cut) == ("compacted", 8, 8)
    assert (report.batches, report.messages, report.snapshot_seq) == (8, 8, 9)
    assert ranges(document.pk) == [(9, 9)]
    document.refresh_from_db()
    assert (document.truncated_seq, document.cut, document.lease_holder) == (8, 8, "")
    assert document.truncated_batch == ending
    snapshots = Snapshot.objects.exclude(reason="origin")
    told = [(row.seq, row.cut, row.covered_seq, row.reason) for row in snapshots]
    assert told == [(9, 8, 9, "compaction")] * 2


def test_j14_nothing_to_do_writes_nothing(document: Document) -> None:
    append_each(document, HISTORY)
    compact(document)
    catch_up(document.pk)
    before = everything()
    for keep in (ALL, KeepRules(1000, 30), KeepRules(0, 30)):
        assert compact(document, keep).outcome == "nothing to do"
    assert everything() == before


def test_a_dry_run_writes_nothing_and_tells_the_plan(document: Document) -> None:
    append_each(document, HISTORY)
    before = everything()
    report = compact(document, KeepRules(3, 0), is_dry_run=True)
    assert (report.outcome, report.truncated_seq, report.cut, report.messages) == ("planned", 5, 5, 5)
    assert everything() == before


def test_j15_a_cut_that_is_in_force_already_is_not_journalled_again(document: Document) -> None:
    """As after a run that was killed right behind its cut.  Nothing is left of the journal then, and it goes
    on."""
    append_each(document, HISTORY)
    append(document, cut_record("=server:1", 8, 0))
    before = state(document)
    report = compact(document)
    assert (report.truncated_seq, report.snapshot_seq, ranges(document.pk)) == (9, 9, [])
    assert state(document) == before
    assert append(document, message(9, put("a", "x", 9))) == (10, 10)
    assert hydrate(document.pk).graph.nodes()["a"].properties["x"] == 9


def test_j66_no_cut_is_written_behind_what_is_not_there_any_more(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was put back while the plan was made."""
    append_each(document, HISTORY)
    real = compaction.journal_cut

    def put_back(*place: Any) -> None:
        JournalBatch.objects.filter(last_seq=8).delete()
        real(*place)

    monkeypatch.setattr(compaction, "journal_cut", put_back)
    with pytest.raises(JournalBusy):
        compact(document)
    assert ranges(document.pk) == [(seq, seq) for seq in range(1, 8)]
    monkeypatch.undo()
    compact(document)
    assert head_of(document) == 8


def test_j15_compactions_follow_one_another(document: Document) -> None:
    rng = random.Random(5)
    twin = Graph()
    lt = 0
    for _ in range(6):
        for _ in range(rng.randrange(1, 6)):
            lt += 1
            item = message(lt, insert(f"n{lt}"), put(f"n{rng.randint(1, lt)}", "x", lt))
            append(document, item)
            twin.apply(item)
        compact(document, KeepRules(rng.randrange(3), 0))
        assert state(document)[1] == twin.digest()
    assert Snapshot.objects.exclude(reason="origin").count() == 2


def test_j15_later_merges_equal_those_of_a_journal_that_has_the_cut_but_was_not_truncated(
    document: Document, other: Document
) -> None:
    """Late, duplicate and undo messages behind the cut."""
    append_each(document, HISTORY)
    append_each(other, HISTORY)
    report = compact(document, KeepRules(3, 0))
    append(other, cut_record("=server:1", report.cut, 0))
    more = [
        message(3, put("a", "x", 33), client="cat"),
        message(4, Op(ot="number.add", key="a", path="x", value=1), client="dan"),
        message(9, put("a", "x", 90), client="cat"),
        HISTORY[1],
        message(10, undo("ann:7")),
        message(11, undo("ann:2")),
        message(2, insert("late"), client="eve"),
    ]
    for count in range(len(more) + 1):
        assert digest_with(document, *more[:count]) == digest_with(other, *more[:count]), count
    document_graph, other_graph = hydrate(document.pk).graph, hydrate(other.pk).graph
    assert document_graph.full_digest() == other_graph.full_digest()


def test_operation_rows_go_with_their_batches_and_objects_are_exact(document: Document) -> None:
    append_each(document, HISTORY)
    compact(document, KeepRules(3, 0))
    seqs = Operation.objects.order_by("server_seq").values_list("server_seq", flat=True)
    assert sorted(set(seqs)) == [6, 7, 8, 9]
    graph = hydrate(document.pk).graph
    assert {row.key: row.properties for row in SceneObject.objects.all()} == {
        key: view.properties for key, view in graph.nodes().items()
    }


def test_operation_rows_that_a_live_room_writes_of_batches_just_gone_are_deleted_by_the_next_run(
    document: Document,
) -> None:
    append_each(document, HISTORY)
    catch_up(document.pk)
    stray = Operation.objects.filter(document=document).first()
    compact(document)
    assert stray is not None
    Operation.objects.create(**{field.attname: getattr(stray, field.attname) for field in stray._meta.fields})
    compact(document)
    assert not Operation.objects.filter(document=document, server_seq__lte=8).exists()


def deletion_of(document: Document) -> int:
    with lease.lease(document.pk) as held:
        return delete_truncated(held, None)


def test_j15_left_over_are_the_documents_own_rows_up_to_the_truncation_point(
    document: Document, other: Document
) -> None:
    for each in (document, other):
        append_each(each, HISTORY[:4], size=2)
    assert [has_truncated(document.pk, seq) for seq in (0, 1, 2)] == [False, False, True]
    Document.objects.filter(pk=document.pk).update(truncated_seq=2)
    assert deletion_of(document) == 1
    assert (ranges(document.pk), ranges(other.pk)) == ([(3, 4)], [(1, 2), (3, 4)])
    assert not has_truncated(document.pk, 2)
    catch_up(other.pk)
    assert not has_truncated(document.pk, 2)
    assert has_truncated(other.pk, 2)
    JournalBatch.objects.filter(document=other, first_seq=1).delete()
    assert [has_truncated(other.pk, seq) for seq in (0, 1)] == [False, True], "rows of operations"
    assert deletion_of(document) == 0
    assert Operation.objects.filter(document=other).count() == 5


def test_j15_what_an_earlier_run_left_is_work_though_nothing_else_may_go(document: Document) -> None:
    append_each(document, HISTORY)
    keep = KeepRules(8, 0)
    assert (has_work(document, ALL), has_work(document, keep)) == (True, False)
    assert compact(document, keep).outcome == "nothing to do"
    compact(document, KeepRules(4, 0))
    assert not has_work(document, keep)
    late = entries(message(4, put("a", "x", 4)))
    JournalBatch.objects.create(
        document=document, first_seq=4, last_seq=4, message_count=1, payload=encode_entries(late), checksum="",
        writer="w", created_at=datetime.now(UTC),
    )  # fmt: skip
    before = state(document)
    assert has_work(document, keep)
    report = compact(document, keep)
    assert (report.outcome, report.leftover_batches, report.truncated_seq) == ("resumed", 1, 4)
    assert (state(document), ranges(document.pk)[0]) == (before, (5, 5))
    assert not has_work(document, keep)


def test_j14_a_run_may_be_told_what_time_it_is(document: Document) -> None:
    append_each(document, HISTORY)
    keep, now = KeepRules(0, 5), datetime.now(UTC)
    assert compact(document, keep, now=now + timedelta(days=4)).outcome == "nothing to do"
    assert compact(document, keep, now=now + timedelta(days=6)).outcome == "compacted"


@override_settings(VUER_RTC={"JOURNAL_DELETE_MESSAGES_MAX": 3})
def test_a_batch_of_more_messages_than_one_transaction_deletes_goes_alone(document: Document) -> None:
    append_each(document, HISTORY, size=4)
    Document.objects.update(truncated_seq=8)
    assert deletion_of(document) == 2
    assert ranges(document.pk) == []


def test_deletion_goes_by_bounded_transactions(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    append_each(document, HISTORY, size=2)
    seen = []
    renew = lease.Lease.renew

    def count(held: lease.Lease) -> None:
        seen.append(JournalBatch.objects.count())
        renew(held)

    monkeypatch.setattr(lease.Lease, "renew", count)
    with override_settings(VUER_RTC={"JOURNAL_DELETE_MESSAGES_MAX": 4}):
        compact(document)
    assert seen == [4, 5, 4, 2, 1]


@pytest.mark.sql
def test_a_deletion_names_one_end_of_what_goes(document: Document) -> None:
    """Of two, SQLite takes one to look rows up, and for the other reads all that are still to go, each time."""
    append_each(document, HISTORY)
    catch_up(document.pk)
    with (
        override_settings(VUER_RTC={"JOURNAL_DELETE_MESSAGES_MAX": 2}),
        mock.patch("journal.operation.ROWS_DELETED", 1),
        CaptureQueriesContext(connection) as asked,
    ):
        compact(document)
    deletions = [query["sql"] for query in asked if query["sql"].startswith("DELETE")]
    assert len([sql for sql in deletions if "last_seq" in sql]) == 5
    assert max(sql.count('_seq" <=') for sql in deletions) == 1


def test_j48_the_lease_is_kept_while_batches_are_read(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millions of messages take longer than a lease lasts: cron on another host would begin the same work anew."""
    append_each(document, HISTORY)
    kept: list[str] = []
    monkeypatch.setattr(lease.Lease, "keep", lambda held: kept.append(held.holder))
    compact(document)
    assert len(kept) == 2 * 9  # folded and proved, the cut among them


def test_j48_a_lease_that_is_lost_ends_the_reading(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)

    cut_off = compaction._Run._cut

    def cut_and_lose(run: Any, plan: Any) -> None:
        cut_off(run, plan)
        Document.objects.update(lease_holder="another")

    monkeypatch.setattr(compaction._Run, "_cut", cut_and_lose)
    with override_settings(VUER_RTC={"JOURNAL_LEASE_S": 0}), pytest.raises(JournalBusy):
        compact(document)
    assert not Snapshot.objects.exists()


def test_old_snapshots_are_pruned_and_labelled_ones_stay(document: Document) -> None:
    append_each(document, HISTORY)
    label_state(document.pk, 4, "milestone")
    for _ in range(3):
        assert take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    compact(document, KeepRules(3, 0))
    assert Snapshot.objects.filter(label="milestone").count() == 1
    assert Snapshot.objects.filter(label="").exclude(reason="origin").count() == 2
    assert Snapshot.objects.filter(reason="compaction").count() == 2


def test_j15_a_site_that_keeps_one_snapshot_has_no_spare(document: Document) -> None:
    append_each(document, HISTORY)
    with override_settings(VUER_RTC={"JOURNAL_KEEP_SNAPSHOTS": 1}):
        compact(document)
    assert Snapshot.objects.exclude(reason="origin").count() == 1


def test_j15_a_spare_that_does_not_read_back_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    before = state(document)
    monkeypatch.setattr(snapshot, "_has_checksum", lambda row: row.checksum == "no")
    monkeypatch.setattr(compaction, "prove", lambda *_: None)
    with pytest.raises(CorruptJournal, match="second copy"):
        compact(document)
    monkeypatch.undo()
    assert (document.truncated_seq, JournalBatch.objects.count()) == (0, 9)
    assert not Snapshot.objects.filter(reason="compaction").exists()
    assert state(document)[1] == before[1]


# Beside others


@contextmanager
def rival_writers(document: Document, times: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process appends right before each of the first `times` tries to journal the cut."""
    left = list(range(times))

    def append_late(drafts: Any, writer_id: str) -> Any:
        if left:
            n = left.pop()
            append(document, message(100 - n, put("a", "x", n), client=f"rival-{n}"))
        return append_batches(drafts, writer_id)

    with monkeypatch.context() as patch:
        patch.setattr(cut, "append_batches", append_late)
        yield


def test_j15_a_live_writer_may_append_all_the_time(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    with rival_writers(document, 3, monkeypatch):
        report = compact(document)
    assert (report.outcome, report.truncated_seq, report.snapshot_seq) == ("compacted", 8, 12)
    found = hydrate(document.pk)
    assert found.head_seq == 12
    assert found.graph.nodes()["a"].properties["x"] == 0
    assert [batch.first_seq for batch in read_after(document.pk, 8)] == [9, 10, 11, 12]


def test_writers_that_leave_no_room_make_it_give_up_and_change_nothing_else(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    with (
        override_settings(VUER_RTC={"JOURNAL_CUT_ATTEMPTS_MAX": 3}),
        rival_writers(document, 99, monkeypatch),
        pytest.raises(JournalBusy, match="no room"),
    ):
        compact(document)
    document.refresh_from_db()
    assert (document.truncated_seq, document.lease_holder, head_of(document)) == (0, "", 11)


def test_j8_a_writer_that_sleeps_through_a_compaction_is_fenced_and_finds_its_way_back(
    document: Document,
) -> None:
    append_each(document, HISTORY[:4])
    asleep = Draft(document.pk, 5, entries(message(50, put("a", "x", -1), client="zed")))
    append_each(document, HISTORY[4:])
    compact(document)
    before = state(document)
    assert append_batches([asleep], "sleeper") == [Fenced()]
    assert state(document) == before
    again = Draft(document.pk, before[0] + 1, asleep.entries)
    assert append_batches([again], "sleeper") == [Appended(10, 10)]
    assert hydrate(document.pk).graph.nodes()["a"].properties["x"] == -1


def test_a_database_that_stops_answering_is_unavailable(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)

    def locked(held: lease.Lease) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(lease.Lease, "renew", locked)
    with pytest.raises(JournalUnavailable, match="locked"):
        compact(document)


def test_two_compactions_of_one_document_do_not_collide(document: Document) -> None:
    append_each(document, HISTORY)
    with lease.lease(document.pk, "elsewhere/1/0"), pytest.raises(JournalBusy, match="elsewhere/1/0"):
        compact(document)
    assert compact(document).outcome == "compacted"


def test_a_compaction_that_lost_its_lease_does_not_truncate(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    prove = compaction.prove

    def prove_and_lose(*args: Any) -> None:
        prove(*args)
        Document.objects.update(lease_holder="elsewhere/1/0")

    monkeypatch.setattr(compaction, "prove", prove_and_lose)
    with pytest.raises(JournalBusy, match="overtaken"):
        compact(document)
    document.refresh_from_db()
    assert (document.truncated_seq, JournalBatch.objects.count()) == (0, 9)
    assert not Snapshot.objects.exists()


@pytest.mark.parametrize("is_done", [False, True])
def test_j15_what_it_wrote_stays_when_nobody_knows_whether_it_has_truncated(
    document: Document, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    append_each(document, HISTORY)
    before = state(document)[1]
    truncate = compaction.truncate

    def lose_the_answer(*args: Any) -> None:
        if is_done:
            truncate(*args)
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(compaction, "truncate", lose_the_answer)
    with pytest.raises(JournalUnavailable):
        compact(document)
    assert Snapshot.objects.count() == 3  # the proved one, its second copy, the origin
    monkeypatch.undo()
    assert state(document)[1] == before
    assert compact(document).outcome == ("resumed" if is_done else "compacted")
    assert state(document)[1] == before


# Death


class Killed(BaseException):
    """The process is gone: nothing it would still have written is written."""


def test_j15_runs_that_are_killed_do_not_fill_the_database(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    compact(document, KeepRules(6, 0))
    before, counts = state(document)[1], []

    def die(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(compaction, "truncate", die)
    for _ in range(6):
        with pytest.raises(Killed):
            compact(document, KeepRules(2, 0))
        counts.append(Snapshot.objects.count())
    assert counts[-1] == counts[-2] == counts[-3] <= 7
    assert state(document)[1] == before
    assert reach_of(document.pk).oldest_seq == Document.objects.get().truncated_seq
    monkeypatch.undo()
    assert compact(document, KeepRules(2, 0)).outcome == "compacted"
    assert state(document)[1] == before


@contextmanager
def death_at(nth: int) -> Iterator[None]:
    """From the nth writing statement on, nothing reaches the database."""
    count = 0

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal count
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            count += 1
            if count >= nth:
                raise Killed
        return execute(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield


def named(process_id: int) -> str:
    """A holder beside this process."""
    place, _, started = lease.process_name().rsplit("/", 2)
    return f"{place}/{process_id}/{started}"


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases name a process of this host that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    name = named(child.pid)
    monkeypatch.setattr(lease, "process_name", lambda: name)


@pytest.mark.sql
@pytest.mark.django_db(transaction=True)
def test_j15_killed_before_any_statement_it_is_resumed_by_running_again(mortal: None) -> None:
    nth = 0
    is_done = False
    outcomes = set()
    with override_settings(VUER_RTC={"JOURNAL_DELETE_MESSAGES_MAX": 3}):
        while not is_done:
            nth += 1
            document = Document.objects.create(slug=f"room-{nth}")
            append_each(document, HISTORY)
            catch_up(document.pk)
            before = state(document)[1]
            try:
                with death_at(nth):
                    compact(document, KeepRules(2, 0))
                is_done = True
            except Killed:
                pass
            assert state(document)[1] == before, f"after death at statement {nth}"
            outcomes.add(compact(document, KeepRules(2, 0)).outcome)
            catch_up(document.pk)
            document.refresh_from_db()
            assert (document.truncated_seq, document.head_seq) == (6, 9)
            assert ranges(document.pk) == [(7, 7), (8, 8), (9, 9)]
            assert state(document)[1] == before
            assert set(Operation.objects.filter(document=document).values_list("server_seq", flat=True)) == {
                7,
                8,
                9,
            }
    assert nth > 12
    assert outcomes == {"compacted", "resumed", "nothing to do"}


def test_j14_a_lease_of_a_clock_that_was_wrong_keeps_nobody_out(document: Document) -> None:
    """For as long as it was wrong, while every run said `busy`, and cron nothing."""
    now = datetime.now(UTC)
    for ahead, is_busy in ((timedelta(hours=1), True), (timedelta(days=365), False)):
        Document.objects.update(lease_holder="elsewhere/1/0", lease_until=now + ahead)
        with pytest.raises(JournalBusy) if is_busy else nullcontext(), lease.lease(document.pk):
            pass


def test_j14_a_lease_ends_with_its_time(document: Document) -> None:
    append_each(document, HISTORY)
    now = datetime.now(UTC)
    Document.objects.update(lease_holder="elsewhere/1/0", lease_until=now + timedelta(seconds=60))
    with pytest.raises(JournalBusy):
        compact(document)
    Document.objects.update(lease_until=now - timedelta(seconds=1))
    assert compact(document).outcome == "compacted"


def test_j14_a_lease_of_a_living_process_of_this_host_counts(document: Document) -> None:
    append_each(document, HISTORY)
    holder = named(os.getppid())
    Document.objects.update(lease_holder=holder, lease_until=datetime.now(UTC) + timedelta(seconds=60))
    with pytest.raises(JournalBusy):
        compact(document)


@pytest.mark.parametrize("namespace", ["pid:[4026531999]", "pid:[4294967295]", None])
def test_j14_a_lease_of_another_container_with_this_host_name_counts(
    document: Document, mortal: None, monkeypatch: pytest.MonkeyPatch, namespace: str | None
) -> None:
    append_each(document, HISTORY)
    holder = lease.process_name()
    monkeypatch.undo()

    def readlink(path: str) -> str:
        if namespace is None:
            raise FileNotFoundError(path)
        return namespace

    monkeypatch.setattr(os, "readlink", readlink)
    until = datetime.now(UTC) + timedelta(seconds=60)
    Document.objects.update(lease_holder=holder, lease_until=until)
    with pytest.raises(JournalBusy):
        compact(document)
    monkeypatch.undo()
    assert compact(document).outcome == "compacted", "who is beside it sees that it is gone"


def test_a_process_name_fits_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 64)
    monkeypatch.setattr(os, "getpid", lambda: 2**22)
    monkeypatch.setattr(os, "readlink", lambda path: f"pid:[{2**32 - 1}]")
    assert len(lease.process_name()) <= 64
