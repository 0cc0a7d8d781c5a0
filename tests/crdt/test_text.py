"""The text against the plain rope of the oracle: the same characters, whatever arrives in whatever order (X1 to X7)."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.crdt.oracle.rope import Char, PlainRope
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
            self.refold()
        else:
            self._apply(op)

    def refold(self) -> None:
        self.refolds += 1
        self.text = Text()
        for op in sorted(self.ops, key=lambda op: op.order):
            self._apply(op)

    def undo(self, op: TextOp) -> None:
        """Undo `op`, or redo it when it is undone."""
        op.is_undone = not op.is_undone
        if op in self.ops:
            if op.kind in ("delete", "replace"):
                (self.text.undelete if op.is_undone else self.text.delete)(op.ranges, order=op.order)
            if op.kind in ("insert", "replace"):
                self.text.set_counted(op.agent, op.number, not op.is_undone, order=op.order)

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
                place(op.agent, op.number, op.content, where, op.seq, op.ts, is_counted=counted, order=op.order)


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
        assert named == [(char.agent, char.number) for char in chars[max(position, 0) : max(position, 0) + length]]


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
        ranges = [[random_id(randomness, tops), randomness.randint(-1, 5)] for _ in range(randomness.randint(0, 3))]
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
