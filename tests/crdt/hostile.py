"""Histories that no kind client makes, the fuzzer's second generator: seeds that begin with `hostile/`.

Names of every sort, values at the edges of their types, ids and ranges that are none, equal Lamport times, tall trees,
many ops on one number, undo upon undo, cuts and resets at any time, and messages that are heard before they are
journalled, without the `auth` that the journal has.  Few of it passes the door; the fold takes all of it (rule O4).
"""

import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from tests.crdt.history import OTHERS, History
from vuer_rtc.crdt.dtype import PROPERTY_OPS
from vuer_rtc.crdt.message import UNSET, Message, Op

ODD_CLIENTS = ("a", "a:1", "A", "é", "\U0001d54f", "\uffee", "a:", "=site", "__proto__", "al/0", "b")
"""The fifth sorts after the sixth by UTF-8 bytes, and before it by UTF-16 units."""
ODD_KEYS = ("__proto__", "constructor", "k" * 300, "_meta", ".x", "k.x", "é", "key", " ", "children", "\0")  # fmt: skip
ODD_PATHS = ("x", "s", "name", "tag", "v", "key", "children", "", ".", "_crdt", "_textCrdt.s", "__proto__", "toString",
             "a.b", "x" * 200)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 5, 0.1, 1.0, -0.0, 1e308, 1.7e308, 1e299, -2, 2**53 - 1, 1 - 2**53, 1e-300, 1e300)
VALUES = (*NUMBERS, True, False, None, "", "ab", "r", "\U0001f600x", "#ff0000", "#zzz", [], [1, 2, 3], [0, 0, 0.6, 0.8],
          [1, [2, {"a": []}]], {}, {"a": {"b": {"c": [1]}}}, {"__proto__": 1, "key": "z", "name": "n", "x": 4},
          [True, 1, 1.0], [1e308, 1e308, 1e308], [0, 0])  # fmt: skip
NO_CREATIONS = (None, [], {}, {"key": None}, {"key": ""}, {"key": "."}, UNSET)
NO_MOVES = (None, UNSET, [], {"nodeKey": "", "newParent": "k0"}, {"nodeKey": "k0"}, {"nodeKey": ".", "newParent": "."},
            {"nodeKey": "k0", "newParent": None})  # fmt: skip
NO_REMOVALS = ("", ".", None, 5, UNSET, {"key": "k0"})
NO_RANGES = (UNSET, None, {}, [[]], [["al:0", 0]], [["al:0", -1]], [["al:0", True]], [["al:00", 1]])  # fmt: skip


class Theme(NamedTuple):
    """What a history is about."""

    keys: tuple[int, ...]
    """How many nodes it may have."""
    create: float
    remove: float
    move: float
    text: float
    """Shares of these ops; the others set and change properties."""
    ops: tuple[int, ...] = (1, 3, 3, 8)
    """How many a message may have at most."""
    length: tuple[int, int] = (5, 30)
    """Messages, at least and at most."""


THEMES = {
    "tree": Theme((5, 12, 40), 0.3, 0.1, 0.5, 0, length=(10, 40)),
    "tower": Theme((60, 150), 0.3, 0.1, 0.5, 0, ops=(3, 20), length=(20, 60)),
    "again": Theme((1, 2, 3), 0.3, 0.3, 0.05, 0.1, length=(10, 60)),
    "text": Theme((1, 2), 0.08, 0.04, 0.02, 0.65),
    "number": Theme((1,), 0.05, 0.02, 0, 0.03, ops=(2, 4, 8), length=(3, 14)),
    "mix": Theme((1, 2, 3), 0.25, 0.1, 0.1, 0.15),
}
LIKELY = ("tree", "tower", "again", "again", "text", "text", "number", "mix", "mix", "mix")


def hostile_history(rng: random.Random) -> History:
    theme = THEMES[name := rng.choice(LIKELY)]
    writer = HostileWriter(rng, name)
    history = History([writer.message() for _ in range(rng.randint(*theme.length))])
    _add_journal(rng, history)
    for replica in range(history.replicas):
        _add_steps(rng, history, replica)
    return history


def _add_journal(rng: random.Random, history: History) -> None:
    order = list(range(len(history.messages)))
    luck = rng.random()
    if luck < 0.5:
        rng.shuffle(order)
    elif luck < 0.7:
        order.sort(key=lambda i: history.messages[i].lt + rng.randint(-5, 5))
    cuts, resets = rng.choice((0, 0, 0.1, 0.2, 0.4)), rng.choice((0, 0, 0, 0.03, 0.1))
    highest = 0
    for i in order:
        history.journal.append(("message", i))
        highest = max(highest, history.messages[i].lt)
        while rng.random() < cuts:
            ahead = rng.choice((0, -1, rng.randint(-20, 0), rng.randint(0, 3)))
            history.journal.append(("cut", highest + ahead))
        if rng.random() < resets:
            history.journal.append(("reset", max(0, highest + rng.choice((0, 2, -4)))))


def _add_steps(rng: random.Random, history: History, replica: int) -> None:
    heard = [i for i in range(len(history.messages)) if rng.random() < rng.choice((0, 0.15, 0.5, 1))]
    rng.shuffle(heard)
    for position in range(len(history.journal)):
        while heard and rng.random() < 0.4:
            history.steps.append((replica, "hear", heard.pop()))
        history.steps.append((replica, "read", position))
        luck = rng.random()
        if luck < 0.06:
            history.steps.append((replica, "reload", 0))
        elif luck < 0.15:
            history.steps.append((replica, "again", rng.randint(0, position)))
        elif luck < 0.2:
            history.steps.append((replica, "compare", 0))


class HostileWriter:
    """Makes the messages of one history."""

    def __init__(self, rng: random.Random, theme: str) -> None:
        self.rng, self.theme = rng, THEMES[theme]
        self.is_about_number = theme == "number"
        self.keys = tuple(f"k{i}" for i in range(rng.choice(self.theme.keys)))
        if theme == "mix" and rng.random() < 0.3:
            self.keys = tuple(rng.sample(ODD_KEYS, 4))
        self.clients = ("al", "bo", "cy", "di")[: rng.randint(1, 4)]
        if rng.random() < 0.5:
            self.clients = tuple(rng.sample(ODD_CLIENTS, rng.randint(1, 6)))
        self.paths = ("x", "s")
        if rng.random() < 0.6 and not self.is_about_number:
            self.paths = tuple(rng.sample(ODD_PATHS, rng.randint(1, 4)))
        self.lts = dict.fromkeys(self.clients, rng.choice((0, 0, 0, 0, 10**12, 2**53 - 90)))
        self.counters = dict.fromkeys(self.clients, 0)
        self.is_timeless = rng.random() < 0.15
        """True: most messages have the same Lamport time."""
        self.undo_rate = rng.choice((0, 0.05, 0.15, 0.4))
        self.ops_max = rng.choice(self.theme.ops)
        self.ids: list[tuple[str, str]] = []
        """Ids and clients of the messages so far."""
        self.characters: list[str] = []
        """Ids of characters that may exist."""
        self.numbers: Counter[str] = Counter()
        self.seq = 0

    def message(self) -> Message:
        rng = self.rng
        client = rng.choice(self.clients)
        lt = max(self.lts.values()) if rng.random() < 0.6 else self.lts[client]
        lt += not (self.is_timeless and rng.random() < 0.8)
        self.lts[client] = lt
        self.counters[client] += 1 if rng.random() < 0.9 else rng.randint(1, 5)
        counter = self.counters[client]
        message_id = f"{client}:{lt}"
        if self.is_timeless or rng.random() < 0.1:
            message_id = rng.choice((f"{client}:{lt}/{counter}", f"{counter}-{client}", f"\uffee{client}{counter}",
                                     f"\U0001d54f{client}{counter}", f"=restore:{client}{counter}"))  # fmt: skip
        ops = [self.op(client, message_id, index) for index in range(rng.randint(1, self.ops_max))]
        self.ids.append((message_id, client))
        seen = [other for other in self.clients if other == client or rng.random() < 0.2]
        clock = {other: self.counters[other] for other in seen}
        ts = rng.choice((1, 2, 2.5, 1e12, 1e11, 99999999999, lt, -1, 0, -0.0, 1.0))
        return Message(message_id, client, clock, lt, ts, ops, rng.random() < 0.15)

    def op(self, client: str, message_id: str, index: int) -> Op:
        rng, theme = self.rng, self.theme
        if self.ids and rng.random() < self.undo_rate:
            return self._meta(client, message_id)
        luck = rng.random()
        if luck < theme.create:
            return self._create(message_id, index)
        if (luck := luck - theme.create) < theme.remove:
            key = self._rarely(NO_REMOVALS, rng.choice(self.keys))
            return Op("node.remove", rng.choice(("", self._parent())), "children", key)
        if (luck := luck - theme.remove) < theme.move:
            value = {"nodeKey": rng.choice(self.keys), "newParent": self._parent()}
            return Op("node.move", "", "children", self._rarely(NO_MOVES, value))
        if luck - theme.move < theme.text:
            return self._text(client)
        return self._property(message_id, index)

    def _rarely(self, odd: tuple[Any, ...], usual: Any) -> Any:
        return self.rng.choice(odd) if self.rng.random() < 0.03 else usual

    def _parent(self) -> str:
        return self.rng.choice((*self.keys, *self.keys, "", ".", "zz"))

    def _value(self) -> Any:
        rng = self.rng
        value = rng.choice(NUMBERS if self.is_about_number and rng.random() < 0.9 else VALUES)
        for _ in range(self._rarely((60,), rng.choice((0, 0, 0, 0, 1, 3)))):
            value = rng.choice(([value], {"n": value}))
        return value

    def _count_characters(self, agent: str, first: int = 0, length: int = 2) -> None:
        self.characters += [f"{agent}:{number}" for number in range(first, first + min(length, 4))]
        if length > 10:
            self.characters.append(f"{agent}:{first + length // 2}")

    def _meta(self, client: str, message_id: str) -> Op:
        rng = self.rng
        own = [known for known, author in self.ids if author == client]
        target = rng.choice(own) if own and rng.random() < 0.7 else rng.choice(self.ids)[0]
        target = self._rarely((message_id, f"{client}:{self.lts[client] + 1}", "", 5, None, UNSET), target)
        return Op(rng.choice(("meta.undo", "meta.undo", "meta.redo")), "_meta", "_meta", target=target)

    def _create(self, message_id: str, index: int) -> Op:
        rng = self.rng
        value = {"key": rng.choice(self.keys)}
        value |= {path: self._value() for path in self.paths if path != "key" and rng.random() < 0.5}
        self._count_characters(f"={message_id}/{index}")
        ot = rng.choice(("node.insert", "node.insert", "node.upsert", "node.inset"))
        dated = rng.choice((1.5, 1e12, True, "x", -3)) if rng.random() < 0.1 else UNSET
        return Op(ot, self._parent(), "children", self._rarely(NO_CREATIONS, value), ts=dated)

    def _text(self, client: str) -> Op:
        rng = self.rng
        key, path = rng.choice(self.keys), rng.choice(self.paths) if rng.random() < 0.3 else "s"
        luck = rng.random()
        if luck < 0.15:
            self._count_characters(client)
            return Op("text.init", key, path, rng.choice(("", "AB", "cd", None, 5, UNSET)))
        ranges: Any = [[rng.choice(self.characters), rng.choice((1, 1, 2, 3, 50, 2**40))]
                       for _ in range(rng.randint(1, 3) if self.characters else 0)]  # fmt: skip
        ranges = self._rarely(NO_RANGES, ranges)
        if luck < 0.35:
            return Op("text.delete", key, path, rm=ranges)
        anchor = rng.choice((None, None, None, "", "zz:0", 5))
        if self.characters and rng.random() < 0.8:
            anchor = rng.choice(self.characters)
        content = rng.choice(("x", "yz", "uvw", "\U0001f600", "q" * 300, "z" * rng.randint(250, 260), ""))
        number = self.numbers[client] if rng.random() < 0.8 else rng.randint(0, 5)
        number = self._rarely((10**15, 10**16, 2**53), number)
        if number < 10**14:
            self.numbers[client] = max(self.numbers[client], number + len(content))
        self._count_characters(client, number, len(content))
        self.seq += rng.randint(0, 1)
        odd = (0, -1, 1.5, 2**53 - 1, True, UNSET, self.seq // 2)
        seq = rng.choice(odd) if rng.random() < 0.1 else self.seq
        text_id = f"{self._rarely(('al',), client)}:{number}"
        ts = rng.choice((1, 2, 1, 0.5, -1))
        op = Op("text.insert", key, path, [anchor, content], id=text_id, seq=seq, ts=ts)
        return msgspec.structs.replace(op, ot="text.replace", rm=ranges) if luck < 0.5 else op

    def _property(self, message_id: str, index: int) -> Op:
        rng = self.rng
        key, path = self._rarely(("", "."), rng.choice(self.keys)), rng.choice(self.paths)
        luck = rng.random()
        if self.is_about_number and luck < 0.9:
            verb = rng.choice(("add", "multiply", "min", "max"))
            return Op(f"number.{verb}", key, path, rng.choice(NUMBERS))
        if luck < 0.2:
            self._count_characters(f"={message_id}/{index}")
            ot, separator = rng.choice(("string.set", "string.concat")), rng.choice((UNSET, UNSET, "-", 5))
            value = rng.choice(("pq", "r", "", "\U0001f600"))
            return Op(ot, key, rng.choice((path, "s")), value, separator=separator)
        if luck < 0.4:
            self._count_characters(f"={message_id}/{index}")
            paths = (*self.paths, "x", "s", "name", "key")
            value = {rng.choice(paths): self._value() for _ in range(rng.randint(0, 3))}
            return Op("object.merge", key, rng.choice((".", "", path)), self._rarely(VALUES, value))
        if luck < 0.7:
            ot = rng.choice((*sorted(PROPERTY_OPS), *["number.add", "number.set", "array.push"] * 10))
            return Op(ot, key, path, self._rarely((UNSET,), self._value()))
        other = rng.choice(OTHERS)
        return msgspec.structs.replace(other, key=key, path=path if rng.random() < 0.3 else other.path)
