"""J14, J15: compaction changes no state, deletes nothing unproven, and may be killed anywhere."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, models
from django.test import override_settings

from journal import compaction, lease, origin
from journal.compaction import KeepRules, Plan, Report, Span, compact_document, plan_truncation
from journal.error import JournalBusy, JournalUnavailable, SnapshotTooLarge
from journal.history import graph_at, reach_of
from journal.label import label_state
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from journal.proof import ProofFailed
from journal.reader import hydrate, read_after
from journal.snapshot import SnapshotDraft, draft_snapshot, prune_snapshots, take_snapshot, write_snapshot
from journal.writer import Appended, Draft, Fenced, append_batches
from tests.journal.history import append, append_each, entries, head_of, insert, message, put, ranges, undo
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, cut_record

ALL = KeepRules(messages=0, days=0)
NOW = datetime(2026, 5, 1, tzinfo=UTC)

HISTORY = [
    message(1, insert("a", x=0), insert("b", "a")),
    message(2, put("a", "x", 5)),
    message(3, Op(ot="number.add", key="a", path="x", value=2)),
    message(4, put("b", "y", 4), client="bob"),
    message(5, Op(ot="node.remove", key="a", path="children", value="b")),
    message(6, undo("ann:5")),
    message(7, put("a", "x", 70)),
    message(8, put("late", "z", 1)),
]


def compact(document: Document, keep: KeepRules = ALL, **options: Any) -> Report:
    document.refresh_from_db()
    return compact_document(document, keep, **options)


def state(document: Document) -> tuple[int, str]:
    found = hydrate(document.pk)
    return found.head_seq, found.graph.digest()


def digest_with(document: Document, *messages: Message) -> str:
    """Digest of the document after more messages, which are not journalled."""
    found = hydrate(document.pk)
    for seq, item in enumerate(messages, found.head_seq + 1):
        found.graph.apply(compaction.numbered(item, seq))
    return found.graph.digest()


def everything() -> list[Any]:
    """Every row of this app."""
    tables: list[type[models.Model]] = [Document, JournalBatch, Operation, SceneObject, Snapshot]
    return [list(table._default_manager.order_by("pk").values()) for table in tables]


# Plan


def spans(*ages_in_days: float, size: int = 10, edits: int = 10) -> list[Span]:
    return [
        Span(n * size + 1, n * size + size, NOW - timedelta(days=age), lt_max=100 + n, edits=edits)
        for n, age in enumerate(ages_in_days)
    ]


@pytest.mark.parametrize(
    ("keep", "ages", "truncate_seq"),
    [
        (KeepRules(0, 0), [9, 5, 1], 30),
        (KeepRules(0, 4), [9, 5, 1], 20),
        (KeepRules(0, 30), [9, 5, 1], None),
        (KeepRules(10, 0), [9, 5, 1], 20),
        (KeepRules(11, 0), [9, 5, 1], 10),
        (KeepRules(29, 0), [9, 5, 1], None),
        (KeepRules(10, 8), [9, 5, 1], 10),
        (KeepRules(0, 4), [9, 3, 9], 10),
        (KeepRules(0, 0), [], None),
    ],
)
def test_j14_both_rules_must_let_a_batch_go(
    keep: KeepRules, ages: list[float], truncate_seq: int | None
) -> None:
    plan = plan_truncation(spans(*ages), 0, keep, NOW)
    assert (plan.truncate_seq if plan else None) == truncate_seq


def test_j14_the_cut_is_the_highest_lamport_time_that_goes_and_never_falls() -> None:
    assert plan_truncation(spans(9, 8, 7), 0, KeepRules(10, 0), NOW) == Plan(20, 101, batches=2, messages=20)
    assert plan_truncation(spans(9, 8, 7), 500, KeepRules(10, 0), NOW) == Plan(
        20, 500, batches=2, messages=20
    )


def test_j14_server_records_alone_are_not_worth_a_compaction() -> None:
    assert plan_truncation(spans(9, edits=0), 0, ALL, NOW) is None


def test_j14_server_records_do_not_push_messages_out() -> None:
    """Or each run would journal a cut that makes room for the next one."""
    found = [*spans(9, 9, size=1, edits=1), Span(3, 3, NOW, edits=0)]
    assert plan_truncation(found, 0, KeepRules(2, 0), NOW) is None


def test_j14_the_documents_rules_come_before_the_sites_and_the_commands_before_both() -> None:
    document = Document(keep_messages=7)
    assert KeepRules.of(document) == KeepRules(7, 30)
    assert KeepRules.of(document, messages=0, days=0) == KeepRules(0, 0)
    with override_settings(VUER_RTC={"JOURNAL_KEEP_DAYS": 2}):
        assert KeepRules.of(Document(keep_days=0)) == KeepRules(1000, 0)
        assert KeepRules.of(Document()) == KeepRules(1000, 2)


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
    report = compact(document)
    assert (report.outcome, report.truncated_seq, report.cut) == ("compacted", 8, 8)
    assert (report.batches, report.messages, report.snapshot_seq) == (8, 8, 9)
    assert ranges(document.pk) == [(9, 9)]
    document.refresh_from_db()
    assert (document.truncated_seq, document.cut, document.lease_holder) == (8, 8, "")
    [snapshot] = Snapshot.objects.exclude(reason="origin")
    assert (snapshot.seq, snapshot.cut, snapshot.covered_seq, snapshot.reason) == (9, 8, 9, "compaction")


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
    assert seen == [4, 5, 5, 3, 1]


def test_old_snapshots_are_pruned_and_labelled_ones_stay(document: Document) -> None:
    append_each(document, HISTORY)
    label_state(document.pk, 4, "milestone")
    for _ in range(3):
        assert take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    compact(document, KeepRules(3, 0))
    assert Snapshot.objects.filter(label="milestone").count() == 1
    assert Snapshot.objects.filter(label="").exclude(reason="origin").count() == 2
    assert Snapshot.objects.filter(reason="compaction").count() == 1


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
        patch.setattr(compaction, "append_batches", append_late)
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
    assert [first for first, _ in read_after(document.pk, 8)] == [9, 10, 11, 12]


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
    with pytest.raises(JournalBusy, match="lease"):
        compact(document)
    document.refresh_from_db()
    assert (document.truncated_seq, JournalBatch.objects.count()) == (0, 9)


# Proof


def refused(document: Document, before: tuple[int, str]) -> None:
    """Nothing was deleted and recovery does not use the snapshot."""
    document.refresh_from_db()
    assert (document.truncated_seq, document.lease_holder) == (0, "")
    assert ranges(document.pk)[: len(HISTORY)] == [(n, n) for n in range(1, 9)]
    assert state(document)[1] == before[1]
    assert Snapshot.objects.count() == 0


@pytest.mark.parametrize(
    ("module", "field"),
    [
        *(
            (compaction, field)
            for field in ("payload", "checksum", "digest", "full_digest", "covered_seq", "cut")
        ),
        *((origin, field) for field in ("payload", "checksum", "covered_seq", "cut")),
    ],
)
def test_j15_a_new_snapshot_row_that_was_corrupted_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch, module: ModuleType, field: str
) -> None:
    append_each(document, HISTORY)
    before = state(document)
    write = write_snapshot

    def write_and_corrupt(*args: Any, **fields: Any) -> Snapshot:
        row = write(*args, **fields)
        value = getattr(row, field)
        match value:
            case int():
                value += 1
            case str():
                value = value[::-1]
            case _:
                value = bytes(value)[:-1] + b"\x00"
        Snapshot.objects.filter(pk=row.pk).update(**{field: value})
        return row

    monkeypatch.setattr(module, "write_snapshot", write_and_corrupt)
    with pytest.raises(ProofFailed):
        compact(document)
    refused(document, before)


def test_j15_a_well_formed_snapshot_of_something_else_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    before = state(document)

    def forgetful(graph: Graph, **_: Any) -> SnapshotDraft:
        draft = draft_snapshot(graph, with_digests=True)
        wrong = Graph()
        for item in HISTORY[:-2]:
            wrong.apply(compaction.numbered(item, item.lt))
        wrong.apply(compaction.numbered(cut_record("=server:1", graph.cut, 0), draft.seq))
        return SnapshotDraft(draft.seq, draft.cut, wrong.snapshot(), draft.digest, draft.full_digest)

    monkeypatch.setattr(compaction, "draft_snapshot", forgetful)
    with pytest.raises(ProofFailed, match="does not equal"):
        compact(document)
    refused(document, before)


def test_j15_a_live_room_may_take_a_snapshot_while_the_new_one_is_proved(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    prove = compaction.prove

    def prove_late(snapshot_id: UUID, truncate_seq: int) -> None:
        append(document, message(50))
        take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
        prove(snapshot_id, truncate_seq)

    monkeypatch.setattr(compaction, "prove", prove_late)
    assert compact(document).outcome == "compacted"


def test_j15_a_live_room_prunes_nothing_of_a_compaction_that_is_not_proved_yet(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    prove = compaction.prove

    def prove_late(*args: Any) -> None:
        for lt in (50, 51, 52, 53):
            append(document, message(lt))
            take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
            prune_snapshots(document.pk)
        prove(*args)

    for keep in (4, 2):
        monkeypatch.setattr(compaction, "prove", prove_late if keep == 2 else prove)
        assert compact(document, KeepRules(keep, 0)).outcome == "compacted"
    assert reach_of(document.pk).oldest_seq == Document.objects.get().truncated_seq


def test_j35_an_origin_of_something_else_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    append(document, message(3, put("a", "x", 1), client="late"))  # so that the origin has a tail
    before = state(document)
    monkeypatch.setattr(Graph, "retained_messages", lambda graph: [])
    with pytest.raises(ProofFailed, match="origin of time travel"):
        compact(document, KeepRules(1, 0))
    refused(document, before)


def test_a_snapshot_too_large_for_a_row_deletes_nothing(document: Document) -> None:
    append_each(document, HISTORY)
    before = state(document)
    with (
        override_settings(VUER_RTC={"JOURNAL_SNAPSHOT_BYTES_MAX": 100}),
        pytest.raises(SnapshotTooLarge, match="raise"),
    ):
        compact(document)
    refused(document, before)


# Death


class Killed(BaseException):
    """The process is gone: nothing it would still have written is written."""


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


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases name a process of this host that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    name = f"{socket.gethostname()[:40]}/{child.pid}/0"
    monkeypatch.setattr(lease, "process_name", lambda: name)


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
    holder = f"{socket.gethostname()[:40]}/{os.getppid()}/0"
    Document.objects.update(lease_holder=holder, lease_until=datetime.now(UTC) + timedelta(seconds=60))
    with pytest.raises(JournalBusy):
        compact(document)


def test_j15_what_live_rooms_have_folded_goes_and_the_states_behind_it_can_still_be_told(
    document: Document,
) -> None:
    """J18."""
    history = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 61)]]
    for lt, item in enumerate(history, 1):
        append(document, item)
        if lt > 20 and lt % 5 == 0:
            append(document, cut_record(f"=server:{lt}", lt - 10, 0))
    before, head_seq = hydrate(document.pk).graph, head_of(document)
    states = {seq: graph_at(document.pk, seq).digest() for seq in range(20, head_seq + 1)}
    report = compact(document, KeepRules(40, 0))
    assert (report.outcome, report.truncated_seq) == ("compacted", 20)
    assert (head_of(document), report.snapshot_seq) == (head_seq, 32)
    assert hydrate(document.pk).graph.full_digest() == before.full_digest()
    assert reach_of(document.pk).oldest_seq <= report.snapshot_seq
    for seq in range(report.snapshot_seq, head_seq + 1):
        assert graph_at(document.pk, seq).digest() == states[seq]
    again = compact(document, KeepRules(30, 0))
    assert (again.outcome, head_of(document)) == ("compacted", head_seq)
    assert hydrate(document.pk).graph.full_digest() == before.full_digest()
    assert compact(document, KeepRules(0, 0)).truncated_seq == head_seq
    assert hydrate(document.pk).graph.digest() == before.digest()
