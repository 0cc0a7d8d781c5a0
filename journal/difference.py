"""What happened between two states of a document, and by whom: all of it, one node's, one message's (rule J31)."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from journal.change import NodeChange, PropertyChange, Touch
from journal.entry import Entry
from journal.history import replay
from journal.settings import settings
from vuer_rtc.crdt.graph import Graph, NodeView

Views = Mapping[str, NodeView | None]


@dataclass(frozen=True, slots=True)
class Touches:
    """Who changed something, newest first: the last few, and how many there were."""

    newest: list[Touch]
    count: int


@dataclass(frozen=True, slots=True)
class PropertyDifference:
    """One property, and the messages that changed it on the way."""

    change: PropertyChange
    by: Touches


@dataclass(frozen=True, slots=True)
class NodeDifference:
    """One node, and the messages that added, removed or moved it, or what is above it, on the way."""

    change: NodeChange
    by: Touches
    properties: list[PropertyDifference]
    """The first ones by path; `change.properties` are all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the state at `seq_b` has that the one at `seq_a` has not, and the other way about."""

    seq_a: int
    seq_b: int
    nodes: list[NodeDifference]
    """The first ones by key."""
    node_count: int
    """How many nodes differ."""
    message_count: int
    """How many messages lie between, server records included."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one message changed."""

    touch: Touch
    changes: list[NodeChange]
    """The first ones by key."""
    change_count: int


@dataclass(frozen=True, slots=True)
class Steps:
    """What changed one node, newest first: the last ones, and how many there were."""

    newest: list[Step]
    count: int


def difference(document_id: UUID, seq_a: int, seq_b: int) -> Difference:
    """What differs between two points, `seq_a <= seq_b`; what was done and taken back between them does not.

    Cost: that of `graph_at(seq_b)`, and of looking at what each message between has changed.
    Raises: as `journal.history.graph_at`.
    """
    return replay(document_id, seq_a, seq_b, lambda graph, entries: _difference(graph, entries, seq_a, seq_b))


def compared(before: Graph, after: Graph) -> Difference:
    """What differs between two states; nobody is named."""
    changes = _differing(before.nodes(), after.nodes())
    nodes = [_told(change, {}, {}, change.key) for change in changes[: settings.history_nodes_max]]
    seq_a, seq_b = before.head_seq, after.head_seq
    return Difference(seq_a, seq_b, nodes, len(changes), seq_b - seq_a)


def steps_of(document_id: UUID, key: str, seq_a: int, seq_b: int) -> Steps:
    """What changed one node in (seq_a, seq_b].

    Cost: that of `graph_at(seq_b)`.  Raises: as `journal.history.graph_at`.
    """

    def find(graph: Graph, entries: Iterator[Entry]) -> Steps:
        newest: deque[Step] = deque(maxlen=settings.history_steps_max)
        count = 0
        for touch, change in _changes_of(graph, entries, key):
            newest.appendleft(Step(touch, [change], 1))
            count += 1
        return Steps(list(newest), count)

    return replay(document_id, seq_a, seq_b, find)


def step_at(document_id: UUID, seq: int) -> Step:
    """What one message changed.  Cost: that of `graph_at(seq)`.  Raises: as `journal.history.graph_at`."""

    def find(graph: Graph, entries: Iterator[Entry]) -> Step:
        before = graph.nodes()
        [entry] = entries
        graph.apply(entry.message)
        changes = _differing(before, graph.nodes())
        return Step(Touch.of(entry), changes[: settings.history_nodes_max], len(changes))

    return replay(document_id, seq - 1, seq, find)


# Between two points


@dataclass(slots=True)
class _Trail:
    """The messages that changed one thing."""

    newest: deque[Touch] = field(default_factory=lambda: deque(maxlen=settings.history_touches_max))
    count: int = 0

    def add(self, touch: Touch) -> None:
        self.newest.appendleft(touch)
        self.count += 1

    def told(self) -> Touches:
        return Touches(list(self.newest), self.count)


NOBODY = _Trail()


def _difference(graph: Graph, entries: Iterator[Entry], seq_a: int, seq_b: int) -> Difference:
    before = graph.nodes()
    of_nodes: dict[str, _Trail] = {}
    of_properties: dict[tuple[str, str], _Trail] = {}
    for touch, changes in _changes(graph, entries, before):
        for change in changes:
            if change.is_structural:
                of_nodes.setdefault(change.key, _Trail()).add(touch)
            for one in change.written:
                of_properties.setdefault((change.key, one.path), _Trail()).add(touch)
    after = graph.nodes()
    differing = _differing(before, after)
    nodes = [
        _told(change, of_nodes, of_properties, _mover(change, of_nodes, before, after))
        for change in differing[: settings.history_nodes_max]
    ]
    return Difference(seq_a, seq_b, nodes, len(differing), seq_b - seq_a)


def _told(
    change: NodeChange,
    of_nodes: Mapping[str, _Trail],
    of_properties: Mapping[tuple[str, str], _Trail],
    mover: str,
) -> NodeDifference:
    return NodeDifference(
        change,
        of_nodes.get(mover, NOBODY).told(),
        [
            PropertyDifference(one, of_properties.get((change.key, one.path), NOBODY).told())
            for one in change.properties[: settings.history_properties_max]
        ],
    )


def _mover(change: NodeChange, moved: Mapping[str, _Trail], *states: Views) -> str:
    """Key of the node whose coming, going or moving made the difference: itself, or the first above it."""
    if change.is_structural or not (change.is_shown or change.is_hidden):
        return change.key
    for views in states:
        key, seen = change.key, set()
        while key not in seen and (view := views.get(key)) is not None:
            if key in moved:
                return key
            seen.add(key)
            key = view.parent
        if key in moved:
            return key  # a parent that is not there
    return change.key


def _differing(before: Views, after: Views) -> list[NodeChange]:
    keys = sorted({*before, *after})
    return [change for key in keys if (change := NodeChange(key, before.get(key), after.get(key)))]


# Message by message


def _changes(
    graph: Graph, entries: Iterable[Entry], before: Views
) -> Iterator[tuple[Touch, list[NodeChange]]]:
    """Applies the messages; of each, the nodes that it changed itself."""
    known = dict(before)
    for entry in entries:
        now = graph.views(graph.apply(entry.message).changed)
        yield Touch.of(entry), [NodeChange(key, known.get(key), view) for key, view in now.items()]
        known.update(now)


def _changes_of(graph: Graph, entries: Iterable[Entry], key: str) -> Iterator[tuple[Touch, NodeChange]]:
    """Applies the messages; of each that changed the node of a key, or what is above it, the change."""
    before, line = _line(graph, key)
    for entry in entries:
        if not line.isdisjoint(graph.apply(entry.message).changed):
            after, line = _line(graph, key)
            if change := NodeChange(key, before, after):
                yield Touch.of(entry), change
            before = after


def _line(graph: Graph, key: str) -> tuple[NodeView | None, frozenset[str]]:
    """The node of a key; and the keys that decide whether it is seen: its own and those above it."""
    found = view = graph.views([key])[key]
    line = [key]
    while view is not None and view.parent:
        line.append(view.parent)
        view = graph.views([view.parent])[view.parent]
    return found, frozenset(line)
