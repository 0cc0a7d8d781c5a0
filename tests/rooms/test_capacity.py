"""What a document may grow to; rule L1."""

from typing import Any

import msgspec
import pytest

from rooms.capacity import Capacity
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, cut_record
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.limit import Limits

from .build import insert, message, put, undo


def graph_of(*messages: Message) -> Graph:
    graph = Graph()
    for seq, item in enumerate(messages, 1):
        graph.apply(msgspec.structs.replace(item, server_seq=seq))
    return graph


def typed(number: int, content: str, **fields: Any) -> Op:
    return Op("text.insert", "n", "t", [None, content], id=f"ann:{number}", seq=number + 1, ts=1, **fields)


def assert_refused(capacity: Capacity, *ops: Op, by: str, code: ErrorCode = ErrorCode.OVER_LIMIT) -> None:
    with pytest.raises(ClientFault) as fault:
        capacity.take(message("ann", 99, *ops))
    assert (fault.value.code, fault.value.message_id) == (code, "ann:99")
    assert by in str(fault.value)


def test_nodes_of_the_graph_and_of_the_batch_count() -> None:
    capacity = Capacity(graph_of(message("ann", 1, insert("a"))), Limits(nodes_max=3))
    capacity.take(message("ann", 2, insert("b"), insert("c")))
    assert_refused(capacity, insert("d"), by="as many nodes", code=ErrorCode.TOO_MANY_NODES)
    capacity.take(message("ann", 3, put("a")))


def test_clients_that_the_document_has_to_remember_are_bounded() -> None:
    """Each stays in its clock for ever, through cuts and resets: anybody may come under any number of names."""
    graph = graph_of(message("ann", 1, insert("n")))
    for same in (graph, folded(graph, 1)):
        capacity = Capacity(same, Limits(clients_max=2, document_bytes_max=0))
        for client in ("bob", "ann", "bob", "=site"):
            capacity.take(message(client, 2, remove("n")))
        with pytest.raises(ClientFault, match="clients_max is 2") as fault:
            capacity.take(message("cy", 1, remove("n")))
        assert (fault.value.code, fault.value.message_id) == (ErrorCode.OVER_LIMIT, "cy:1")


def test_who_is_refused_is_not_remembered() -> None:
    capacity = Capacity(graph_of(message("ann", 1, insert("n"))), Limits(clients_max=2, tree_depth_max=1))
    with pytest.raises(ClientFault):
        capacity.take(message("bob", 1, under("m", "n")))
    capacity.take(message("cy", 1, insert("m")))


def test_gaps_that_clients_leave_in_their_counters_are_bounded() -> None:
    """I2: each is remembered for ever; half a thousand a second by one who counts in twos."""
    graph = graph_of(message("ann", 1, insert("n")), *(message("ann", n, put("n")) for n in (3, 5)))
    folding = folded(graph, 5)
    assert (folding.gap_count, Graph.restore(folding.snapshot()).gap_count) == (2, 2)
    capacity = Capacity(folding, Limits(counter_gaps_max=2))
    for client, counter in (("ann", 6), ("bob", 1), ("ann", 7), ("ann", 4), ("bob", 2)):
        capacity.take(message(client, counter, put("n")))
    for client, counter in (("ann", 9), ("bob", 4), ("cy", 2)):
        with pytest.raises(ClientFault, match="counter_gaps_max is 2"):
            capacity.take(message(client, counter, put("n")))
    Capacity(folding, Limits(counter_gaps_max=3)).take(message("ann", 9, put("n")))
    for number in (2, 4):
        folding.apply(msgspec.structs.replace(message("ann", number, put("n")), server_seq=20 + number))
    assert folding.gap_count == 0


def test_a_gap_that_a_client_has_left_is_not_parted_in_more_than_there_may_be() -> None:
    """It counts on from one number far ahead, then downwards in twos."""
    graph = folded(graph_of(message("ann", 1, insert("n")), message("ann", 100, put("n"))), 100)
    capacity = Capacity(graph, Limits(counter_gaps_max=1))
    with pytest.raises(ClientFault, match="counter_gaps_max is 1"):
        capacity.take(message("ann", 50, put("n")))
    for counter in (2, 99, 101):
        capacity.take(message("ann", counter, put("n")))


def under(key: str, parent: str) -> Op:
    return Op("node.insert", parent, "children", {"key": key})


def move(key: str, parent: str) -> Op:
    return Op("node.move", "", "children", {"nodeKey": key, "newParent": parent})


def remove(key: str) -> Op:
    return Op("node.remove", "", "children", key)


def test_nothing_is_put_deeper_than_the_tree_may_be() -> None:
    graph = graph_of(message("ann", 1, insert("a"), under("b", "a"), insert("z"), under("y", "z")))
    for same in (graph, folded(graph, 1)):
        capacity = Capacity(same, Limits(tree_depth_max=3))
        capacity.take(message("ann", 2, under("c", "b"), insert("a"), move("z", "b")))
        for op in (under("d", "c"), move("a", "c"), under("x", "y"), move("b", "y"), under("a", "y")):
            assert_refused(capacity, op, by="tree_depth_max is 3")
        capacity.take(message("ann", 3, move("z", ""), under("x", "y"), under("w", "nowhere")))
        assert_refused(capacity, under("v", "x"), by="tree_depth_max is 3")
        assert_refused(capacity, move("y", "c"), under("u", "y"), by="tree_depth_max is 3")


def test_what_a_batch_puts_elsewhere_without_effect_is_not_reckoned_with() -> None:
    """Else a tower could grow within it, floor by floor."""
    graph = graph_of(message("ann", 1, insert("a"), under("b", "a"), under("c", "b"), insert("gone")))
    capacity = Capacity(graph, Limits(tree_depth_max=3))
    without_effect = insert("c"), move("a", "c"), move("c", "c"), insert("a"), move("ghost", "")
    for ops in ((insert("c"),), (remove("c"), insert("ghost")), (remove("c"), under("c", "b"), insert("c"))):
        assert_refused(capacity, *ops, under("d", "c"), by="tree_depth_max is 3")
    with pytest.raises(ClientFault):
        capacity.take(message("ann", 2, *without_effect, under("d", "c")))
    capacity.take(message("ann", 3, remove("c"), insert("c"), under("d", "c"), move("a", "b")))
    capacity.take(message("ann", 4, remove("gone"), under("gone", "d")))
    assert_refused(capacity, under("e", "gone"), by="tree_depth_max is 3")


def test_operations_on_nodes_that_are_not_there_wait_and_are_bounded() -> None:
    waiting = graph_of(message("ann", 1, put("ghost"), put("ghost", "y")), message("ann", 2, insert("a")))
    for graph in (waiting, folded(waiting, 2)):
        assert graph.waiting_count == 2
        capacity = Capacity(graph, Limits(waiting_ops_max=3))
        capacity.take(message("ann", 3, put("a"), insert("b"), put("b")))
        capacity.take(message("ann", 4, put("b"), put("ghost")))
        assert_refused(capacity, put("other"), by="waiting_ops_max is 3")
        capacity.take(message("ann", 5, put("a")))


def folded(graph: Graph, cut: int) -> Graph:
    """The same, from a snapshot behind a cut."""
    graph.apply(msgspec.structs.replace(cut_record("=cut", cut, 1), server_seq=9))
    return Graph.restore(graph.snapshot())


def test_a_text_is_bounded_with_what_was_deleted_of_it() -> None:
    deleted = Op("text.delete", "n", "t", rm=[["ann:0", 4]])
    graph = graph_of(
        message("ann", 1, insert("n")), message("ann", 2, typed(0, "abcdef")), message("ann", 3, deleted)
    )
    for same in (graph, folded(graph, 3)):
        assert same.text_size("n", "t") == 6
        capacity = Capacity(same, Limits(text_chars_max=10))
        assert_refused(capacity, typed(6, "12345"), by="text_chars_max is 10, the text would have 11")
        assert_refused(capacity, typed(6, "123"), typed(9, "45"), by="11")
        capacity.take(message("ann", 4, typed(6, "123")))
        capacity.take(message("ann", 5, typed(9, "4")))
        assert_refused(capacity, typed(10, "5"), by="11")
        capacity.take(message("ann", 6, deleted))


def test_strings_that_are_set_over_a_text_are_bounded_with_it() -> None:
    """X2: what they overwrite stays, hidden."""

    def upsert(**values: str) -> Op:
        return Op("node.upsert", "", "children", {"key": "n", **values})

    graph = graph_of(message("ann", 1, insert("n")), message("ann", 2, typed(0, "abcdef")))
    for same in (graph, folded(graph, 2)):
        for over in (Op("string.set", "n", "t", "12345"), Op("color.set", "n", "t", "12345"),
                     Op("object.merge", "n", ".", {"t": "12345"}), upsert(t="12345")):  # fmt: skip
            assert_refused(Capacity(same, Limits(text_chars_max=10)), over, by="the text would have 11")
        capacity = Capacity(same, Limits(text_chars_max=10))
        capacity.take(message("ann", 3, upsert(t="12", s="12345"), Op("number.set", "n", "t", 12345)))
        capacity.take(
            message("ann", 4, Op("string.set", "n", "t", "34"), Op("string.set", "n", "u", "x" * 9))
        )
        assert_refused(capacity, Op("string.set", "n", "t", "5"), by="the text would have 11")


def test_a_string_that_grows_is_bounded_like_a_text() -> None:
    graph = graph_of(message("ann", 1, insert("n"), Op("string.set", "n", "s", "abcd")))
    capacity = Capacity(graph, Limits(text_chars_max=7))
    capacity.take(message("ann", 2, Op("string.concat", "n", "s", "e", separator=", ")))
    assert_refused(capacity, Op("string.concat", "n", "s", "f"), by="text_chars_max is 7")


def test_what_is_refused_is_not_reckoned_with() -> None:
    capacity = Capacity(Graph(), Limits(nodes_max=1, text_chars_max=3))
    assert_refused(capacity, insert("n"), typed(0, "abcd"), by="text_chars_max")
    capacity.take(message("ann", 2, insert("n"), typed(0, "abc")))


def test_an_undone_text_counts_no_more_than_it_holds() -> None:
    """A claim that is taken back leaves its text."""
    undo = Op("meta.undo", "_meta", "_meta", target="ann:2")
    graph = graph_of(
        message("ann", 1, insert("n")), message("ann", 2, typed(0, "abc")), message("ann", 3, undo)
    )
    assert graph.text_size("n", "t") in (0, 3)


def test_a_list_that_grows_is_bounded_by_what_might_be_added() -> None:
    graph = graph_of(message("ann", 1, insert("n"), Op("array.set", "n", "a", [1, 2])))
    for same in (graph, folded(graph, 1)):
        assert same.member_count("n", "a") == 2
        capacity = Capacity(same, Limits(value_members_max=5))
        assert_refused(capacity, Op("array.union", "n", "a", [1, 2, 3, 4]), by="value_members_max is 5")
        capacity.take(message("ann", 2, Op("array.push", "n", "a", 3), Op("array.union", "n", "a", [3])))
        capacity.take(message("ann", 3, Op("array.push", "n", "a", 4)))
        assert_refused(capacity, Op("array.push", "n", "a", 5), by="could have 6")
        capacity.take(message("ann", 4, Op("array.remove", "n", "a", 1), Op("array.set", "n", "a", [])))


def test_a_map_that_grows_is_bounded_likewise_and_what_overwrites_it_makes_room() -> None:
    graph = graph_of(message("ann", 1, insert("n"), Op("object.set", "n", "o", {"a": 1, "b": 2})))
    merge = Op("object.merge", "n", "o", {"c": 3})
    assert_refused(Capacity(graph, Limits(value_members_max=2)), merge, by="value_members_max is 2")
    graph.apply(msgspec.structs.replace(message("ann", 2, Op("object.set", "n", "o", {})), server_seq=2))
    Capacity(graph, Limits(value_members_max=2)).take(message("ann", 3, merge))


def test_a_message_that_is_refused_for_its_size_takes_no_place_among_those_that_wait() -> None:
    capacity = Capacity(Graph(), Limits(waiting_ops_max=1, value_members_max=0))
    assert_refused(capacity, Op("array.push", "ghost", "a", 1), by="value_members_max")
    capacity.take(message("ann", 2, put("ghost")))


def sized(size: int) -> Op:
    return Op("string.set", "a", "note", "x" * size)


def test_a_document_that_is_full_takes_what_adds_nothing_to_it() -> None:
    point = Op("vector3.set", "a", "position", [1, 2, 3])
    graph = graph_of(message("ann", 1, insert("a"), point), message("ann", 2, sized(1000)))
    full = Limits(document_bytes_max=1500)
    Capacity(graph, full).take(message("ann", 3, sized(100)))
    for more in (sized(1001), Op("array.set", "a", "b", [1]), put("a", "new"), insert("c"), put("ghost"),
                 Op("string.concat", "a", "note", "x"), Op("object.merge", "a", ".", {"x": 1})):  # fmt: skip
        capacity = Capacity(graph, Limits(document_bytes_max=1000))
        assert_refused(capacity, more, by="document_bytes_max is 1000")
    removal = Op("node.remove", "", "children", "a")
    for same in (sized(1000), point, Op("vector3.add", "a", "position", [1, 1, 1]), undo("ann:1"), removal):
        Capacity(graph, Limits(document_bytes_max=1000)).take(message("ann", 3, same))


def test_a_document_that_is_full_takes_no_undo_of_what_it_does_not_have() -> None:
    """K5: such an undo stays in every snapshot."""
    capacity = Capacity(graph_of(message("ann", 1, insert("n"))), Limits(document_bytes_max=10))
    capacity.take(message("ann", 2, undo("ann:1")))
    assert_refused(capacity, undo("ann:9"), by="document_bytes_max is 10")


def test_a_document_that_is_full_takes_a_move_in_a_list() -> None:
    """It has no value: what it names are indices."""
    graph = graph_of(message("ann", 1, insert("n")), message("ann", 2, Op("array.set", "n", "a", [1, 2])))
    swap = Op("array.move", "n", "a", from_=0, to=1)
    Capacity(graph, Limits(document_bytes_max=10)).take(message("ann", 3, swap))


@pytest.mark.parametrize("is_undone", [False, True], ids=["a text", "only the places of one"])
def test_a_document_that_is_full_takes_nothing_over_a_text(is_undone: bool) -> None:
    """X2, X6: the characters of a text stay, whatever is set over it."""
    last = undo("ann:2") if is_undone else put("n")
    graph = graph_of(
        message("ann", 1, insert("n")), message("ann", 2, typed(0, "ab")), message("ann", 3, last)
    )
    for ot, value in (("string.set", "x"), ("number.set", 1), ("number.add", 1)):
        capacity = Capacity(graph, Limits(document_bytes_max=10))
        assert_refused(capacity, Op(ot, "n", "t", value), by="document_bytes_max is 10")


def test_what_waits_in_the_same_batch_makes_a_document_full() -> None:
    capacity = Capacity(graph_of(message("ann", 1, insert("a"))), Limits(document_bytes_max=1500))
    capacity.take(message("ann", 2, sized(1000)))
    assert_refused(capacity, Op("string.set", "a", "other", "x" * 500), by="document_bytes_max is 1500")
    capacity.take(message("ann", 3, put("a", "small")))


def test_what_was_overwritten_counts_until_the_next_snapshot() -> None:
    graph = graph_of(message("ann", 1, insert("a")), *(message("ann", n, sized(1000)) for n in range(2, 9)))
    more = message("ann", 99, Op("string.set", "a", "other", "x" * 500))
    limits = Limits(document_bytes_max=2500)
    graph.apply(msgspec.structs.replace(cut_record("=cut", 8, 1), server_seq=9))
    with pytest.raises(ClientFault):
        Capacity(graph, limits).take(more)
    for _ in graph.snapshot_parts(100):
        pass
    Capacity(graph, limits).take(more)
    Capacity(Graph.restore(graph.snapshot()), limits).take(more)


def test_what_unions_and_removals_of_a_message_look_at_is_bounded() -> None:
    """L1: wherever the list comes from."""

    def made(key: str, a: list[int]) -> Op:
        return Op("node.insert", "", "children", {"key": key, "a": a})

    graph = graph_of(message("ann", 1, made("n", a=list(range(10)))))
    union, removal = Op("array.union", "n", "a", [1, 2]), Op("array.remove", "n", "a", 1)
    capacity = Capacity(graph, Limits(compared_members_max=34))
    capacity.take(message("ann", 2, union, removal, union))
    assert_refused(capacity, union, removal, union, removal, by="compared_members_max is 34")
    grown = Op("array.set", "n", "a", list(range(20)))
    assert_refused(capacity, grown, removal, removal, by="would look at 40")
    assert_refused(capacity, made("m", a=[1] * 35), Op("array.remove", "m", "a", 1), by="look at 35")
    capacity.take(message("ann", 3, made("o", a=[1] * 34), Op("array.remove", "o", "a", 1)))
