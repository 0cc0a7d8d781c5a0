"""J32: a label names a whole state, for good, and recovery never starts from it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from journal import label
from journal.error import BadLabel, CorruptJournal, LabelTaken, OutOfReach
from journal.history import graph_at, reach_of
from journal.label import drop_label, graph_of_label, label_state
from journal.models import Document, Snapshot
from journal.reader import hydrate
from journal.snapshot import prune_snapshots
from journal.verification import verify_document
from tests.journal.history import append, append_each, insert, message, put, undo
from tests.journal.test_history import STEPS, compact, snapshot
from vuer_rtc.crdt.message import Op


def test_j32_a_label_outlives_the_batches_it_was_made_of(document: Document) -> None:
    append_each(document, [*STEPS, message(9, undo("ann:3"))])
    told = {seq: graph_at(document.pk, seq).digest() for seq in range(10)}
    for seq in (0, 3, 4, 9):
        label_state(document.pk, seq, f"at {seq}")
    compact(document, keep=0)
    assert reach_of(document.pk).oldest_seq == 9
    for seq in (0, 3, 4, 9):
        assert graph_of_label(document.pk, f"at {seq}").digest() == told[seq]
    assert not verify_document(document).is_damaged


def test_j32_texts_tombstones_and_what_waits_are_in_it(document: Document) -> None:
    text = Op(ot="text.init", key="a", path="t", value="hello")
    gone = Op(ot="node.remove", path="children", value="b")
    append_each(
        document, [message(1, insert("a"), insert("b", "a"), text, gone), message(2, put("c", "x", 1))]
    )
    graph = graph_at(document.pk, 2)
    label_state(document.pk, 2, "whole")
    assert graph_of_label(document.pk, "whole").nodes() == graph.nodes()


def test_j32_recovery_never_starts_from_a_label(document: Document) -> None:
    append_each(document, STEPS)
    compact(document, keep=4)
    whole = hydrate(document.pk).graph.full_digest()
    label_state(document.pk, 9, "newest")
    append(document, message(2, put("a", "x", 1), client="bob"))  # above the label's cut it would be late
    append(document, message(9, undo("ann:8")))
    assert hydrate(document.pk).graph.nodes()["a"].properties["x"] == 70
    assert graph_at(document.pk, 9).full_digest() == whole
    Snapshot.objects.exclude(reason="label").delete()
    with pytest.raises(CorruptJournal):
        hydrate(document.pk)


def test_j32_labels_are_neither_pruned_nor_in_the_way_of_pruning(document: Document) -> None:
    append_each(document, STEPS)
    for seq in (2, 4, 8):
        label_state(document.pk, seq, str(seq))
    with override_settings(VUER_RTC={"JOURNAL_KEEP_SNAPSHOTS": 1}):
        for lt in (10, 11, 12):
            append(document, message(lt, put("a", "x", lt)))
            snapshot(document)
        prune_snapshots(document.pk)
    assert Snapshot.objects.filter(reason="label").count() == 3
    assert Snapshot.objects.filter(reason="count").count() == 2


def test_j32_a_name_is_unique_in_its_document(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = User.objects.create_user("ann")
    row = label_state(document.pk, 0, "  v1 ", author.pk)
    assert (row.label, row.author, row.reason, row.seq) == ("v1", author, "label", 0)
    label_state(other.pk, 0, "v1")
    with pytest.raises(LabelTaken):
        label_state(document.pk, 0, "v1")
    monkeypatch.setattr(label, "label_named", lambda *given: None)  # somebody else is as fast
    with pytest.raises(LabelTaken):
        label_state(document.pk, 0, "v1")


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00b"])
def test_j32_a_label_is_a_short_line(document: Document, name: str) -> None:
    with pytest.raises(BadLabel):
        label_state(document.pk, 0, name)


def test_j32_a_label_can_be_dropped_and_given_again(document: Document) -> None:
    append_each(document, STEPS)
    label_state(document.pk, 3, "v1")
    assert drop_label(document.pk, "v1")
    assert not drop_label(document.pk, "v1")
    label_state(document.pk, 4, "v1")
    assert graph_of_label(document.pk, "v1").nodes()["a"].properties["x"] == 40


def test_j32_a_label_that_is_not_there_or_damaged_says_so(document: Document) -> None:
    with pytest.raises(OutOfReach) as caught:
        graph_of_label(document.pk, "v1")
    assert caught.value.code == "no-such-label"
    label_state(document.pk, 0, "v1")
    Snapshot.objects.update(checksum="no")
    with pytest.raises(CorruptJournal, match="damaged"):
        graph_of_label(document.pk, "v1")


def test_j32_only_what_can_be_told_can_be_labelled(document: Document) -> None:
    append_each(document, STEPS)
    compact(document, keep=4)
    refused: Any
    for refused in (3, 10):
        with pytest.raises(OutOfReach):
            label_state(document.pk, refused, "v1")
    assert not Snapshot.objects.filter(reason="label").exists()
