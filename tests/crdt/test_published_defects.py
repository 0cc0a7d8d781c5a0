"""Every merge in which the published client depends on arrival order, loses or breaks something; ours does not.

The published client was driven to each of these (its results are in the comments); rule ids are those of MERGE.md.
"""

from typing import Any

import msgspec
import pytest

from tests.crdt.scenario import (
    Author,
    converged,
    erased,
    graph_of,
    insert,
    journalled,
    move,
    node,
    prop,
    redo,
    remove,
    typed,
    undo,
    value,
)
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.message import Message, Op

alice, bob, carol = (Author(name) for name in ("alice", "bob", "carol"))
BASE = insert("n", x=10, c="#808080", s="a", arr=[1], o={"k": 0}, v=[1, 2, 3], q=[0, 0, 0, 1])


def concurrent(first: Op, second: Op) -> Graph:
    """Alice's and Bob's op at one Lamport time on the node of the sheet: Alice's is first in total order (O1)."""
    return converged(Author("carol")(1, BASE), Author("alice")(5, first), Author("bob")(5, second))


ORDERED: list[tuple[str, Op, Op, str, Any]] = [
    # id, alice's op, bob's op, path, outcome; the published client gave this one and another one
    ("set-then-add", prop("number.set", "x", 100), prop("number.add", "x", 5), "x", 105),
    ("add-then-multiply", prop("number.add", "x", 5), prop("number.multiply", "x", 2), "x", 30),
    ("min-then-max", prop("number.min", "x", 3), prop("number.max", "x", 7), "x", 7),
    ("min-then-add", prop("number.min", "x", 3), prop("number.add", "x", 5), "x", 8),
    (
        "vector-set-then-add",
        prop("vector3.set", "v", [9, 9, 9]),
        prop("vector3.add", "v", [1, 1, 1]),
        "v",
        [10, 10, 10],
    ),
    (
        "quaternion-products",
        prop("quaternion.multiply", "q", [1, 0, 0, 0]),
        prop("quaternion.multiply", "q", [0, 1, 0, 0]),
        "q",
        [0, 0, 1, 0],
    ),
    (
        "rotate-then-add",
        prop("vector3.applyQuaternion", "v", [0, 0, 1, 0]),
        prop("vector3.add", "v", [1, 1, 1]),
        "v",
        [0, -1, 4],
    ),
    ("two-blends", prop("color.blend", "c", "#ff0000"), prop("color.blend", "c", "#0000ff"), "c", "#6020a0"),
    (
        "color-set-then-blend",
        prop("color.set", "c", "#ffffff"),
        prop("color.blend", "c", "#0000ff"),
        "c",
        "#8080ff",
    ),
    ("two-concats", prop("string.concat", "s", "X"), prop("string.concat", "s", "Y"), "s", "aXY"),
    ("two-pushes", prop("array.push", "arr", "A"), prop("array.push", "arr", "B"), "arr", [1, "A", "B"]),
    (
        "two-unions",
        prop("array.union", "arr", ["A"]),
        prop("array.union", "arr", ["B"]),
        "arr",
        [1, "A", "B"],
    ),
    ("push-then-remove", prop("array.push", "arr", 1), prop("array.remove", "arr", 1), "arr", []),
    ("array-set-then-push", prop("array.set", "arr", [7]), prop("array.push", "arr", 8), "arr", [7, 8]),
    (
        "two-object-merges",
        prop("object.merge", "o", {"k": 1}),
        prop("object.merge", "o", {"k": 2}),
        "o",
        {"k": 2},
    ),
    ("node-merge-then-set", prop("object.merge", ".", {"x": 1}), prop("number.set", "x", 2), "x", 2),
    ("or-then-and", prop("boolean.or", "b", True), prop("boolean.and", "b", False), "b", False),
    ("boolean-set-then-or", prop("boolean.set", "b", False), prop("boolean.or", "b", True), "b", True),
]


class TestOrderDependentMerges:
    """G1: any order of arrival gives the outcome of total order (O1, O2, P1)."""

    @pytest.mark.parametrize(
        ("first", "second", "path", "outcome"),
        [case[1:] for case in ORDERED],
        ids=[case[0] for case in ORDERED],
    )
    def test_total_order_decides(self, first: Op, second: Op, path: str, outcome: Any) -> None:
        assert value(concurrent(first, second), path) == outcome

    def test_float_sums_do_not_depend_on_arrival(self) -> None:
        """N1, O1: 0.1 + 0.2 + 0.3 in total order, wherever the messages came from first."""
        adds = [
            Author(name)(5, prop("number.add", "sum", n)) for name, n in (("a", 0.1), ("b", 0.2), ("c", 0.3))
        ]
        assert value(converged(alice(1, BASE), *adds), "sum") == 0.1 + 0.2 + 0.3


class TestStructure:
    """G2."""

    def test_a_set_before_its_insert_is_kept(self) -> None:
        """P2: published, the set is lost when it comes first."""
        assert value(converged(alice(1, insert("n", x=1)), bob(5, prop("number.set", "x", 9))), "x") == 9

    def test_of_two_inserts_of_one_key_the_first_in_total_order_creates(self) -> None:
        """T1: published, the first arrival wins."""
        assert value(converged(alice(1, insert("n", x=1)), bob(1, insert("n", x=2))), "x") == 1

    def test_the_root_is_that_of_total_order(self) -> None:
        """T10: published, of the first arrival."""
        graph = converged(alice(1, insert("r1")), bob(1, insert("r2")))
        assert graph.state(0).graph["rootKey"] == "r1"

    def test_a_child_may_come_before_its_parent(self) -> None:
        """T3, T5: published, it stays an orphan and becomes the root."""
        graph = converged(alice(1, insert("p")), alice(2, insert("c", "p")))
        assert node(graph, "p").children == ["c"]
        assert graph.state(0).graph["rootKey"] == "p"

    def test_a_removal_may_come_before_its_insert(self) -> None:
        """T6: published, the node is alive then."""
        assert node(converged(alice(1, insert("n")), alice(2, remove("n")))).deleted

    def test_a_removal_beside_a_move_leaves_no_dangling_child(self) -> None:
        """T3, T6: children are live nodes only, whatever parent the removal names."""
        graph = converged(
            alice(1, insert("P")),
            alice(2, insert("Q")),
            alice(3, insert("X", "P")),
            Author("a")(5, move("X", "Q", "P")),
            Author("b")(5, remove("X", "P")),
        )
        assert node(graph, "P").children == node(graph, "Q").children == []
        assert node(graph, "X").deleted

    def test_two_moves_of_one_node_leave_it_one_parent(self) -> None:
        """T3: published, X is in Q and in R."""
        graph = converged(
            alice(1, insert("Q")),
            alice(2, insert("R")),
            alice(3, insert("X")),
            Author("a")(5, move("X", "Q")),
            Author("b")(5, move("X", "R")),
        )
        assert (node(graph, "Q").children, node(graph, "R").children) == ([], ["X"])

    def test_moves_that_would_make_a_cycle_together_do_not(self) -> None:
        """T4: published, both hang below each other, detached from the root."""
        graph = converged(
            alice(1, insert("P")),
            alice(2, insert("Q")),
            Author("a")(5, move("P", "Q")),
            Author("b")(5, move("Q", "P")),
        )
        assert (node(graph, "P").parent, node(graph, "Q").parent) == ("Q", "")

    @pytest.mark.parametrize("target", ["P", "X"])
    def test_a_move_under_itself_or_its_child_has_no_effect(self, target: str) -> None:
        """T4: published, a loop."""
        graph = converged(alice(1, insert("P")), alice(2, insert("X", "P")), alice(3, move("P", target)))
        assert (node(graph, "P").parent, node(graph, "X").parent) == ("", "P")

    def test_a_wrong_old_parent_does_not_matter(self) -> None:
        """T3, T6: published, the tombstone stays listed, or the node has two parents."""
        graph = converged(
            alice(1, insert("P")),
            alice(2, insert("Q")),
            alice(3, insert("X", "P")),
            alice(4, insert("Y", "P")),
            alice(5, move("X", "Q", old="zz")),
            alice(6, remove("Y", parent="zz")),
        )
        assert (node(graph, "P").children, node(graph, "Q").children) == ([], ["X"])

    def test_an_insert_after_a_removal_makes_a_new_incarnation(self) -> None:
        """T8: published, the node stays dead."""
        graph = converged(
            alice(1, insert("n", x=1)),
            alice(2, prop("number.set", "y", 2)),
            alice(3, remove("n")),
            alice(4, insert("n", x=3)),
        )
        assert (node(graph).deleted, node(graph).properties) == (False, {"x": 3})

    def test_undoing_a_new_incarnation_shows_the_old_tombstone(self) -> None:
        """T8, U1."""
        graph = converged(
            alice(1, insert("n", x=1)),
            alice(3, remove("n")),
            alice(4, insert("n", x=3)),
            alice(5, undo("alice:4")),
        )
        assert (node(graph).deleted, node(graph).properties) == (True, {"x": 1})

    def test_a_low_removal_removes_what_a_high_set_touched(self) -> None:
        """T6: by rule, too, in any order; the set takes effect unseen and shows when the removal is undone."""
        a = Author("a")
        messages = [
            alice(1, insert("n", x=1)),
            a(3, remove("n")),
            Author("b")(50, prop("number.set", "x", 2)),
        ]
        assert node(converged(*messages)).deleted
        assert value(converged(*messages, a(51, undo("a:3"))), "x") == 2

    def test_a_set_beside_a_removal_gives_one_state(self) -> None:
        """T6, D2: published, the hidden property differs, so checksums do."""
        graph = converged(
            alice(1, insert("n", x=1)),
            Author("a")(5, prop("number.set", "x", 2)),
            Author("b")(5, remove("n")),
        )
        assert (node(graph).deleted, value(graph, "x")) == (True, 2)


class TestUndoAndCompaction:
    """G4, as far as the merge is concerned."""

    def test_undo_after_a_cut_is_refused_not_half_applied(self) -> None:
        """U4, K1: published, the undoer sees 0, a compacted peer keeps 5."""
        first, second = Author("alice"), Author("bob")
        graph = graph_of(journalled([first(1, insert("n", x=0)), first(2, prop("number.set", "x", 5)), 2]))
        late = first(3, undo("alice:2"))
        assert graph.refusal(late) == "too-late"
        graph.apply(msgspec.structs.replace(late, server_seq=4))
        graph.apply(msgspec.structs.replace(second(4, prop("number.add", "x", 1)), server_seq=5))
        assert value(graph, "x") == 6

    def test_a_duplicate_of_a_folded_message_is_not_applied_again(self) -> None:
        """I1, I2, K5: published, add 5 twice gives 10."""
        add = Author("bob")(2, prop("number.add", "x", 5))
        graph = graph_of(journalled([Author("alice")(1, insert("n", x=0)), add, 2]))
        for replica in (graph, Graph.restore(graph.snapshot())):
            assert replica.identify(add) is Identity.DUPLICATE
            assert not replica.apply(add).is_new
            assert value(replica, "x") == 5

    def test_a_cut_loses_no_clock(self) -> None:
        """K5: published, the snapshot's clock is that of its last message."""
        authors = [Author(name) for name in ("alice", "bob", "carol")]
        graph = graph_of(
            journalled(
                [
                    *(author(n, insert(f"k{n}")) for n, author in enumerate(authors, 1)),
                    authors[0](4, insert("k4")),
                    4,
                ]
            )
        )
        restored = Graph.restore(graph.snapshot())
        assert (restored.clock, restored.lt) == ({"alice": 2, "bob": 1, "carol": 1}, 4)

    def test_redo_names_its_target(self) -> None:
        """U1: published, two undos and a redo bring the wrong one back."""
        graph = converged(
            alice(1, insert("n", s="zero")),
            alice(2, prop("string.set", "s", "one")),
            alice(3, prop("string.set", "s", "two")),
            alice(4, undo("alice:3")),
            alice(5, undo("alice:2")),
            alice(6, redo("alice:2")),
        )
        assert value(graph, "s") == "one"
        assert graph.undone_ids() == {"alice:3"}

    def test_an_undo_may_come_before_its_target(self) -> None:
        """U2: published, it is lost."""
        assert (
            value(
                converged(
                    alice(1, insert("n", x=0)),
                    alice(2, prop("number.set", "x", 5)),
                    alice(3, undo("alice:2")),
                ),
                "x",
            )
            == 0
        )

    def test_nobody_undoes_anothers_message_without_authority(self) -> None:
        """U2, U4: published, anybody can."""
        messages = [alice(1, insert("n", x=0)), alice(2, prop("number.set", "x", 5)), bob(3, undo("alice:2"))]
        assert value(converged(*messages), "x") == 5
        assert graph_of(messages[:2]).refusal(messages[2]) == "foreign-undo"
        assert graph_of(messages[:1]).refusal(messages[2]) == "unknown-target"
        assert value(converged(*messages, carol(4, undo("alice:2"), auth=True)), "x") == 0

    def test_an_op_that_does_not_fit_changes_nothing(self) -> None:
        """O4, P3: published, it raises out of receive, and nobody can join any more."""
        odd = [
            prop("number.add", "s", 1),
            prop("vector3.add", "s", [1, 1, 1]),
            Op("number.add", "n", "x"),
            Op("node.move", "n", "children", "flat"),
            Op("node.insert", "n", "children", {"tag": "no key"}),
            prop("number.set", "x", float("nan")),
            prop("number.add", "x", True),
            Op("nobody.knows", "n", "x", 1),
        ]
        graph = converged(alice(1, BASE), Author("bob")(2, *odd))
        assert node(graph).properties == node(graph_of([alice(1, BASE)])).properties

    def test_what_does_not_fit_is_not_relayed_to_published_clients(self) -> None:
        """P3: they would raise."""
        graph = graph_of([Author("alice")(1, BASE)])
        mixed = Author("bob")(2, prop("number.add", "s", 1), prop("number.add", "x", 1))
        relay = graph.apply(mixed).relay
        assert relay is not None
        assert [op.path for op in relay.ops] == ["x"]
        assert graph.apply(Author("zoe")(3, prop("number.add", "s", 1))).relay is None
        assert [(message.id, len(message.ops)) for message in graph.state(10).journal] == [
            ("alice:1", 1),
            ("bob:2", 1),
        ]

    def test_applying_changes_no_message(self) -> None:
        """Published, `applyMessage` mutates what it was given."""
        messages = [
            alice(1, BASE),
            alice(2, prop("array.push", "arr", 2), prop("object.merge", "o", {"z": 1}), move("n", "zz")),
        ]
        before = msgspec.json.encode(messages)
        graph_of(messages)
        assert msgspec.json.encode(messages) == before

    def test_the_later_of_two_sets_in_one_message_wins(self) -> None:
        """P1: published, the first."""
        assert (
            value(
                converged(alice(1, BASE), alice(2, prop("number.set", "x", 1), prop("number.set", "x", 2))),
                "x",
            )
            == 2
        )

    def test_a_set_of_name_names_the_node(self) -> None:
        """P5: published, it makes a property `name` beside it."""
        graph = converged(
            alice(1, BASE), alice(2, prop("string.set", "name", "Box"), prop("number.set", "name", 4))
        )
        assert (node(graph).name, value(graph, "name")) == ("Box", None)

    def test_an_id_used_again_is_seen(self) -> None:
        """I1: published, a new message with an old id is dropped as a duplicate."""
        graph = graph_of([Author("alice")(1, BASE)])
        again = Author("alice")(1, insert("other"))
        assert graph.identify(again) is Identity.REUSED
        assert graph.identify(msgspec.structs.replace(again, id="alice:fresh")) is Identity.REUSED

    def test_an_undo_of_a_message_never_sent_changes_nothing(self) -> None:
        """U2: published, undo with edits pending sends the undo only."""
        assert value(converged(alice(1, BASE), alice(2, undo("alice:77"))), "x") == 10


class TestText:
    """G5."""

    def test_two_inits_both_stay_in_one_order(self) -> None:
        """X5: published, BBAA here, AABB there, with different ids for the same text."""
        init = [
            Author(name)(5, Op("text.init", "n", "t", content))
            for name, content in (("alice", "AA"), ("bob", "BB"))
        ]
        after_first = Author("zoe")(6, typed("zoe:0", "alice:0", "x", seq=9))
        assert value(converged(carol(1, insert("n")), *init), "t") == "BBAA"
        assert value(converged(carol(1, insert("n")), *init, after_first), "t") == "BBAxA"

    def test_text_over_a_plain_string_keeps_it(self) -> None:
        """X1: published, the string is wiped."""
        insertion = alice(2, typed("alice:0", f"=carol:1/0:{len('Hello') - 1}", "!"))
        assert value(converged(Author("carol")(1, insert("n", t="Hello")), insertion), "t") == "Hello!"

    def test_a_set_over_a_text_stays(self) -> None:
        """X2: published, the next text op brings the old text back."""
        graph = converged(
            carol(1, insert("n")),
            alice(2, typed("alice:0", None, "abc")),
            alice(3, prop("string.set", "t", "NEW")),
            alice(4, typed("alice:3", "=alice:3/0:2", "d", seq=2)),
        )
        assert value(graph, "t") == "NEWd"

    def test_ids_used_again_after_undo_are_claims_of_their_own(self) -> None:
        """X4, X6: published, redo gives abc and loses xyz everywhere."""
        messages = [
            carol(1, insert("n")),
            alice(2, typed("alice:0", None, "abc")),
            alice(3, undo("alice:2")),
            alice(4, typed("alice:0", None, "xyz", seq=2)),
        ]
        assert value(converged(*messages), "t") == "xyz"
        assert value(converged(*messages, alice(5, redo("alice:2"))), "t") == "xyzabc"

    def test_undo_leaves_what_others_typed_inside_where_it_is(self) -> None:
        """X6: published, X jumps to the start."""
        messages = [
            carol(1, insert("n")),
            carol(2, typed("carol:0", None, "[]")),
            alice(3, typed("alice:0", "carol:0", "abc", seq=2)),
            bob(4, typed("bob:0", "alice:2", "X", seq=3)),
        ]
        assert value(converged(*messages), "t") == "[abcX]"
        assert value(converged(*messages, alice(5, undo("alice:3"))), "t") == "[X]"

    def test_order_of_arrival_does_not_matter_to_anchors_and_deletes(self) -> None:
        """X3, X4: published, six orders give bcd, cdb, cdab, abcd."""
        graph = converged(
            carol(1, insert("n")),
            alice(2, typed("alice:0", None, "ab")),
            bob(3, typed("bob:0", "alice:1", "cd", seq=2)),
            alice(4, erased(("alice:0", 1))),
        )
        assert value(graph, "t") == "bcd"

    def test_an_insert_at_the_end_of_a_word_stays_there(self) -> None:
        """X3: a published live rope with a stale cursor gives XYZabc!."""
        graph = converged(
            carol(1, insert("n")),
            alice(2, typed("alice:0", None, "abc")),
            bob(3, typed("bob:0", None, "XYZ", seq=2)),
            alice(4, typed("alice:3", "bob:2", "!", seq=3)),
        )
        assert value(graph, "t") == "XYZ!abc"

    def test_concurrent_replaces_converge_and_end(self) -> None:
        """X3, X4: published live ropes diverge (abYXf, XabYf), or never return."""

        def replaced(text_id: str, anchor: str, content: str, first: int, length: int) -> Op:
            return Op(
                "text.replace",
                "n",
                "t",
                [anchor, content],
                id=text_id,
                seq=2,
                ts=1,
                rm=[[f"carol:{first}", length]],
            )

        first, second = Author("alice"), Author("bob")
        messages = [
            carol(1, insert("n")),
            carol(2, typed("carol:0", None, "abcdef")),
            first(3, replaced("alice:0", "carol:0", "X", 1, 3)),
            second(3, replaced("bob:0", "carol:1", "Y", 2, 4)),
            second(4, erased(("carol:0", 2))),
        ]
        assert value(converged(*messages), "t") == "XY"

    def test_a_snapshot_keeps_hidden_characters(self) -> None:
        """K5: published, the raw form loses them and an insert behind one moves."""
        author = Author("alice")
        messages = [
            author(1, insert("n")),
            author(2, typed("alice:0", None, "abc")),
            author(3, erased(("alice:1", 1))),
            3,
        ]
        graph = Graph.restore(graph_of(journalled(messages)).snapshot())
        graph.apply(
            msgspec.structs.replace(Author("bob")(4, typed("bob:0", "alice:1", "X", seq=2)), server_seq=5)
        )
        assert value(graph, "t") == "aXc"

    def test_a_character_beyond_the_basic_plane_is_one(self) -> None:
        """X7."""
        graph = converged(
            carol(1, insert("n")),
            alice(2, typed("alice:0", None, "a😀b")),
            bob(3, typed("bob:0", "alice:1", "!", seq=2)),
        )
        assert value(graph, "t") == "a😀!b"


def test_messages_of_the_server_carry_no_ops() -> None:
    """K1: a record that cuts nothing changes nothing."""
    assert not Graph().apply(Message("=x", "=server", {}, 0, 0, [Op("server.cut", value="no")])).is_new
