"""The scene graph as objects: `cube = scene.add("Mesh", key="cube", position=[0, 1, 0])`, `cube.position += [1, 0, 0]`.

What an object does is an operation in the edit buffer; `commit()` sends them.  `+=` adds and `*=` multiplies at the
other end too, so both count when two do it at once; `=` sets, and the later one wins.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .assignment import plain, set_op
from .bound_value import bind, is_done
from .message import Operation
from .node import ROOT, SceneNode, copied


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
        value = plain({"key": key, "tag": tag, "name": name, **properties})
        above = self._editor.graph.rootKey if parent is None else _key(parent)
        self._editor.edit({"ot": "node.insert", "key": above, "path": "children", "value": value})
        return Node(self._editor, key)

    def upsert(self, tag: str, key: str, *, parent: "Node | str | None" = None, **properties: Any) -> "Node":
        """A node with these properties set, made if it is not there."""
        above = self._editor.graph.rootKey if parent is None else _key(parent)
        value = plain({"key": key, "tag": tag, **properties})
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
        return bind(value, self, path)

    def __setitem__(self, path: str, value: Any) -> None:
        if is_done(value, self, path):
            return
        self.edit({**set_op(path, plain(value)), "key": self.key})

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
        return copied(self.data.properties.get(path, default))

    def set(self, **properties: Any) -> "Node":
        """Set several properties."""
        for path, value in properties.items():
            self[path] = value
        return self

    def apply(self, ot: str, path: str, value: Any, **extra: Any) -> "Node":
        """Any operation on a property: `node.apply("color.blend", "color", "#ff0000", alpha=0.2)`."""
        self.edit({"ot": ot, "key": self.key, "path": path, "value": plain(value), **plain(extra)})
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
    """A text that several may type into; positions and lengths count code points, and are clamped to the text."""

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
        self._node.edit({"ot": ot, "key": self._node.key, "path": self._path, **plain(fields)})


def _key(node: Node | str) -> str:
    return node if isinstance(node, str) else node.key


__all__ = ["Node", "Scene", "Text"]
