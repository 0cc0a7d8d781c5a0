"""J10, J11, J18: recovery from a live room's snapshot equals recovery without it, now and later."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal import snapshot
from journal.compaction import KeepRules, compact_document
from journal.models import Document, JournalBatch, Snapshot
from journal.reader import hydrate, read_after
from journal.reset import reset_document
from journal.snapshot import SnapshotDraft, covered_seq_of, draft_snapshot, prune_snapshots, take_snapshot
from journal.verification import verify_document
from tests.journal.document_pair import CLIENTS, message_of, step
from tests.journal.history import append, append_each, insert, message, put, undo
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, cut_record

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 41)]]


def cut(document: Document, lt: int) -> None:
    append(document, cut_record(f"=server:{lt}", lt, 0))


def snapshot_now(document: Document) -> Snapshot:
    taken = take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    assert taken is not None
    return taken


def replay(document_id: UUID) -> Graph:
    """The fold of every batch there is, without snapshots."""
    graph = Graph()
    for batch in read_after(document_id, 0):
        graph.apply_all(batch.messages)
    return graph


def test_j66_no_snapshot_is_written_of_what_the_journal_does_not_reach(document: Document) -> None:
    append_each(document, HISTORY[:3])
    draft = draft_snapshot(hydrate(document.pk).graph)
    JournalBatch.objects.filter(first_seq=3).delete()
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None
    assert not Snapshot.objects.exists()


def test_j66_no_snapshot_is_written_of_what_the_journal_has_something_else_for(document: Document) -> None:
    """A database was put back, and another process has written since as far as the room had come."""
    append_each(document, HISTORY[:3])
    hydrated = hydrate(document.pk)
    draft = replace(draft_snapshot(hydrated.graph), last_batch=hydrated.last_batch)
    JournalBatch.objects.filter(first_seq=3).delete()
    append_each(document, HISTORY[4:6])
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None
    assert_recovers(document)
    hydrated = hydrate(document.pk)
    draft = replace(draft_snapshot(hydrated.graph), last_batch=hydrated.last_batch)
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is not None


def test_j66_what_the_journal_leads_to_no_more_when_it_is_written_is_taken_back(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler led the statements to the old primary, and then to the new one."""
    append_each(document, HISTORY[:3])
    hydrated = hydrate(document.pk)
    draft = replace(draft_snapshot(hydrated.graph), last_batch=hydrated.last_batch)
    write_snapshot = snapshot.write_snapshot

    def write_late(*given: Any) -> Any:
        JournalBatch.objects.filter(first_seq=3).delete()
        append_each(document, HISTORY[4:6])
        return write_snapshot(*given)

    monkeypatch.setattr(snapshot, "write_snapshot", write_late)
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None
    assert not Snapshot.objects.exists()


def test_j11_a_live_snapshot_may_be_at_the_truncation_point_and_not_below_it(document: Document) -> None:
    append_each(document, HISTORY[:5])
    draft = draft_snapshot(hydrate(document.pk).graph)
    Document.objects.update(truncated_seq=6)
    append_each(document, HISTORY[5:7])
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None
    Document.objects.update(truncated_seq=5)
    JournalBatch.objects.all().delete()
    row = take_snapshot(document.pk, draft, Snapshot.Reason.COUNT)
    assert row is not None
    assert (row.seq, row.covered_seq) == (5, 5)
    assert Snapshot.objects.get() == row
    Document.objects.update(cut=1)
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None, "nor behind the cut"


def assert_recovers(document: Document) -> None:
    """Recovery equals the replay of everything."""
    recovered, replayed = hydrate(document.pk), replay(document.pk)
    assert recovered.head_seq == replayed.head_seq
    assert recovered.graph.digest() == replayed.digest()
    assert recovered.graph.full_digest() == replayed.full_digest()


def test_j10_recovery_reads_only_what_is_behind_what_the_snapshot_covers(document: Document) -> None:
    append_each(document, HISTORY, size=5)
    cut(document, 33)
    snapshot = snapshot_now(document)
    assert (snapshot.seq, snapshot.cut, snapshot.covered_seq) == (41, 33, 33)
    JournalBatch.objects.filter(last_seq__lte=30).update(payload=b"nobody reads this")
    assert hydrate(document.pk).graph.retained_count == 7
    JournalBatch.objects.filter(last_seq__lte=30).delete()
    found = hydrate(document.pk)
    assert (found.head_seq, found.graph.lt, found.graph.retained_count) == (41, 40, 7)


def test_j10_a_snapshot_that_covers_everything_needs_no_batch(document: Document) -> None:
    append_each(document, HISTORY, size=5)
    cut(document, 40)
    assert snapshot_now(document).covered_seq == 41
    JournalBatch.objects.all().delete()
    assert hydrate(document.pk).head_seq == 41


def test_j10_late_duplicate_and_undo_messages_merge_as_they_would_have(document: Document) -> None:
    append_each(document, HISTORY, size=5)
    cut(document, 33)
    snapshot_now(document)
    assert_recovers(document)
    later = [
        message(20, put("n", "y", 1), client="bob"),  # late
        message(36, put("n", "x", 2), client="bob"),  # in its place, and loses
        message(41, undo("ann:40"), id="ann:41"),
        message(42, undo("ann:20"), id="ann:42"),  # too late: no effect
        message(43, put("n", "x", 3), client="bob"),
    ]
    for item in later:
        append(document, item)
        assert_recovers(document)
        snapshot_now(document)
        assert_recovers(document)


def test_the_snapshot_time_travel_begins_at_is_not_pruned(document: Document) -> None:
    append_each(document, HISTORY)
    compact_document(document, KeepRules(20, 0))
    Snapshot.objects.filter(reason="origin").delete()
    oldest = Snapshot.objects.all()[0]
    for lt in (25, 30, 35):
        cut(document, lt)
        snapshot_now(document)
        prune_snapshots(document.pk)
    assert Snapshot.objects.filter(pk=oldest.pk).exists()
    assert sorted(Snapshot.objects.values_list("cut", flat=True)) == [20, 20, 30, 35]


@pytest.mark.parametrize("is_compacting", [False, True])
def test_j30_the_oldest_usable_snapshot_and_the_newest_are_not_pruned(
    document: Document, is_compacting: bool
) -> None:
    append_each(document, HISTORY)
    for lt in (10, 20, 25, 30):
        cut(document, lt)
        snapshot_now(document)
    assert prune_snapshots(document.pk, is_compacting=is_compacting) == 1
    assert sorted(Snapshot.objects.values_list("cut", flat=True)) == [10, 25, 30]
    Document.objects.update(truncated_seq=15)
    assert prune_snapshots(document.pk, is_compacting=is_compacting) == 1
    assert sorted(Snapshot.objects.values_list("cut", flat=True)) == [25, 30]


def test_what_snapshots_cover_is_told_by_the_one_that_covers_most(document: Document) -> None:
    assert covered_seq_of(document.pk) == 0
    append_each(document, HISTORY)
    for lt in (25, 30):
        cut(document, lt)
        snapshot_now(document)
    assert covered_seq_of(document.pk) == 30


def test_j35_pruning_leaves_the_snapshots_of_other_documents(document: Document, other: Document) -> None:
    for each in (document, other):
        append_each(each, HISTORY)
        compact_document(each, KeepRules(20, 0))
    theirs = set(other.snapshots.values_list("pk", flat=True))
    assert other.snapshots.filter(reason="origin").count() == 1
    compact_document(document, KeepRules(10, 0))
    prune_snapshots(document.pk, is_compacting=True)
    assert set(other.snapshots.values_list("pk", flat=True)) == theirs
    assert document.snapshots.filter(reason="origin").count() == 1


class Histories(TestCase):
    """Steps are messages with any Lamport time, undo messages, cuts, snapshots, compactions and resets."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(
        steps=st.lists(
            st.one_of(
                step,
                step,
                st.tuples(st.just("cut"), st.integers(1, 12)),
                st.tuples(st.just("draft"), st.just(0)),
                st.tuples(st.just("write"), st.just(0)),
            ),
            min_size=2,
            max_size=24,
        )
    )
    def test_j18_a_live_snapshot_changes_nothing_now_or_later(self, steps: list[Any]) -> None:
        document, whole = (Document.objects.create(slug=slug) for slug in ("room", "whole"))
        counters, written, live = dict.fromkeys(CLIENTS, 0), list[Message](), Graph()
        draft: SnapshotDraft | None = None
        for given_step in steps:
            match given_step:
                case KeepRules():
                    compact_document(document, given_step)
                case "reset":
                    reset_document(document.pk)
                case ("cut", lt):
                    cut(document, lt)
                case ("draft", _):
                    draft = drafted(live)
                case ("write", _):
                    if draft is not None:
                        take_snapshot(document.pk, draft, Snapshot.Reason.COUNT)
                        prune_snapshots(document.pk)
                case _:
                    item = message_of(given_step, counters, written, live.epoch.lt)
                    written.append(item)
                    append(document, item)
            self.follow(document, whole, live)
            recovered, replayed = hydrate(document.pk), replay(whole.pk)
            assert recovered.head_seq == live.head_seq == replayed.head_seq
            assert recovered.graph.digest() == live.digest() == replayed.digest()
            assert recovered.graph.full_digest() == live.full_digest() == replayed.full_digest()

    def follow(self, document: Document, whole: Document, live: Graph) -> None:
        """The live room reads what was written, and so does a journal that is never compacted."""
        behind: list[Message] = []
        for batch in read_after(document.pk, live.head_seq):
            behind += batch.messages
        for item in behind:
            live.apply(item)
            append(whole, item)


def drafted(graph: Graph) -> SnapshotDraft:
    """A draft as a live room takes it: in parts."""
    seq, cut_in_force, covered_seq = graph.head_seq, graph.cut, graph.folded_seq
    return SnapshotDraft(seq, cut_in_force, b"".join(graph.snapshot_parts(2)), covered_seq=covered_seq)


@pytest.mark.parametrize("field", ["seq", "cut", "covered_seq"])
def test_j5_the_checksum_of_a_snapshot_covers_its_numbers(field: str, document: Document) -> None:
    """One that says it holds more than it does would have recovery leave out batches."""
    append_each(document, HISTORY)
    cut(document, 30)
    snapshot = snapshot_now(document)
    Snapshot.objects.filter(pk=snapshot.pk).update(**{field: getattr(snapshot, field) - 1})
    before = replay(document.pk).full_digest()
    recovered = hydrate(document.pk)
    assert recovered.graph.full_digest() == before
    assert verify_document(document).is_damaged
