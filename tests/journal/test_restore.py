"""J33: a document is put back to what it was, by one message that can be undone."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings

from journal.authoring import Author
from journal.compaction import KeepRules, compact_document
from journal.error import OutOfReach, RestoreTooLarge
from journal.label import label_state
from journal.models import Document, Snapshot
from journal.reader import hydrate
from journal.reset import reset_document
from journal.restore import (
    planned,
    point_at,
    point_at_time,
    point_of,
    point_of_label,
    restore,
    unknown_keys,
)
from journal.snapshot import draft_snapshot, take_snapshot
from tests.journal.history import append, append_each, head_of, insert, message, put
from vuer_rtc.crdt.message import Op


@pytest.fixture
def edited(document: Document) -> Document:
    """Three messages that build, three that spoil it."""
    remove = Op("node.remove", "", "children", "m")
    building = [message(1, insert("n", x=1)), message(2, insert("m", "n", y=2)), message(3, put("n", "x", 3))]
    append_each(
        document, [*building, message(4, put("n", "x", 9)), message(5, remove), message(6, insert("new"))]
    )
    return document


def digest(document: Document) -> str:
    return hydrate(document.pk).graph.digest()


def test_a_restore_is_one_message_that_a_moderator_undoes(edited: Document) -> None:
    author, point = Author(edited.pk), point_at(edited.pk, 3)
    before = digest(edited)
    assert [op.ot for op in planned(author, point)] == ["node.remove", "number.set", "node.insert"]
    restored = restore(author, point, user="7")
    assert restored is not None
    assert (restored.seq, restored.message.id[:9], head_of(edited)) == (7, "=restore:", 7)
    assert digest(edited) == point.graph.digest()
    assert restore(author, point) is None
    author.undo(restored.message.id)
    assert digest(edited) == before


def test_what_came_in_between_is_restored_too(edited: Document) -> None:
    author, point = Author(edited.pk), point_at(edited.pk, 3)
    append(edited, message(7, insert("newer")))
    assert restore(author, point) is not None
    assert digest(edited) == point.graph.digest()


def test_what_a_reset_emptied_comes_back(edited: Document) -> None:
    """E1 to E4: the messages of the epoch before stay refused, its nodes are made anew."""
    wanted = digest(edited)
    reset_document(edited.pk)
    assert hydrate(edited.pk).graph.node_count == 0
    restored = restore(Author(edited.pk), point_at(edited.pk, 6))
    assert restored is not None
    assert digest(edited) == wanted
    Author(edited.pk).undo(restored.message.id)
    assert hydrate(edited.pk).graph.flat()["nodes"] == {}


def test_some_nodes_alone(edited: Document) -> None:
    author, point = Author(edited.pk), point_at(edited.pk, 3)
    assert unknown_keys(author, point, ["n", "m", "new", "stranger"]) == ["stranger"]
    restore(author, point, keys=["m"])
    nodes = hydrate(edited.pk).graph.nodes()
    assert (nodes["m"].deleted, nodes["n"].properties, nodes["new"].deleted) == (False, {"x": 9}, False)


def test_to_a_time_and_to_a_snapshot(edited: Document) -> None:
    at = datetime.fromtimestamp(1.75e9 + 3.5, UTC)
    with pytest.raises(OutOfReach):
        point_at(edited.pk, 7)
    assert point_at_time(edited.pk, at).seq == 3
    draft = draft_snapshot(hydrate(edited.pk).graph, with_digests=True)
    row = take_snapshot(edited.pk, draft, Snapshot.Reason.COUNT)
    assert row is not None
    assert point_of(row).graph.digest() == digest(edited)
    label_state(edited.pk, 3, "good")
    assert point_of_label(edited.pk, "good").graph.digest() == point_at(edited.pk, 3).graph.digest()
    assert point_of_label(edited.pk, "good").seq == 3
    assert planned(Author(edited.pk), point_of_label(edited.pk, "good")) == planned(
        Author(edited.pk), point_at(edited.pk, 3)
    )


def test_j33_a_time_before_the_first_message_is_no_wish_to_empty_the_document(edited: Document) -> None:
    with pytest.raises(OutOfReach, match="before the first message") as caught:
        point_at_time(edited.pk, datetime(2020, 1, 1, tzinfo=UTC))
    assert caught.value.code == "before-first"
    assert point_at(edited.pk, 0).graph.nodes() == {}


def test_a_snapshot_that_is_older_than_all_that_is_retained_tells_its_state_or_nothing(
    edited: Document,
) -> None:
    compact_document(edited, KeepRules(messages=0, days=0))
    old = Snapshot.objects.filter(document=edited, reason="compaction")[0]
    expected = digest(edited)
    Snapshot.objects.update(label="kept")
    append_each(edited, [message(lt, put("n", "x", lt)) for lt in range(20, 30)])
    compact_document(edited, KeepRules(messages=0, days=0))
    with pytest.raises(OutOfReach):
        point_at(edited.pk, old.seq)
    point = point_of(old)
    assert point.graph.digest() == expected
    assert restore(Author(edited.pk), point) is not None
    assert digest(edited) == expected
    old.digest = "other"
    with pytest.raises(OutOfReach, match="lacks messages"):
        point_of(old)


@override_settings(VUER_RTC={"JOURNAL_BATCH_BYTES_MAX": 100})
def test_what_does_not_fit_one_batch_is_refused_whole(document: Document) -> None:
    with override_settings(VUER_RTC={}):
        append(document, message(1, insert("n", s="x" * 5000, t=[n / 7 for n in range(1000)])))
        append(document, message(2, Op("node.remove", "", "children", "n")))
    with pytest.raises(RestoreTooLarge, match="some nodes at a time"):
        restore(Author(document.pk), point_at(document.pk, 1))
    assert head_of(document) == 2
