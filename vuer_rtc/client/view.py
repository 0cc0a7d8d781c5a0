"""What a program reads: the replica's nodes with the pending edits on top, brought up to date when somebody looks."""

from vuer_rtc.crdt.dtype import CREATE_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Op
from vuer_rtc.crdt.node import Register
from vuer_rtc.crdt.register import implicit_agent
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.view import children_of, metadata, properties_of, touched_by

from .buffer import Buffer
from .message import OpMeta
from .node import ROOT, CRDTEnvelope, SceneGraph, SceneNode, copied
from .optimistic import PENDING, Source, apply_op
from .text_draft import TextDraft


class View(Source):
    """A scene graph that follows a replica.  Reading costs what has changed since the last reading."""

    def __init__(self, graph: Graph) -> None:
        self.scene = SceneGraph()
        self._graph = graph
        self._stale: set[str] = {key for key, _ in graph.scene.nodes()}
        """Nodes of the replica that have changed."""
        self._edited: set[str] = set()
        """Nodes here that pending edits have changed."""
        self._again: set[str] = set()
        """Nodes here whose pending edits have to be applied again."""
        self._applied = 0
        """How many of the pending edits are in."""

    def follow(self, graph: Graph) -> None:
        """Afterwards everything is read from another replica."""
        self._graph = graph
        self._stale = set(self.scene.nodes) | {key for key, _ in graph.scene.nodes()}
        self._again |= self._edited

    def look_at(self, graph: Graph) -> None:
        """Afterwards everything is read from `graph`; costs nothing when it is already."""
        if graph is not self._graph:
            self.follow(graph)

    def changed(self, keys: frozenset[str]) -> None:
        """Note that nodes of the replica have changed."""
        self._stale |= keys

    def merged(self, key: str) -> None:
        """Note that a pending edit on a node has become another."""
        self._again.add(key)

    def applied(self, key: str, is_new: bool) -> None:
        """Note that the last pending edit, on one node, is in already."""
        self._edited.add(key)
        self._applied += is_new

    def forget_edits(self) -> None:
        """Note that nothing is pending any more."""
        self._stale |= self._edited
        self._edited, self._again, self._applied = set(), set(), 0
        self.scene.waiting.clear()

    def read(self, pending: Buffer, meta: OpMeta) -> SceneGraph:
        """The scene graph, up to date."""
        if self._stale or self._again:
            self._restore(pending, meta)
        for index in range(self._applied, len(pending.ops)):
            self._apply(pending, index, meta)
        self._applied = len(pending.ops)
        return self.scene

    def _apply(self, pending: Buffer, index: int, meta: OpMeta) -> None:
        self._edited |= apply_op(self.scene, pending.ops[index], meta, f"{PENDING}{index}", self)

    def _restore(self, pending: Buffer, meta: OpMeta) -> None:
        keys = self._stale | self._again
        self._stale, self._again = set(), set()
        if pending.is_structural:
            self._read(keys | self._edited)
            self._edited, self._applied = set(), 0
            self.scene.waiting.clear()
            return
        self._read(keys)
        again = keys & self._edited
        for key in again:
            self.scene.waiting.pop(key, None)
        for index, op in pending.ops_on(again) if again else ():
            if index < self._applied:
                apply_op(self.scene, op, meta, f"{PENDING}{index}", self)

    def _read(self, keys: set[str]) -> None:
        nodes, orphans = self.scene.nodes, self.scene.orphans
        for key in keys:
            node = self._node(key)
            if node is None:
                nodes.pop(key, None)
                if children := self._graph.scene.children.get(key):
                    orphans.setdefault(key, set()).update(children)
                continue
            nodes[key] = node
            assert node.parent is not None
            if node.parent != ROOT and self._graph.scene.node(node.parent) is None:
                orphans.setdefault(node.parent, set()).add(key)
        self.scene.rootKey = self._graph.scene.tree.root()

    def _node(self, key: str) -> SceneNode | None:
        """A node as the replica has it."""
        scene = self._graph.scene
        node = scene.node(key)
        if node is None:
            return None
        values = properties_of(scene, key)
        tag, name = values.pop("tag"), values.pop("name")
        properties = {path: copied(value) for path, value in values.items()}
        registers = registers_of(self._graph, key)
        envelope = CRDTEnvelope.from_dict(metadata(node, touched_by(scene, key), registers))
        texts = {path: None for path, register in registers.items() if register.is_text}
        return SceneNode(key, tag, name, children_of(scene, key), envelope, properties, node.parent, texts)

    def draft(self, node: SceneNode, path: str) -> TextDraft | None:
        """The draft of a property as the replica has it; None when it has no such property."""
        return draft_on(self._graph, node.key, path)

    def waiting(self, key: str) -> list[tuple[Op, OpMeta, str]]:
        item = self._graph.scene.live.get(key)
        if item is None or item.life is not None:
            return []
        entries = {entry[:2]: entry for prop in item.properties.values() for entry in prop.log}
        found = []
        for (_, index), entry in sorted(entries.items()):
            op, placed = entry[2], entry[3]
            if not placed.is_undone and op.ot not in CREATE_OPS:
                message = placed.message
                meta = OpMeta(message.client, message.clock, message.lt, message.ts)
                found.append((op, meta, implicit_agent(placed.origin, index)))
        return found


def draft_on(graph: Graph, key: str, path: str) -> TextDraft | None:
    """The draft of a property as the graph has it; None when it has no such property, or no text can be there."""
    register = graph.scene.register(key, path)
    if register is None:
        return None
    if register.is_text:
        return TextDraft(register.text)
    if type(register.value) is not str:
        return TextDraft(register.text) if register.text is not None else None
    agent = implicit_agent(register.writer, register.index)
    if register.text is None:
        return TextDraft(None, register.value, agent)
    text = Text.decode(register.text.encode())
    if text.has(agent, 0):
        text.count(agent)
    else:
        text.place(agent, 0, register.value, None, 0, 0)
    return TextDraft(text)


def registers_of(graph: Graph, key: str) -> dict[str, Register]:
    """The registers of a node that operations have written, by path; to be read only."""
    scene = graph.scene
    node, item = scene.node(key), scene.live.get(key)
    registers = dict(node.registers or {}) if node is not None else {}
    if item is not None:
        registers.update((path, p.register) for path, p in item.properties.items() if p.register is not None)
    return registers


__all__ = ["View", "draft_on", "registers_of"]
