"""The operations that turn a document into what it was: one message, merged and undone like any other (rules R1 to R7).

Nodes are settled from the root down, as they stood then.  So every parent has its final place before something is hung
below it, and no move or insert is refused as a cycle.
"""

from collections.abc import Collection, Iterator
from typing import Any

from .graph import Graph
from .message import Op
from .node import ROOT
from .scene import Scene
from .value import is_vector, json_key
from .view import properties_of


def restoring_ops(current: Graph, target: Graph, keys: Collection[str] | None = None) -> list[Op]:
    """The operations of one message, to be written behind all of `current`, that make it show what `target` shows.

    Both are states of one document.  With `keys` only these nodes become as they were, and one that would hang below
    itself then stays where it is.  Empty when there is nothing to do.  Cost: the size of both.
    """
    return list(_Restoration(current._scene, target._scene, keys).ops())


class _Restoration:
    def __init__(self, now: Scene, then: Scene, keys: Collection[str] | None) -> None:
        self._now = now
        self._then = then
        self._keys = keys
        self._root = then.tree.root()
        self._parents: dict[str, str] = {}
        """Where the operations so far have put nodes."""

    def ops(self) -> Iterator[Op]:
        for key in sorted(key for key in self._live_keys(self._now) if not _is_live(self._then, key)):
            yield self._removal(key)
        alive = list(self._live_keys(self._then))
        depths = _depths(self._then, alive)
        if self._keys is None:
            for key in self._strange_parents(depths):
                yield from self._place(key, ROOT)
            alive = list(depths)
        for key in sorted(alive, key=lambda key: (depths[key], key != self._root, key)):
            yield from self._settle(key)

    def _live_keys(self, scene: Scene) -> Iterator[str]:
        for key, node in scene.nodes():
            if node.removed is None and (self._keys is None or key in self._keys):
                yield key

    def _strange_parents(self, depths: dict[str, int]) -> list[str]:
        """Nodes of now that were only a name in a child then: whatever they hang below would be above that child."""
        named = {node.parent for key in depths if (node := self._then.node(key)) is not None}
        return sorted(
            key for key in named if self._then.node(key) is None and self._now.node(key) is not None
        )

    def _settle(self, key: str) -> Iterator[Op]:
        wanted, present = self._then.node(key), self._now.node(key)
        assert wanted is not None
        if wanted.removed is not None:  # something hangs below it
            if present is not None:
                yield from self._place(key, wanted.parent)
        elif present is None:
            if self._has_waiting(key):
                yield Op("node.insert", wanted.parent, "children", {"key": key})
                yield self._removal(key)
            yield self._insertion(key)
        elif present.removed is not None:
            yield self._insertion(key)
        elif present.created_at != wanted.created_at or self._has_more(key) or self._lacks_root(key):
            yield self._removal(key)
            yield self._insertion(key)
        else:
            yield from self._place(key, wanted.parent)
            yield from self._assignments(key)

    # Structure

    def _removal(self, key: str) -> Op:
        return Op("node.remove", self._parent(key) or ROOT, "children", key)

    def _insertion(self, key: str) -> Op:
        """A new incarnation, with the values and the place among its siblings that it had."""
        node = self._then.node(key)
        assert node is not None
        self._parents[key] = ROOT if self._would_cycle(node.parent, key) else node.parent
        values = {path: value for path, value in properties_of(self._then, key).items()
                  if value != "" or path not in ("tag", "name")}  # fmt: skip
        return Op("node.insert", node.parent, "children", {"key": key, **values}, ts=node.created_at)

    def _place(self, key: str, parent: str) -> Iterator[Op]:
        before = self._parent(key)
        if before != parent and not self._would_cycle(parent, key):
            self._parents[key] = parent
            yield Op("node.move", before or ROOT, "children", {"nodeKey": key, "newParent": parent})

    def _parent(self, key: str) -> str | None:
        """None while it is missing."""
        if key in self._parents:
            return self._parents[key]
        node = self._now.node(key)
        return None if node is None else node.parent

    def _would_cycle(self, parent: str, key: str) -> bool:
        """True when `parent` hangs below `key`; when all nodes are settled, none does."""
        step: str | None = parent if self._keys is not None else None
        while step is not None and step != ROOT:
            if step == key:
                return True
            step = self._parent(step)
        return False

    def _lacks_root(self, key: str) -> bool:
        """True for the node whose creation at root level made it the root, when that has been undone (rule T10)."""
        node = self._then.node(key)
        return key == self._root and node is not None and node.parent == ROOT and not self._now.tree.root()

    # Properties

    def _has_waiting(self, key: str) -> bool:
        """True when operations wait for the node: they belong to its first incarnation (rule P2)."""
        item = self._now.live.get(key)
        return item is not None and bool(item.properties)

    def _has_more(self, key: str) -> bool:
        """True when it has a property that it did not have: no operation takes one away."""
        return not properties_of(self._now, key).keys() <= properties_of(self._then, key).keys()

    def _assignments(self, key: str) -> Iterator[Op]:
        before = properties_of(self._now, key)
        for path, value in properties_of(self._then, key).items():
            if path not in before or json_key(before[path]) != json_key(value):
                yield assignment(key, path, value)


def assignment(key: str, path: str, value: Any) -> Op:
    """The operation that sets a property to any JSON value."""
    match value:
        case bool():
            return Op("boolean.set", key, path, value)
        case int() | float():
            return Op("number.set", key, path, value)
        case str():
            return Op("string.set", key, path, value)
        case list():
            return Op("vector3.set" if is_vector(value, 3) else "array.set", key, path, value)
        case dict():
            return Op("object.set", key, path, value)
    return Op("object.merge", key, ".", {path: value})


def _is_live(scene: Scene, key: str) -> bool:
    node = scene.node(key)
    return node is not None and node.removed is None


def _depths(scene: Scene, keys: list[str]) -> dict[str, int]:
    """How many nodes are above each of these, and each of those."""
    depths: dict[str, int] = {}
    for key in keys:
        path = []
        while key not in depths and (node := scene.node(key)) is not None:
            path.append(key)
            key = node.parent
        above = depths.get(key, -1)
        for below in reversed(path):
            above = depths[below] = above + 1
    return depths


__all__ = ["assignment", "restoring_ops"]
