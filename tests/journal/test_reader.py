"""J10 to J13: what is read is whole, contiguous and verified, or the reader says what is wrong."""

import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from journal import truncation
from journal.entry import checksum_of
from journal.error import (
    CorruptJournal,
    JournalGap,
    JournalPutBack,
    JournalTruncated,
    JournalUnavailable,
    UnknownDocument,
)
from journal.lease import lease
from journal.models import Document, JournalBatch, Snapshot
from journal.reader import (
    Batch,
    Start,
    hydrate,
    read_after,
    read_batches,
    read_tails,
    retained,
    while_retained,
    with_history,
)
from journal.snapshot import draft_snapshot, take_snapshot, write_snapshot
from journal.stored_row import PAGE_ROWS
from journal.writer import Appended, Draft, Fenced, append_batches
from tests.journal.history import append, append_each, compact, entries, insert, message, put
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, cut_record

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 8)]]


def fold(*messages: Message) -> Graph:
    graph = Graph()
    for item in messages:
        graph.apply(item)
    return graph


def snapshot_now(document: Document) -> Snapshot:
    taken = take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    assert taken is not None
    return taken


def truncate(document: Document, cut: int, seq: int) -> Snapshot:
    """A compaction by hand: cut, snapshot, truncation, deletion."""
    append(document, cut_record(f"=server:{cut}", cut, 0))
    draft = draft_snapshot(hydrate(document.pk).graph)
    snapshot = write_snapshot(document.pk, draft, seq, Snapshot.Reason.COMPACTION)
    with lease(document.pk) as held:
        truncation.truncate(held, seq, cut)
    JournalBatch.objects.filter(document=document, last_seq__lte=seq).delete()
    return snapshot


def damage(row: Any) -> None:
    """One bit of its payload flips."""
    payload = bytearray(row.payload)
    payload[zlib.crc32(payload) % len(payload)] ^= 1
    type(row).objects.filter(pk=row.pk).update(payload=bytes(payload))


# The tail


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("seq", [0, 1, 3, 4, 6, 7, 99])
def test_j12_the_tail_behind_a_sequence_is_contiguous_whatever_the_batches(
    document: Document, size: int, seq: int
) -> None:
    append_each(document, HISTORY, size)
    read = [
        (batch.first_seq + n, entry.message.id)
        for batch in read_after(document.pk, seq)
        for n, entry in enumerate(batch.entries)
    ]
    assert read == [(n, f"ann:{n}") for n in range(seq + 1, 8)]


def test_a_tail_is_read_as_far_as_somebody_has_use_for_it(document: Document) -> None:
    append_each(document, [message(lt, put("n", "x", "y" * 1000)) for lt in range(1, 9)], size=2)

    def firsts(**bounds: int) -> list[int]:
        return [batch.first_seq for batch in read_after(document.pk, 2, **bounds)]

    assert firsts() == [3, 5, 7]
    assert firsts(batches_max=2) == [3, 5]
    assert firsts(bytes_max=2500) == [3, 5]
    assert firsts(bytes_max=1) == [3]
    assert firsts(bytes_max=10**6) == [3, 5, 7]


@pytest.mark.parametrize("page_rows", [1, 2, 3, 4, 5, 8, 9, 10])
def test_j12_tails_of_several_documents_are_whole_or_missing(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    empty = Document.objects.create(slug="empty")
    append_each(document, HISTORY, size=2)
    append_each(other, HISTORY[:5])
    monkeypatch.setattr("journal.reader.PAGE_ROWS", page_rows)
    places = {document.pk: 1, other.pk: 1, empty.pk: 0}
    whole = {pk: list(read_batches(pk, seq)) for pk, seq in places.items()}
    assert [len(whole[pk]) for pk in places] == [4, 4, 0]
    tails = read_tails(places)
    assert tails == {pk: whole[pk] for pk in tails}
    rows = [4, 4]
    is_read = [page_rows > sum(rows[: n + 1]) for n in range(2)]
    assert len(tails) == (3 if all(is_read) else sum(is_read))


def test_j12_a_gap_in_one_of_several_tails_is_damage(document: Document, other: Document) -> None:
    append_each(other, HISTORY)
    append_each(document, HISTORY)
    JournalBatch.objects.filter(document=document, first_seq=4).delete()
    for seq, expected, found in ((1, 4, 5), (3, 4, 5)):
        with pytest.raises(JournalGap) as caught:
            read_tails({other.pk: 0, document.pk: seq})
        assert (caught.value.expected_seq, caught.value.found_seq) == (expected, found)
    assert [batch.first_seq for batch in read_tails({document.pk: 4})[document.pk]] == [5, 6, 7]


def test_j12_a_tail_that_was_folded_away_is_said_to_be(document: Document) -> None:
    append_each(document, HISTORY, size=2)
    truncate(document, cut=4, seq=4)
    assert read_after(document.pk, 4)[0].first_seq == 5
    with pytest.raises(JournalTruncated):
        read_after(document.pk, 3)


def test_j66_a_tail_is_not_read_behind_a_batch_that_is_not_there_any_more(document: Document) -> None:
    append_each(document, HISTORY[:4])
    known = hydrate(document.pk).last_batch
    assert read_after(document.pk, 4, last_batch=known) == []
    JournalBatch.objects.filter(first_seq__gte=3).delete()
    for _ in range(2):
        with pytest.raises(JournalPutBack):
            read_after(document.pk, 4, last_batch=known)
        append_each(document, HISTORY[4:])
    truncate(document, cut=4, seq=4)
    Document.objects.filter(pk=document.pk).update(truncated_batch=None)  # by a version that did not keep it
    assert read_after(document.pk, 4, last_batch=known)[0].first_seq == 5


def test_j66_the_batch_at_the_head_is_known_where_a_snapshot_covers_it(document: Document) -> None:
    append_each(document, HISTORY)
    compact(document)
    hydrated = hydrate(document.pk)
    assert hydrated.covered_seq == hydrated.head_seq == len(HISTORY) + 1
    assert hydrated.last_batch == JournalBatch.objects.get().pk


def test_j66_a_truncation_point_may_be_gone_as_well(document: Document) -> None:
    """What came before it is in a snapshot, so that there is no batch to look for."""
    append_each(document, HISTORY[:4])
    truncate(document, cut=4, seq=5)
    hydrated = hydrate(document.pk)
    behind = Draft(document.pk, 6, entries(message(9)), hydrated.last_batch)
    assert read_after(document.pk, 5, last_batch=hydrated.last_batch) == []
    Document.objects.filter(pk=document.pk).update(truncated_seq=3)
    with pytest.raises(JournalPutBack):
        read_after(document.pk, 5, last_batch=hydrated.last_batch)
    assert append_batches([behind], "test") == [Fenced()]
    Document.objects.filter(pk=document.pk).update(truncated_seq=5)
    assert append_batches([behind], "test") == [Appended(6, 6)]


def test_j66_a_truncation_at_just_that_place_tells_whose_it_was(document: Document) -> None:
    append_each(document, HISTORY[:4])
    lost = hydrate(document.pk)
    JournalBatch.objects.filter(first_seq__gte=3).delete()
    append_each(document, [message(lt, put("n", "x", -lt)) for lt in (13, 14)])
    known = hydrate(document.pk)
    append_each(document, [message(15, put("n", "x", 0))])
    truncate(document, cut=15, seq=4)
    assert [batch.first_seq for batch in read_after(document.pk, 4, last_batch=known.last_batch)] == [5, 6]
    with pytest.raises(JournalPutBack):
        read_after(document.pk, 4, last_batch=lost.last_batch)
    draft = replace(draft_snapshot(lost.graph), last_batch=lost.last_batch)
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT) is None


def test_j66_who_begins_at_the_truncation_point_knows_what_ended_there(document: Document) -> None:
    append_each(document, HISTORY[:4])
    truncate(document, cut=4, seq=5)
    document.refresh_from_db()
    assert hydrate(document.pk).last_batch == document.truncated_batch is not None


def test_j12_a_row_below_the_truncation_point_is_nobodys(document: Document) -> None:
    append_each(document, HISTORY, size=2)
    Document.objects.filter(pk=document.pk).update(truncated_seq=4)
    with pytest.raises(JournalTruncated):
        read_after(document.pk, 2)


def test_j12_a_missing_row_is_damage_and_names_its_place(document: Document) -> None:
    append_each(document, HISTORY)
    JournalBatch.objects.filter(first_seq=4).delete()
    with pytest.raises(
        CorruptJournal, match=f"document {document.pk}, seq 4: .* next one begins at 5"
    ) as caught:
        read_after(document.pk, 1)
    assert (caught.value.seq, caught.value.document_id) == (4, document.pk)
    assert read_after(document.pk, 4)[0].first_seq == 5


def test_j4_a_damaged_row_is_damage_and_names_its_place(document: Document, other: Document) -> None:
    append_each(document, HISTORY)
    append_each(other, HISTORY)
    damage(JournalBatch.objects.get(document=document, first_seq=3))
    with pytest.raises(CorruptJournal, match=r"seq 3: .*checksum.*backup: .*first_seq from 3 on"):
        read_after(document.pk, 0)
    assert read_after(document.pk, 3)
    assert hydrate(other.pk).head_seq == 7


def test_j4_a_row_moved_to_another_place_is_damage(document: Document) -> None:
    append_each(document, HISTORY)
    JournalBatch.objects.filter(first_seq=7).delete()
    JournalBatch.objects.filter(first_seq=6).update(first_seq=7, last_seq=7)
    JournalBatch.objects.filter(first_seq=5).update(first_seq=6, last_seq=6)
    with pytest.raises(CorruptJournal, match="checksum"):
        read_after(document.pk, 5)


@pytest.mark.parametrize(
    "change",
    [{"message_count": 2}, {"message_count": 4}, {"last_seq": 4}, {"last_seq": 4, "message_count": 4}],
)
def test_j1_a_row_that_holds_fewer_messages_than_it_says_is_damage(
    document: Document, change: dict[str, int]
) -> None:
    """Though its checksum is that of its numbers."""
    append(document, *HISTORY[:3])
    JournalBatch.objects.update(**change)
    row = JournalBatch.objects.get()
    checksum = checksum_of(bytes(row.payload), document.pk, row.first_seq, row.last_seq)
    JournalBatch.objects.update(checksum=checksum)
    with pytest.raises(CorruptJournal, match=f"holds 3 messages for seq 1 to {row.last_seq}"):
        read_after(document.pk, 0)


@pytest.mark.parametrize("truncated_seq", [1, 2])
def test_j1_a_batch_that_begins_before_where_the_journal_does_is_none_that_was_retained(
    document: Document, truncated_seq: int
) -> None:
    append(document, *HISTORY[:3])
    append(document, *HISTORY[3:])
    assert [batch.first_seq for batch in retained(document.pk, 3)] == [4]
    with pytest.raises(JournalGap):
        list(retained(document.pk, truncated_seq))


# Recovery


def test_j10_an_empty_document_hydrates_to_an_empty_graph(document: Document) -> None:
    found = hydrate(document.pk)
    assert (found.head_seq, found.graph.node_count) == (0, 0)


def test_j10_without_a_snapshot_the_whole_journal_is_replayed(document: Document) -> None:
    append_each(document, HISTORY, size=3)
    found = hydrate(document.pk)
    assert found.head_seq == found.graph.head_seq == 7
    assert found.graph.digest() == fold(*HISTORY).digest()


def test_a_hydrated_document_knows_how_old_its_messages_are_in_steps_of_half_a_minute(
    document: Document,
) -> None:
    append_each(document, HISTORY)
    began = 1.75e9
    for lt, age in enumerate((0, 29, 30, 59, 61, 91, 91), 1):
        at = datetime.fromtimestamp(began + age, UTC)
        JournalBatch.objects.filter(first_seq=lt).update(created_at=at)
    found = hydrate(document.pk)
    assert found.ages == [(began, 1), (began + 30, 3), (began + 61, 5), (began + 91, 6)]
    assert found.last_batch == JournalBatch.objects.get(first_seq=7).pk


@pytest.mark.parametrize("cut", [2, 4, 7])
def test_j10_snapshot_and_tail_equal_the_whole_journal(document: Document, cut: int) -> None:
    append_each(document, HISTORY, size=1)
    before = hydrate(document.pk).graph
    truncate(document, cut=cut, seq=cut)
    append(document, message(9, put("n", "x", 9)))
    before.apply(message(9, put("n", "x", 9)))
    found = hydrate(document.pk)
    assert found.graph.digest() == before.digest()
    assert (found.head_seq, found.graph.cut) == (9, cut)


@pytest.mark.parametrize(("is_whole", "first_seq"), [(True, 1), (False, 5)])
def test_j10_a_whole_history_is_also_what_the_snapshot_covers(
    document: Document, is_whole: bool, first_seq: int
) -> None:
    """A proof replays it from an origin, which may be older."""
    append_each(document, HISTORY)
    append(document, cut_record("=server:4", 4, 0))
    assert snapshot_now(document).covered_seq == 4
    found = with_history(
        document.pk, lambda start, batches: [batch.first_seq for batch in batches], is_whole=is_whole
    )
    assert found == list(range(first_seq, 9))


def test_j10_a_damaged_newest_snapshot_falls_back_to_the_one_before(document: Document) -> None:
    append_each(document, HISTORY[:3])
    snapshot_now(document)
    append_each(document, HISTORY[3:])
    damage(snapshot_now(document))
    found = hydrate(document.pk)
    assert (found.head_seq, found.graph.digest()) == (7, fold(*HISTORY).digest())


def test_j10_with_all_snapshots_damaged_a_journal_that_begins_at_one_is_replayed(document: Document) -> None:
    append_each(document, HISTORY)
    damage(snapshot_now(document))
    assert hydrate(document.pk).graph.digest() == fold(*HISTORY).digest()


def test_j10_without_a_good_snapshot_that_reaches_the_batches_the_document_is_corrupt(
    document: Document,
) -> None:
    append_each(document, HISTORY)
    snapshot_now(document)
    damage(truncate(document, cut=4, seq=4))
    with pytest.raises(CorruptJournal, match="seq 4: no good snapshot reaches"):
        hydrate(document.pk)


def test_j10_batches_missing_up_to_the_snapshot_are_damage(document: Document) -> None:
    append_each(document, HISTORY)
    snapshot_now(document)
    JournalBatch.objects.filter(first_seq=7).delete()
    with pytest.raises(CorruptJournal, match=r"seq 7: .*nothing comes after it"):
        hydrate(document.pk)


def test_a_document_that_is_gone_is_unknown(db: None) -> None:
    with pytest.raises(UnknownDocument):
        hydrate(uuid4())


# A compaction in the middle of a read


def test_j13_a_read_that_a_compaction_overtakes_begins_again(document: Document) -> None:
    append_each(document, HISTORY)
    starts: list[int] = []

    def use(start: Start, batches: Iterator[Batch]) -> list[int]:
        starts.append(start.truncated_seq)
        if len(starts) == 1:
            next(batches)
            truncate(document, cut=4, seq=4)
        return [batch.first_seq for batch in batches]

    assert with_history(document.pk, use) == [5, 6, 7, 8]
    assert starts == [0, 4]


def test_j13_after_three_overtakings_it_gives_up_for_now(document: Document) -> None:
    append_each(document, HISTORY)

    def use(start: Start, batches: Iterator[Batch]) -> None:
        truncate(document, cut=start.truncated_seq + 1, seq=start.truncated_seq + 1)

    with pytest.raises(JournalUnavailable, match="compacted 3 times"):
        with_history(document.pk, use)


@pytest.mark.parametrize("kind", ["a gap", "no snapshot"])
def test_j13_what_looks_like_damage_while_compactions_go_on_is_none(document: Document, kind: str) -> None:
    append_each(document, HISTORY)
    looks = {"a gap": JournalGap(2, 3), "no snapshot": CorruptJournal(document.pk, 1, "none", "hint")}[kind]

    def use(truncated_seq: int) -> None:
        truncate(document, cut=truncated_seq + 1, seq=truncated_seq + 1)
        raise looks

    with pytest.raises(JournalUnavailable, match="compacted 3 times"):
        while_retained(document.pk, use)

    def use_again(truncated_seq: int) -> int:
        if truncated_seq == 3:
            use(truncated_seq)
        return truncated_seq

    assert while_retained(document.pk, use_again) == 4


def test_a_live_snapshot_that_a_compaction_has_overtaken_is_not_written(document: Document) -> None:
    append_each(document, HISTORY)
    stale = draft_snapshot(hydrate(document.pk).graph)
    truncate(document, cut=4, seq=4)
    assert take_snapshot(document.pk, stale, Snapshot.Reason.SHUTDOWN) is None
    assert snapshot_now(document).covered_seq == 4


def test_who_reads_batches_may_write_although_others_have_written(transactional_db: None) -> None:
    """On SQLite a cursor that is open keeps its connection from writing once another one has."""
    document = Document.objects.create(slug="long")
    append_each(document, [message(lt) for lt in range(1, 2 * PAGE_ROWS + 2)])
    done = threading.Event()

    def rival() -> None:
        Document.objects.create(slug="rival")
        connections.close_all()
        done.set()

    found = 0
    for batch in read_batches(document.pk, 0):
        if batch.first_seq == 2:
            threading.Thread(target=rival).start()
            assert done.wait(20)
            Document.objects.filter(pk=document.pk).update(title="written")
        found += 1
    assert found == 2 * PAGE_ROWS + 1
