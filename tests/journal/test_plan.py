"""J14: what the keep rules let go, and the cut that folds it."""

from datetime import UTC, datetime, timedelta
from math import inf, nan
from uuid import uuid4

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from journal.compaction import compact_document
from journal.entry import Entry
from journal.models import Document
from journal.plan import KeepRules, Outline, Plan, Span, may_let_go, plan_truncation, read_outline
from journal.reader import Batch, hydrate
from journal.verification import verify_document
from tests.journal.history import ALL, HISTORY, append_each, message, put, undo
from vuer_rtc.crdt.message import Op, cut_record

NOW = datetime(2026, 5, 1, tzinfo=UTC)


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
        (KeepRules(0, 999_999), [9, 5, 1], None),  # before the year 1
        (KeepRules(0, 1e300), [9, 5, 1], None),
        (KeepRules(0, inf), [9, 5, 1], None),
        (KeepRules(0, nan), [9, 5, 1], None),
        (KeepRules(10, 0), [9, 5, 1], 20),
        (KeepRules(11, 0), [9, 5, 1], 10),
        (KeepRules(29, 0), [9, 5, 1], None),
        (KeepRules(10, 8), [9, 5, 1], 10),
        (KeepRules(0, 4), [9, 3, 9], 10),
        (KeepRules(0, 0), [], None),
        (KeepRules(0, 4), [9, -3650, 5, 1], 30),  # a clock was ten years ahead
        (KeepRules(0, 4), [-3650, -3650, 5, 1], 30),
        (KeepRules(0, 4), [9, -3650, 3], 10),
        (KeepRules(0, 4), [9, -3650], 10),
        (KeepRules(0, 0), [9, -0.5, 5], 10),  # or half a day, as clocks of two hosts may be
        (KeepRules(20, 4), [9, -3650, 5, 5], 10),
    ],
)
def test_j14_both_rules_must_let_a_batch_go(
    keep: KeepRules, ages: list[float], truncate_seq: int | None
) -> None:
    plan = plan_truncation(spans(*ages), keep, NOW)
    assert (plan.truncate_seq if plan else None) == truncate_seq


def test_j14_the_cut_is_the_highest_lamport_time_that_goes() -> None:
    assert plan_truncation(spans(9, 8, 7), KeepRules(10, 0), NOW) == Plan(20, 101, batches=2, messages=20)


def test_j14_server_records_alone_are_not_worth_a_compaction() -> None:
    assert plan_truncation(spans(9, edits=0), ALL, NOW) is None


def test_j14_server_records_do_not_push_messages_out() -> None:
    """Or each run would journal a cut that makes room for the next one."""
    found = [*spans(9, 9, size=1, edits=1), Span(3, 3, NOW, edits=0)]
    assert plan_truncation(found, KeepRules(2, 0), NOW) is None


def test_j14_the_documents_rules_come_before_the_sites_and_the_commands_before_both() -> None:
    document = Document(keep_messages=7)
    assert KeepRules.of(document) == KeepRules(7, 30)
    assert KeepRules.of(document, messages=0, days=0) == KeepRules(0, 0)
    with override_settings(VUER_RTC={"JOURNAL_KEEP_DAYS": 2}):
        assert KeepRules.of(Document(keep_days=0)) == KeepRules(1000, 0)
        assert KeepRules.of(Document()) == KeepRules(1000, 2)


@pytest.mark.parametrize(
    ("keep", "is_worth_reading"),
    [(ALL, True), (KeepRules(7, 0), True), (KeepRules(8, 0), False), (KeepRules(0, 1), False)],
)
@pytest.mark.sql
def test_whether_anything_may_go_is_told_by_two_rows(
    document: Document, keep: KeepRules, is_worth_reading: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run of cron asks that of every document, and some keep a month of a robot that never stops."""
    append_each(document, HISTORY)
    loaded: list[object] = []
    monkeypatch.setattr(
        "journal.plan.Span", lambda *args, **kwargs: loaded.append(args) or Span(*args, **kwargs)
    )
    with CaptureQueriesContext(connection) as asked:
        assert may_let_go(document.pk, 0, keep, datetime.now(UTC)) is is_worth_reading
    assert (len(asked), len(loaded)) == (2, 2)
    assert all("LIMIT 1" in query["sql"] and "payload" not in query["sql"] for query in asked)


@pytest.mark.sql
def test_j14_a_clock_that_was_years_ahead_does_not_keep_what_came_after(document: Document) -> None:
    append_each(document, HISTORY)
    first = document.batches.order_by("first_seq").first()
    assert first is not None
    document.batches.filter(pk=first.pk).update(created_at=datetime.now(UTC) + timedelta(days=3650))
    assert compact_document(document, ALL).outcome == "compacted"
    assert not document.batches.filter(pk=first.pk).exists()


def batches(*kinds: str) -> list[Batch]:
    """One message in each: an edit, an undo, or a cut."""
    ops = {"e": put("n", "x", 1), "u": Op("meta.undo", "_meta", "_meta", target="ann:1")}
    made = {kind: message(7, op) for kind, op in ops.items()} | {"c": cut_record("=cut", 5, 1)}
    return [
        Batch(uuid4(), seq, seq, NOW - timedelta(days=100 - seq), [Entry(made[kind])])
        for seq, kind in enumerate(kinds, 1)
    ]


def test_of_very_many_batches_neighbours_are_planned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not with those that undo or cut: where these are must be known."""
    found = batches(*"eeeeeeeeeueeeceeeeeeeee")
    exact = Outline(uuid4(), 0).add(found).spans
    monkeypatch.setattr("journal.plan.SPANS_MAX", 8)
    few = Outline(uuid4(), 0).add(found).spans
    assert [(span.first_seq, span.last_seq) for span in few] == [
        *((1, 4), (5, 8), (9, 9), (10, 10), (11, 13), (14, 14), (15, 18), (19, 22), (23, 23)),
    ]
    assert sum(span.batches for span in few) == len(exact) == 23
    assert sum(span.edits for span in few) == sum(span.edits for span in exact) == 22
    for keep, seq in ((KeepRules(7, 0), 14), (KeepRules(20, 0), None), (KeepRules(0, 94.5), 4)):
        plan, longest = plan_truncation(few, keep, NOW), plan_truncation(exact, keep, NOW)
        assert (plan.truncate_seq if plan else None) == seq
        assert longest is not None
        assert plan is None or plan.truncate_seq <= longest.truncate_seq


@pytest.mark.parametrize("keep", [KeepRules(0, 0), KeepRules(3, 0)])
def test_a_compaction_so_planned_is_as_good(
    document: Document, keep: KeepRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal.plan.SPANS_MAX", 4)
    append_each(document, HISTORY)
    before = hydrate(document.pk).graph.digest()
    assert compact_document(document, keep).outcome == "compacted"
    assert hydrate(document.pk).graph.digest() == before
    document.refresh_from_db()
    assert 0 < document.truncated_seq <= len(HISTORY) - keep.messages
    assert not verify_document(document).is_damaged


def test_j14_a_span_has_the_measures_of_its_batch() -> None:
    made = [message(5), cut_record("=c", 7, 1), message(3, undo("ann:1")), message(9), cut_record("=d", 4, 1)]
    batch = Batch(uuid4(), 11, 15, NOW, [Entry(item) for item in made])
    [span] = Outline(uuid4(), 10).add([batch]).spans
    assert span == Span(11, 15, NOW, edits=3, lt_max=9, lt_min=3, targets=("ann:1",), cut=7)


def test_j14_spans_taken_together_have_the_measures_of_both() -> None:
    young, old = NOW - timedelta(days=1), NOW - timedelta(days=2)
    first, second = Span(1, 2, old, 2, 9, 4), Span(3, 3, young, 1, 5, 3, batches=2)
    assert first.with_next(second) == Span(1, 3, young, 3, 9, 3, batches=3)
    first, second = Span(1, 2, young, 2, 5, 3), Span(3, 3, old, 1, 9, 4, batches=2)
    assert first.with_next(second) == Span(1, 3, young, 3, 9, 3, batches=3)


def test_an_outline_reads_on_where_it_ended(document: Document) -> None:
    outline = read_outline(document.pk)
    for some in (HISTORY[:3], HISTORY[3:]):
        append_each(document, some)
        outline.read_on()
    assert [span.first_seq for span in outline.spans] == list(range(1, 9))
    assert [span.first_seq for span in outline.behind(5)] == [6, 7, 8]


def aged(document: Document, **days: float) -> None:
    """The batches that end at these sequences are so many days old."""
    for name, age in days.items():
        batch = document.batches.filter(last_seq=int(name[1:]))
        batch.update(created_at=NOW - timedelta(days=age))


def test_j14_only_the_documents_own_retained_batches_tell_whether_anything_may_go(
    document: Document, other: Document
) -> None:
    append_each(document, HISTORY[:6], size=2)
    append_each(other, HISTORY)
    aged(document, s2=9, s4=4, s6=3)
    aged(other, **{f"s{seq}": 99 for seq in range(1, 9)})
    for truncated_seq, days, may_go in (
        (0, 8, True),
        (0, 10, False),
        (2, 8, False),
        (2, 3.5, True),
        (6, 0, False),
    ):
        assert may_let_go(document.pk, truncated_seq, KeepRules(0, days), NOW) is may_go
    for truncated_seq, messages, may_go in (
        (0, 4, True),
        (0, 5, False),
        (2, 2, True),
        (2, 3, False),
        (4, 0, True),
    ):
        assert may_let_go(document.pk, truncated_seq, KeepRules(messages, 0), NOW) is may_go


def test_j14_a_clock_that_was_ahead_does_not_hide_what_may_go_behind_it(document: Document) -> None:
    append_each(document, HISTORY[:3])
    aged(document, s1=-3650, s2=9, s3=1)
    assert may_let_go(document.pk, 0, KeepRules(0, 5), NOW)


def test_nothing_may_go_of_a_document_without_a_journal(document: Document) -> None:
    assert not may_let_go(document.pk, 0, ALL, NOW)
