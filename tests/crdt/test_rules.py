"""Rules of MERGE.md, each as it says, in every order of arrival; and each is quoted by a test."""

import re
from pathlib import Path
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
    orders_of,
    prop,
    redo,
    remove,
    typed,
    undo,
    value,
)
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.dtype import CLIENT_OPS, MODIFIERS, PROPERTY_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import UNSET, Epoch, Message, Op, cut_record, reset_record

MERGE = Path(__file__).parents[2] / "vuer_rtc" / "crdt" / "MERGE.md"
RESERVED = ("key", "children", "_crdt", "_textCrdt.t", "_textCrdt.", "__proto__", "", ".")
OPERANDS: dict[str, Any] = {"string": "new", "array": [9], "object": {"a": 9}, "boolean": True, "color": "#ffffff",
                            "vector3": [1, 2, 3], "euler": [1, 2, 3], "quaternion": [0, 0, 0, 1]}  # fmt: skip
"""For the ops of each dtype, one that it takes; for the others 9."""


def operand(ot: str) -> Any:
    return OPERANDS.get(ot.partition(".")[0], 9)


def test_every_rule_is_quoted_by_a_test() -> None:
    rules = re.findall(r"^- \*\*([A-Z]\d+)\*\*", MERGE.read_text(), flags=re.MULTILINE)
    texts = [path.read_text() for path in MERGE.parents[2].glob("tests/**/*.py")]
    quoted = {
        rule.upper() for text in texts for rule in re.findall(r"\b[A-Z]\d+\b|(?<=test_)[a-z]\d+(?=_)", text)
    }
    assert len(rules) > 60
    assert [rule for rule in rules if rule not in quoted] == []


def test_the_table_of_operations_names_all_that_there_are() -> None:
    """N8; PROTOCOL.md, C5: other names are no operations."""
    told = set()
    for dtype, operand, others in re.findall(
        r"^  \| `(\w+)` \|(.*?)\|(.*)\|$", MERGE.read_text(), flags=re.MULTILINE
    ):
        verbs = set(re.findall(r"`([a-z]\w+)`", others)) - {"separator", "order", "intrinsic"}
        told |= {f"{dtype}.{verb}" for verb in verbs | ({"set"} if operand.strip() else set())}
    assert told == CLIENT_OPS


@pytest.mark.parametrize("ot", sorted(MODIFIERS))
def test_over_an_unset_property_the_operand_is_the_result_but_for_arrays_and_rotations(ot: str) -> None:
    """N8."""
    empty = {"array.push": [[9]], "array.remove": []}
    expected = empty.get(ot, [0, 0, 0] if ".apply" in ot else operand(ot))
    applied = prop(ot, "x", [0, 0, 0, 1] if ot == "vector3.applyQuaternion" else operand(ot))
    if ot == "array.move":
        applied, expected = prop(ot, "x", UNSET, from_=0, to=0), None
    assert value(converged(Author("al")(1, insert("n"), applied)), "x") == expected


def test_the_sequence_in_the_journal_means_nothing() -> None:
    """O3."""
    al, bo = Author("al"), Author("bo")
    messages = [al(1, insert("n", x=1)), bo(1, prop("number.set", "x", 5)), al(2, prop("number.add", "x", 2)),
                bo(3, prop("number.multiply", "x", 3))]  # fmt: skip
    expected = converged(*messages)
    for order in (messages, messages[::-1]):
        graph = graph_of(journalled(order))
        assert (value(graph, "x"), graph.full_digest()) == (21, expected.full_digest())


@pytest.mark.parametrize("path", RESERVED)
def test_nothing_writes_a_reserved_path(path: str) -> None:
    """P6: neither an op of any kind, nor what creates, nor a merge into the node."""
    al, bo = Author("al"), Author("bo")
    ops = [prop(ot, path, operand(ot)) for ot in PROPERTY_OPS if ot != "object.merge"]
    if path not in ("", "."):
        ops += [prop("object.merge", path, {"a": 1}), prop("object.merge", ".", {path: "new"})]
    ops += [
        Op("text.init", "n", path, "ab"),
        typed("bo:0", None, "ab", path=path),
        Op("node.upsert", "", "children", {path: "new", "key": "n"}),
    ]
    made = al(1, Op("node.insert", "", "children", {path: "new", "key": "n"}), insert("m", "n"))
    bare, graph = converged(made), converged(made, bo(2, *ops))
    assert (
        graph.flat()
        == bare.flat()
        == {
            "root": "n",
            "nodes": {
                "n": {"key": "n", "children": ["m"], "tag": "", "name": ""},
                "m": {"key": "m", "children": [], "tag": "", "name": ""},
            },
        }
    )
    assert graph.state(0).text_ropes == {}
    relayed = graph_of([made]).apply(bo(9, *ops)).relay
    assert relayed is None or [op.ot for op in relayed.ops] == []


@pytest.mark.parametrize("path", ["", "."])
def test_a_merge_into_the_node_is_the_only_op_that_has_no_path(path: str) -> None:
    """P6, P4."""
    al, bo = Author("al"), Author("bo")
    graph = converged(
        al(1, insert("n")), bo(2, prop("object.merge", path, {"x": 1, "": 2, ".": 3, "key": "m"}))
    )
    assert node(graph).properties == {"x": 1}


@pytest.mark.parametrize("key", ["", "."])
def test_root_level_has_no_properties(key: str) -> None:
    """P7: and nothing waits there for a node to come."""
    al, graph = Author("al"), Graph()
    ops = [prop(ot, "x", operand(ot), key) for ot in PROPERTY_OPS]
    ops += [prop("object.merge", ".", {"x": 1}, key), Op("text.init", key, "t", "ab"),
            Op("text.insert", key, "t", [None, "ab"], id="al:0", seq=1, ts=1)]  # fmt: skip
    applied = graph.apply(message := al(1, *ops))
    assert (applied.changed, applied.relay) == (frozenset(), None)
    assert (graph.node_count, graph.waiting_count, graph.digest()) == (0, 0, Graph().digest())
    assert node(converged(message, al(2, insert("n")))).properties == {}


@pytest.mark.parametrize("ot", ["node.upsert", "node.inset"])
class TestUpserts:
    """T2."""

    def put(self, ot: str, parent: str = "", **properties: Any) -> Op:
        return Op(ot, parent, "children", {"key": "n", **properties})

    def test_it_creates_like_an_insert(self, ot: str) -> None:
        made, put = (
            converged(Author("al")(1, op), Author("bo")(2, insert("p"), prop("number.add", "x", 1)))
            for op in (insert("n", "p", x=1), self.put(ot, "p", x=1))
        )
        assert put.everything() == made.everything()
        assert (node(put).parent, value(put, "x")) == ("p", 2)

    def test_on_a_live_node_each_property_is_a_set(self, ot: str) -> None:
        """P1: what comes before it in total order, and no later than it arrives, is written over."""
        al, bo, cy = Author("al"), Author("bo"), Author("cy")
        made = al(1, insert("n", x=1, t="old", kept=1, tag="Mesh"))
        edits = bo(2, prop("number.add", "x", 5), typed("bo:0", None, "typed"))
        put = cy(3, self.put(ot, x=10, t="new", tag="Group", name=5))
        later = bo(4, prop("number.add", "x", 7))
        graph = converged(made, edits, put, later)
        assert node(graph).properties == {"x": 17, "t": "new", "kept": 1}
        assert (node(graph).tag, node(graph).name) == ("Group", "")
        graph = converged(made, edits, put, later, cy(5, undo("cy:3")))
        assert node(graph).properties == {"x": 13, "t": "typedold", "kept": 1}

    def test_it_never_reparents_nor_changes_when_the_node_came(self, ot: str) -> None:
        al, bo = Author("al"), Author("bo")
        graph = converged(al(1, insert("p"), insert("q"), insert("n", "p")), bo(2, self.put(ot, "q"), ts=9))
        assert node(graph).parent == "p"
        assert graph.state(0).graph["nodes"]["n"]["_crdt"]["createdAt"] == 1

    def test_the_first_in_total_order_creates_and_the_others_set(self, ot: str) -> None:
        """T1: also when the second is an insert, which changes nothing."""
        al, bo, cy = Author("al"), Author("bo"), Author("cy")
        first, second = al(1, self.put(ot, "p", x=1)), bo(2, self.put(ot, "q", x=2, y=2))
        graph = converged(first, second, cy(3, insert("n", x=3, z=3)))
        assert (node(graph).parent, node(graph).properties) == ("p", {"x": 2, "y": 2})
        graph = converged(first, second, al(4, undo("al:1")))
        assert (node(graph).parent, node(graph).properties) == ("q", {"x": 2, "y": 2})


class TestCreatedAt:
    """T7."""

    @staticmethod
    def children(*created: tuple[str, float, float | None]) -> list[str]:
        al, site = Author("al"), Author("=site")
        messages = [al(1, insert("n"))]
        for lt, (key, ts, dated) in enumerate(created, 2):
            op = insert(key, "n")
            if dated is not None:
                op = msgspec.structs.replace(op, ts=dated)
            messages.append(site(lt, op, ts=ts))
        return node(converged(*messages)).children

    def test_siblings_stand_by_the_time_of_the_message_that_created_them_then_by_key(self) -> None:
        assert self.children(("a", 3, None), ("c", 2, None), ("b", 2, None)) == ["b", "c", "a"]

    def test_the_time_in_the_op_goes_before_that_of_its_message(self) -> None:
        assert self.children(("a", 1, 3), ("b", 2, None), ("c", 9, 0)) == ["c", "b", "a"]

    def test_from_1e11_on_it_is_milliseconds(self) -> None:
        assert self.children(("ms", 1.7e12, None), ("s", 1.6e9, None)) == ["s", "ms"]
        assert self.children(("ms", 1e11, None), ("s", 99_999_999_999, None)) == ["ms", "s"]

    def test_it_is_told_as_it_was_sent(self) -> None:
        al = Author("al")
        graph = converged(al(1, msgspec.structs.replace(insert("n"), ts=1.7e12), ts=5))
        assert graph.state(0).graph["nodes"]["n"]["_crdt"]["createdAt"] == 1.7e12

    def test_only_the_server_sets_that_of_an_op(self) -> None:
        op = {"ot": "node.insert", "key": "", "path": "children", "value": {"key": "n"}, "ts": 3}
        raw = {"id": "=site:1", "client": "=site", "clock": {"=site": 1}, "lt": 1, "ts": 5, "ops": [op]}
        [told] = canonical_message(raw, is_from_server=True).ops
        assert told.ts == 3
        [told] = canonical_message({**raw, "id": "al:1", "client": "al", "clock": {"al": 1}}).ops
        assert told.ts is UNSET


LARGE = 2**53 - 1


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([("set", [1, 2.0, LARGE])], [1, 2.0, LARGE]),
        ([("set", [1, 2, 2**53])], [1, 2, 2.0**53]),
        ([("set", [LARGE, 1, -LARGE]), ("add", [1, 1, -1])], [2.0**53, 2, -(2.0**53)]),
        ([("set", [1e308, 1, 1]), ("add", [1e308, 1, 1])], [1e308, 1, 1]),
        *[([("set", [7, 7, 7]), (verb, odd)], [7, 7, 7])
          for verb in ("set", "add")
          for odd in ([1, True, 2], [1, "x", 2], [2**53, None, 2], [2**53, 1, "x"], [1, 2], [1, 2, 3, 4],
                      [float("inf"), 1, 2], [1, 2, float("nan")], "abc", None, 7, UNSET)],
    ],
)  # fmt: skip
def test_the_components_of_a_vector_are_numbers_as_they_are_stored(
    ops: list[tuple[str, Any]], expected: list[float]
) -> None:
    """N1, N2, N3, P3: an integer while it is exact, then a double; and nothing raises."""
    al = Author("al")
    messages = [al(lt, prop(f"vector3.{verb}", "v", operand)) for lt, (verb, operand) in enumerate(ops, 2)]
    found = value(converged(al(1, insert("n")), *messages), "v")
    assert (found, [type(each) for each in found]) == (expected, [type(each) for each in expected])


def test_a_removal_and_a_move_before_the_first_insert_have_no_effect() -> None:
    """T9: though they arrive after it, and though they would wait for nothing."""
    al, bo, cy = Author("al"), Author("bo"), Author("cy")
    early = [bo(1, remove("n")), cy(2, move("n", "p")), bo(3, remove("n", "q"), move("n", "q"))]
    graph = converged(*early)
    assert (graph.node_count, graph.waiting_count) == (0, 0)
    made = al(4, insert("p"), insert("q"), insert("n", "p"), move("n", "q"), insert("n", "p", x=1))
    graph = converged(*early, made)
    assert (node(graph).deleted, node(graph).parent, node(graph).properties) == (False, "q", {})
    applied = [graph_of([made]).apply(message) for message in early]
    assert [(each.is_new, each.relay) for each in applied] == [(True, None)] * 3


def test_a_move_that_comes_late_is_followed_past_an_undone_one_of_its_node() -> None:
    """T4: as far as the next one that counts, what stands behind it may be a cycle now."""
    al, bo, cy = Author("al"), Author("bo"), Author("cy")
    made, undone = al(1, insert("a"), insert("b")), al(3, move("a", ""))
    rest = [bo(4, move("b", "a")), al(5, undo("al:3"))]
    graph = converged(made, undone, *rest, cy(2, move("a", "b")))
    assert (node(graph, "a").parent, node(graph, "b").parent) == ("b", "")


def test_a_string_has_its_characters_once_however_much_typing_was_undone() -> None:
    """X6."""
    al, bo = Author("al"), Author("bo")
    made, taken_back = al(1, insert("n", t="plain")), al(2, typed("al:0", "=al:1/0:4", "?"), undo("al:2"))
    more = al(3, typed("al:1", "=al:1/0:4", "?"))
    graph = converged(made, taken_back, more, al(4, undo("al:3")), bo(5, typed("bo:0", "=al:1/0:4", "!")))
    assert value(graph, "t") == "plain!"


@pytest.mark.parametrize("cut", [2, 1, 0, -1])
def test_a_cut_at_or_below_the_one_in_force_changes_nothing(cut: int) -> None:
    """K4."""
    al, bo = Author("al"), Author("bo")
    messages: list[Message | int] = [al(1, insert("n", x=1)), al(2, prop("number.add", "x", 1)), 2,
                                     bo(3, prop("number.add", "x", 1)), bo(1, prop("number.add", "x", 1))]  # fmt: skip
    graph = graph_of(journalled(messages))
    before, snapshot = graph.full_digest(), Graph.restore(graph.snapshot()).full_digest()
    applied = graph.apply(msgspec.structs.replace(cut_record("=cut/6", cut, 0), server_seq=6))
    assert (applied.is_new, applied.changed, applied.relay) == (False, frozenset(), None)
    assert (graph.cut, graph.retained_count, graph.head_seq) == (2, 1, 6)
    assert (graph.full_digest(), Graph.restore(graph.snapshot()).full_digest()) == (before, snapshot)


def test_of_late_undos_the_one_with_the_highest_stamp_counts_whichever_was_journalled_last() -> None:
    """U1."""
    al, bo = Author("al"), Author("bo")
    made = [al(1, insert("n", x=0)), al(20, prop("number.add", "x", 1)), bo(9), 9]
    graph = graph_of(journalled([*made, al(5, undo("al:20")), al(4, redo("al:20"))]))
    assert (value(graph, "x"), graph.is_undone("al:20")) == (0, True)


def test_before_the_first_cut_lamport_time_0_is_late() -> None:
    """K1, K2: of two messages the one that was journalled first stands first."""
    al, bo = Author("al"), Author("bo")
    graph = graph_of(
        journalled([bo(0, insert("n", "of-bo")), al(0, insert("n", "of-al")), al(1, undo("bo:0"), auth=True)])
    )
    assert (node(graph).parent, graph.retained_count) == ("of-bo", 1)
    assert graph.refusal(al(2, undo("al:0"))) == "too-late"


def test_late_messages_that_are_not_journalled_stand_last_by_client_and_id() -> None:
    """K2, U3: what is said of them by others that are not does not count."""
    al, bo, cy = Author("al"), Author("bo"), Author("cy")
    graph = graph_of(journalled([al(9, insert("n", x="")), 9, cy(3, prop("string.concat", "x", "1"))]))
    heard = [
        bo(1, prop("string.concat", "x", "3")),
        al(4, prop("string.concat", "x", "2")),
        bo(10, undo("bo:1")),
    ]
    for order in orders_of(heard):
        told = Graph.restore(graph.snapshot())
        for message in order:
            told.apply(message)
        assert value(told, "x") == "123"


def test_a_late_set_wins_over_the_values_a_node_began_with_and_over_sums_whatever_their_stamps() -> None:
    """K3."""
    al, bo = Author("al"), Author("bo")
    made = al(5, insert("n", x=1, y=1, z=1))
    more = al(6, prop("number.add", "y", 1), prop("number.set", "z", 2))
    late = bo(2, prop("number.set", "x", 9), prop("number.set", "y", 9), prop("number.set", "z", 9))
    graph = graph_of(journalled([made, more, 6, late]))
    assert node(graph).properties == {"x": 9, "y": 9, "z": 2}


def test_the_root_may_be_a_node_whose_insert_would_have_cycled() -> None:
    """T4, T10."""
    graph = converged(Author("al")(1, insert("a", "b"), insert("b", "a")), Author("bo")(2, insert("c")))
    assert (graph.flat()["root"], node(graph, "b").parent, node(graph, "a").parent) == ("b", "", "b")


def test_the_first_characters_of_an_init_have_seq_1() -> None:
    """X5, X3: what is typed at the start with the same seq, but earlier, stands before them; with seq 0 behind."""
    al, bo = Author("al"), Author("bo")
    graph = converged(al(1, insert("n"), Op("text.init", "n", "t", "b"), ts=5),
                      bo(2, typed("bo:0", None, "a", seq=1, ts=4), typed("bo:1", None, "c", seq=0, ts=3)))  # fmt: skip
    assert value(graph, "t") == "abc"


def test_an_insert_of_nothing_and_a_deletion_of_nothing_known_make_no_text() -> None:
    """X4, X1: so a plain operation behind them has an effect."""
    al, bo = Author("al"), Author("bo")
    without = bo(2, typed("bo:0", None, ""), erased(("bo:0", 2), ("=al:1/0:9", 1)))
    graph = converged(al(1, insert("n", t="a")), without, al(3, prop("string.concat", "t", "b")))
    assert value(graph, "t") == "ab"


def test_a_snapshot_knows_nothing_of_what_is_not_journalled() -> None:
    """K5."""
    al, bo = Author("al"), Author("bo")
    messages: list[Message | int] = [al(1, insert("n", x=1)), al(2, prop("number.add", "x", 1)), 1,
                                     bo(3, prop("number.add", "x", 1))]  # fmt: skip
    graph = graph_of(journalled(messages))
    before = Graph.restore(graph.snapshot()).full_digest()
    for author, lt in ((al, 4), (bo, 5), (Author("carol"), 6)):
        graph.apply(author(lt, prop("number.add", "x", 1)))
    assert graph.pending_count == 3
    assert Graph.restore(graph.snapshot()).full_digest() == before


def test_a_reset_forgets_what_is_not_journalled_and_its_counters() -> None:
    """E1: so everybody has the same clock behind it."""
    al, bo = Author("al"), Author("bo")
    journal = list(journalled([al(1, insert("n"))]))
    reset = msgspec.structs.replace(reset_record("=server:2", Epoch(1, 9), 0), server_seq=2)
    graph, other = graph_of(journal), graph_of(journal)
    for message in (al(20, insert("m")), bo(21, insert("o"))):
        graph.apply(message)
    for replica in (graph, other):
        replica.apply(reset)
    assert graph.full_digest() == other.full_digest()
    assert (graph.clock, graph.lt) == ({"al": 1}, 9)
