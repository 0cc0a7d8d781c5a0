"""Which document fills the disk."""

from typing import Any

from journal.compaction import KeepRules, compact_document
from journal.label import label_state
from journal.models import Document, JournalBatch, Snapshot
from journal.projection import catch_up
from journal.size import Size, size_of
from tests.journal.history import append_each, insert, message, put
from tests.journal.test_commands import run, run_json

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 8)]]


def payload_bytes(model: type[JournalBatch | Snapshot], document: Document) -> int:
    return sum(len(row.payload) for row in model._default_manager.filter(document=document))


def test_a_size_is_that_of_the_document_s_own_rows(document: Document, other: Document) -> None:
    assert size_of(document.pk) == Size(0, 0, 0, 0, 0)
    append_each(document, HISTORY)
    append_each(other, HISTORY[:3])
    catch_up(document.pk)
    label_state(document.pk, 5, "five")
    size = size_of(document.pk)
    assert (size.batches, size.snapshots, size.operations) == (7, 1, 7)
    assert size.journal_bytes == payload_bytes(JournalBatch, document) > 0
    assert size.snapshot_bytes == payload_bytes(Snapshot, document) > 0
    assert size.about_bytes > size_of(other.pk).about_bytes > 0


def test_a_document_that_was_folded_is_smaller(document: Document) -> None:
    append_each(document, HISTORY)
    catch_up(document.pk)
    before = size_of(document.pk)
    compact_document(document, KeepRules(2, 0))
    assert size_of(document.pk).about_bytes < before.about_bytes


def test_to_tell_a_size_no_payload_is_read(document: Document, django_assert_num_queries: Any) -> None:
    append_each(document, HISTORY)
    with django_assert_num_queries(3) as asked:
        size_of(document.pk)
    assert not [query["sql"] for query in asked.captured_queries if 'SELECT "payload"' in query["sql"]]


def test_a_dry_run_tells_the_size_of_each_document_largest_first_when_sorted(
    document: Document, other: Document
) -> None:
    append_each(document, HISTORY)
    append_each(other, HISTORY[:3])
    sizes = {row.slug: size_of(row.pk) for row in (document, other)}
    lines = [line for line in run("compact_journals", "--dry-run").splitlines() if " bytes or so: " in line]
    lines.sort(key=lambda line: int(line.split(":")[1].split()[0]), reverse=True)  # sort -t: -k2 -rn
    assert [line.partition(":")[0] for line in lines] == ["room", "other-room"]
    size = sizes["room"]
    assert (
        f": {size.about_bytes} bytes or so: {size.journal_bytes} of 7 batches, 0 of 0 snapshots, 0 rows"
        in lines[0]
    )
    told = {each["slug"]: each["size"]["about_bytes"] for each in run_json("compact_journals", "--dry-run")}
    assert told == {slug: size.about_bytes for slug, size in sizes.items()}
    assert "size" not in run_json("compact_journals")[0]
