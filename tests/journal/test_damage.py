"""J10, J23: what a damaged document still gives, and what its row says of it."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from journal.compaction import KeepRules
from journal.damage import clear_damage, hydrate_readable, note_damage
from journal.error import CorruptJournal
from journal.models import Document, JournalBatch, Snapshot
from journal.reader import hydrate, usable_snapshots
from journal.snapshot import draft_snapshot, take_snapshot
from tests.journal.history import append, append_each, compact, insert, message, put
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 21)]]


def fold(upto: int) -> Graph:
    graph = Graph()
    for item in HISTORY[:upto]:
        graph.apply(item)
    return graph


def snapshot_at(document: Document, cut: int) -> Snapshot:
    append(document, cut_record(f"=server:{cut}", cut, 0))
    taken = take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    assert taken is not None
    return taken


def save(row: Any, **values: Any) -> None:
    type(row).objects.filter(pk=row.pk).update(**values)


def truncate(row: Any) -> None:
    save(row, payload=bytes(row.payload)[:-5])


def empty(row: Any) -> None:
    save(row, payload=b"")


def flip(row: Any) -> None:
    payload = bytearray(row.payload)
    payload[len(payload) // 2] ^= 4
    save(row, payload=bytes(payload))


def mark_wrongly(row: Any) -> None:
    save(row, checksum="0" * 32)


def displace(row: Any) -> None:
    save(row, **({"seq": row.seq + 1} if isinstance(row, Snapshot) else {"last_seq": row.last_seq + 1}))


def delete(row: Any) -> None:
    type(row).objects.filter(pk=row.pk).delete()


KINDS = [truncate, empty, flip, mark_wrongly, displace, delete]
by_kind = pytest.mark.parametrize("harm", KINDS, ids=lambda harm: harm.__name__)


@by_kind
def test_j10_whatever_is_wrong_with_the_newest_snapshot_the_one_before_serves(
    document: Document, harm: Callable[[Any], None]
) -> None:
    append_each(document, HISTORY[:10])
    snapshot_at(document, 5)
    append_each(document, HISTORY[10:])
    harm(snapshot_at(document, 15))
    found = hydrate(document.pk)
    assert found.head_seq == 22
    assert found.graph.digest() == fold(20).digest()
    harm(Snapshot.objects.order_by("seq")[0])
    assert hydrate(document.pk).graph.digest() == fold(20).digest()


@by_kind
@pytest.mark.parametrize("which", [0, 1])
def test_j10_of_a_compacted_document_any_one_snapshot_may_be_lost(
    document: Document, harm: Callable[[Any], None], which: int
) -> None:
    append_each(document, HISTORY)
    for keep in (10, 5):
        compact(document, KeepRules(keep, 0))
        document.refresh_from_db()
        before = hydrate(document.pk)
        harm(usable_snapshots(document.pk, document.truncated_seq)[which])
        found = hydrate(document.pk)
        assert found.head_seq == before.head_seq
        assert found.graph.digest() == before.graph.digest()
        assert found.graph.full_digest() == before.graph.full_digest()


@by_kind
def test_j23_of_a_damaged_document_everything_before_the_damage_is_readable(
    document: Document, other: Document, harm: Callable[[Any], None]
) -> None:
    append_each(document, HISTORY)
    append_each(other, HISTORY)
    harm(JournalBatch.objects.get(document=document, first_seq=13))
    with pytest.raises(CorruptJournal):
        hydrate(document.pk)
    found = hydrate_readable(document.pk)
    assert (found.head_seq, found.graph.head_seq) == (12, 12)
    assert found.graph.digest() == fold(12).digest()
    assert hydrate(other.pk).head_seq == 20


def test_j23_damage_behind_what_a_snapshot_covers_does_not_keep_a_document_from_opening(
    document: Document,
) -> None:
    append_each(document, HISTORY)
    snapshot_at(document, 15)
    flip(JournalBatch.objects.get(first_seq=13))
    assert hydrate(document.pk).graph.digest() == fold(20).digest()
    with pytest.raises(CommandError, match="not well"):
        call_command("verify_journals", stderr=StringIO())
    document.refresh_from_db()
    assert document.damage.startswith("seq 13: ")


def test_j23_without_a_snapshot_that_reaches_the_batches_an_older_one_is_shown(document: Document) -> None:
    append_each(document, HISTORY)
    snapshot_at(document, 10)
    flip(snapshot_at(document, 15))
    save(document, truncated_seq=15)
    JournalBatch.objects.filter(last_seq__lte=15).delete()
    with pytest.raises(CorruptJournal, match="no good snapshot"):
        hydrate(document.pk)
    found = hydrate_readable(document.pk)
    assert found.head_seq == 10
    assert found.graph.digest() == fold(10).digest()


def test_j23_of_a_document_of_which_nothing_is_left_nothing_is_shown(document: Document) -> None:
    append_each(document, HISTORY[:3])
    JournalBatch.objects.filter(first_seq=1).delete()
    assert hydrate_readable(document.pk).graph.node_count == 0


def test_j23_a_finding_is_kept_with_its_first_time_until_it_is_cleared(document: Document) -> None:
    clear_damage(document.pk)
    note_damage(document.pk, "seq 3: gone")
    document.refresh_from_db()
    first = document.damaged_at
    assert first is not None
    note_damage(document.pk, "seq 3: gone")
    note_damage(document.pk, "seq 2: gone too")
    document.refresh_from_db()
    assert (document.damage, document.damaged_at) == ("seq 2: gone too", first)
    clear_damage(document.pk)
    document.refresh_from_db()
    assert (document.damage, document.damaged_at) == ("", None)


def test_j23_verification_writes_what_it_finds_into_the_row_and_clears_it_again(document: Document) -> None:
    append_each(document, HISTORY[:5])
    row = JournalBatch.objects.get(first_seq=3)
    good = bytes(row.payload)
    flip(row)
    with pytest.raises(CommandError, match="not well"):
        call_command("verify_journals", stderr=StringIO())
    document.refresh_from_db()
    assert document.damage.startswith("seq 3: ")
    assert (
        f"backup: table vuer_journal_journalbatch, document_id {document.pk.hex}, first_seq from 3 on"
        in document.damage
    )
    save(row, payload=good)
    call_command("verify_journals")
    document.refresh_from_db()
    assert document.damage == ""
