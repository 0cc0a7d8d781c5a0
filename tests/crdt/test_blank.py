"""Rules B1 to B5: what nobody can see any more goes, and no later merge tells the difference."""

import random
from typing import Any

import msgspec
import pytest

from tests.crdt.history import Writer
from tests.journal.history import insert, message, put
from vuer_rtc.crdt.blank import BLANK, BLANK_ASTRAL, Authorship, Blanked, blanked, emptying_ops, left_count
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.layout import decode_content
from vuer_rtc.crdt.message import Message, Op, cut_record, numbered
from vuer_rtc.crdt.text import Text

HISTORIES = 1500


def folded(*messages: Message) -> Graph:
    """Everything of these, folded away."""
    graph = Graph()
    for seq, item in enumerate(messages, 1):
        graph.apply(numbered(item, seq))
    fold(graph)
    return graph


def fold(graph: Graph) -> None:
    record = cut_record(f"=cut/{graph.head_seq}", max(graph.lt, 1), 0)
    graph.apply(numbered(record, graph.head_seq + 1))


def blank(graph: Graph, *clients: str) -> tuple[Graph, Blanked]:
    data, told = blanked(graph.snapshot(), Authorship(clients))
    return Graph.restore(data), told


def emptied(graph: Graph, *clients: str) -> Graph:
    """Another one, in which what the clients wrote is emptied."""
    other = Graph.restore(graph.snapshot())
    ops = list(emptying_ops(graph.snapshot(), Authorship(clients)))
    if ops:
        item = message(graph.lt + 1, *ops, client="=site", id="=site:1")
        other.apply(numbered(item, graph.head_seq + 1))
    return other


def text(id: str, anchor: str | None, content: str, seq: int) -> Op:
    return Op(ot="text.insert", key="n", path="t", value=[anchor, content], id=id, seq=seq, ts=seq)


def delete(*ranges: list[Any]) -> Op:
    return Op(ot="text.delete", key="n", path="t", rm=list(ranges))


def holds(graph: Graph, word: str) -> bool:
    return word.encode() in graph.snapshot() or word.encode() in msgspec.json.encode(graph.everything())


def test_random_histories_merge_on_alike_when_what_is_hidden_is_blank() -> None:
    met, former = Blanked(), 0
    for number in range(HISTORIES):
        rng = random.Random(f"blank/{number}")
        writer = Writer(rng)
        items = [writer.message() for _ in range(rng.randint(8, 20))]
        half = rng.randint(4, len(items) - 2)
        whole = folded(*items[:half])
        other, told = blank(whole)
        former += checked_former_texts(whole)
        met.characters, met.values = met.characters + told.characters, met.values + told.values
        assert other.digest() == whole.digest(), number
        for item in items[half:]:
            for graph in (whole, other):
                graph.apply(numbered(item, graph.head_seq + 1))
            assert other.digest() == whole.digest(), number
            shown = {key: view for key, view in whole.nodes().items() if not view.deleted}
            assert {key: view for key, view in other.nodes().items() if not view.deleted} == shown, number
        fold(whole)
        fold(other)
        assert blank(whole)[0].full_digest() == blank(other)[0].full_digest(), number
    assert met.characters > 300
    assert met.values > 300
    assert former > 30


def checked_former_texts(graph: Graph) -> int:
    """X2, X6: what is no text hides all its characters, so those that a text hides are all that is blanked; how many
    there were."""
    nodes = decode_content(graph.snapshot()).nodes.values()
    registers = [register for node in nodes for register in (node.registers or {}).values()]
    former = [each for each in registers if each.text is not None and not each.is_text]
    assert all(Text.decode(each.text).visible() == "" for each in former)
    return len(former)


def test_blanking_again_changes_nothing() -> None:
    graph, _ = blank(
        folded(message(1, insert("n", x=1)), message(2, put("n", "x", 2)), message(3, delete(["a:0", 1])))
    )
    again, told = blank(graph)
    assert told == Blanked()
    assert again.full_digest() == graph.full_digest()


def test_b1_deleted_text_keeps_its_ids_and_lengths_only() -> None:
    graph, told = blank(
        folded(
            message(1, insert("n")),
            message(2, text("ann:0", None, "s\uffff😀cret", 1)),
            message(3, delete(["ann:1", 6]), text("ann:7", "ann:0", "!", 2)),
        )
    )
    assert told.characters == 6
    assert not holds(graph, "cret")
    [items] = [rope["_tree"]["root"]["items"] for rope in graph.state(0).text_ropes["n"].values()]
    assert "".join(item["content"] for item in items) == f"s!{BLANK}{BLANK_ASTRAL}{BLANK * 4}"
    graph.apply(numbered(message(9, text("bob:0", "ann:3", "?", 9), client="bob"), graph.head_seq + 1))
    assert graph.nodes()["n"].properties["t"] == "s!?"


def test_b1_a_text_that_has_become_a_number_is_all_hidden() -> None:
    graph, told = blank(
        folded(
            message(1, insert("n")),
            message(2, text("ann:0", None, "secret", 1)),
            message(3, put("n", "t", 5)),
        )
    )
    assert told.characters == 6
    assert not holds(graph, "secret")


def test_b1_the_characters_of_a_string_stay_that_only_undone_typing_made_a_text() -> None:
    """X6: it stays a string, until an op that counts shows its characters."""
    graph, told = blank(
        folded(
            message(1, insert("n", t="before")),
            message(2, Op(ot="string.set", key="n", path="t", value="plain"), id="ann:2"),
            message(3, text("ann:0", "=ann:2/0:4", "secret", 1), id="ann:3"),
            message(4, Op(ot="meta.undo", key="_meta", path="_meta", target="ann:3")),
        )
    )
    assert told.characters == 6
    assert not holds(graph, "secret")
    graph.apply(numbered(message(9, text("bob:0", "=ann:2/0:4", "!", 9), client="bob"), graph.head_seq + 1))
    assert graph.nodes()["n"].properties == {"t": "plain!"}


def test_b2_what_a_node_began_with_and_no_longer_has_is_forgotten() -> None:
    graph, told = blank(
        folded(
            message(1, insert("n", note="secret", x=1)),
            message(2, Op(ot="string.set", key="n", path="note", value="ok")),
        )
    )
    assert told.values == 1
    assert not holds(graph, "secret")
    assert graph.nodes()["n"].properties == {"note": "ok", "x": 1}


def test_b3_removed_nodes_are_empty_whoever_made_them() -> None:
    remove = Op(ot="node.remove", key="", path="children", value="n")
    graph, told = blank(
        folded(
            message(1, insert("n", name="secret", note="secret"), insert("m", "n")),
            message(2, Op(ot="string.set", key="n", path="more", value="secret"), remove),
        )
    )
    assert told.values > 0
    assert not holds(graph, "secret")
    assert graph.nodes()["n"].deleted
    assert graph.nodes()["m"].hidden
    graph.apply(numbered(message(9, insert("n", x=1)), graph.head_seq + 1))
    assert graph.nodes()["n"].properties == {"x": 1}


def test_b4_what_waits_for_a_node_goes_with_its_author_only() -> None:
    ops = [Op(ot="string.set", key="later", path=path, value="secret") for path in ("a", "b")]
    graph, told = blank(folded(message(1, ops[0]), message(2, ops[1], client="bob")), "ann")
    assert told.waiting == 1
    graph.apply(numbered(message(9, insert("later"), client="bob"), graph.head_seq + 1))
    assert graph.nodes()["later"].properties == {"b": "secret"}


def test_b5_what_a_client_wrote_and_everybody_sees_can_be_emptied() -> None:
    graph = folded(
        message(1, insert("n", name="secret", tag="Mesh", flag=True, plain="secret")),
        message(2, text("bob:0", None, "bob", 1), client="bob"),
        message(
            3,
            text("ann:0", "bob:2", "secret", 2),
            Op(ot="object.set", key="n", path="o", value={"a": "secret"}),
        ),
        message(4, Op(ot="string.set", key="n", path="note", value="bob's"), put("n", "x", 7), client="bob"),
        message(
            5,
            Op(ot="text.insert", key="n", path="plain", value=[None, "bob "], id="bob:9", seq=3, ts=1),
            client="bob",
        ),
    )
    ops = list(emptying_ops(graph.snapshot(), Authorship({"ann"})))
    graph.apply(numbered(message(9, *ops, client="=site", id="=site:1"), graph.head_seq + 1))
    node = graph.nodes()["n"]
    assert (node.name, node.tag) == ("", "Mesh")
    assert node.properties == {"flag": False, "plain": "bob ", "t": "bob", "o": {}, "note": "bob's", "x": 7}
    fold(graph)
    assert not holds(blank(graph)[0], "secret")
    assert list(emptying_ops(graph.snapshot(), Authorship({"ann"}))) == []


@pytest.mark.parametrize("id", ["eve:2", "7b0d4f6e-11aa", "ann:x:2", "ann:2", "a/b"])
def test_b5_a_string_is_its_writers_whatever_the_message_is_called(id: str) -> None:
    value = Op(ot="string.set", key="n", path="t", value="secret")
    graph = folded(
        message(1, insert("n", t="before")),
        message(2, value, client="eve", id=id),
        message(3, text("ann:0", None, "A", 1)),
    )
    assert graph.nodes()["n"].properties["t"] == "Asecret"
    assert emptied(graph, "ann").nodes()["n"].properties["t"] == "secret"
    assert emptied(graph, "eve").nodes()["n"].properties["t"] == "A"


def test_b5_of_random_histories_what_is_left_when_everybodys_is_emptied_is_told() -> None:
    emptied_texts = left = 0
    for number in range(HISTORIES // 5):
        writer = Writer(random.Random(f"blank/empty/{number}"))
        graph = folded(*[writer.message() for _ in range(20)])
        emptied_texts += any(graph.state(0).text_ropes.values())
        other = emptied(graph, *graph.clock)
        shown = [
            value for view in other.nodes().values() if not view.deleted for value in view.properties.values()
        ]
        fold(other)
        told = left_count(other.snapshot(), Authorship(graph.clock))
        assert sum(type(value) is str and value != "" for value in shown) == told, number
        left += told
    assert emptied_texts > 50
    assert left > 0, "ids of characters that were given out again"


def test_b5_the_site_writes_for_everybody() -> None:
    graph = folded(
        message(1, insert("n", x=1)),
        *(
            message(lt, Op(ot="string.set", key="n", path=path, value=path), client="=site", id=id)
            for lt, (path, id) in enumerate(
                [("eve", "=site:1"), ("ann", "=site:2"), ("old", "=site:3"), ("back", "=restore:4")], 2
            )
        ),
    )
    eve = Authorship({"pad"}, {"=site:1": True, "=site:2": False, "=restore:4": True})
    assert [op.path for op in emptying_ops(graph.snapshot(), eve)] == ["eve"]
    assert left_count(graph.snapshot(), eve) == 3, "eve, old and back"
    assert list(emptying_ops(graph.snapshot(), Authorship({"=site"}))) == []
    assert left_count(graph.snapshot(), Authorship({"pad"})) == 1, "back"


def test_b5_what_others_have_added_to_is_counted_where_the_person_may_have_a_part_in_it() -> None:
    def op(ot: str, path: str, value: Any) -> Op:
        return Op(ot=ot, key="n", path=path, value=value)

    def by(client: str, lt: int, *ops: Op) -> Message:
        return message(lt, *ops, client=client)

    graph = folded(
        by("ann", 1, insert("n")),
        by("ann", 2, *(op("string.set", path, "a") for path in ("between", "own", "typed", "over"))),
        by("pad", 3, op("string.set", "first", "secret"), op("string.concat", "over", "secret")),
        by("pad", 4, op("string.concat", "between", "secret"), op("string.concat", "typed", "secret")),
        by("pad", 5, op("array.push", "list", "secret"), op("vector3.set", "at", [1, 0, 0])),
        by("ann", 6, *(op("string.concat", path, "!") for path in ("first", "between", "own", "typed"))),
        by("ann", 7, op("array.push", "list", "!"), op("vector3.add", "at", [1, 0, 0])),
        by("ann", 8, Op(
            ot="text.insert", key="n", path="typed", value=[None, "x"], id="ann:0", seq=1, ts=1
        ), op("string.set", "over", "b")),
    )  # fmt: skip
    data = graph.snapshot()
    added = {("n", path) for path in ("between", "typed", "list", "over")}
    assert list(emptying_ops(data, Authorship({"pad"}))) == []
    assert left_count(data, Authorship({"pad"}, added=added)) == 4, "first, between, typed, list"
    assert left_count(data, Authorship({"pad"})) == 1, "first: the value itself tells"
    assert left_count(data, Authorship({"pad"}, told_above=2)) == 5, "all but over and at: own as well"
    assert left_count(data, Authorship({"dan"})) == 0
