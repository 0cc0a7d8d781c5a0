"""Rules J40 to J46: what is exported comes in again as the same document, or not at all."""

import base64
import io
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model

from journal import export, intake
from journal.compaction import KeepRules, compact_document
from journal.error import CorruptJournal, JournalBusy, TransferRefused
from journal.export import Export
from journal.history import graph_at
from journal.imported import Accounts, Imported
from journal.intake import import_lines
from journal.label import label_state
from journal.lease import Lease, lease
from journal.models import Document, JournalBatch, Snapshot
from journal.packed import opened
from journal.projection import catch_up
from journal.purge import PURGED_SEQ, purge_document
from journal.reader import hydrate, read_batches, usable_snapshots
from journal.reset import reset_document
from journal.snapshot import draft_snapshot, take_snapshot
from journal.transfer_line import looks_like_export, read_lines, sum_of
from journal.verification import verify_document
from tests.journal.history import append, append_each, insert, message, put, undo
from tests.journal.test_reader import damage
from vuer_rtc.crdt.message import Message, Op, cut_record


def typed(value: list[str | None], id: str) -> Op:
    return Op(ot="text.insert", key="t", path="body", value=value, id=id, seq=9, ts=1)


HISTORY = [
    message(1, insert("n", x=0), insert("t", body="plain")),
    message(
        2, Op(ot="text.insert", key="t", path="body", value=[None, "né\x00😀"], id="ann:0", seq=1, ts=2.5)
    ),
    message(3, Op(ot="text.delete", key="t", path="body", rm=[["ann:1", 1]])),
    message(
        4,
        Op(ot="number.set", key="n", path="x", value=1.0),
        Op(ot="array.set", key="n", path="l", value=[-0.0, 1, 1e300]),
    ),
    message(5, Op(ot="array.move", key="n", path="l", from_=0, to=1)),
    message(6, put("n", "x", 6)),
    message(7, undo("ann:6")),
    message(3, put("n", "y", 3), client="bob"),
]


@pytest.fixture
def history(document: Document) -> Document:
    append_each(document, HISTORY, 3)
    Document.objects.filter(pk=document.pk).update(title="Stage", limits={"nodes_max": 7}, keep_days=2.5)
    document.refresh_from_db()
    return document


def exported(document: Document, from_seq: int | None = None, to_seq: int | None = None) -> bytes:
    out = io.BytesIO()
    document.refresh_from_db()
    with lease(document.pk) as held:
        Export(held, document, out).write(from_seq, to_seq=to_seq)
    return out.getvalue()


def imported(text: bytes, slug: str = "copy", accounts: Accounts = Accounts.KEEP) -> Imported:
    return import_lines(read_lines(opened(io.BytesIO(text))), slug, accounts)  # type: ignore[arg-type]


def assert_refused(code: str, line: int, text: bytes, slug: str = "copy") -> None:
    with pytest.raises(TransferRefused) as caught:
        imported(text, slug)
    assert (caught.value.code, caught.value.line) == (code, line)
    assert not Document.objects.filter(slug=slug).exists()


def assert_same(document: Document, copy: Document) -> None:
    left, right = hydrate(document.pk), hydrate(copy.pk)
    assert left.head_seq == right.head_seq
    assert left.graph.digest() == right.graph.digest()
    assert left.graph.full_digest() == right.graph.full_digest()


def content(document: Document) -> list[Any]:
    batches = read_batches(document.pk, Document.objects.get(pk=document.pk).truncated_seq)
    return [
        (batch.first_seq, batch.last_seq, batch.created_at, batch.writer, batch.entries) for batch in batches
    ]


def test_j43_a_document_comes_in_again_as_it_went_out(history: Document) -> None:
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    assert_same(history, copy)
    assert content(history) == content(copy)
    assert (copy.title, copy.limits, copy.keep_days, copy.archived_at) == (
        "Stage",
        {"nodes_max": 7},
        2.5,
        None,
    )
    rows = [JournalBatch.objects.filter(document=row).order_by("first_seq") for row in (history, copy)]
    assert [bytes(row.payload) for row in rows[0]] == [bytes(row.payload) for row in rows[1]]


def test_j43_a_compacted_document_comes_in_again_with_its_snapshots_and_labels(history: Document) -> None:
    label_state(history.pk, 6, "six")
    compact_document(history, KeepRules(2, 0))
    assert hydrate(history.pk).graph.cut > 0
    append(history, message(9, put("n", "x", 9)))
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    assert_same(history, copy)
    assert (copy.truncated_seq, copy.cut) == (history.truncated_seq, history.cut) != (0, 0)
    assert Snapshot.objects.filter(document=copy, label="six").exists()


def test_j43_a_copy_has_a_snapshot_to_fall_back_to_although_the_file_has_none(history: Document) -> None:
    compact_document(history, KeepRules(2, 0))
    Snapshot.objects.filter(document=history, reason="compaction")[0].delete()
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    assert usable_snapshots(copy.pk, copy.truncated_seq).count() == 2


@pytest.mark.parametrize("compacts", [False, True])
def test_j43_later_merges_are_the_same_in_both(history: Document, compacts: bool) -> None:
    if compacts:
        compact_document(history, KeepRules(2, 0))
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    later: list[Message] = [
        message(2, put("n", "x", 70), client="cyd"),
        message(10, undo("bob:3"), client="bob"),
        message(3, put("n", "z", 1), client="dan"),
        message(
            11,
            Op(ot="text.insert", key="t", path="body", value=["ann:0", "!"], id="cyd:0", seq=9, ts=1),
            client="cyd",
        ),
    ]
    for item in later:
        append(history, item)
        append(copy, item)
    assert_same(history, copy)


def test_j43_also_when_a_live_room_is_written_as_a_snapshot_while_the_export_begins(
    history: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot holds what came after the head that the export goes to."""
    read_heads = export.read_heads

    def read_heads_and_go_on(document_ids: Iterable[UUID]) -> dict[UUID, int]:
        heads = read_heads(document_ids)
        append(history, message(9, put("n", "x", 9)))
        append(history, cut_record("=server:1", 9, 1))
        take_snapshot(history.pk, draft_snapshot(hydrate(history.pk).graph), Snapshot.Reason.COUNT)
        return heads

    monkeypatch.setattr(export, "read_heads", read_heads_and_go_on)
    text = exported(history)
    monkeypatch.undo()
    assert imported(text).head_seq == len(HISTORY)
    copy = Document.objects.get(slug="copy")
    assert hydrate(copy.pk).graph.full_digest() == graph_at(history.pk, len(HISTORY)).full_digest()


def test_an_empty_document_comes_in_again(document: Document) -> None:
    imported(exported(document))
    assert hydrate(Document.objects.get(slug="copy").pk).head_seq == 0


def test_j40_lines_are_json_that_begins_with_a_header_and_ends_with_an_end(history: Document) -> None:
    lines = [json.loads(line) for line in exported(history).splitlines()]
    assert [line["kind"] for line in lines] == ["header", "batch", "batch", "batch", "end"]
    assert (lines[0]["format"], lines[0]["version"], lines[0]["slug"]) == ("vuer-rtc-journal", 1, "room")
    assert lines[1]["entries"][0]["message"]["id"] == "ann:1"
    assert lines[1]["entries"][2]["message"]["serverSeq"] == 3
    assert (lines[-1]["lines"], lines[-1]["messages"], lines[-1]["digest"]) == (
        5,
        8,
        hydrate(history.pk).graph.digest(),
    )


def test_j44_any_damage_is_refused_and_its_line_named(history: Document) -> None:
    text = exported(history)
    rng = random.Random(3)
    for _ in range(60):
        at = rng.randrange(len(text) - 1)
        other = bytes([text[at] ^ (1 << rng.randrange(8))])
        if other.isspace() or text[at : at + 1].isspace():
            continue
        line = text.count(b"\n", 0, at) + 1
        with pytest.raises(TransferRefused) as caught:
            imported(text[:at] + other + text[at + 1 :])
        assert caught.value.line == line, (at, caught.value)
        assert not Document.objects.filter(slug="copy").exists()


def test_j44_lines_that_are_missing_doubled_or_elsewhere_are_refused(history: Document) -> None:
    lines = exported(history).splitlines(keepends=True)
    assert_refused("damaged-line", 2, b"".join([lines[0], *lines[2:]]))
    assert_refused("damaged-line", 3, b"".join([lines[0], lines[1], *lines[1:]]))
    assert_refused("damaged-line", 2, b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert_refused("incomplete", 5, b"".join(lines[:-1]))
    assert_refused("damaged-line", 6, b"".join([*lines, lines[0]]))
    assert_refused("not-an-export", 1, b"{}\n")
    assert_refused("incomplete", 1, b"")


def test_j44_a_packed_export_that_is_cut_off_is_refused(history: Document, tmp_path: Path) -> None:
    import zstandard

    packed = zstandard.ZstdCompressor().compress(exported(history))
    imported(packed, "whole")
    for length in (5, len(packed) // 2, len(packed) - 1):
        assert_refused("incomplete", 1, packed[:length])
        with pytest.raises(TransferRefused, match="cut off"):
            looks_like_export(opened(io.BytesIO(packed[:length])))
    assert_refused("incomplete", 6, packed + packed[:5])
    imported(packed)


def test_j44_another_encoding_is_called_so_and_a_mark_of_utf_8_is_none(history: Document) -> None:
    text = exported(history)
    for encoding in ("utf-16", "utf-16-be", "utf-16-le", "utf-32"):
        other = text.decode().encode(encoding)
        assert_refused("encoding", 1, other)
        with pytest.raises(TransferRefused, match="encoding"):
            looks_like_export(opened(io.BytesIO(other)))
    marked = text.decode().encode("utf-8-sig")
    assert looks_like_export(opened(io.BytesIO(marked)))
    assert imported(marked).messages == len(HISTORY)


def test_j44_a_newer_version_is_refused(history: Document) -> None:
    header = exported(history).splitlines()[0]
    body = header[: header.index(b',"sum"')].replace(b'"version":1', b'"version":2') + b"}"
    assert_refused("newer-version", 1, body[:-1] + b',"sum":"' + sum_of(b"", body) + b'"}\n')


DEEP = b"[" * 10_000 + b"]" * 10_000


@pytest.mark.parametrize(
    ("number", "was", "now", "code"),
    [
        (1, b'"limits":{"nodes_max":7}', b'"limits":' + DEEP, "not-an-export"),
        (1, b'"fromSeq":0', b'"fromSeq":9223372036854775808', "not-an-export"),
        (1, b'"cut":0', b'"cut":-1', "not-an-export"),
        (2, b'"firstSeq":1', b'"firstSeq":1e30', "newer-version"),
        (3, b'"value":[-0.0,', b'"value":[' + DEEP + b",", "newer-version"),
        (3, b'"value":[-0.0,', b'"value":[1' + b"0" * 30 + b",", "damaged-line"),
    ],
)
def test_j44_what_no_export_holds_is_refused_with_its_line(
    history: Document, number: int, was: bytes, now: bytes, code: str
) -> None:
    lines = exported(history).splitlines()
    assert was in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(was, now, 1)
    assert_refused(code, number, signed(lines))


def test_j44_a_snapshot_that_cannot_be_read_is_refused(history: Document) -> None:
    """Else the document would be whole, and damaged."""
    label_state(history.pk, 6, "six")
    lines = exported(history).splitlines()
    line = json.loads(lines[1])
    line["payload"] = base64.b64encode(b"nothing").decode()
    lines[1] = json.dumps(line, separators=(",", ":")).encode()
    assert_refused("bad-snapshot", 2, signed(lines))


def signed(lines: list[bytes]) -> bytes:
    """The lines with sums that hold: whoever made them up has the rules."""
    text, before = b"", b""
    for line in lines:
        body = line[: line.index(b',"sum":"')] + b"}"
        before = sum_of(before, body)
        text += body[:-1] + b',"sum":"' + before + b'"}\n'
    return text


def test_j45_a_document_that_is_there_is_not_written_over(history: Document) -> None:
    text = exported(history)
    with pytest.raises(TransferRefused, match="exists"):
        imported(text, "room")
    assert_same(history, Document.objects.get(slug="room"))


def test_j45_what_an_import_that_died_while_it_deleted_has_left_is_deleted(history: Document) -> None:
    """Its own rows, refused, or those of one before it; a purge leaves the same."""
    text = exported(history)
    for condition in (Document.Condition.IMPORTING, Document.Condition.PURGING):
        left = Document.objects.create(slug="copy")
        append(left, message(1))
        truncated_seq = PURGED_SEQ if condition == "purging" else 0
        Document.objects.filter(pk=left.pk).update(condition=condition, truncated_seq=truncated_seq)
        imported(text)
        copy = Document.objects.get(slug="copy")
        assert_same(history, copy)
        assert not JournalBatch.objects.filter(document=left.pk).exists()
        purge_document(copy)


def test_j45_an_import_that_has_just_ended_is_not_taken_for_a_dead_one(
    history: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It let go of its lease after another import of that slug had seen the document under way."""
    text = exported(history)
    imported(text)
    Document.objects.filter(slug="copy").update(condition=Document.Condition.IMPORTING)

    @contextmanager
    def late(document_id: UUID) -> Iterator[Lease]:
        Document.objects.filter(pk=document_id).update(condition=Document.Condition.WHOLE)
        with lease(document_id) as held:
            yield held

    monkeypatch.setattr(intake, "lease", late)
    with pytest.raises(TransferRefused, match="exists"):
        imported(text)
    assert_same(history, Document.objects.get(slug="copy"))


def test_j46_what_follows_a_sequence_continues_a_copy(history: Document) -> None:
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    append(history, message(20, put("n", "x", 20)), message(21, put("n", "x", 21)))
    append(history, message(22, put("n", "x", 22)))
    rest = exported(history, from_seq=8)
    assert imported(rest).messages == 3
    assert_same(history, copy)
    assert imported(rest).messages == 0
    append(history, message(23, put("n", "x", 23)))
    assert imported(exported(history, from_seq=9)).messages == 1, "from the middle of a batch"
    assert_same(history, copy)


def test_j46_what_follows_a_sequence_may_begin_before_the_newest_snapshot(history: Document) -> None:
    imported(exported(history, to_seq=5))
    take_snapshot(history.pk, draft_snapshot(hydrate(history.pk).graph), Snapshot.Reason.COUNT)
    assert imported(exported(history, from_seq=5)).messages == 3
    assert_same(history, Document.objects.get(slug="copy"))


@pytest.mark.parametrize("from_seq", [7, 8, 9, 10])
def test_j46_a_copy_that_has_gone_its_own_way_is_refused_and_left_as_it_is(
    history: Document, from_seq: int
) -> None:
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    append(copy, message(20, put("n", "x", -1), client="cyd"))
    append(copy, message(21, put("n", "y", -2), client="cyd"))
    for lt in range(20, 24):
        append(history, message(lt, put("n", "x", lt)))
    before = content(copy)
    with pytest.raises(TransferRefused, match="other-base"):
        imported(exported(history, from_seq=from_seq))
    assert content(copy) == before


def test_j46_the_last_message_alone_may_be_another(history: Document) -> None:
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    for lt in range(20, 24):
        append(history, message(lt, put("n", "x", lt)))
    append(copy, message(20, put("n", "x", 20)), message(21, put("n", "x", 21.0)))
    before = content(copy)
    with pytest.raises(TransferRefused, match="seq 10"):
        imported(exported(history, from_seq=8))
    assert content(copy) == before


def test_j46_a_copy_that_cannot_be_compared_any_more_is_refused(history: Document) -> None:
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    append(history, message(20, put("n", "x", 20)), message(21, put("n", "x", 21)))
    rest = exported(history, from_seq=4)
    compact_document(copy, KeepRules(2, 0))
    before = content(copy)
    with pytest.raises(TransferRefused, match="other-base"):
        imported(rest)
    assert content(copy) == before


def test_j46_a_compacted_copy_goes_on(history: Document) -> None:
    compact_document(history, KeepRules(2, 0))
    imported(exported(history))
    head_seq = hydrate(history.pk).head_seq
    append(history, message(20, put("n", "x", 20)))
    middle = exported(history, from_seq=head_seq)
    append(history, message(21, put("n", "x", 21)))
    rest = exported(history, from_seq=head_seq)
    assert imported(middle).messages == 1
    assert imported(rest).messages == 1
    assert_same(history, Document.objects.get(slug="copy"))


@pytest.mark.parametrize("seq", [1, 5, 6])
@pytest.mark.parametrize("at", [3, 8])
def test_of_a_damaged_document_the_part_before_the_damage_comes_in_again(
    history: Document, seq: int, at: int
) -> None:
    rest = hydrate(history.pk).graph if at == 8 else graph_at(history.pk, at)
    take_snapshot(history.pk, draft_snapshot(rest), Snapshot.Reason.COUNT)
    then, before = graph_at(history.pk, seq), content(history)
    damage(JournalBatch.objects.get(document=history, first_seq=7))
    with pytest.raises(CorruptJournal, match="first_seq from 7 on"):
        exported(history)
    assert imported(exported(history, to_seq=seq)).messages == seq
    copy = Document.objects.get(slug="copy")
    found = hydrate(copy.pk)
    assert (found.head_seq, found.graph.digest()) == (seq, then.digest())
    assert found.graph.full_digest() == then.full_digest()
    assert content(copy)[:-1] == before[: (seq - 1) // 3]
    assert verify_document(copy).is_damaged is False
    append(copy, message(30, put("n", "x", 30)))


@pytest.mark.parametrize("seq", [6, 7])
def test_of_a_compacted_document_the_part_before_the_damage_is_its_state_there(
    history: Document, seq: int
) -> None:
    """J35: all snapshots to open from are of later states."""
    compact_document(history, KeepRules(2, 0))
    then = graph_at(history.pk, seq)
    damage(JournalBatch.objects.filter(document=history).get(first_seq=7))
    with pytest.raises(CorruptJournal, match="--to-seq 6"):
        hydrate(history.pk)
    if seq > 6:
        with pytest.raises(CorruptJournal):
            exported(history, to_seq=seq)
        return
    assert imported(exported(history, to_seq=seq)).messages == 0
    copy = Document.objects.get(slug="copy")
    found = hydrate(copy.pk)
    assert (found.head_seq, found.graph.digest()) == (seq, then.digest())
    assert verify_document(copy).is_damaged is False
    append(copy, message(30, put("n", "x", 30)))
    compact_document(copy, KeepRules(0, 0))
    assert hydrate(copy.pk).graph.nodes()["n"].properties["x"] == 30


def test_a_part_that_is_not_retained_or_not_there_is_refused(history: Document) -> None:
    compact_document(history, KeepRules(2, 0))
    for seq in (1, 99, -1):
        with pytest.raises(TransferRefused, match="not-retained"):
            exported(history, to_seq=seq)
    head_seq = hydrate(history.pk).head_seq
    imported(exported(history, to_seq=head_seq))
    assert_same(history, Document.objects.get(slug="copy"))


def test_a_reset_comes_along(history: Document) -> None:
    imported(exported(history))
    reset_document(history.pk)
    append(history, message(2 * 10**9, insert("fresh")))
    imported(exported(history, from_seq=8))
    imported(exported(history), "whole")
    for slug in ("copy", "whole"):
        copy = Document.objects.get(slug=slug)
        assert copy.epoch == 1
        assert list(hydrate(copy.pk).graph.nodes()) == ["fresh"]
        assert_same(history, copy)


def test_j46_what_follows_another_document_is_refused(history: Document, other: Document) -> None:
    append_each(other, [message(lt, insert(f"o{lt}")) for lt in range(1, 9)])
    append(history, message(20, put("n", "x", 20)))
    rest = exported(history, from_seq=8)
    with pytest.raises(TransferRefused, match="other-base"):
        imported(rest, "other-room")
    with pytest.raises(TransferRefused, match="no-base"):
        imported(rest, "nothing")


def test_what_is_folded_away_cannot_be_exported_as_what_follows(history: Document) -> None:
    compact_document(history, KeepRules(2, 0))
    with pytest.raises(TransferRefused, match="not-retained"):
        exported(history, from_seq=1)


def test_j47_accounts_are_kept_matched_by_name_or_dropped(document: Document) -> None:
    users = get_user_model()
    ann, gone = users.objects.create_user("ann"), users.objects.create_user("gone")
    append(document, message(1, insert("n")), user=str(ann.pk))
    append(document, message(2, put("n", "x", 2)), user=str(gone.pk))
    append(document, message(3, put("n", "x", 3)))
    text = exported(document)
    gone.delete()
    ann_key = str(ann.pk)
    wanted = {
        Accounts.KEEP: [ann_key, str(json.loads(text.splitlines()[3])["names"].popitem()[0]), None],
        Accounts.MATCH: [ann_key, None, None],
        Accounts.DROP: [None, None, None],
    }
    for accounts, keys in wanted.items():
        imported(text, f"copy-{accounts}", accounts)
        copy = Document.objects.get(slug=f"copy-{accounts}")
        assert [entry.user for batch in read_batches(copy.pk, 0) for entry in batch.entries] == keys


def test_an_export_renews_its_lease_by_time_and_not_by_row(
    history: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renewal is a durable commit, for which live writers wait: labels and batches may be many thousands."""
    append_each(history, [message(lt) for lt in range(20, 40)])
    for seq in range(8, 28):
        label_state(history.pk, seq, f"at {seq}")
    renew, renewals = Lease.renew, []

    def count(held: Lease) -> None:
        renewals.append(held)
        renew(held)

    monkeypatch.setattr(Lease, "renew", count)
    exported(history)
    exported(history, from_seq=25)
    assert len(renewals) < 6


def test_an_export_waits_for_a_command_that_is_at_work(history: Document) -> None:
    with lease(history.pk, "elsewhere/1/0"), pytest.raises(JournalBusy):
        exported(history)


@pytest.mark.parametrize("compacts", [False, True])
def test_j43_a_document_that_was_reset_comes_in_again_in_its_epoch(history: Document, compacts: bool) -> None:
    reset_document(history.pk)
    lt = hydrate(history.pk).graph.lt
    append(history, message(lt + 1, insert("again")), message(lt + 2, put("again", "x", 1)))
    if compacts:
        compact_document(history, KeepRules(1, 0))
    imported(exported(history))
    copy = Document.objects.get(slug="copy")
    assert_same(history, copy)
    catch_up(copy.pk)
    copy.refresh_from_db()
    assert copy.epoch == hydrate(copy.pk).graph.epoch.number == 1
