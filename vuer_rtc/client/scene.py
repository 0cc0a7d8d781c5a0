"""The scene graph as objects: `cube = scene.add("Mesh", key="cube", position=[0, 1, 0])`, `cube.position += [1, 0, 0]`.

What an object does is an operation in the edit buffer; `commit()` sends them.  `+=` adds and `*=` multiplies at the
other end too, so both count when two do it at once; `=` sets, and the later one wins.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .message import Operation
from .node import ROOT, SceneNode

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class Editor(Protocol):
    """What a scene stands on: a store, or a room."""

    def node(self, key: str) -> SceneNode | None: ...
    def edit(self, op: Operation) -> None: ...
    def commit(self) -> object: ...
    def cancel(self) -> None: ...

    @property
    def graph(self) -> Any: ...


class Scene:
    """The nodes of a scene graph, by key."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def add(
        self,
        tag: str,
        *,
        key: str | None = None,
        parent: "Node | str | None" = None,
        name: str = "",
        **properties: Any,
    ) -> "Node":
        """A new node; a key is made up when none is given.  Without a parent it goes below the root, or becomes it."""
        key = key or uuid.uuid4().hex
        value = {"key": key, "tag": tag, "name": name, **properties}
        above = self._editor.graph.rootKey if parent is None else _key(parent)
        self._editor.edit({"ot": "node.insert", "key": above, "path": "children", "value": value})
        return Node(self._editor, key)

    def upsert(self, tag: str, key: str, *, parent: "Node | str | None" = None, **properties: Any) -> "Node":
        """A node with these properties set, made if it is not there."""
        above = self._editor.graph.rootKey if parent is None else _key(parent)
        value = {"key": key, "tag": tag, **properties}
        self._editor.edit({"ot": "node.upsert", "key": above, "path": "children", "value": value})
        return Node(self._editor, key)

    def __getitem__(self, key: str) -> "Node":
        """Raises: KeyError for a node that is not there, or removed."""
        if key not in self:
            raise KeyError(key)
        return Node(self._editor, key)

    def get(self, key: str) -> "Node | None":
        return Node(self._editor, key) if key in self else None

    def __contains__(self, key: object) -> bool:
        node = self._editor.node(key) if isinstance(key, str) else None
        return node is not None and not node.is_deleted

    def __iter__(self) -> Iterator["Node"]:
        return iter(
            [Node(self._editor, k) for k, node in self._editor.graph.nodes.items() if not node.is_deleted]
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def root(self) -> "Node | None":
        """The first node created at root level; None when it was removed, or there is none."""
        return self.get(self._editor.graph.rootKey)

    def commit(self) -> object:
        """Send what is in the edit buffer."""
        return self._editor.commit()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end; an exception cancels instead."""
        try:
            yield
        except BaseException:
            self._editor.cancel()
            raise
        self._editor.commit()


_OWN = frozenset({"_editor", "key"})


class Node:
    """One node, live.  Properties are attributes; those with dots in their names are items: `node["a.b"]`."""

    key: str

    def __init__(self, editor: Editor, key: str) -> None:
        object.__setattr__(self, "_editor", editor)
        object.__setattr__(self, "key", key)

    @property
    def data(self) -> SceneNode:
        """The node as the store has it.

        Raises: KeyError when it is not there.
        """
        node: SceneNode | None = self._editor.node(self.key)
        if node is None:
            raise KeyError(self.key)
        return node

    @property
    def exists(self) -> bool:
        node = self._editor.node(self.key)
        return node is not None and not node.is_deleted

    @property
    def children(self) -> list["Node"]:
        return [Node(self._editor, key) for key in self.data.children]

    @property
    def parent(self) -> "Node | None":
        """None at root level."""
        return Node(self._editor, self.data.parent) if self.data.parent else None

    # Properties

    def __getitem__(self, path: str) -> Any:
        """Raises: KeyError for a property that is not set."""
        node = self.data
        value = getattr(node, path) if path in ("tag", "name") else node.properties[path]
        return _bound(value, self, path)

    def __setitem__(self, path: str, value: Any) -> None:
        if isinstance(value, _Bound) and value._place == (self.key, path) and value._is_done:
            return
        self.edit({**set_op(path, _plain(value)), "key": self.key})

    def __getattr__(self, path: str) -> Any:
        if path.startswith("_"):
            raise AttributeError(path)
        try:
            return self[path]
        except KeyError:
            raise AttributeError(f"node {self.key!r} has no property {path!r}") from None

    def __setattr__(self, path: str, value: Any) -> None:
        if path in _OWN or isinstance(getattr(type(self), path, None), property):
            raise AttributeError(f"{path} is no property of the scene; node[{path!r}] may be")
        self[path] = value

    def get(self, path: str, default: Any = None) -> Any:
        return self.data.properties.get(path, default)

    def set(self, **properties: Any) -> "Node":
        """Set several properties."""
        for path, value in properties.items():
            self[path] = value
        return self

    def apply(self, ot: str, path: str, value: Any, **extra: Any) -> "Node":
        """Any operation on a property: `node.apply("color.blend", "color", "#ff0000", alpha=0.2)`."""
        self.edit({"ot": ot, "key": self.key, "path": path, "value": value, **extra})
        return self

    def text(self, path: str) -> "Text":
        """A property as a text that several may type into."""
        return Text(self, path)

    # Structure

    def add(self, tag: str, *, key: str | None = None, name: str = "", **properties: Any) -> "Node":
        """A new child."""
        return Scene(self._editor).add(tag, key=key, parent=self, name=name, **properties)

    def move_to(self, parent: "Node | str") -> "Node":
        """Hang it below another node; `""` is root level."""
        value = {"nodeKey": self.key, "newParent": _key(parent)}
        self.edit({"ot": "node.move", "key": self.data.parent or ROOT, "path": "children", "value": value})
        return self

    def remove(self) -> None:
        """Remove it; what is below it is hidden with it."""
        self.edit(
            {"ot": "node.remove", "key": self.data.parent or ROOT, "path": "children", "value": self.key}
        )

    def edit(self, op: Operation) -> None:
        self._editor.edit(op)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and (self._editor, self.key) == (other._editor, other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Node {self.key!r}>"


class Text:
    """A text that several may type into; positions and lengths count code points."""

    def __init__(self, node: Node, path: str) -> None:
        self._node, self._path = node, path

    def __str__(self) -> str:
        return str(self._node.get(self._path, ""))

    def __len__(self) -> int:
        return len(str(self))

    def insert(self, position: int, content: str) -> None:
        self._edit("text.insert", position=position, value=[None, content])

    def append(self, content: str) -> None:
        self.insert(len(self), content)

    def delete(self, position: int, length: int) -> None:
        self._edit("text.delete", position=position, length=length)

    def replace(self, position: int, length: int, content: str) -> None:
        """Type over a selection, as one operation."""
        self._edit("text.replace", position=position, length=length, value=[None, content])

    def _edit(self, ot: str, **fields: Any) -> None:
        self._node.edit({"ot": ot, "key": self._node.key, "path": self._path, **fields})


def set_op(path: str, value: Any) -> dict[str, Any]:
    """The operation, without its key, that sets a property to a JSON value."""
    dtype = _dtype(path, value)
    if dtype is None:
        return {"ot": "object.merge", "path": ".", "value": {path: value}}
    return {"ot": f"{dtype}.set", "path": path, "value": value}


def _dtype(path: str, value: Any) -> str | None:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "color" if _COLOR.fullmatch(value) and "color" in path.lower() else "string"
        case dict():
            return "object"
        case list():
            numbers = len(value) if all(type(member) in (int, float) for member in value) else 0
            if numbers == 3:
                return "euler" if path.rpartition(".")[2] == "rotation" else "vector3"
            return "quaternion" if numbers == 4 and "quaternion" in path.lower() else "array"
    return None


def _key(node: Node | str) -> str:
    return node if isinstance(node, str) else node.key


# Values that know where they come from, so that `+=` is an addition everywhere


class _Bound:
    _node: Node
    _path: str
    _is_done = False

    @property
    def _place(self) -> tuple[str, str]:
        return self._node.key, self._path

    def _do(self, ot: str, value: Any) -> "_Bound":
        self._node.apply(ot, self._path, _plain(value))
        self._is_done = True
        return self


class _Vector(_Bound, list):  # type: ignore[type-arg]
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("euler.add" if self._path.rpartition(".")[2] == "rotation" else "vector3.add", other)

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("vector3.multiply", [other] * 3 if isinstance(other, int | float) else other)


class _Quaternion(_Bound, list):  # type: ignore[type-arg]
    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("quaternion.multiply", other)


class _List(_Bound, list):  # type: ignore[type-arg]
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        for member in list(other):
            self._do("array.push", member)
        self._is_done = True
        return self


class _Int(_Bound, int):
    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.add", other)

    def __isub__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.add", -other)

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._do("number.multiply", other)


class _Float(_Bound, float):
    __iadd__ = _Int.__iadd__
    __isub__ = _Int.__isub__
    __imul__ = _Int.__imul__


def _bound(value: Any, node: Node, path: str) -> Any:
    """The value, knowing where it comes from; strings, booleans and objects stay as they are."""
    kind: Any = None
    if type(value) in (int, float):
        kind = _Int if type(value) is int else _Float
    elif type(value) is list:
        dtype = _dtype(path, value)
        kind = {"vector3": _Vector, "euler": _Vector, "quaternion": _Quaternion}.get(dtype or "", _List)
    if kind is None:
        return value
    bound = kind(value)
    bound._node, bound._path = node, path
    return bound


def _plain(value: Any) -> Any:
    """The value without where it came from."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case list() | tuple():
            return [_plain(member) for member in value]
        case dict():
            return {name: _plain(member) for name, member in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


__all__ = ["Node", "Scene", "Text", "set_op"]
