"""The scene as objects: what they say is what travels."""

from array import array
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.scene import Node, Scene
from vuer_rtc.crdt.plain import InvalidMessage


@pytest.fixture
def store() -> GraphStore:
    return GraphStore("alice")


@pytest.fixture
def scene(store: GraphStore) -> Scene:
    scene = Scene(store)
    with scene.transaction():
        scene.add("Scene", key="scene")
    return scene


def ops_of(store: GraphStore) -> list[tuple[str, str, Any]]:
    return [(op["ot"], op["path"], op["value"]) for op in store.getState().edits.ops]


def test_nodes_are_added_below_the_root_and_read_back(scene: Scene) -> None:
    cube = scene.add("Mesh", key="cube", name="Cube", position=[0, 1, 0])
    child = cube.add("Group")
    assert (cube.tag, cube.name, cube.position) == ("Mesh", "Cube", [0, 1, 0])
    assert cube.parent == scene["scene"]
    assert cube.children == [child]
    assert scene.root == scene["scene"]
    assert [node.key for node in scene] == ["scene", "cube", child.key]


def test_adding_in_place_is_an_addition_everywhere(scene: Scene, store: GraphStore) -> None:
    cube = scene.add("Mesh", key="cube", position=[0, 0, 0], count=1, weight=0.5, rotation=[0, 0, 0], log=[])
    scene.commit()
    cube.position += [1, 0, 0]
    cube.position += [1, 2, 0]
    cube.count += 2
    cube.count -= 1
    cube.weight *= 2
    cube.rotation += [0, 1, 0]
    cube.log += ["a", "b"]
    assert ops_of(store) == [
        ("vector3.add", "position", [2, 2, 0]),
        ("number.add", "count", 1),
        ("number.multiply", "weight", 2),
        ("euler.add", "rotation", [0, 1, 0]),
        ("array.push", "log", "a"),
        ("array.push", "log", "b"),
    ]
    assert (cube.position, cube.count, cube.weight) == ([2, 2, 0], 2, 1.0)
    assert (cube.rotation, cube.log) == ([0, 1, 0], ["a", "b"])


def test_what_came_out_of_adding_in_place_can_be_gone_on_with(scene: Scene) -> None:
    cube = scene.add("Mesh", key="cube", position=[1, 2, 3], count=1, tags=["a"])
    count, position, tags = cube.count, cube.position, cube.tags
    count += 2
    position -= [0, 0, 1]
    tags += ["b"]
    assert (count, position, tags) == (3, [1, 2, 2], ["a", "b"])
    assert (cube.count, cube.position, cube.tags) == (count, position, tags)
    position[2] = 0
    cube.position = position
    cube.tags = [*tags, "c"]
    cube.total = count
    assert (cube.position, cube.tags, cube.total) == ([1, 2, 0], ["a", "b", "c"], 3)


def test_what_is_written_to_a_value_is_not_shown_until_it_is_assigned(scene: Scene) -> None:
    """It does not travel either."""
    cube = scene.add("Mesh", key="cube", meta={"a": [1]}, matrix=[[1, 0], [0, 1]])
    scene.commit()
    for meta in (cube.meta, cube.get("meta")):
        meta["a"].append(2)
    cube.matrix[0][0] = 5
    assert (cube.meta, cube.matrix) == ({"a": [1]}, [[1, 0], [0, 1]])
    cube.meta = meta
    assert cube.meta == {"a": [1, 2]}


def test_adding_in_place_what_would_have_no_effect_is_refused(scene: Scene, store: GraphStore) -> None:
    """Three numbers in a list are a vector, whatever the list means."""
    cube = scene.add("Mesh", key="cube", samples=[1, 2, 3], count=1)
    scene.commit()
    for path, more in (("samples", [4]), ("count", "1")):
        with pytest.raises(InvalidMessage, match=rf"on '{path}' does not take"):
            cube[path] += more
    assert not ops_of(store)


@pytest.mark.parametrize(
    ("path", "value", "ot"),
    [
        ("visible", True, "boolean.set"),
        ("opacity", 0.5, "number.set"),
        ("color", "#ff0000", "color.set"),
        ("label", "#ff0000", "string.set"),
        ("position", [1, 2, 3], "vector3.set"),
        ("rotation", [1, 2, 3], "euler.set"),
        ("quaternion", [0, 0, 0, 1], "quaternion.set"),
        ("points", [1, 2], "array.set"),
        ("material", {"side": 2}, "object.set"),
        ("nothing", None, "object.merge"),
    ],
)
def test_a_value_says_which_operation_sets_it(
    scene: Scene, store: GraphStore, path: str, value: Any, ot: str
) -> None:
    node = scene["scene"]
    node[path] = value
    assert node.get(path) == value
    assert [op["ot"] for op in store.getState().edits.ops] == [ot]


def test_a_value_read_from_one_node_can_be_set_on_another(scene: Scene) -> None:
    one, other = scene.add("Mesh", key="one", position=[1, 2, 3]), scene.add("Mesh", key="other")
    other.position = one.position
    other.position += [1, 1, 1]
    assert (one.position, other.position) == ([1, 2, 3], [2, 3, 4])


def test_texts_are_typed_into(scene: Scene) -> None:
    text = scene.add("Text", key="note").text("body")
    text.insert(0, "Helo")
    text.insert(2, "l")
    text.append("!")
    text.replace(0, 1, "J")
    text.delete(5, 1)
    assert str(text) == "Jello"
    assert len(text) == 5


def test_nodes_move_and_go(scene: Scene) -> None:
    group, cube = scene.add("Group", key="group"), scene.add("Mesh", key="cube")
    cube.move_to(group)
    assert group.children == [cube]
    cube.remove()
    assert not cube.exists
    assert "cube" not in scene
    assert scene.get("cube") is None
    with pytest.raises(KeyError):
        scene["cube"]


def test_an_exception_cancels_the_transaction(scene: Scene) -> None:
    def fail() -> None:
        with scene.transaction():
            scene.add("Mesh", key="cube")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert "cube" not in scene


def test_a_missing_property_is_an_attribute_error(scene: Scene) -> None:
    node: Node = scene["scene"]
    with pytest.raises(AttributeError, match="no property 'colour'"):
        _ = node.colour
    with pytest.raises(AttributeError, match="is no property"):
        node.children = []  # type: ignore[misc]


class Tool(StrEnum):
    DRILL = "drill"


class Slot(IntEnum):
    LEFT = 3


def test_arrays_tuples_and_subclasses_are_plain_json_however_they_are_given(scene: Scene) -> None:
    """What has `tolist`, as arrays of numpy have, becomes a list."""
    point = array("d", [0, 1, 0])
    given = {"v": point, "tool": Tool.DRILL, "slot": Slot.LEFT, "by": {Tool.DRILL: (1, point)}}
    wanted = {"v": [0.0, 1.0, 0.0], "tool": "drill", "slot": 3, "by": {"drill": [1, [0.0, 1.0, 0.0]]}}
    cube = scene.add("Mesh", key="cube", **given)
    made = scene.upsert("Mesh", "other", **given)
    empty = scene.add("Mesh", key="empty").set(**given)
    for node in (cube, made, empty):
        properties = node.data.properties
        assert properties == wanted
        assert (type(properties["tool"]), type(properties["slot"])) == (str, int)
    cube.apply("vector3.add", "v", point)
    cube.v += point
    assert cube.v == [0, 3, 0]


def test_many_values_of_a_type_that_only_looks_like_one_of_json_are_refused(scene: Scene) -> None:
    """numpy calls its booleans `bool`, too."""
    imposter = type("bool", (), {})
    for count in (1, 20):
        with pytest.raises(ValueError, match="bool is not a JSON type"):
            scene["scene"].flags = [imposter() for _ in range(count)]


@pytest.mark.parametrize("content", ["\ud83d", "a\0b", 5, b"x", ["x"]])
def test_what_is_no_text_cannot_be_typed(scene: Scene, store: GraphStore, content: Any) -> None:
    """Half of an emoji, say: no frame can carry it, and none after it would travel either."""
    note = scene.add("Text", key="note").text("body")
    note.insert(0, Tool.DRILL)
    for act in (lambda: note.insert(0, content), lambda: note.replace(0, 1, content)):
        with pytest.raises(InvalidMessage):
            act()
    assert str(note) == "drill"
    committed = store.commit()
    assert committed is not None
    assert type(committed.ops[-1]["value"][1]) is str
