"""Where we differ from the published client on purpose: what its stores show, and what the document is with us.

Each case starts from `BASE`, made by alice and seen by bob.  `together` are commits made while neither has seen the
other's; `before` and `after` are turns, each seen by the other before the next.
"""

from dataclasses import dataclass, field
from typing import Any

Ops = list[dict[str, Any]]
UNSET = "<unset>"


def op(ot: str, path: str = "", value: Any = None, key: str = "n", **extra: Any) -> dict[str, Any]:
    return {"ot": ot, "key": key, "path": path, "value": value, **extra}


def insert(parent: str, key: str, **value: Any) -> dict[str, Any]:
    return op("node.insert", "children", {"key": key, **value}, key=parent)


def move(old: str, key: str, new: str) -> dict[str, Any]:
    return op("node.move", "children", {"nodeKey": key, "newParent": new}, key=old)


def remove(parent: str, key: str) -> dict[str, Any]:
    return op("node.remove", "children", key, key=parent)


def typed(position: int, content: str) -> dict[str, Any]:
    return op("text.insert", "t", [None, content], position=position)


BASE: Ops = [insert("", "root", tag="Scene")]
NODES: list[Ops] = [
    [insert("root", "n", tag="Mesh", x=10, c="#808080", s="a", arr=[1], o={"k": 0}, v=[1, 2, 3])],
    [insert("root", "p")],
    [insert("root", "q")],
    [insert("p", "child")],
]


@dataclass(frozen=True)
class Difference:
    """One case; the three values are of `read` in alice's store, in bob's, and in the document."""

    name: str
    rule: str
    read: str
    """`node.property`, `node:parent` (keys of the nodes that list it), `node:children` or `node:name`."""
    alice: Any
    bob: Any
    ours: Any
    before: list[tuple[str, Ops | str]] = field(default_factory=list)
    together: tuple[Ops, Ops] | None = None
    after: list[tuple[str, Ops | str]] = field(default_factory=list)


def merge(
    name: str, rule: str, path: str, alice_op: Any, bob_op: Any, alice: Any, bob: Any, ours: Any
) -> Difference:
    return Difference(name, rule, f"n.{path}", alice, bob, ours, together=([alice_op], [bob_op]))


HALF_X, HALF_Y = [1, 0, 0, 0], [0, 1, 0, 0]
TURN = [0, 0, 0.7071067811865476, 0.7071067811865476]

MERGES = [
    merge("number set and add", "P1", "x", op("number.set", "x", 100), op("number.add", "x", 5), 105, 100, 105),
    merge("number add and multiply", "O2", "x", op("number.add", "x", 5), op("number.multiply", "x", 2), 30, 25, 30),
    merge("number min and max", "O2", "x", op("number.min", "x", 3), op("number.max", "x", 7), 7, 3, 7),
    merge("number min and add", "O2", "x", op("number.min", "x", 3), op("number.add", "x", 5), 8, 3, 8),
    merge("vector set and add", "P1", "v", op("vector3.set", "v", [9, 9, 9]), op("vector3.add", "v", [1, 1, 1]),
          [10, 10, 10], [9, 9, 9], [10, 10, 10]),
    merge("quaternions do not commute", "O2", "r",
          op("quaternion.multiply", "r", HALF_X), op("quaternion.multiply", "r", HALF_Y),
          [0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 1, 0]),
    merge("rotate and add", "O2", "v", op("vector3.applyQuaternion", "v", TURN), op("vector3.add", "v", [1, 0, 0]),
          [-1, 1, 3], [-2, 2, 3], [-1, 1, 3]),
    merge("blend and blend", "N6", "c", op("color.blend", "c", "#ff0000"), op("color.blend", "c", "#0000ff"),
          "#6020a0", "#a02060", "#6020a0"),
    merge("colour set and blend", "P1", "c", op("color.set", "c", "#ffffff"), op("color.blend", "c", "#0000ff"),
          "#8080ff", "#ffffff", "#8080ff"),
    merge("concat", "O2", "s", op("string.concat", "s", "X"), op("string.concat", "s", "Y"), "aXY", "aYX", "aXY"),
    merge("push", "O2", "arr", op("array.push", "arr", "A"), op("array.push", "arr", "B"),
          [1, "A", "B"], [1, "B", "A"], [1, "A", "B"]),
    merge("union", "O2", "arr", op("array.union", "arr", ["A"]), op("array.union", "arr", ["B"]),
          [1, "A", "B"], [1, "B", "A"], [1, "A", "B"]),
    merge("push and remove", "O2", "arr", op("array.push", "arr", 1), op("array.remove", "arr", 1), [], [1], []),
    merge("array set and push", "P1", "arr", op("array.set", "arr", [7]), op("array.push", "arr", 8),
          [7, 8], [7], [7, 8]),
    merge("object merge", "P4", "o", op("object.merge", "o", {"k": 1}), op("object.merge", "o", {"k": 2}),
          {"k": 2}, {"k": 1}, {"k": 2}),
    merge("node merge and set", "P4", "x", op("object.merge", ".", {"x": 1}), op("number.set", "x", 2), 2, 1, 2),
    merge("or and and", "O2", "b", op("boolean.or", "b", True), op("boolean.and", "b", False), False, True, False),
    merge("boolean set and or", "P1", "b", op("boolean.set", "b", False), op("boolean.or", "b", True),
          True, False, True),
]  # fmt: skip

STRUCTURE = [
    Difference("two inserts of one key", "T1", "k.x", 1, 2, 1,
               together=([insert("root", "k", x=1)], [insert("root", "k", x=2)])),
    Difference("two moves of one node", "T3", "child:parent", ["n", "q"], ["n", "q"], ["q"],
               together=([move("p", "child", "n")], [move("p", "child", "q")])),
    Difference("moves that would cycle", "T4", "q:parent", ["root"], ["p"], ["root"],
               together=([move("root", "p", "q")], [move("root", "q", "p")])),
    Difference("remove naming a wrong parent", "T6", "child:parent", ["p"], ["p"], [],
               after=[("alice", [remove("q", "child")])]),
    Difference("move naming a wrong old parent", "T3", "child:parent", ["p", "q"], ["p", "q"], ["q"],
               after=[("alice", [move("n", "child", "q")])]),
    Difference("move to root level", "T5", "child:parent", ["p"], ["p"], [""],
               after=[("alice", [move("p", "child", "")])]),
    Difference("move to a missing parent", "T5", "child:parent", ["p"], ["p"], ["later"],
               after=[("alice", [move("p", "child", "later")])]),
    Difference("re-creation after removal", "T8", "child.x", UNSET, UNSET, 5,
               after=[("alice", [remove("p", "child")]), ("bob", [insert("q", "child", x=5)])]),
    Difference("removal of what has moved", "T6", "q:children", ["child"], [], [],
               together=([move("p", "child", "q")], [remove("p", "child")])),
]  # fmt: skip

PATHS = [
    Difference(
        "path name", "P5", "n:name", "", "", "Named", after=[("alice", [op("string.set", "name", "Named")])]
    ),
]

TEXTS = [
    Difference("text over a plain string", "X1", "n.t", "!", "!", "!Hello",
               before=[("alice", [op("string.set", "t", "Hello")])], after=[("alice", [typed(5, "!")])]),
    Difference("set over text", "X2", "n.t", "abcd", "abcd", "dNEW",
               before=[("alice", [typed(0, "abc")]), ("alice", [op("string.set", "t", "NEW")])],
               after=[("bob", [typed(3, "d")])]),
    Difference("second text.init", "X5", "n.t", "BBAA", "AABB", "BBAA",
               together=([op("text.init", "t", "AA")], [op("text.init", "t", "BB")])),
    Difference("redo after id re-use", "X4", "n.t", "abc", "abc", "abcxyz",
               before=[("alice", [typed(0, "abc")]), ("alice", "undo"), ("alice", [typed(0, "xyz")])],
               after=[("alice", "redo")]),
    Difference("undo of text with others' text inside", "X6", "n.t", "X[]", "X[]", "[X]",
               before=[("alice", [typed(0, "[]")]), ("bob", [typed(1, "abc")]), ("alice", [typed(4, "X")])],
               after=[("bob", "undo")]),
]  # fmt: skip

DIFFERENCES = [*MERGES, *STRUCTURE, *PATHS, *TEXTS]
