"""J31: what happened between two states, and by whom."""

from typing import Any

import pytest
from django.test import override_settings

from journal.change import Touch
from journal.difference import Difference, NodeDifference, difference, step_at, steps_of
from journal.error import OutOfReach
from journal.models import Document
from tests.journal.history import append, insert, message, put, undo
from tests.journal.test_history import compact
from vuer_rtc.crdt.message import UNSET, Op


def remove(key: str) -> Op:
    return Op(ot="node.remove", path="children", value=key)


def move(key: str, parent: str) -> Op:
    return Op(ot="node.move", path="children", value={"nodeKey": key, "newParent": parent})


def found(document: Document, seq_a: int, seq_b: int) -> dict[str, NodeDifference]:
    return {node.change.key: node for node in difference(document.pk, seq_a, seq_b).nodes}


def by(touches: Any) -> list[int]:
    """Sequences of the messages named, newest first."""
    return [touch.seq for touch in touches.newest]


def properties(node: NodeDifference) -> dict[str, tuple[Any, Any, list[int]]]:
    return {one.change.path: (one.change.before, one.change.after, by(one.by)) for one in node.properties}


@pytest.fixture
def scene(document: Document) -> Document:
    append(document, message(1, insert("arm", x=0), insert("hand", "arm", x=7), insert("lamp")))
    append(document, message(2, put("arm", "x", 41)), user="1")
    append(document, message(3, put("arm", "x", 42), put("arm", "y", 1), client="bob"), user="2")
    append(document, message(4, remove("arm")))
    append(document, message(5, move("lamp", "hand")))
    append(document, message(6, undo("ann:4")))
    append(document, message(7, put("lamp", "x", 1)))
    append(document, message(8, undo("ann:7")))
    return document


def test_j31_a_property_tells_before_after_and_who_changed_it(scene: Document) -> None:
    nodes = found(scene, 1, 3)
    assert list(nodes) == ["arm"]
    assert properties(nodes["arm"]) == {"x": (0, 42, [3, 2]), "y": (UNSET, 1, [3])}
    assert nodes["arm"].properties[0].by.newest[0] == Touch(
        3, "bob:3", "bob", "2", 1.75e9 + 3, ("number.set",)
    )
    assert nodes["arm"].by.count == 0


def test_j31_what_came_what_went_and_what_that_hid(scene: Document) -> None:
    nodes = found(scene, 0, 1)
    assert all(node.change.is_added and by(node.by) == [1] for node in nodes.values())
    nodes = found(scene, 3, 5)
    assert nodes["arm"].change.is_removed
    assert (nodes["hand"].change.is_hidden, nodes["hand"].change.is_removed) == (True, False)
    assert by(nodes["hand"].by) == by(nodes["arm"].by) == [4]
    assert (nodes["lamp"].change.is_moved, nodes["lamp"].change.is_hidden, by(nodes["lamp"].by)) == (
        True,
        True,
        [5],
    )


def test_j31_what_was_done_and_taken_back_is_no_difference(scene: Document) -> None:
    assert list(found(scene, 3, 8)) == ["lamp"]
    assert difference(scene.pk, 6, 8) == Difference(6, 8, [], 0, 2)
    assert difference(scene.pk, 5, 5) == Difference(5, 5, [], 0, 0)


def test_j31_an_undo_is_the_work_of_who_undid(scene: Document) -> None:
    nodes = found(scene, 5, 6)
    assert nodes["arm"].change.is_added
    assert nodes["hand"].change.is_shown
    assert by(nodes["arm"].by) == by(nodes["hand"].by) == by(nodes["lamp"].by) == [6]


def test_j31_an_operation_without_effect_is_nobodys_work(document: Document) -> None:
    append(document, message(1, insert("arm", x=0)))
    append(document, message(9, put("arm", "x", 5)))
    append(document, message(3, put("arm", "x", 4), client="bob"))
    assert properties(found(document, 1, 3)["arm"]) == {"x": (0, 5, [2])}


def test_j31_of_a_removed_node_nobody_sees_changes_before_it_is_back(document: Document) -> None:
    append(document, message(1, insert("arm", x=0)))
    append(document, message(2, remove("arm")))
    append(document, message(3, put("arm", "x", 5)))
    append(document, message(4, undo("ann:2")))
    assert found(document, 2, 3) == {}
    assert properties(found(document, 3, 4)["arm"]) == {}
    assert properties(found(document, 1, 4)["arm"]) == {"x": (0, 5, [3])}


def test_j31_true_is_not_one(document: Document) -> None:
    append(document, message(1, insert("arm", list=[1])))
    append(document, message(2, Op(ot="array.set", key="arm", path="list", value=[True])))
    append(document, message(3, Op(ot="array.set", key="arm", path="list", value=[True])))
    assert list(properties(found(document, 1, 2)["arm"])) == ["list"]
    assert found(document, 2, 3) == {}


def test_j31_differences_are_bounded(document: Document) -> None:
    append(document, message(1, *[insert(f"n{n}", a=1, b=2, c=3) for n in range(9)]))
    append(document, *[message(lt, put("n0", "a", lt)) for lt in range(2, 9)])
    bounds = {
        "JOURNAL_HISTORY_NODES_MAX": 4,
        "JOURNAL_HISTORY_PROPERTIES_MAX": 2,
        "JOURNAL_HISTORY_TOUCHES_MAX": 3,
    }
    with override_settings(VUER_RTC=bounds):
        whole = difference(document.pk, 0, 8)
    assert (len(whole.nodes), whole.node_count, whole.message_count) == (4, 9, 8)
    first = whole.nodes[0]
    assert (len(first.properties), len(first.change.properties)) == (2, 3)
    assert (by(first.properties[0].by), first.properties[0].by.count) == ([8, 7, 6], 8)


def test_j31_differences_reach_behind_a_compaction(scene: Document) -> None:
    compact(scene, keep=6)
    assert scene.truncated_seq == 2
    assert properties(found(scene, 2, 3)["arm"]) == {"x": (41, 42, [3]), "y": (UNSET, 1, [3])}
    with pytest.raises(OutOfReach):
        difference(scene.pk, 1, 3)
    with pytest.raises(OutOfReach):
        difference(scene.pk, 3, 10)


# One node, one message


def test_j31_the_history_of_a_node_is_told_change_by_change(scene: Document) -> None:
    steps = steps_of(scene.pk, "hand", 0, 8)
    assert [
        (step.touch.seq, step.changes[0].is_shown, step.changes[0].is_hidden) for step in steps.newest
    ] == [
        (6, True, False),
        (4, False, True),
        (1, True, False),
    ]
    steps = steps_of(scene.pk, "arm", 1, 8)
    told = [
        (step.touch.seq, [(p.path, p.before, p.after) for p in step.changes[0].properties])
        for step in steps.newest
    ]
    assert told == [
        (6, []),
        (4, []),
        (3, [("x", 41, 42), ("y", UNSET, 1)]),
        (2, [("x", 0, 41)]),
    ]


def test_j31_the_last_changes_of_a_node_are_told(scene: Document) -> None:
    with override_settings(VUER_RTC={"JOURNAL_HISTORY_STEPS_MAX": 2}):
        steps = steps_of(scene.pk, "arm", 0, 8)
    assert ([step.touch.seq for step in steps.newest], steps.count) == ([6, 4], 5)


def test_j31_nothing_is_sorted_for_each_message(scene: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a node with fifty thousand below it, that takes longer than all the rest."""

    def fail(scene: Any, key: str) -> list[str]:
        raise AssertionError(f"the children of {key} are looked for")

    monkeypatch.setattr("vuer_rtc.crdt.view.children_of", fail)
    assert difference(scene.pk, 0, 8).node_count == 3
    assert steps_of(scene.pk, "hand", 0, 8).count == 3
    assert step_at(scene.pk, 4).change_count == 2


def test_j31_a_message_tells_all_that_it_changed(scene: Document) -> None:
    step = step_at(scene.pk, 4)
    assert (step.touch.message_id, [change.key for change in step.changes]) == ("ann:4", ["arm", "hand"])
    assert step_at(scene.pk, 8).changes[0].properties[0].before == 1
    with pytest.raises(OutOfReach):
        step_at(scene.pk, 9)
