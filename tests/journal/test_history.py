"""J30, J35: the states a document has been in."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings

from journal.compaction import KeepRules, compact_document
from journal.cut import journal_cut
from journal.entry import Entry
from journal.error import CorruptJournal, OutOfReach, UnknownDocument
from journal.history import (
    Reach,
    graph_at,
    reach_length,
    reach_of,
    readable_part,
    replay_length,
    retained_length,
    seq_at,
    told_within,
)
from journal.models import Document, JournalBatch, Snapshot
from journal.projection import catch_up
from journal.reader import hydrate
from journal.reset import reset_document
from journal.snapshot import draft_snapshot, prune_snapshots, take_snapshot
from journal.verification import verify_document
from journal.writer import Draft, append_batches
from tests.journal.history import append, append_each, head_of, insert, message, put, undo
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message

STEPS = [message(1, insert("a", x=0)), *(message(lt, put("a", "x", 10 * lt)) for lt in range(2, 9))]


def x_at(document: Document, seq: int) -> object:
    return graph_at(document.pk, seq).nodes()["a"].properties["x"]


def compact(document: Document, keep: int) -> None:
    document.refresh_from_db()
    compact_document(document, KeepRules(messages=keep, days=0))
    document.refresh_from_db()


def snapshot(document: Document) -> Snapshot:
    row = take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    assert row is not None
    return row


def assert_refused(document: Document, seq: int, code: str) -> None:
    with pytest.raises(OutOfReach) as caught:
        graph_at(document.pk, seq)
    assert caught.value.code == code


def test_j30_a_document_without_messages_has_one_state(document: Document) -> None:
    assert reach_of(document.pk) == Reach(0, 0)
    assert graph_at(document.pk, 0).digest() == Graph().digest()
    assert_refused(document, 1, "ahead")
    assert_refused(document, -1, "folded-away")


def test_j30_every_state_since_the_beginning_is_told_also_inside_a_batch(document: Document) -> None:
    append_each(document, STEPS, size=3)
    assert reach_of(document.pk) == Reach(0, 8)
    assert [x_at(document, seq) for seq in range(1, 9)] == [0, 20, 30, 40, 50, 60, 70, 80]


def test_j30_after_a_compaction_all_that_is_retained_is_told(document: Document) -> None:
    append_each(document, STEPS)
    compact(document, keep=4)
    assert reach_of(document.pk) == Reach(4, 9)
    assert [x_at(document, seq) for seq in range(4, 10)] == [40, 50, 60, 70, 80, 80]
    assert_refused(document, 3, "folded-away")


def test_j23_the_last_state_before_a_damaged_batch_is_told(document: Document) -> None:
    append_each(document, STEPS)
    JournalBatch.objects.filter(first_seq=5).update(checksum="no")
    assert [x_at(document, seq) for seq in (3, 4)] == [30, 40]
    with pytest.raises(CorruptJournal):
        graph_at(document.pk, 5)
    assert readable_part(document.pk, reach_of(document.pk)) == Reach(0, 4)


def without_origin(document: Document) -> None:
    """As older versions compacted, and as it is where an origin would be too large."""
    assert Snapshot.objects.filter(document=document, reason="origin").delete()[0] == 1


def test_j35_a_late_message_and_an_undo_of_what_is_folded_hide_nothing(document: Document) -> None:
    late = message(1, put("a", "y", 1), client="bob")
    append_each(document, [*STEPS[:7], late, message(9, undo("ann:4")), message(10, undo("ann:7"))])
    told = {seq: graph_at(document.pk, seq).digest() for seq in range(11)}
    compact(document, keep=5)
    assert reach_of(document.pk) == Reach(5, 11)
    assert all(graph_at(document.pk, seq).digest() == told[seq] for seq in range(5, 11))


def test_j35_states_before_a_reset_are_told_although_all_since_is_folded(document: Document) -> None:
    append_each(document, STEPS)
    reset_document(document.pk)
    lt = hydrate(document.pk).graph.lt
    append_each(document, [message(lt + n, insert(f"n{n}")) for n in range(1, 4)])
    compact(document, keep=6)
    assert reach_of(document.pk).oldest_seq == document.truncated_seq == 5
    assert x_at(document, 8) == 80
    assert graph_at(document.pk, 9).nodes() == {}


def test_j35_each_compaction_leaves_one_origin_at_its_truncation_point(document: Document) -> None:
    for keep in (6, 4, 2):
        for _ in range(4):
            append(document, message(head_of(document) + 1, insert(f"n{keep}")))
        compact(document, keep=keep)
        origins = Snapshot.objects.filter(reason="origin")
        assert [row.seq for row in origins] == ([document.truncated_seq] if document.truncated_seq else [])
        assert reach_of(document.pk).oldest_seq == document.truncated_seq
    assert not verify_document(document).is_damaged


def test_j35_recovery_never_starts_from_an_origin(document: Document) -> None:
    append_each(document, STEPS)
    compact(document, keep=4)
    Snapshot.objects.exclude(reason="origin").delete()
    with pytest.raises(CorruptJournal):
        hydrate(document.pk)


def test_j35_an_origin_that_would_be_too_large_is_not_written(document: Document) -> None:
    late = message(1, put("a", "y", 1), client="bob")
    append_each(document, [*STEPS[:7], late, STEPS[7]])
    with override_settings(VUER_RTC={"JOURNAL_ORIGIN_MESSAGES_MAX": 2}):
        compact(document, keep=4)
    assert not Snapshot.objects.filter(reason="origin").exists()
    assert reach_of(document.pk) == Reach(8, 10)


def test_j30_a_late_message_that_was_folded_hides_the_states_before_it(document: Document) -> None:
    late = message(1, put("a", "y", 1), client="bob")
    append_each(document, [*STEPS[:7], late, STEPS[7]])
    compact(document, keep=4)
    without_origin(document)
    assert reach_of(document.pk) == Reach(8, 10)
    assert_refused(document, 7, "folded-away")
    assert x_at(document, 8) == 70


def test_j30_an_undo_of_a_folded_message_hides_the_states_before_it(document: Document) -> None:
    undone = message(9, undo("ann:2"))
    append_each(document, [*STEPS, undone])
    compact(document, keep=3)
    without_origin(document)
    assert reach_of(document.pk) == Reach(9, 10)
    assert_refused(document, 8, "folded-away")


def test_j30_the_snapshot_that_tells_the_oldest_states_is_not_pruned(document: Document) -> None:
    append_each(document, STEPS)
    with override_settings(VUER_RTC={"JOURNAL_KEEP_SNAPSHOTS": 1}):
        compact(document, keep=4)
        without_origin(document)
        append(document, message(2, put("a", "y", 1), client="bob"))  # late
        for lt in (10, 11):
            append(document, message(lt, put("a", "x", 10 * lt)))
            snapshot(document)
        assert prune_snapshots(document.pk) == 1
    assert [row.reason for row in Snapshot.objects.order_by("seq")] == ["compaction", "count"]
    assert reach_of(document.pk) == Reach(4, 12)
    assert x_at(document, 5) == 50


def test_j30_a_damaged_snapshot_is_passed_over(document: Document) -> None:
    append_each(document, STEPS)
    compact(document, keep=4)
    append(document, message(10, put("a", "x", 100)))
    row = snapshot(document)
    Snapshot.objects.filter(pk=row.pk).update(checksum="no")
    assert x_at(document, 10) == 100
    Snapshot.objects.update(checksum="no")
    with pytest.raises(CorruptJournal, match="no good snapshot"):
        graph_at(document.pk, 10)


def test_a_document_that_is_not_there_has_no_history(document: Document) -> None:
    gone = document.pk
    document.delete()
    with pytest.raises(UnknownDocument):
        reach_of(gone)


# Times


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1.75e9 + seconds, UTC)


def received(document: Document, *messages: Message, committed: float) -> None:
    """One batch, each message received at the second of its Lamport time."""
    entries = [Entry(item, received_at=1.75e9 + item.lt) for item in messages]
    first_seq = head_of(document) + 1
    append_batches([Draft(document.pk, first_seq, entries)], "test")
    JournalBatch.objects.filter(document=document, first_seq=first_seq).update(created_at=at(committed))


def test_j30_a_time_names_the_last_message_received_until_then(document: Document) -> None:
    received(document, *STEPS[:3], committed=3.5)
    received(document, *STEPS[3:6], committed=6.5)
    moments = [0, 1, 2.9, 3, 3.7, 4, 6.4, 6.5, 99]
    assert [seq_at(document.pk, at(moment)) for moment in moments] == [0, 1, 2, 3, 3, 4, 6, 6, 6]


def test_j30_times_of_an_import_are_those_of_its_messages(document: Document) -> None:
    received(document, *STEPS, committed=1000)
    assert [seq_at(document.pk, at(moment)) for moment in (0, 5, 500)] == [0, 5, 8]


def test_j30_messages_of_many_operations_count_by_these(document: Document) -> None:
    append(document, message(1, *[insert(f"n{n}") for n in range(40)]))
    append(document, message(2), message(3))
    assert replay_length(document.pk, 0, 3) == 3  # no rows yet
    catch_up(document.pk)
    assert [replay_length(document.pk, *points) for points in ((0, 1), (0, 3))] == [10, 10]


def test_j30_what_a_replay_reads_is_counted_from_the_nearest_state(document: Document) -> None:
    append_each(document, STEPS)
    assert [replay_length(document.pk, seq, 8) for seq in (0, 8)] == [8, 8]
    assert [replay_length(document.pk, *points) for points in ((2, 3), (7, 9), (-1, 3))] == [3, 0, 0]
    journal_cut(document.pk, 8, 6)
    snapshot(document)  # at 9; what is behind 6 is not in it
    append(document, message(9, put("a", "x", 90)))
    reach = reach_of(document.pk)
    assert [replay_length(document.pk, seq, 10) for seq in (8, 9, 10)] == [10, 4, 4]
    assert [told_within(document.pk, reach, count) for count in (3, 4, 9, 10)] == [0, 9, 9, 0]
    compact(document, keep=1)
    assert replay_length(document.pk, document.truncated_seq, reach.head_seq) == 10 - document.truncated_seq
    assert (reach_length(document.pk), retained_length(document.pk)) == (
        0,
        head_of(document) - document.truncated_seq,
    )
    without_origin(document)
    assert reach_length(document.pk) == retained_length(document.pk)


def test_j30_a_time_before_what_is_retained_is_refused(document: Document) -> None:
    for item in STEPS:
        received(document, item, committed=item.lt + 0.1)
    compact(document, keep=4)
    assert seq_at(document.pk, at(5)) == 5
    with pytest.raises(OutOfReach) as caught:
        seq_at(document.pk, at(4.5))
    assert caught.value.code == "folded-away"
