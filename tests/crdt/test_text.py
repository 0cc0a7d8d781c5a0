"""The text against the plain rope of the oracle: the same characters, whatever arrives in whatever order (X1 to X7)."""

import gc
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crdt.oracle.rope import Char, PlainRope
from vuer_rtc.crdt import text as text_module
from vuer_rtc.crdt import text_author, text_restore, text_sibling, text_tree
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.text_run import Run, encode_runs


@dataclass
class TextOp:
    """One op of a history; its place in the list is its place in total order."""

    order: tuple[int]
    kind: str
    agent: str = ""
    number: int = 0
    anchor: str | None = None
    content: str = ""
    seq: int | float = 0
    ts: int | float = 0
    ranges: Any = field(default_factory=list)
    is_undone: bool = False


def fold_plain(ops: list[TextOp]) -> PlainRope:
    """What `ops` mean: applied to the plain rope in total order."""
    rope = PlainRope()
    for op in sorted(ops, key=lambda op: op.order):
        if op.kind == "hide":
            rope.hide_all()
        if op.kind in ("delete", "replace"):
            rope.delete(op.ranges, dry=op.is_undone)
        if op.kind in ("insert", "replace"):
            where = None if op.anchor is None else rope.latest(op.anchor)
            if op.anchor is None or where is not None:
                rope.place(op.agent, op.number, op.content, where, op.seq, op.ts, is_counted=not op.is_undone)
    return rope


class Replica:
    """A text to which ops are applied as they arrive, the way its docstring says."""

    def __init__(self) -> None:
        self.text = Text()
        self.ops: list[TextOp] = []
        self.refolds = 0

    def receive(self, op: TextOp) -> None:
        self.ops.append(op)
        writes = op.kind in ("insert", "replace")
        if writes and self.text.needs_refold(op.order, op.agent, op.number, len(op.content)):
            self.refolds += 1
            self._refold()
        else:
            self._apply(op)

    def _refold(self) -> None:
        self.text = Text()
        for op in sorted(self.ops, key=lambda op: op.order):
            self._apply(op)

    def undo(self, op: TextOp) -> None:
        """Undo `op`, or redo it when it is undone."""
        op.is_undone = not op.is_undone
        if op in self.ops:
            self._refold()

    def _apply(self, op: TextOp) -> None:
        if op.kind == "hide":
            self.text.hide_all(order=op.order)
        if op.kind in ("delete", "replace"):
            self.text.delete(op.ranges, order=op.order, dry=op.is_undone)
        if op.kind in ("insert", "replace"):
            where = None if op.anchor is None else self.text.latest(op.anchor, before=op.order)
            if op.anchor is None or where is not None:
                counted = not op.is_undone
                place = self.text.place
                place(
                    op.agent, op.number, op.content, where, op.seq, op.ts, is_counted=counted, order=op.order
                )


def plain_runs(rope: PlainRope) -> Iterator[Run]:
    """The plain rope, a run for each character."""
    depths: dict[int, int] = {}
    for char in rope.document():
        depth = depths[id(char)] = 0 if char.anchor is None else depths[id(char.anchor)] + 1
        claims = rope.by_agent[char.agent][char.number]
        layer = next(at for at, claim in enumerate(claims) if claim is char)
        is_latest = layer == len(claims) - 1
        yield Run(char.agent, char.number, depth, char.content, char.seq, char.ts, char.is_deleted, char.is_counted,
                  layer, is_latest)  # fmt: skip


def each_character(runs: Iterator[Run]) -> list[tuple[Any, ...]]:
    return [
        (run.agent, run.number + at, run.depth + at, content, *run[4:])
        for run in runs
        for at, content in enumerate(run.content)
    ]


def published_id(rope: PlainRope, char: Char) -> str:
    claims = rope.by_agent[char.agent][char.number]
    text_id = f"{char.agent}:{char.number}"
    layer = next(at for at, claim in enumerate(claims) if claim is char)
    return text_id if layer == len(claims) - 1 else f"=earlier/{layer}/{text_id}"


def published_characters(items: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Items character by character, as a published client reads them: each anchored at the one before."""
    characters = []
    for item in items:
        prefix, _, number = item["id"].rpartition(":")
        anchor = item["anchor"]
        for offset, content in enumerate(item["content"]):
            text_id = f"{prefix}:{int(number) + offset}"
            characters.append((text_id, content, item["isDeleted"], anchor, item["seq"], item["ts"]))
            anchor = text_id
    return characters


def assert_same_published(text: Text, rope: PlainRope) -> None:
    assert published_characters(text.published()["_tree"]["root"]["items"]) == [
        (
            published_id(rope, char),
            char.content,
            char.is_deleted or not char.is_counted,
            published_id(rope, char.anchor) if char.anchor else None,
            char.seq,
            char.ts,
        )
        for char in rope.document()
    ]


def shown(rope: PlainRope) -> list[Char]:
    return [char for char in rope.document() if char.is_counted and not char.is_deleted]


def assert_same(text: Text, rope: PlainRope) -> None:
    """Every character, its place, its state; what is visible; the rows of a snapshot; what can be asked."""
    assert each_character(text.runs()) == [tuple(run) for run in plain_runs(rope)]
    assert text.visible() == rope.visible()
    assert text.length == len(rope.visible())
    assert text.encode() == encode_runs(plain_runs(rope))
    assert text.highest_seq() == rope.highest_seq()
    for agent in "abc":
        assert text.has_counted(agent) == rope.has_counted(agent)


def assert_positions(text: Text, rope: PlainRope, randomness: random.Random) -> None:
    chars = shown(rope)
    for position in (-1, 0, len(chars), len(chars) + 3, randomness.randint(0, len(chars))):
        before = chars[: max(position, 0)][-1:]
        assert text.anchor_at(position) == (f"{before[0].agent}:{before[0].number}" if before else None)
        length = randomness.randint(0, 6)
        named = [
            (agent, int(number) + at)
            for text_id, count in text.ranges_at(position, length)
            for agent, _, number in [text_id.rpartition(":")]
            for at in range(count)
        ]
        assert named == [
            (char.agent, char.number) for char in chars[max(position, 0) : max(position, 0) + length]
        ]


SEQS = [0, 1, 1, 2, 2, 3, 5, -1, 2.5, -7.25, 1e300, 2**60]


def random_history(randomness: random.Random, length: int, agents: str = "abc") -> list[TextOp]:
    """Ops that collide: few agents, few ids, any `seq`, ids re-used and unknown."""
    ops: list[TextOp] = []
    tops = dict.fromkeys(agents, 0)
    seq, is_wild = 0, randomness.random() < 0.5
    for place in range(length):
        agent = randomness.choice(agents)
        kind = randomness.choices(["insert", "type", "delete", "replace", "hide"], [40, 25, 20, 8, 1])[0]
        number = randomness.choice([tops[agent]] * 8 + [randomness.randint(0, tops[agent] + 2)])
        seq = randomness.choice(SEQS) if is_wild else seq + randomness.choice([0, 1, 1, 1])
        ranges = [
            [random_id(randomness, tops), randomness.randint(-1, 5)] for _ in range(randomness.randint(0, 3))
        ]
        content = "".join(randomness.choices("xyz𝄞", k=randomness.choice([1, 1, 2, 5])))
        anchor = random_id(randomness, tops) if randomness.random() < 0.9 else None
        if kind == "type":
            kind, content = "insert", randomness.choice("uvw")
            anchor = f"{agent}:{number - 1}" if number else None
        op = TextOp((place,), kind, agent, number, anchor, content, seq, randomness.randint(0, 3), ranges)
        op.is_undone = randomness.random() < 0.1
        if kind in ("insert", "replace"):
            tops[agent] = max(tops[agent], number + len(content))
        ops.append(op)
    return ops


def random_id(randomness: random.Random, tops: dict[str, int]) -> str:
    agent = randomness.choice(list(tops))
    return f"{agent}:{randomness.randint(0, tops[agent] + (randomness.random() < 0.1))}"


def check_history(seed: int, length: int) -> int:
    """One history in order, out of order, with undo and redo on the way; returns how often a replica folded anew."""
    randomness = random.Random(seed)
    ops = random_history(randomness, length)
    in_order, shuffled = Replica(), Replica()
    for op in ops:
        in_order.receive(op)
    assert_same(in_order.text, fold_plain(ops))
    assert in_order.refolds == 0
    late = list(ops)
    for _ in range(randomness.choice([1, 3, 3 * length])):
        a = randomness.randrange(length)
        b = min(length - 1, a + randomness.randint(0, 8))
        late[a], late[b] = late[b], late[a]
    for arrived, op in enumerate(late):
        shuffled.receive(op)
        for other in randomness.sample(late[: arrived + 1], k=min(2, arrived)):
            if other.kind != "hide" and randomness.random() < 0.3:
                shuffled.undo(other)
        if randomness.random() < 0.2:
            assert_same(shuffled.text, fold_plain(late[: arrived + 1]))
    rope = fold_plain(ops)
    assert_same(shuffled.text, rope)
    assert_positions(shuffled.text, rope, randomness)
    assert_same_published(shuffled.text, rope)
    assert_kept(ops, randomness)
    return shuffled.refolds


def assert_kept(ops: list[TextOp], randomness: random.Random) -> None:
    """A text that is encoded and decoded anywhere goes on as if it had not been."""
    split = randomness.randint(0, len(ops))
    replica = Replica()
    for op in ops[:split]:
        replica.receive(op)
    kept = Text.decode(replica.text.encode())
    assert kept.encode() == replica.text.encode()
    assert each_character(kept.runs()) == each_character(replica.text.runs())
    assert kept.visible() == replica.text.visible()
    replica.text = kept
    for op in ops[split:]:
        replica.receive(op)
    assert replica.refolds == 0
    assert_same(replica.text, fold_plain(ops))


FUZZ_HISTORIES = int(os.environ.get("VUER_RTC_TEXT_FUZZ", "600"))


@pytest.mark.parametrize("is_small", [False, True], ids=["usual-bounds", "tiny-bounds"])
def test_any_history_in_any_order_equals_the_plain_rope(
    is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X3, X4, X6: wild `seq` and `ts`, ids re-used and unknown, undo and redo, late arrival, encoding on the way."""
    if is_small:  # so that short histories meet full branches, full pages, long spans and many siblings
        for module, name, value in TINY_BOUNDS:
            monkeypatch.setattr(module, name, value)
    refolds = sum(check_history(seed, 1 + seed % 60) for seed in range(FUZZ_HISTORIES))
    assert refolds > FUZZ_HISTORIES // 4


TINY_BOUNDS = [
    (text_tree, "FANOUT_MAX", 4),
    (text_sibling, "HOPS_MAX", 1),
    (text_author, "PAGE_LENGTH_MAX", 4),
    (text_module, "SPAN_LENGTH_MAX", 3),
    (text_restore, "SPAN_LENGTH_MAX", 3),
]

numbers = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.just(2**53 - 1))
ids = st.one_of(
    st.builds("{}:{}".format, st.sampled_from("abc"), st.integers(0, 6)), st.sampled_from(["a", ":", "a:01"])
)
text_ops = st.builds(
    TextOp,
    order=st.just((0,)),
    kind=st.sampled_from(["insert", "insert", "insert", "delete", "replace", "hide"]),
    agent=st.sampled_from("abc"),
    number=st.integers(0, 6),
    anchor=st.none() | ids,
    content=st.text("xyz", min_size=1, max_size=4),
    seq=numbers,
    ts=numbers,
    ranges=st.lists(st.tuples(ids, st.integers(-1, 9)).map(list), max_size=3),
    is_undone=st.booleans(),
)


@given(ops=st.lists(text_ops, max_size=12), randomness=st.randoms(use_true_random=False))
def test_ops_of_any_form_in_any_order_equal_the_plain_rope(
    ops: list[TextOp], randomness: random.Random
) -> None:
    for place, op in enumerate(ops):
        op.order = (place,)
    late = list(ops)
    randomness.shuffle(late)
    replica = Replica()
    for op in late:
        replica.receive(op)
    assert_same(replica.text, fold_plain(ops))


@given(value=st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_ranges_of_any_form_do_not_raise(value: Any) -> None:
    """O4."""
    text = Text()
    text.place("a", 0, "abc", None, 1, 1, order=(1,))
    text.delete(value, order=(2,))
    text.latest(value, before=(3,))
    assert set(text.visible()) <= set("abc")


def test_one_character_claims_typed_in_a_row_are_one_row() -> None:
    """The snapshot of typed text stays small: `seq` rises by one, each character keeps its `ts`."""
    text = Text()
    for number, character in enumerate("typed"):
        anchor = text.latest(f"a:{number - 1}") if number else None
        text.place("a", number, character, anchor, number + 1, 10 * number)
    assert text.encode() == [["a"], [[[0, 0, 0], "typed", 1, [0, 10, 20, 30, 40]]]]
    assert list(Text.decode(text.encode()).runs()) == list(text.runs())


def typed_on(text: Text, agent: str, number: int, length: int, seq: int, ts_step: int = 7) -> None:
    """Characters one by one, each behind the one before."""
    for at in range(number, number + length):
        anchor = text.latest(f"{agent}:{at - 1}") if at else None
        text.place(agent, at, "abcdefg"[at % 7], anchor, seq + at - number, (at - number) * ts_step % 50)


@pytest.mark.parametrize(
    ("claims", "rows"),
    [
        ([("a", 1, 5), ("b", 2, 6), ("cd", 3, 7)], [[[0, 0, 0], "ab", 1, [5, 6]], [None, "cd", 3, 7]]),
        ([("a", 1, 5), ("bc", 2, 6)], [[[0, 0, 0], "a", 1, 5], [None, "bc", 2, 6]]),
        ([("ab", 1, 5), ("c", 3, 6)], [[[0, 0, 0], "ab", 1, 5], [None, "c", 3, 6]]),
        ([("ab", 1, 5), ("cd", 3, 6)], [[[0, 0, 0], "ab", 1, 5], [None, "cd", 3, 6]]),
        ([("ab", 1, 5), ("cd", 1, 5)], [[[0, 0, 0], "abcd", 1, 5]]),
        ([("ab", 1, 5), ("cd", 1, 6)], [[[0, 0, 0], "ab", 1, 5], [None, "cd", 1, 6]]),
        ([("a", 1, 5), ("b", 3, 6)], [[[0, 0, 0], "a", 1, 5], [None, "b", 3, 6]]),
    ],
)
def test_claims_share_a_row_where_a_row_tells_both(claims: list[tuple[str, int, int]], rows: Any) -> None:
    """K5: one `seq` and `ts` for all of it, or one more `seq` and a `ts` for each character."""
    text, number = Text(), 0
    for content, seq, ts in claims:
        text.place("x", number, content, text.latest(f"x:{number - 1}") if number else None, seq, ts)
        number += len(content)
    assert text.encode() == [["x"], rows]
    kept = Text.decode(text.encode())
    assert each_character(kept.runs()) == each_character(text.runs())
    assert kept.highest_seq() == max(seq for _, seq, _ in claims)


def test_of_a_row_each_stretch_that_deletes_hide_is_told() -> None:
    text = Text()
    text.place("a", 0, "abcdef", None, 1, 1, order=(1,))
    text.delete([["a:0", 1], ["a:2", 1], ["a:3", 1], ["a:5", 1]], order=(2,))
    assert text.encode() == [["a"], [[[0, 0, 0], "abcdef", 1, 1, [[0, 1], [2, 2], [5, 1]]]]]
    assert Text.decode(text.encode()).visible() == "be"


@pytest.mark.parametrize("seq", [1, 2])
@pytest.mark.parametrize(
    "second",
    [("a", 2, "a:1"), ("a", 5, "a:1"), ("a", 2, "a:0"), ("a", 2, None), ("b", 2, "a:1"), ("b", 0, None)],
)
def test_a_published_item_goes_on_only_with_the_next_number_below_the_last(
    second: tuple[str, int, str | None], seq: int
) -> None:
    """X3."""
    text, rope = Text(), PlainRope()
    agent, number, anchor = second
    for each in (text, rope):
        each.place("a", 0, "ab", None, 1, 1)
        each.place(agent, number, "cd", each.latest(anchor) if anchor else None, seq, 1)
    assert_same(text, rope)
    assert_same_published(text, rope)


@pytest.mark.parametrize(
    "row", [[[0, 0, 0], "", 1, 1], [[0, 0, 0], "ab", 1, [1]], [[0, 0, 0], "a", 1, [1, 2]]]
)
def test_rows_that_do_not_fit_their_characters_are_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Text.decode([["a"], [row]])


LENGTHS = [1, 2, 255, 256, 257, 512, 600]


@pytest.mark.parametrize("is_reused", [False, True])
@pytest.mark.parametrize("second", LENGTHS)
@pytest.mark.parametrize("first", LENGTHS)
def test_long_rows_become_the_text_they_were_made_of(first: int, second: int, is_reused: bool) -> None:
    """K5, X4: typed, pasted and typed again, in spans of any length, some of it deleted, ids given out again."""
    text = Text()
    typed_on(text, "a", 0, first, 20)
    text.place("a", first, "p" * second, text.latest(f"a:{first - 1}"), 3, 3)
    typed_on(text, "a", first + second, second, 5)
    if is_reused:
        for seq in (1, 2):
            text.place("a", first // 2, "r" * 3, None, seq, 1)
    text.delete([[f"a:{first // 2}", 1], [f"a:{first + second - 1}", second]])
    kept = Text.decode(text.encode())
    assert (kept.encode(), kept.visible()) == (text.encode(), text.visible())
    assert each_character(kept.runs()) == each_character(text.runs())
    assert kept.highest_seq() == text.highest_seq() == max(19 + first, 4 + second)
    for each in (text, kept):
        each.place("a", first // 2, "!", each.latest(f"a:{first // 2}"), 9, 9)
        each.place("b", 0, "??", each.latest(f"a:{first + second // 2}"), 9, 9)
        each.delete([[f"a:{first // 2}", second], ["b:1", 1]])
    assert each_character(kept.runs()) == each_character(text.runs())
    assert kept.encode() == text.encode()


def test_a_claim_that_counts_after_all_shows_what_no_delete_covers() -> None:
    """X6: of an id that was used again, too."""
    text = Text()
    text.place("a", 0, "abcd", None, 1, 1, is_counted=False, order=(1,))
    text.place("a", 0, "xy", None, 2, 1, is_counted=False, order=(2,))
    text.delete([["a:1", 3], ["a:1", 1]], order=(3,))
    assert (text.visible(), text.has_counted("a")) == ("", False)
    text.count("a")
    assert (text.visible(), text.has_counted("a")) == ("xab", True)
    text.count("a")
    text.count("b")
    assert text.visible() == "xab"


@pytest.mark.parametrize("length", [1, 300])
@pytest.mark.parametrize("others", [0, 1, *range(6, 12), 40])
def test_a_string_whose_characters_are_taken_back_leaves_the_text_as_it_was(others: int, length: int) -> None:
    """X1: an op that has no effect converts nothing, also where there is nothing else, or much at the start."""
    text, rope = Text(), PlainRope()
    for number in range(others):
        for each in (text, rope):
            each.place(f"al{number}", 0, "ab", None, number % 3, 1)
            each.place(f"cy{number}", 0, "x", each.latest(f"al{number}:0"), 5, 1)
    for agent in ("=x:1/0", "=x:2/0"):
        text.place(agent, 0, "s" * length, None, 0, 0, is_counted=False)
        text.unplace(agent)
        assert_same(text, rope)
    for each in (text, rope):
        each.place("bo", 0, "cd", None, 1, 2)
        each.place("bo", 2, "e", each.latest("bo:0"), 2, 2)
    assert_same(text, rope)


def test_an_undone_insert_keeps_its_place() -> None:
    """X6: the published client sends what others typed inside to the start."""
    text = Text()
    text.place("a", 0, "[]", None, 1, 1, order=(1,))
    text.place("b", 0, "abc", text.latest("a:0"), 2, 2, is_counted=False, order=(2,))
    text.place("c", 0, "X", text.latest("b:1"), 3, 3, order=(3,))
    assert text.visible() == "[X]"
    text.count("b")
    assert text.visible() == "[abXc]"


def test_an_id_used_again_names_the_latest_claim_before_the_op() -> None:
    """X4: the published client loses the second one."""
    text = Text()
    text.place("a", 0, "abc", None, 1, 1, order=(1,))
    assert text.needs_refold((0,), "a", 1, 1)
    text.place("a", 0, "xyz", None, 1, 1, order=(5,))
    text.delete([["a:0", 2]], order=(4,))
    assert text.visible() == "cxyz"
    text.delete([["a:0", 2]], order=(6,))
    assert text.visible() == "cz"
    assert [run.layer for run in text.runs()] == [0, 0, 1, 1]


def test_what_only_a_later_claim_took_can_be_taken_again() -> None:
    """X4: from there on it names the third."""
    text, rope = Text(), PlainRope()
    for each in (text, rope):
        each.place("a", 0, "ab", None, 1, 1)
        each.place("a", 1, "cdef", None, 1, 1)
        each.place("a", 3, "gh", None, 1, 1)
        each.delete([["a:3", 1]])
    assert_same(text, rope)


def test_a_range_names_no_character_beside_it() -> None:
    text = Text()
    text.place("a", 2, "cd", None, 1, 1, order=(1,))
    assert not text.delete([["a:0", 2], ["a:4", 9]], order=(3,))
    assert text.delete([["a:0", 3]], order=(4,))
    assert text.visible() == "d"


def test_what_an_op_named_in_vain_asks_for_a_new_fold_when_it_comes() -> None:
    text = Text()
    assert text.latest("a:7", before=(5,)) is None
    assert not text.delete([["b:2", 3]], order=(6,))
    assert text.needs_refold((4,), "a", 5, 3)
    assert text.needs_refold((4,), "b", 4, 1)
    assert not text.needs_refold((4,), "b", 5, 9)
    assert not text.needs_refold((4,), "b", 0, 2)
    assert not text.needs_refold((7,), "a", 7, 1), "it is later than both"


@pytest.mark.parametrize("seed", range(40))
def test_one_more_of_many_siblings_finds_its_place(seed: int) -> None:
    """X3: at the start, below the middle of what was typed, and below its end."""
    randomness, text, rope = random.Random(seed), Text(), PlainRope()
    anchors = [randomness.choice([None, "a:0", "a:1", "a:2"])] * 3 + ["a:0", "a:2"]
    for each in (text, rope):
        each.place("a", 0, "abc", None, 5 * (seed % 3), 1)
    tops = dict.fromkeys("bcd", 0)
    for _ in range(60):
        agent, anchor = randomness.choice("bcd"), randomness.choice(anchors)
        content, seq, ts = randomness.choice(["x", "yz"]), randomness.randint(0, 9), randomness.randint(0, 1)
        for each in (text, rope):
            where = None if anchor is None else each.latest(anchor)
            each.place(agent, tops[agent], content, where, seq, ts)
        tops[agent] += len(content)
        assert text.visible() == rope.visible()
    assert_same(text, rope)


def test_hiding_all_also_hides_what_arrives_late() -> None:
    """X2."""
    text = Text()
    text.place("a", 0, "old", None, 1, 1, order=(1,))
    text.hide_all(order=(5,))
    text.place("=m/0", 0, "new", None, 0, 0, order=(5,))
    text.place("b", 0, "late", None, 9, 9, order=(4,))
    text.place("c", 0, "!", text.latest("=m/0:2"), 9, 9, order=(6,))
    assert text.visible() == "new!"
    assert Text.decode(text.encode()).visible() == "new!"


def test_the_published_rope_has_every_character_once() -> None:
    """Hidden ones too, with the anchors they were placed at; an id taken over is told apart."""
    text = Text()
    text.place("a", 0, "abcd", None, 1, 1, order=(1,))
    text.place("b", 0, "XY", text.latest("a:1"), 2, 2, order=(2,))
    text.delete([["a:1", 1]], order=(3,))
    text.place("a", 3, "!", text.latest("b:1"), 3, 3, order=(4,))
    rope = text.published()
    items = [tuple(item.values()) for item in rope["_tree"]["root"]["items"]]
    assert items == [
        ("a:0", "a", False, None, 1, 1),
        ("a:1", "b", True, "a:0", 1, 1),
        ("b:0", "XY", False, "a:1", 2, 2),
        ("a:3", "!", False, "b:1", 3, 3),
        ("a:2", "c", False, "a:1", 1, 1),
        ("=earlier/0/a:3", "d", False, "a:2", 1, 1),
    ]
    assert rope["maxSeq"] == 3


@pytest.mark.parametrize("authors", [1, 8])
def test_a_trace_of_a_hundred_thousand_edits_gives_the_text_of_a_plain_list(authors: int) -> None:
    """Typing in bursts, jumps, deletions; every edit by position, as a client makes it."""
    randomness, text = random.Random(authors), Text()
    ids: list[tuple[str, int]] = []
    shown: list[str] = []
    cursors, tops = [0] * authors, [0] * authors
    for edit in range(TRACE_EDITS):
        author = randomness.randrange(authors)
        name, at = f"author{author}", min(cursors[author], len(shown))
        if randomness.random() < 0.05:
            at = randomness.randint(0, len(shown))
        if randomness.random() < 0.25 and at:
            length = randomness.choice([1, 1, 1, 1, 6])
            start = max(0, at - length)
            text.delete(text.ranges_at(start, at - start), order=(edit,))
            del ids[start:at], shown[start:at]
            cursors[author] = start
            continue
        content = "".join(randomness.choices("etaoin ", k=randomness.choice([1, 1, 1, 1, 3, 12])))
        anchor = text.anchor_at(at)
        assert anchor == ("{}:{}".format(*ids[at - 1]) if at else None)
        where = None if anchor is None else text.latest(anchor, before=(edit,))
        text.place(name, tops[author], content, where, text.highest_seq() + 1, 1.7e9 + edit, order=(edit,))
        ids[at:at] = [(name, tops[author] + offset) for offset in range(len(content))]
        shown[at:at] = content
        tops[author] += len(content)
        cursors[author] = at + len(content)
        if edit % 9973 == 0:
            assert text.visible() == "".join(shown)
    assert text.visible() == "".join(shown)
    assert text.length == len(shown) > TRACE_EDITS // 2
    kept = Text.decode(text.encode())
    assert kept.visible() == text.visible()
    assert kept.encode() == text.encode()


TRACE_EDITS = 100_000


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the faster of two runs, without what collecting garbage costs."""
    gc.disable()
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    gc.enable()
    return min(times)


def hostile(kind: str, count: int) -> Text:
    """`count` claims that a client would not make."""
    text = Text()
    text.place("b", 0, "ab", None, 0, 0, order=(-1,))
    for place in range(count):
        match kind:
            case "falling siblings":
                claim = ("a", place, text.latest("b:0"), -place)
            case "one id":
                claim = ("a", 0, text.latest("b:0"), 1)
            case "falling chain":
                claim = ("ac"[place % 2], place, text.latest(f"{'ca'[place % 2]}:{place - 1}"), -place)
            case "always after a deep chain":
                claim = ("ac"[place % 2], place, text.latest(f"{'ca'[place % 2]}:{place - 1}"), 2)
                text.place("d", place, "x", text.latest("b:0"), -place, 0, order=(place,))
            case _:
                claim = ("a", count - place, text.latest("b:0"), place)
        agent, number, anchor, seq = claim
        text.place(agent, number, "x", anchor, seq, 0, order=(place,))
    assert text.visible()
    assert text.encode()
    return text


@pytest.mark.parametrize(
    "kind", ["falling siblings", "one id", "falling chain", "always after a deep chain", "falling numbers"]
)
def test_no_claims_slow_it_down_out_of_proportion(kind: str) -> None:
    """Eight times the claims cost about eight times the work, not sixty-four times."""
    few = seconds(lambda: hostile(kind, 1000))
    many = seconds(lambda: hostile(kind, 8000))
    assert many < 24 * few
