"""The scene graph as programs read it: nodes by key, children in order, properties flat."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from vuer_rtc.crdt.view import seconds

from .clock import VectorClock

ROOT = ""
"""Parent of the nodes at root level."""


@dataclass
class CRDTEnvelope:
    """What is known of a node beside its content."""

    clock: VectorClock = field(default_factory=dict)
    """Of the commit that created it."""
    lamportTime: int = 0
    """Of the last commit that had an effect on it."""
    createdAt: float = 0.0
    """Wall clock of its creator, raw: sorts siblings."""
    updatedAt: float = 0.0
    deletedAt: float | None = None
    """Wall clock of its removal; None while it is not removed."""
    lww: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By property, `{lt, client}` of its last set."""

    def copy(self) -> "CRDTEnvelope":
        lww = {path: dict(stamp) for path, stamp in self.lww.items()}
        return CRDTEnvelope(
            dict(self.clock), self.lamportTime, self.createdAt, self.updatedAt, self.deletedAt, lww
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From `_crdt` of a node on the wire; what is missing is empty."""
        names = ("clock", "lamportTime", "createdAt", "updatedAt", "deletedAt", "lww")
        return cls(**{name: data[name] for name in names if data.get(name) is not None})

    def to_dict(self) -> dict[str, Any]:
        data = dict(vars(self))
        if self.deletedAt is None:
            del data["deletedAt"]
        return data


@dataclass
class SceneNode:
    """One node.  Writing to it changes this copy alone; edits go through the store."""

    key: str
    tag: str
    name: str
    children: list[str] = field(default_factory=list)
    """Keys of its live children, by (createdAt, key)."""
    _crdt: CRDTEnvelope = field(default_factory=CRDTEnvelope)
    properties: dict[str, Any] = field(default_factory=dict)
    """By path, dots and all; texts as strings."""
    parent: str | None = None
    """Key of its parent, `""` at root level; None when nobody said."""
    texts: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """By path, the texts: their drafts, or None until pending edits change them; not for programs."""
    written: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """By path, who authors the characters of the plain value that a pending edit wrote; not for programs."""

    def getProperty(self, path: str, default: Any = None) -> Any:
        return self.properties.get(path, default)

    def setProperty(self, path: str, value: Any) -> None:
        """Change this copy of the node, and nothing else."""
        self.properties[path] = value

    def copy(self) -> "SceneNode":
        """A node of its own; values are shared."""
        texts = {path: draft and draft.copy() for path, draft in self.texts.items()}
        return SceneNode(
            self.key,
            self.tag,
            self.name,
            list(self.children),
            self._crdt.copy(),
            dict(self.properties),
            self.parent,
            texts,
            dict(self.written),
        )

    @property
    def is_deleted(self) -> bool:
        return self._crdt.deletedAt is not None

    @property
    def metadata(self) -> CRDTEnvelope:
        """The same as `_crdt`, for whom underscores keep away."""
        return self._crdt

    @metadata.setter
    def metadata(self, envelope: CRDTEnvelope) -> None:
        self._crdt = envelope

    get_property = getProperty
    set_property = setProperty


@dataclass
class SceneGraph:
    """All nodes by key, removed ones included."""

    nodes: dict[str, SceneNode] = field(default_factory=dict)
    rootKey: str = ""
    """Key of the first node created at root level; `""` for none."""
    orphans: dict[str, set[str]] = field(default_factory=dict, repr=False, compare=False)
    """By parents that are missing, who named them; not for programs."""
    waiting: dict[str, list[Any]] = field(default_factory=dict, repr=False, compare=False)
    """By nodes that are missing, the edits of their properties; not for programs."""

    @property
    def root_key(self) -> str:
        return self.rootKey

    def copy(self) -> "SceneGraph":
        """A graph of its own with the same node objects."""
        return SceneGraph(dict(self.nodes), self.rootKey, _copies(self.orphans))

    def deepCopy(self) -> "SceneGraph":
        """A graph of its own with nodes of its own; values are shared."""
        nodes = {key: node.copy() for key, node in self.nodes.items()}
        return SceneGraph(nodes, self.rootKey, _copies(self.orphans))

    deep_copy = deepCopy

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From `graph` of a snapshot on the wire."""
        nodes = {key: node_from_dict(key, node) for key, node in data.get("nodes", {}).items()}
        note_parents(nodes)
        return cls(nodes, data.get("rootKey", ""))

    def to_dict(self) -> dict[str, Any]:
        return {
            "nodes": {key: node_to_dict(node) for key, node in self.nodes.items()},
            "rootKey": self.rootKey,
        }


def _copies(orphans: dict[str, set[str]]) -> dict[str, set[str]]:
    return {parent: set(keys) for parent, keys in orphans.items()}


_NOT_PROPERTIES = frozenset({"key", "tag", "name", "children", "_crdt"})


def node_from_dict(key: str, data: dict[str, Any]) -> SceneNode:
    """A node as it travels, flat; older ones carry their metadata beside the properties."""
    older = CRDTEnvelope.from_dict(data) if "_crdt" not in data else None
    properties = {path: value for path, value in data.items() if path not in _NOT_PROPERTIES}
    if older is not None:
        for name in vars(older):
            properties.pop(name, None)
    return SceneNode(
        key,
        data.get("tag", ""),
        data.get("name", ""),
        list(data.get("children", ())),
        older or CRDTEnvelope.from_dict(data["_crdt"]),
        properties,
    )


def node_to_dict(node: SceneNode) -> dict[str, Any]:
    """A node as it travels."""
    properties = {path: value for path, value in node.properties.items() if path not in _NOT_PROPERTIES}
    return {
        **properties,
        "key": node.key,
        "tag": node.tag,
        "name": node.name,
        "children": list(node.children),
        "_crdt": node.metadata.to_dict(),
    }


def note_parents(nodes: dict[str, SceneNode]) -> None:
    """Afterwards every node knows its parent, by the children that the others list."""
    for key, node in nodes.items():
        for child in node.children:
            if child in nodes:
                nodes[child].parent = key
    for node in nodes.values():
        if node.parent is None:
            node.parent = ROOT


def sorted_children(keys: Iterable[str], nodes: dict[str, SceneNode]) -> list[str]:
    """Siblings in their order: by (createdAt, key)."""
    return sorted(keys, key=lambda key: (seconds(nodes[key].metadata.createdAt) if key in nodes else 0, key))


def copied(value: Any) -> Any:
    """A JSON value of its own, so that a program may write to what it has read."""
    kind = type(value)
    if kind is list:
        return [copied(member) for member in value]
    if kind is dict:
        return {name: copied(member) for name, member in value.items()}
    return value


__all__ = [
    "ROOT",
    "CRDTEnvelope",
    "SceneGraph",
    "SceneNode",
    "copied",
    "node_from_dict",
    "node_to_dict",
    "note_parents",
    "sorted_children",
]
