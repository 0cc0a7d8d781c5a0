"""R1 to R7: a document becomes what it was, by one message that merges and is undone like any other."""

import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from tests.crdt.fuzz import history_of
from tests.crdt.history import assert_equal, assert_equal_views, everything
from tests.crdt.oracle.graph import OracleGraph
from tests.crdt.scenario import (
    Author,
    converged,
    erased,
    graph_of,
    insert,
    move,
    node,
    prop,
    remove,
    typed,
    undo,
)
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import SITE_CLIENT, Message, Op
from vuer_rtc.crdt.restore import restoring_ops

HISTORIES = 1000


def site_message(graph: Graph, ops: list[Op], counter: int = 1) -> Message:
    """As an author of the site stamps it."""
    number = graph.clock.get(SITE_CLIENT, 0) + counter
    return Message(
        f"=site:{number}", SITE_CLIENT, {SITE_CLIENT: number}, graph.lt + counter, 1e9, ops, auth=True
    )


def undoing(message: Message) -> Message:
    op = Op("meta.undo", "_meta", "_meta", target=message.id)
    clock = {SITE_CLIENT: message.counter + 1}
    return Message(f"{message.id}/undo", SITE_CLIENT, clock, message.lt + 1, 1e9, [op], auth=True)


def shown(graph: Graph) -> dict[str, Any]:
    """Every node that is not a tombstone, as everybody sees it."""
    return {
        key: msgspec.structs.replace(view, lt=0, updated_at=0)
        for key, view in graph.nodes().items()
        if not view.deleted
    }


def root_of(graph: Graph) -> str:
    root: str = graph.state(0).graph["rootKey"]
    return root


def restored(messages: list[Message], kept: int, keys: set[str] | None = None) -> tuple[Graph, Message]:
    """All the messages, then the restore of what the first few made; in every order the same."""
    current = graph_of(messages)
    message = site_message(current, restoring_ops(current, graph_of(messages[:kept]), keys))
    return converged(*messages, message), message


def assert_restored(after: Graph, current: Graph, target: Graph) -> None:
    assert shown(after) == shown(target)
    if root_of(current):
        assert root_of(after) == root_of(current)
    elif (first := shown(target).get(root_of(target))) is not None and first.parent == "":
        assert root_of(after) == root_of(target)
    if root_of(after) == root_of(target):
        assert after.digest() == target.digest()


# One thing at a time


def scene() -> list[Message]:
    author = Author("al")
    return [author(1, insert("p")), author(2, insert("n", "p", x=1, s="ab")), author(3, insert("m", "p"))]


def test_what_was_removed_comes_back_and_what_is_new_goes() -> None:
    """R2."""
    author = Author("bo")
    messages = [
        *scene(),
        author(4, remove("n")),
        author(5, insert("new", "p")),
        author(6, insert("below", "n")),
    ]
    graph, message = restored(messages, 3)
    assert set(shown(graph)) == {"p", "n", "m"}
    assert node(graph).properties == {"x": 1, "s": "ab"}
    assert [op.ot for op in message.ops] == ["node.remove", "node.remove", "node.insert"]


def test_siblings_are_in_their_old_order_again() -> None:
    """R2: the order is by createdAt, which the message gives the nodes that it makes anew."""
    graph, message = restored([*scene(), Author("bo")(4, remove("n"))], 3)
    assert node(graph, "p").children == node(graph_of(scene()), "p").children
    assert message.ops[0].ts == scene()[1].ts


def test_a_property_that_was_not_there_goes_with_the_incarnation_that_has_it() -> None:
    """R3."""
    graph, message = restored([*scene(), Author("bo")(4, prop("number.set", "extra", 1))], 3)
    assert [op.ot for op in message.ops] == ["node.remove", "node.insert"]
    assert node(graph).properties == {"x": 1, "s": "ab"}


@pytest.mark.parametrize("value", [None, True, 2, 2.5, "s", [1, 2], [1, 2, 3], {"k": None}, [], {}, ""])
def test_a_property_of_any_kind_is_set(value: Any) -> None:
    """R2."""
    author = Author("bo")
    messages = [
        *scene(),
        author(4, prop("object.merge", ".", {"x": value})),
        author(5, prop("number.set", "x", 9)),
    ]
    graph, message = restored(messages, 4)
    assert [op.key for op in message.ops] == ["n"]
    assert node(graph).properties["x"] == value
    assert shown(graph)["n"] == shown(graph_of(messages[:4]))["n"]


def test_a_text_is_what_it_was_and_stays_one() -> None:
    """R2, X2."""
    author = Author("bo")
    messages = [
        *scene(),
        author(4, typed("bo:0", None, "Hello", path="s")),
        author(5, erased(("bo:1", 3), path="s")),
    ]
    graph, message = restored(messages, 4)
    assert [op.ot for op in message.ops] == ["string.set"]
    assert node(graph).properties["s"] == "Helloab"
    assert graph.state(0).text_ropes["n"]["s"]


def test_moves_come_in_an_order_in_which_none_makes_a_cycle() -> None:
    """R4: what was above is below now, through a tombstone and a parent that nobody knew."""
    author = Author("bo")
    before = [*scene(), author(4, move("m", "n"), remove("n")), author(5, insert("o", "unknown"))]
    after = [author(6, move("n", "")), author(7, move("m", "")), author(8, move("n", "m")), author(9, move("p", "n")),
             author(10, insert("unknown", "o"))]  # fmt: skip
    graph, _ = restored([*before, *after], len(before))
    assert {key: view.parent for key, view in shown(graph).items()} == {"p": "", "m": "n", "o": "unknown"}
    assert node(graph, "n").deleted
    assert node(graph, "n").parent == "p"
    assert node(graph, "m").hidden


def test_what_waits_for_a_node_does_not_change_the_one_that_comes_back() -> None:
    """R3, P2: the creation is undone, what was done to the node waits for it."""
    author = Author("al")
    first = [author(1, insert("n", x=1))]
    rest = [Author("bo")(2, prop("number.add", "x", 5)), author(3, undo("al:1"))]
    graph, message = restored([*first, *rest], 1)
    assert [op.ot for op in message.ops] == ["node.insert", "node.remove", "node.insert"]
    assert node(graph).properties == {"x": 1}


def test_the_root_key_is_kept_or_made_but_not_changed() -> None:
    """R5."""
    al, bo = Author("al"), Author("bo")
    graph, _ = restored([al(1, insert("b")), al(2, insert("a")), al(3, undo("al:1"), undo("al:2"))], 2)
    assert root_of(graph) == "b"
    graph, _ = restored([al(1, insert("a")), bo(2, insert("b")), al(3, undo("al:1"))], 2)
    assert root_of(graph) == "b"


def test_an_edit_that_comes_late_loses_to_the_values_and_joins_the_rest() -> None:
    """R1: who was offline during the restore is merged as after anybody's message."""
    messages = [*scene(), Author("bo")(4, prop("number.set", "x", 9))]
    _, message = restored(messages, 3)
    late = Author("cy")(4, prop("number.set", "x", 7), prop("number.set", "y", 7))
    graph = converged(*messages, message, late)
    assert node(graph).properties == {"x": 1, "s": "ab", "y": 7}


def test_undone_it_is_as_if_it_had_never_been() -> None:
    """R6."""
    messages = [*scene(), Author("bo")(4, remove("p"), prop("number.set", "extra", 1))]
    _, message = restored(messages, 3)
    graph = converged(*messages, message, undoing(message))
    assert graph.digest() == graph_of(messages).digest()


def test_only_the_nodes_asked_for_become_what_they_were() -> None:
    messages = [*scene(), Author("bo")(4, remove("n"), remove("m"))]
    graph, _ = restored(messages, 3, {"n", "stranger"})
    assert set(shown(graph)) == {"p", "n"}


def test_there_is_nothing_to_do_where_nothing_differs() -> None:
    assert restoring_ops(graph_of(scene()), graph_of(scene())) == []


# Random histories


def test_random_histories_are_restored_undone_and_converge() -> None:
    """R1 to R4: from any point to any earlier one; cuts, late messages and undone ones among them."""
    met: Counter[str] = Counter()
    for number in range(HISTORIES):
        live_through(f"restore/{number}", met)
    print(dict(met))
    assert all(met[what] for what in MUST_MEET), met


MUST_MEET = ("node.insert", "node.remove", "node.move", "string.set", "number.set", "same root")


def live_through(seed: str, met: Counter[str]) -> None:
    history, rng = history_of(seed), random.Random(seed)
    if not history.journal:
        history.journal = [
            ("message", i) for i in rng.sample(range(len(history.messages)), len(history.messages))
        ]
    records = [history.record(position) for position in range(len(history.journal))]
    target, current = graph_of(records[: rng.randint(0, len(records))]), graph_of(records)
    ops = restoring_ops(current, target)
    met.update(op.ot for op in ops)
    if not ops:
        assert shown(current) == shown(target), seed
        return
    before, root = current.digest(), root_of(current)
    message = msgspec.structs.replace(site_message(current, ops), server_seq=len(records) + 1)
    met["root kept"] += bool(root)
    engine, oracle = graph_of([*records, message]), oracle_of([*records, message])
    assert_restored(engine, current, target)
    met["same root"] += engine.digest() == target.digest()
    assert_equal(engine, oracle)
    assert restoring_ops(engine, target) == [], seed
    back = msgspec.structs.replace(undoing(message), server_seq=len(records) + 2)
    for replica in (engine, oracle):
        replica.apply(back)
    assert engine.digest() == before, seed
    assert_equal_views(engine, oracle)
    if all(kind == "message" for kind, _ in history.journal):
        shuffled = graph_of(rng.sample([*records, message, back], len(records) + 2))
        assert everything(shuffled) == everything(engine), seed


def test_what_comes_after_a_restore_merges_as_the_oracle_says() -> None:
    """R1, R6: the rest of a history, late and folded away or not, and then the undo."""
    met: Counter[str] = Counter()
    for number in range(HISTORIES):
        go_on_after(f"after/{number}", met)
    assert all(met[what] for what in ("late", "folded", "undone"))


def go_on_after(seed: str, met: Counter[str]) -> None:
    history, rng = history_of(seed), random.Random(seed)
    history.journal = history.journal or [("message", i) for i in range(len(history.messages))]
    records = [history.record(position) for position in range(len(history.journal))]
    middle = rng.randint(1, len(records))
    before, after = records[:middle], records[middle:]
    current = graph_of(before)
    ops = restoring_ops(current, graph_of(before[: rng.randint(0, middle)]))
    if not ops:
        return
    message = site_message(current, ops)
    journal = numbered([*before, message, *after])
    engine, oracle = Graph(), OracleGraph(is_terse=True)
    for record in journal:
        met["late"] += engine.apply(record).is_late and record.server_seq > middle
        oracle.apply(record)
    assert_equal(engine, oracle)
    if engine.message(message.id) is None:
        met["folded"] += 1
        return
    back = numbered([undoing(message)], len(journal) + 1)[0]
    back = msgspec.structs.replace(back, lt=engine.lt + 1)
    engine.apply(back)
    oracle.apply(back)
    assert_equal_views(engine, oracle)
    assert engine.digest() == graph_of(numbered([*before, *after])).digest(), seed
    met["undone"] += 1


def numbered(messages: list[Message], first_seq: int = 1) -> list[Message]:
    return [msgspec.structs.replace(one, server_seq=seq) for seq, one in enumerate(messages, first_seq)]


def oracle_of(messages: list[Message]) -> OracleGraph:
    oracle = OracleGraph(is_terse=True)
    for message in messages:
        oracle.apply(message)
    return oracle


@pytest.mark.parametrize("number", range(300))
def test_some_nodes_of_random_histories_are_restored(number: int) -> None:
    history, rng = history_of(f"some/{number}"), random.Random(number)
    target, current = graph_of(history.messages[: len(history.messages) // 2]), graph_of(history.messages)
    key = rng.choice("abcd")
    ops = restoring_ops(current, target, {key})
    after = graph_of([*history.messages, site_message(current, ops)]) if ops else current
    wanted, found = shown(target).get(key), shown(after).get(key)
    assert (wanted is None) == (found is None)
    if wanted is not None and found is not None:
        assert (found.properties, found.tag, found.name) == (wanted.properties, wanted.tag, wanted.name)
    others = {k: (v.properties, v.parent) for k, v in shown(current).items() if k != key}
    assert others == {k: (v.properties, v.parent) for k, v in shown(after).items() if k != key}
