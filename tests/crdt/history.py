"""Random histories that collide on few keys, and replicas that live through them in different orders.

A `History` is plain data, so that a failing one can be printed, stored and shrunk: its messages, its journal (messages
and cuts by server sequence) and what each replica did, step by step.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.crdt.oracle.graph import OracleGraph
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import UNSET, Epoch, Message, Op, cut_record, epoch_of, reset_record
from vuer_rtc.crdt.size import size_of, value_size

KEYS = ("a", "b", "c", "d")
CLIENTS = ("al", "bo", "cy")
Step = tuple[int, str, int]
"""Replica, action, argument: `deliver` message i, not journalled; `hear` it, without its `auth`; `read` the journal up
to entry i; `again` entry i
that was read before; `reload` from a snapshot and replay; `compare` with the oracle."""


@dataclass
class History:
    messages: list[Message] = field(default_factory=list)
    journal: list[tuple[str, int]] = field(default_factory=list)
    """("message", index), ("cut", F) and ("reset", lt); the server sequence is the place in this list, from 1."""
    steps: list[Step] = field(default_factory=list)
    replicas: int = 2

    def record(self, position: int) -> Message:
        """The journal entry at a position, as the journal hands it out."""
        kind, argument = self.journal[position]
        if kind == "cut":
            record = cut_record(f"=cut/{position}", argument, 0)
            return msgspec.structs.replace(record, server_seq=position + 1)
        if kind == "reset":
            epoch = Epoch(sum(kind == "reset" for kind, _ in self.journal[:position]) + 1, argument)
            record = reset_record(f"=reset/{position}", epoch, 0)
            return msgspec.structs.replace(record, server_seq=position + 1)
        return msgspec.structs.replace(self.messages[argument], server_seq=position + 1)

    def show(self) -> str:
        lines = [
            f"messages[{i}] {msgspec.json.encode(message).decode()}"
            for i, message in enumerate(self.messages)
        ]
        lines += [f"journal {self.journal}", f"steps {self.steps}"]
        return "\n".join(lines)


# Making


def make_history(rng: random.Random, length: int | None = None) -> History:
    length = length or rng.randint(6, 14)
    writer = Writer(rng)
    history = History([writer.message() for _ in range(length)], replicas=rng.choice((2, 2, 3)))
    if rng.random() < 0.5:
        _add_journal(rng, history)
    else:
        _add_deliveries(rng, history)
    return history


def _add_deliveries(rng: random.Random, history: History) -> None:
    """Every replica gets every message, in an order of its own, some twice; no journal."""
    for replica in range(history.replicas):
        order = list(range(len(history.messages)))
        kind = rng.random()
        if kind < 0.6:
            rng.shuffle(order)
        elif kind < 0.75:
            order.sort(key=lambda i: history.messages[i].stamp)
        elif kind < 0.85:
            order.sort(key=lambda i: history.messages[i].stamp, reverse=True)
        if rng.random() < 0.3:
            order.insert(rng.randrange(len(order) + 1), rng.choice(order))
        history.steps += [(replica, "deliver", i) for i in order]
        if rng.random() < 0.1:
            history.steps.insert(rng.randrange(len(history.steps) + 1), (replica, "compare", 0))


def _add_journal(rng: random.Random, history: History) -> None:
    """A journal with cuts; replicas read it at their own pace, with messages of their own not journalled yet."""
    order = list(range(len(history.messages)))
    if rng.random() < 0.7:
        rng.shuffle(order)
    highest = 0
    for i in order:
        history.journal.append(("message", i))
        highest = max(highest, history.messages[i].lt)
        if rng.random() < 0.2:
            history.journal.append(("cut", rng.randint(0, highest)))
    for replica in range(history.replicas):
        pending = [i for i in order if rng.random() < 0.15] if rng.random() < 0.4 else []
        for position in range(len(history.journal)):
            if pending and rng.random() < 0.4:
                history.steps.append((replica, "deliver", pending.pop()))
            history.steps.append((replica, "read", position))
            luck = rng.random()
            if luck < 0.04:
                history.steps.append((replica, "reload", 0))
            elif luck < 0.08:
                history.steps.append((replica, "again", rng.randint(0, position)))
            elif luck < 0.1:
                history.steps.append((replica, "compare", 0))


def with_resets(rng: random.Random, history: History) -> History:
    """The same history with one or two resets in its journal; its steps read them at their places."""
    journal, steps = list(history.journal), list(history.steps)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randint(0, len(journal))
        journal.insert(at, ("reset", rng.choice((0, rng.randint(0, 20)))))
        steps = [
            (replica, action, argument + (action in ("read", "again") and argument >= at))
            for replica, action, argument in steps
        ]
    return History(history.messages, journal, steps, history.replicas)


class Writer:
    """Makes the messages of one history: clients that have seen some of the others' messages, or none."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lt = 0
        self.lts = dict.fromkeys(CLIENTS, 0)
        self.counters = dict.fromkeys(CLIENTS, 0)
        self.ids: list[tuple[str, str]] = []
        """Ids and clients of the messages so far."""
        self.characters: list[str] = []
        """Ids of characters that may exist."""
        self.numbers: Counter[str] = Counter()
        self.seq = 0
        self.keys = KEYS if rng.random() < 0.5 else KEYS[:2]
        self.taste = rng.random()

    def message(self) -> Message:
        rng = self.rng
        client = rng.choice(CLIENTS)
        start = self.lt if rng.random() < 0.5 else self.lts[client]
        lt = max(start, self.lts[client]) + 1
        self.lt, self.lts[client] = max(self.lt, lt), lt
        self.counters[client] += 1 if rng.random() < 0.95 else 2
        message_id = f"{client}:{lt}"
        count = rng.choice((1, 1, 1, 2, 2, 3))
        ops = [self.op(client, message_id, index) for index in range(count)]
        self.ids.append((message_id, client))
        auth = rng.random() < 0.1
        clock = {client: self.counters[client]}
        return Message(message_id, client, clock, lt, rng.choice((1, 2, 2.5, 1e12, lt)), ops, auth)

    def op(self, client: str, message_id: str, index: int) -> Op:
        rng, luck = self.rng, self.rng.random()
        if self.taste < 0.25:  # a history about structure
            luck *= 0.5
        elif self.taste < 0.45:  # one about text
            luck = 0.12 * luck / 0.4 if luck < 0.4 else 0.5 + 0.2 * luck
        if luck < 0.18:
            return self._create(message_id, index)
        if luck < 0.26:
            return Op("node.remove", "", "children", rng.choice(self.keys))
        if luck < 0.38:
            value = {"nodeKey": rng.choice(self.keys), "newParent": self._parent()}
            return Op("node.move", "", "children", value)
        if luck < 0.5 and self.ids:
            return self._meta(client)
        if luck < 0.68:
            return self._text(client)
        return self._property(message_id, index)

    def _parent(self) -> str:
        return self.rng.choice((*self.keys, *self.keys, "", ".", "zz"))

    def _create(self, message_id: str, index: int) -> Op:
        rng = self.rng
        value: dict[str, Any] = {"key": rng.choice(self.keys)}
        if rng.random() < 0.5:
            value["tag"] = rng.choice(("Mesh", "Group"))
        if rng.random() < 0.5:
            value["x"] = rng.randint(0, 9)
        if rng.random() < 0.3:
            value["s"] = rng.choice(("ab", "", "c"))
            self.characters += [f"={message_id}/{index}:{n}" for n in range(2)]
        if rng.random() < 0.1:
            value["v"] = [1, 2, 3]
        if rng.random() < 0.03:
            value.update(rng.choice(({"name": 5}, {"children": []}, {"_textCrdt.s": 1})))
        ot = rng.choice(("node.insert", "node.insert", "node.upsert", "node.inset"))
        dated = (self.lt + index) % 7 == 0  # no luck in it: old seeds stay the same histories
        return Op(ot, self._parent(), "children", value, ts=1.5 + self.lt % 3 if dated else UNSET)

    def _meta(self, client: str) -> Op:
        rng = self.rng
        own = [message_id for message_id, author in self.ids if author == client]
        target = rng.choice(own) if own and rng.random() < 0.8 else rng.choice(self.ids)[0]
        if rng.random() < 0.15:
            target = f"{client}:{rng.randint(1, 12)}"
        return Op(rng.choice(("meta.undo", "meta.undo", "meta.redo")), "_meta", "_meta", target=target)

    def _text(self, client: str) -> Op:
        rng = self.rng
        key, path = rng.choice(self.keys), rng.choice(("s", "s", "s", "s", "name", "x"))
        luck = rng.random()
        if luck < 0.2:
            self.characters += [f"{client}:{n}" for n in range(2)]
            return Op("text.init", key, path, rng.choice(("", "AB", "cd")))
        ranges = (
            [[rng.choice(self.characters), rng.randint(1, 3)] for _ in range(rng.randint(1, 2))]
            if self.characters
            else []
        )
        if luck < 0.4:
            return Op("text.delete", key, path, rm=ranges)
        number = self.numbers[client] if rng.random() < 0.85 else rng.randint(0, 3)
        content = rng.choice(("x", "yz", "uvw"))
        self.numbers[client] = max(self.numbers[client], number + len(content))
        anchor = rng.choice(self.characters) if self.characters and rng.random() < 0.7 else None
        self.characters += [f"{client}:{number + n}" for n in range(len(content))]
        self.seq += rng.randint(0, 1)
        op = Op(
            "text.insert",
            key,
            path,
            [anchor, content],
            id=f"{client}:{number}",
            seq=self.seq,
            ts=rng.choice((1, 2)),
        )
        return msgspec.structs.replace(op, ot="text.replace", rm=ranges) if luck < 0.55 else op

    def _property(self, message_id: str, index: int) -> Op:
        rng = self.rng
        key = rng.choice(self.keys) if rng.random() < 0.98 else ""
        luck = rng.random()
        if luck < 0.35:
            verb = rng.choice(("set", "add", "multiply", "min", "max", "add"))
            return Op(f"number.{verb}", key, "x", rng.choice((1, 2, 3, 5, 0.1, -1)))
        if luck < 0.5:
            self.characters += [f"={message_id}/{index}:{n}" for n in range(2)]
            return Op(
                rng.choice(("string.set", "string.concat")),
                key,
                rng.choice(("s", "s", "name")),
                rng.choice(("pq", "r")),
            )
        if luck < 0.6:
            return Op(
                "object.merge",
                key,
                rng.choice((".", "")),
                {rng.choice(("x", "s", "v", "name", "key")): rng.choice((1, "m"))},
            )
        if luck < 0.65:
            return Op(
                rng.choice(("number.set", "string.set")),
                key,
                rng.choice(("s", "x", "key", ".", "_textCrdt.s")),
                7,
            )
        return msgspec.structs.replace(rng.choice(OTHERS), key=key)


OTHERS = (
    Op("vector3.set", "", "v", [9, 9, 9]),
    Op("vector3.add", "", "v", [1, 1, 0.5]),
    Op("vector3.applyQuaternion", "", "v", [0, 0, 0.6, 0.8]),
    Op("vector3.applyEuler", "", "v", [0.5, 1, 0], order="ZYX"),
    Op("quaternion.multiply", "", "q", [1, 0, 0, 0]),
    Op("quaternion.multiply", "", "q", [0, 1, 0, 0]),
    Op("quaternion.set", "", "q", [0, 0, 0, 1]),
    Op("color.blend", "", "c", "#ff0000"),
    Op("color.blend", "", "c", "#0000ff", alpha=0.25),
    Op("color.set", "", "c", "#808080"),
    Op("array.push", "", "l", 1),
    Op("array.union", "", "l", [True, 1, 2]),
    Op("array.remove", "", "l", 1),
    Op("array.move", "", "l", from_=0, to=1),
    Op("array.set", "", "l", [7]),
    Op("object.merge", "", "o", {"k": 1}),
    Op("object.set", "", "o", {"j": 2}),
    Op("boolean.or", "", "b", True),
    Op("boolean.and", "", "b", False),
    Op("boolean.set", "", "b", True),
    Op("array.push", "", "x", 1),
    Op("number.add", "", "s", 1),
)


# Living through

STATE_TAILS = (0, 2, 5, 100)


class Replica:
    """An engine and an oracle that are told the same."""

    def __init__(self, history: History, *, is_terse: bool = True) -> None:
        self.history = history
        self.is_terse = is_terse
        self.engine = Graph()
        self.oracle = OracleGraph(is_terse=is_terse)
        self.position = 0
        self.has_lost_pending = False
        """A reset took what was not journalled; the clock still counts it, which no journal tells again."""

    def take(self, step: Step, met: Counter[str]) -> None:
        _, action, argument = step
        if action == "deliver":
            self.apply(self.history.messages[argument], met)
        elif action == "hear":
            self.apply(msgspec.structs.replace(self.history.messages[argument], auth=False), met)
        elif action == "read":
            for position in range(self.position, min(argument + 1, len(self.history.journal))):
                self.apply(self.history.record(position), met)
                self.position = position + 1
        elif action == "again":
            if argument < self.position:
                self.apply(self.history.record(argument), met)
        elif action == "reload":
            if not self.engine.pending_count and not self.has_lost_pending:
                self.reload()
                met["reloads"] += 1
        else:
            assert_equal(self.engine, self.oracle)

    def apply(self, message: Message, met: Counter[str]) -> None:
        if message.lt < self.engine.lt:
            met["out of order"] += 1
        self.has_lost_pending |= epoch_of(message) is not None and self.engine.pending_count > 0
        assert self.engine.identify(message) is self.oracle.identify(message), "identify"
        assert self.engine.refusal(message) == self.oracle.refusal(message), "refusal"
        applied = self.engine.apply(message)
        expected = self.oracle.apply(message)
        assert (applied.is_new, applied.is_late) == (expected.is_new, expected.is_late), "is_new, is_late"
        met["late"] += applied.is_late
        if not self.is_terse:
            assert applied.relay == expected.relay, ("relay", applied.relay, expected.relay)
            missed = expected.changed - applied.changed
            assert not missed, ("changed", missed)

    def reload(self) -> None:
        """A new engine from a snapshot and what the journal holds beyond it; the oracle lives on without what was not
        journalled."""
        folded_seq = self.engine.folded_seq
        self.engine = Graph.restore(b"".join(self.engine.snapshot_parts(2)))
        self.oracle = OracleGraph(is_terse=self.is_terse)
        journal = [self.history.record(position) for position in range(self.position)]
        self.engine.apply_all(record for record in journal if record.server_seq > folded_seq)
        for record in journal:
            self.oracle.apply(record)


def assert_equal(engine: Graph, oracle: OracleGraph) -> None:
    """Engine and oracle agree on all that later merges may depend on; the digests cover the same."""
    mine, theirs = everything(engine), everything(oracle)
    assert mine == theirs, ("engine differs from oracle", mine, theirs)
    assert engine.node_count == oracle.node_count, "node_count"
    assert engine.undone_ids() == oracle.undone_ids(), "undone_ids"


def assert_equal_views(engine: Graph, oracle: OracleGraph) -> None:
    """What is read from both is the same, too."""
    assert engine.digest() == oracle.digest(), "digest"
    assert engine.full_digest() == oracle.full_digest(), "full_digest"
    assert engine.nodes() == oracle.nodes(), ("nodes", engine.nodes(), oracle.nodes())
    for tail in STATE_TAILS:
        assert_equal_states(engine, oracle, tail)
    assert_equal_sizes(engine, oracle)
    snapshot = engine.snapshot()
    assert Graph.restore(snapshot).snapshot() == snapshot, "snapshot of what was restored"


def assert_equal_sizes(engine: Graph, oracle: OracleGraph) -> None:
    """What the engine counts without looking is what there is."""
    messages, state = oracle._messages.values(), oracle._state()
    assert engine.pending_count == sum(not message.server_seq for message in messages), "pending_count"
    assert engine.retained_bytes == sum(map(size_of, messages)), "retained_bytes"
    assert engine.waiting_count == sum(map(len, state.waiting.values())), "waiting_count"
    children: dict[str, set[str]] = {}
    for key, node in state.nodes.items():
        if not node.removed:
            children.setdefault(node.parent, set()).add(key)
        for path, register in node.registers.items():
            value, text = register.value, register.text
            characters = len(value) if type(value) is str else 0
            if text is not None:
                characters = sum(map(len, text.claims))
            assert engine.text_size(key, path) == characters, ("text_size", key, path)
            members = len(value) if type(value) in (list, dict) else 0
            assert engine.member_count(key, path) == members, ("member_count", key, path)
            size = None if value is UNSET else value_size(value)
            assert engine.value_bytes(key, path) == size, ("value_bytes", key, path)
    assert engine.scene.children == children, "children"


def assert_equal_states(engine: Graph, oracle: OracleGraph, tail: int) -> None:
    mine, theirs = engine.state(tail), oracle.state(engine.state_tail(tail))
    assert len(mine.journal) <= tail
    for name in ("graph", "vector_clock", "lt", "text_ropes", "journal", "journal_index"):
        assert getattr(mine, name) == getattr(theirs, name), (
            f"state({tail}).{name}",
            getattr(mine, name),
            getattr(theirs, name),
        )


def everything(graph: Any) -> bytes:
    return msgspec.json.encode(graph.everything(), order="sorted")


def live_through(history: History, met: Counter[str], *, is_thorough: bool = False) -> None:
    """Every replica takes its steps; engines equal their oracles and, in the end, each other.

    Raises: AssertionError.
    """
    replicas = [Replica(history, is_terse=not is_thorough) for _ in range(history.replicas)]
    for number, step in enumerate(history.steps):
        replica = replicas[step[0]]
        replica.take(step, met)
        if is_thorough:
            assert_equal(replica.engine, replica.oracle)
            assert_equal_states(replica.engine, replica.oracle, STATE_TAILS[number % len(STATE_TAILS)])
    for replica in replicas:
        for position in range(replica.position, len(history.journal)):
            replica.apply(history.record(position), met)
    first = replicas[0]
    assert_equal(first.engine, first.oracle)
    if is_thorough:
        assert_equal_views(first.engine, first.oracle)
    for other in replicas[1:]:
        assert everything(other.engine) == everything(first.engine), "replicas differ"
    _count(first.engine, met)


def _count(engine: Graph, met: Counter[str]) -> None:
    """What the history really met, so that a run can assert that it was worth it."""
    scene = engine._scene
    met["refused cycles"] += len(scene.tree.blocked)
    met["undone"] += len(engine.undone_ids())
    for key, node in list(scene.nodes()):
        met["new incarnations"] += node.is_again
        met["tombstones"] += node.removed is not None
        for register in scene.registers(key).values():
            if register.text is not None:
                met["texts"] += 1
                assert register.text.size == sum(len(run.content) for run in register.text.runs())
                met["hidden texts"] += not register.is_text or any(
                    run.is_hidden for run in register.text.runs()
                )
