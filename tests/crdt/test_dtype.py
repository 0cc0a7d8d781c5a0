"""What each op on a value does at its place (rules N, P3), value by value: the oracle applies the same functions."""

from math import cos, inf, nan, pi, sin
from typing import Any

import pytest

from tests.crdt.scenario import Author, converged, graph_of, insert, node, prop
from vuer_rtc.crdt.message import UNSET

LARGE = 2**53 - 1


def after(ot: str, current: Any, operand: Any, **extra: Any) -> Any:
    """The value behind the op; `UNSET` where there is none."""
    made = insert("n") if current is UNSET else insert("n", x=current)
    messages = [Author("al")(1, made), Author("bo")(2, prop(ot, "x", operand, **extra))]
    return node(converged(*messages)).properties.get("x", UNSET)


def same(found: Any, expected: Any) -> bool:
    """True for the same value, kinds of numbers included."""
    return repr(found) == repr(expected)


EFFECTS: list[tuple[str, Any, Any, Any]] = [
    # ot, current, operand, outcome
    ("number.set", "x", 2, 2),
    ("number.set", 1, 1.0, 1.0),
    ("number.set", 1, LARGE, LARGE),
    ("number.set", 1, -LARGE, -LARGE),
    ("number.set", 1, LARGE + 1, 2.0**53),
    ("number.set", 1, -LARGE - 1, -(2.0**53)),
    ("number.add", UNSET, 2, 2),
    ("number.add", UNSET, 2**60, 2.0**60),
    ("number.add", 1, 2, 3),
    ("number.add", LARGE, 1, 2.0**53),
    ("number.add", -LARGE, -1, -(2.0**53)),
    ("number.add", LARGE - 1, 1, LARGE),
    ("number.add", 1.0, 2, 3.0),
    ("number.multiply", UNSET, 3, 3),
    ("number.multiply", 2, 3, 6),
    ("number.multiply", 2**52, 2, 2.0**53),
    ("number.min", UNSET, 7, 7),
    ("number.min", 5, 7, 5),
    ("number.min", 5, 3, 3),
    ("number.max", UNSET, -7, -7),
    ("number.max", 5, 7, 7),
    ("number.max", 5, 3, 5),
    ("vector3.add", UNSET, [1, 2, 3], [1, 2, 3]),
    ("vector3.add", [1, 2, 3], [10, 20, 30.0], [11, 22, 33.0]),
    ("vector3.multiply", UNSET, [1, 2, 3], [1, 2, 3]),
    ("vector3.multiply", [2, 3, 4], [5, 6, 7], [10, 18, 28]),
    ("euler.set", 1, [1, 2, 3], [1, 2, 3]),
    ("euler.add", [1, 2, 3], [4, 5, 6], [5, 7, 9]),
    ("vector3.applyQuaternion", UNSET, [1, 2, 3, 4], [0.0, 0.0, 0.0]),
    ("vector3.applyQuaternion", [1, 2, 3], [0, 0, 0, 1], [1.0, 2.0, 3.0]),
    ("vector3.applyQuaternion", [1, 2, 3], [1, 0, 0, 1], [2.0, -6.0, 4.0]),  # a quarter about x, twice as long
    ("vector3.applyQuaternion", [1, 2, 3], [0, 1, 0, 1], [6.0, 4.0, -2.0]),
    ("vector3.applyQuaternion", [1, 2, 3], [0, 0, 1, 1], [-4.0, 2.0, 6.0]),
    ("vector3.applyQuaternion", [1, 2, 3], [1, 1, 1, 1], [12.0, 4.0, 8.0]),  # a third about the diagonal
    ("quaternion.set", 1, [1, 2, 3, 4], [1, 2, 3, 4]),
    ("quaternion.multiply", UNSET, [1, 2, 3, 4], [1, 2, 3, 4]),
    ("quaternion.multiply", UNSET, [1, 2, 3, 2**53], [1, 2, 3, 2.0**53]),
    ("quaternion.multiply", [1, 2, 3, 4], [5, 6, 7, 8], [24.0, 48.0, 48.0, -6.0]),
    ("quaternion.multiply", [5, 6, 7, 8], [1, 2, 3, 4], [32.0, 32.0, 56.0, -6.0]),
    ("string.set", 1, "a", "a"),
    ("string.concat", UNSET, "b", "b"),
    ("string.concat", "a", "b", "ab"),
    ("string.concat", "a", "", "a"),
    ("boolean.set", 1, False, False),
    ("boolean.or", UNSET, True, True),
    ("boolean.or", UNSET, False, False),
    ("boolean.or", True, False, True),
    ("boolean.or", False, True, True),
    ("boolean.or", False, False, False),
    ("boolean.and", UNSET, True, True),
    ("boolean.and", UNSET, False, False),
    ("boolean.and", True, False, False),
    ("boolean.and", False, True, False),
    ("boolean.and", True, True, True),
    ("color.set", 1, "rebeccapurple", "rebeccapurple"),
    ("color.blend", UNSET, "#ABCDEF", "#ABCDEF"),
    ("color.blend", "#000000", "#204060", "#102030"),
    ("color.blend", "#FF8000", "#ff8000", "#ff8000"),
    ("color.blend", "#000000", "#010305", "#000202"),  # 0.5, 1.5, 2.5: half to even
    ("array.set", 1, [True, None], [True, None]),
    ("array.push", UNSET, 1, [1]),
    ("array.push", [1], [2], [1, [2]]),
    ("array.push", [1], None, [1, None]),
    ("array.union", UNSET, [1, 1], [1]),
    ("array.union", [2, 2, 1], [1.0, True, 3, 3.0, True, "1"], [2, 2, 1, True, 3, "1"]),
    ("array.union", [[1], {"a": 1}], [[1.0], {"a": 1.0}, [True], {"a": True}, {"b": 1}, [1, 1]],
     [[1], {"a": 1}, [True], {"a": True}, {"b": 1}, [1, 1]]),
    ("array.union", [0, False, None, ""], [0.0, -0.0, False, None, "", [], {}], [0, False, None, "", [], {}]),
    ("array.remove", UNSET, 1, []),
    ("array.remove", [1, True, 1.0, "1", 2, 1], 1, [True, "1", 2]),
    ("array.remove", [1, True, False], True, [1, False]),
    ("array.remove", [[1], [True], [1, 2]], [1.0], [[True], [1, 2]]),
    ("array.remove", [{"a": [1]}, {"a": [True]}], {"a": [1.0]}, [{"a": [True]}]),
    ("array.remove", [None, 1], None, [1]),
    ("object.set", 1, {"a": 1}, {"a": 1}),
    ("object.merge", UNSET, {"a": 1}, {"a": 1}),
    ("object.merge", {"a": {"x": 1}, "b": 1}, {"a": {"y": 2}, "c": 3}, {"a": {"y": 2}, "b": 1, "c": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("ot", "current", "operand", "outcome"), EFFECTS)
def test_what_fits_has_this_effect(ot: str, current: Any, operand: Any, outcome: Any) -> None:
    """N1 to N4, N6, N7."""
    found = after(ot, current, operand)
    assert same(found, outcome), found


NONE: list[tuple[str, Any, list[Any]]] = [
    # ot, current, operands
    ("number.set", 1, [True, "2", None, [2], inf, -inf, nan, UNSET]),
    *[(f"number.{verb}", 1, [True, "2", None, inf, nan, UNSET]) for verb in ("add", "multiply", "min", "max")],
    *[(f"number.{verb}", odd, [2])
      for verb in ("add", "multiply", "min", "max") for odd in (True, "1", None, [1])],
    *[(f"number.{verb}", UNSET, ["2", True, inf]) for verb in ("set", "add", "multiply", "min", "max")],
    ("number.add", 1.7e308, [1.7e308]),
    ("number.multiply", 1e300, [1e300, -1e300]),
    *[(f"vector3.{verb}", odd, [[1, 2, 3]]) for verb in ("add", "multiply") for odd in (1, [1, 2], [1, 2, "3"])],
    *[(f"vector3.{verb}", UNSET, [[1, 2], [1, 2, "3"], 1]) for verb in ("set", "add", "multiply")],
    ("vector3.multiply", [1e300, 1, 1], [[1e300, 1, 1]]),
    ("vector3.applyQuaternion", [1, 2, 3], [[0, 0, 1], [0, 0, 0, True], "0001", UNSET, [1e300, 0, 0, 1e300]]),
    *[("vector3.applyQuaternion", odd, [[0, 0, 1, 0]]) for odd in (1, [1, 2], [1, 2, 3, 4], [1, 2, None])],
    ("vector3.applyEuler", [1, 2, 3], [[1, 2], [1, 2, 3, 4], [1, 2, True], 5, UNSET]),
    ("vector3.applyEuler", [1, 2], [[1, 2, 3]]),
    ("euler.set", 1, [[1, 2], "x", [1, 2, 3, 4]]),
    ("quaternion.set", 1, [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, True], 5]),
    ("quaternion.multiply", [1, 2, 3, 4], [[1, 2, 3], [1, 2, 3, "4"], UNSET, [1e308, 1e308, 1e308, 1e308]]),
    *[("quaternion.multiply", odd, [[1, 2, 3, 4]]) for odd in (1, [1, 2, 3], [1, 2, 3, None])],
    ("quaternion.multiply", UNSET, [[1, 2, 3], 1]),
    ("string.set", 1, [1, None, ["a"], UNSET]),
    ("string.concat", "a", [1, None, UNSET]),
    ("string.concat", UNSET, [1, None]),
    *[("string.concat", odd, ["b"]) for odd in (1, None, True, ["a"])],
    ("boolean.set", 1, [1, 0, "true", None, UNSET]),
    *[(f"boolean.{verb}", current, [1, 0, "", None, UNSET])
      for verb in ("or", "and") for current in (True, False, UNSET)],
    *[(f"boolean.{verb}", odd, [True, False]) for verb in ("or", "and") for odd in (1, 0, "", "x", None)],
    ("color.set", 1, [5, None, UNSET]),
    ("color.blend", "#000000", ["red", "#fff", "#ff00001", "#ff0000\n", " #ff0000", "#gg0000", 5, UNSET]),
    ("color.blend", UNSET, ["red", "#fff", 5]),
    *[("color.blend", odd, ["#ff0000"]) for odd in ("red", "#fff", "#0000001", "#000000\n", 0, None, "")],
    ("array.set", 1, [5, {}, "ab", None, UNSET]),
    ("array.push", [1], [UNSET]),
    ("array.union", [1], [5, "ab", {"a": 1}, None, UNSET]),
    ("array.remove", [1], [UNSET]),
    *[(f"array.{verb}", odd, [[1]]) for verb in ("push", "union", "remove") for odd in (1, "ab", {}, None)],
    ("object.set", 1, [5, [], "x", None, UNSET]),
    ("object.merge", {"a": 1}, [5, [], [["a", 2]], "x", None, UNSET]),
    *[("object.merge", odd, [{"a": 1}]) for odd in (1, [], "x", None)],
    ("object.merge", UNSET, [5, []]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ot", "current", "operand"), [(ot, was, operand) for ot, was, operands in NONE for operand in operands]
)
def test_what_does_not_fit_has_no_effect(ot: str, current: Any, operand: Any) -> None:
    """P3, N1, N3."""
    found = after(ot, current, operand)
    assert same(found, current), found


LETTERS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("start", "to", "outcome"),
    [
        (0, 1, "bacd"),
        (0, 3, "bcda"),
        (0, 4, "bcda"),
        (0, 99, "bcda"),
        (3, 0, "dabc"),
        (3, 1, "adbc"),
        (3, -1, "dabc"),
        (2, -99, "cabd"),
        (1, 1, "abcd"),
        (1.0, 2.0, "acbd"),
        *[(odd, 2, "abcd") for odd in (-1, 4, 99, 0.5, True, "0", None, UNSET, inf, nan)],
        *[(0, odd, "abcd") for odd in (0.5, True, "1", None, UNSET, inf, nan)],
    ],
)
def test_a_member_is_moved_from_within_to_anywhere(start: Any, to: Any, outcome: str) -> None:
    """N5, N1: `from` out of range has no effect, `to` is clamped."""
    assert after("array.move", LETTERS, UNSET, from_=start, to=to) == list(outcome)


@pytest.mark.parametrize("current", [UNSET, [], 5, "abcd", {"0": 1}])
def test_nothing_is_moved_where_there_is_no_member(current: Any) -> None:
    """N5, P3."""
    assert same(after("array.move", current, UNSET, from_=0, to=0), current)


@pytest.mark.parametrize(
    ("alpha", "outcome"),
    [
        (0, "#102030"),
        (0.25, "#1c2c3c"),
        (1, "#405060"),
        (1.5, "#405060"),
        (-0.5, "#102030"),
        (UNSET, "#283848"),
        *[(odd, "#102030") for odd in (True, "1", None, inf, nan)],
    ],
)
def test_a_blend_has_a_weight_between_none_and_all(alpha: Any, outcome: str) -> None:
    """N6."""
    assert after("color.blend", "#102030", "#405060", alpha=alpha) == outcome


@pytest.mark.parametrize(
    ("current", "separator", "outcome"),
    [
        ("a", "-", "a-b"),
        ("a", "", "ab"),
        ("", "-", "b"),
        (UNSET, "-", "b"),
        ("a", 5, "a"),
        ("a", None, "a"),
        (UNSET, 5, UNSET),
    ],
)
def test_a_separator_stands_between_two_strings_only(current: Any, separator: Any, outcome: Any) -> None:
    """P3."""
    assert after("string.concat", current, "b", separator=separator) == outcome


def turned(vector: list[float], axis: str, angle: float) -> list[float]:
    """By the matrix of a rotation about one axis of the world."""
    a, b = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    turned = list(vector)
    turned[a] = vector[a] * cos(angle) - vector[b] * sin(angle)
    turned[b] = vector[a] * sin(angle) + vector[b] * cos(angle)
    return turned


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX", UNSET])
@pytest.mark.parametrize("intrinsic", [True, False, UNSET])
def test_angles_turn_about_the_axes_in_their_order(order: Any, intrinsic: Any) -> None:
    """N7: intrinsic, each in the frame turned by those before: about the world's axes that is the reversed order."""
    angles, expected = [0.3, pi / 3, -2], [1, 2.5, -3]
    axes = "XYZ" if order is UNSET else order
    for axis in axes if intrinsic is False else reversed(axes):
        expected = turned(expected, axis, angles["XYZ".index(axis)])
    found = after("vector3.applyEuler", [1, 2.5, -3], angles, order=order, intrinsic=intrinsic)
    assert found == pytest.approx(expected, abs=1e-12)
    assert after("vector3.applyEuler", UNSET, angles, order=order, intrinsic=intrinsic) == [0, 0, 0]


@pytest.mark.parametrize(
    "extra",
    [{"order": odd} for odd in ("XXX", "xyz", "XY", "XYZX", "", 5, None, True)]
    + [{"order": odd, "intrinsic": intrinsic} for odd in (5, ["X"]) for intrinsic in (True, False)]
    + [{"intrinsic": odd} for odd in (1, 0, "yes", None)],
)
def test_an_order_that_is_none_turns_nothing(extra: dict[str, Any]) -> None:
    """N7, P3."""
    assert after("vector3.applyEuler", [1, 2, 3], [1, 2, 3], **extra) == [1, 2, 3]


@pytest.mark.parametrize(
    ("ot", "current", "operand"),
    [
        ("array.push", [1], 2),
        ("array.union", [1], [2]),
        ("array.remove", [1, 2], 1),
        ("object.merge", {"a": 1}, {"a": 2}),
        ("vector3.add", [1, 2, 3], [1, 1, 1]),
    ],
)
def test_an_op_takes_nothing_from_what_it_was_given(ot: str, current: Any, operand: Any) -> None:
    """U1: undone, what was there before is there again, and the operand can be merged elsewhere."""
    al, bo = Author("al"), Author("bo")
    made, edit = insert("n", x=current), prop(ot, "x", operand)
    before = repr((current, operand))
    graph = graph_of([al(1, made), bo(2, edit), bo(3, edit)])
    assert node(graph).properties["x"] != current
    assert repr((current, operand)) == before
