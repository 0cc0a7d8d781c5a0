"""A scripted editing session: 200 nodes and every operation the published client knows, turn by turn."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Ops = list[dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """One client's move: commit `ops`, or undo or redo its last message."""

    client: str
    ops: Ops = field(default_factory=list)
    do: str = "edit"


GROUPS = [f"group{i}" for i in range(10)]
TEXTS = ["text0", "text1"]


def turns(seed: int, clients: tuple[str, ...] = ("alice", "bob", "carol")) -> Iterator[Turn]:
    """The whole session; ops of one commit name distinct (key, path) pairs, as the published edit buffer needs."""
    rng = random.Random(seed)
    yield Turn("alice", [insert("", "scene", tag="Scene", name="Scene")])
    parents = {}
    for number, group in enumerate(GROUPS):
        yield Turn(clients[number % 3], [insert("scene", group, tag="Group")])
    for row in range(19):
        ops = []
        for group in GROUPS if row < 18 else GROUPS[:7]:
            key = f"{group}/{row}"
            parents[key] = group
            ops.append(insert(group, key, tag="Mesh", name=key, x=row, v=[row, 1.5, -2], q=[0, 0, 0, 1]))
        yield Turn(clients[row % 3], ops)
    for number, text in enumerate(TEXTS):
        yield Turn(clients[number], [insert("scene", text, tag="Text")])
        yield Turn(clients[number], [{"ot": "text.init", "key": text, "path": "body"}])
    yield from _edits(rng, clients, parents)


def insert(parent: str, key: str, **value: Any) -> dict[str, Any]:
    return {"ot": "node.insert", "key": parent, "path": "children", "value": {"key": key, **value}}


def _edits(rng: random.Random, clients: tuple[str, ...], parents: dict[str, str]) -> Iterator[Turn]:
    alive, removed, lengths = list(parents), [], dict.fromkeys(TEXTS, 0)
    for turn in range(150):
        client = clients[turn % 3]
        kind = turn % 10
        if kind == 3:
            yield Turn(client, _structure(rng, alive, removed, parents))
        elif kind in (4, 8):
            text = TEXTS[turn % 2]
            op, lengths[text] = _text(rng, text, lengths[text])
            yield Turn(client, [op])
        elif kind == 5:
            yield Turn(client, _properties(rng, alive))
            yield Turn(client, do="undo")
            if turn % 20 == 5:
                yield Turn(client, do="redo")
        else:
            yield Turn(client, _properties(rng, alive))


def _structure(rng: random.Random, alive: list[str], removed: list[str], parents: dict[str, str]) -> Ops:
    key = alive.pop(rng.randrange(len(alive)))
    old = parents[key]
    if len(removed) < 7 and rng.random() < 0.5:
        removed.append(key)
        return [{"ot": "node.remove", "key": old, "path": "children", "value": key}]
    parents[key] = rng.choice([group for group in GROUPS if group != old])
    alive.append(key)
    return [
        {
            "ot": "node.move",
            "key": old,
            "path": "children",
            "value": {"nodeKey": key, "newParent": parents[key]},
        }
    ]


def _text(rng: random.Random, key: str, length: int) -> tuple[dict[str, Any], int]:
    content = "".join(rng.choice("abc é😀\n") for _ in range(rng.randint(1, 5)))
    start = rng.randint(0, length)
    gone = min(rng.randint(1, 3), length - start)
    choice = rng.random()
    if gone and choice < 0.25:
        return {
            "ot": "text.delete",
            "key": key,
            "path": "body",
            "position": start,
            "length": gone,
        }, length - gone
    if gone and choice < 0.5:
        op = {
            "ot": "text.replace",
            "key": key,
            "path": "body",
            "position": start,
            "length": gone,
            "value": [None, content],
        }
        return op, length - gone + len(content)
    return {
        "ot": "text.insert",
        "key": key,
        "path": "body",
        "position": start,
        "value": [None, content],
    }, length + len(content)


def _properties(rng: random.Random, alive: list[str]) -> Ops:
    chosen = {}
    for _ in range(4):
        op = _property(rng, rng.choice(alive))
        chosen[(op["key"], op["path"])] = op
    return list(chosen.values())


def _property(rng: random.Random, key: str) -> dict[str, Any]:
    def number() -> float:
        return rng.choice([rng.randint(-9, 9), round(rng.uniform(-3, 3), 3)])

    def triple() -> list[float]:
        return [number() for _ in range(3)]

    def colour() -> str:
        return f"#{rng.randrange(2**24):06x}"

    rotation = rng.choice([[0, 0, 0.6, 0.8], [0.5, 0.5, 0.5, 0.5]])
    order = rng.choice(["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
    ot, path, value, extra = rng.choice(
        [
            ("number.set", "x", number(), {}),
            ("number.add", "x", number(), {}),
            ("number.multiply", "y", rng.choice([2, 0.5, -1]), {}),
            ("number.min", "z", number(), {}),
            ("number.max", "z", number(), {}),
            ("vector3.set", "v", triple(), {}),
            ("vector3.add", "v", triple(), {}),
            ("vector3.multiply", "v", [1, -1, 0.5], {}),
            ("vector3.applyQuaternion", "v", rotation, {}),
            ("vector3.applyEuler", "v", triple(), {"order": order, "intrinsic": rng.random() < 0.5}),
            ("euler.set", "e", triple(), {}),
            ("euler.add", "e", triple(), {}),
            ("quaternion.set", "q", rotation, {}),
            ("quaternion.multiply", "q", rotation, {}),
            ("string.set", "s", rng.choice(["a", "b"]), {}),
            ("string.concat", "s", rng.choice(["c", "d"]), {"separator": rng.choice(["", "-"])}),
            ("boolean.set", "b", rng.random() < 0.5, {}),
            ("boolean.or", "b", rng.random() < 0.5, {}),
            ("boolean.and", "b", rng.random() < 0.5, {}),
            ("color.set", "c", colour(), {}),
            ("color.blend", "c", colour(), {}),
            ("array.set", "a", [1, 2, number()], {}),
            ("array.push", "a", rng.choice([1, "two", {"three": 3}]), {}),
            ("array.union", "a", [1, 2, "two"], {}),
            ("array.remove", "a", rng.choice([1, "two"]), {}),
            ("object.set", "o", {"k": number()}, {}),
            ("object.merge", "o", {rng.choice("klm"): number()}, {}),
            ("object.merge", ".", {rng.choice(["m1", "m2"]): number()}, {}),
        ]
    )
    return {"ot": ot, "key": key, "path": path, "value": value, **extra}
