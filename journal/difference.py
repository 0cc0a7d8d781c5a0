"""What happened between two states of a document, and by whom: all of it, one node's, one message's (rule J31)."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec

from journal.change import NodeChange, PropertyChange, Touch
from journal.entry import Entry
from journal.history import replay
from journal.operation import subject_of
from journal.settings import settings
from vuer_rtc.crdt.graph import Graph, NodeView
from vuer_rtc.crdt.message import Message
from vuer_rtc.crdt.undo import targets_of

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

    Cost: that of `graph_at(seq_b)`, twice: whose work it was is looked for only of what is named, which is known at
    the end.  Raises: as `journal.history.graph_at`.
    """
    after = replay(document_id, seq_a, seq_b, _outcome)
    return replay(
        document_id, seq_a, seq_b, lambda graph, entries: _difference(graph, entries, after, seq_a, seq_b)
    )


def compared(before: Graph, after: Graph) -> Difference:
    """What differs between two states; nobody is named."""
    views = [graph.nodes(with_children=False) for graph in (before, after)]
    changes = _differing(NodeChange(key, *(of.get(key) for of in views)) for key in {**views[0], **views[1]})
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
    """What one message changed.  Cost: that of `graph_at(seq)`, twice when it changed nodes that it does not name.
    Raises: as `journal.history.graph_at`."""

    def find(graph: Graph, entries: Iterator[Entry]) -> tuple[Touch, Views, list[NodeChange] | None]:
        [entry] = entries
        before = _views(graph, _named(graph, entry.message))
        after = _views(graph, graph.apply(entry.message).changed)
        is_known = before.keys() >= after.keys()
        return Touch.of(entry), after, _changes(graph, before, after) if is_known else None

    touch, after, changes = replay(document_id, seq - 1, seq, find)
    if changes is None:
        changes = replay(
            document_id, seq - 1, seq - 1, lambda graph, _: _changes(graph, _views(graph, after), after)
        )
    return Step(touch, changes[: settings.history_nodes_max], len(changes))


def _named(graph: Graph, message: Message) -> set[str]:
    """The nodes that its operations are about, or those of the messages that it undoes or redoes, and those above."""
    keys: set[str] = set()
    targets = filter(None, map(graph.message, targets_of(message)))
    for op in (op for each in (message, *targets) for op in each.ops):
        key, _ = subject_of(op)
        keys |= {key, op.key}
        if type(op.value) is dict and type(parent := op.value.get("newParent")) is str:
            keys.add(parent)
        if (standpoint := graph.standpoint(key)) is not None:
            keys.add(standpoint.parent)
    return keys


# Between two points


def _outcome(graph: Graph, entries: Iterator[Entry]) -> Views:
    """Applies the messages; the nodes that may differ then, save for what is above them."""
    changed: set[str] = set()
    for entry in entries:
        changed |= graph.apply(entry.message).changed
    return _views(graph, changed)


def _difference(graph: Graph, entries: Iterator[Entry], after: Views, seq_a: int, seq_b: int) -> Difference:
    before = _views(graph, after)
    changes = _changes(graph, before, after)
    shown = changes[: settings.history_nodes_max]
    states = (
        {**before, **{change.key: change.before for change in changes}},
        {**after, **{change.key: change.after for change in changes}},
    )
    followed = {key for change in shown for key in _deciding(change, states)}
    of_nodes: dict[str, _Trail] = {}
    of_properties: dict[tuple[str, str], _Trail] = {}
    touches_max = settings.history_touches_max
    for touch, change in _changes_among(graph, entries, states[0], followed) if shown else ():
        if change.is_structural:
            of_nodes.setdefault(change.key, _Trail(touches_max)).add(touch)
        for one in change.written:
            of_properties.setdefault((change.key, one.path), _Trail(touches_max)).add(touch)
    nodes = [
        _told(
            change,
            of_nodes,
            of_properties,
            next((key for key in _deciding(change, states) if key in of_nodes), change.key),
        )
        for change in shown
    ]
    return Difference(seq_a, seq_b, nodes, len(changes), seq_b - seq_a)


class _Trail:
    """The messages that changed one thing."""

    def __init__(self, touches_max: int) -> None:
        self._newest: deque[Touch] = deque(maxlen=touches_max)
        self._count = 0

    def add(self, touch: Touch) -> None:
        self._newest.appendleft(touch)
        self._count += 1

    def told(self) -> Touches:
        return Touches(list(self._newest), self._count)


NOBODY = _Trail(0)


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


def _deciding(change: NodeChange, states: Iterable[Views]) -> Iterator[str]:
    """Keys of the nodes whose coming, going or moving may have made the difference: its own; where it was hidden or
    shown with what is above it, those above it in each state, and a parent that is not there."""
    yield change.key
    if change.is_structural or not (change.is_shown or change.is_hidden):
        return
    for views in states:
        key, seen = change.key, set()
        while key not in seen and (view := views.get(key)) is not None:
            seen.add(key)
            yield (key := view.parent)


def _views(graph: Graph, keys: Iterable[str]) -> Views:
    """The nodes of these keys, as far as they are compared."""
    return graph.views(keys, with_children=False)


def _changes(graph: Graph, before: Views, after: Views) -> list[NodeChange]:
    """What differs of the nodes in `after`, and of what they have hidden or shown with them, by key.  `graph`: in
    either of the two states."""
    changes = {key: NodeChange(key, before.get(key), view) for key, view in after.items()}
    turned = {True: set[str](), False: set[str]()}
    for change in changes.values():
        waiting = [change.key] if change.is_shown or change.is_hidden else []
        below = turned[change.is_hidden]
        while waiting:
            found = {key for key in graph.scene.children.get(waiting.pop(), ()) if key not in changes}
            waiting += found - below
            below |= found
    for is_hidden, keys in turned.items():
        for key, view in _views(graph, keys).items():
            assert view is not None
            was, now = (msgspec.structs.replace(view, hidden=hidden) for hidden in (not is_hidden, is_hidden))
            changes[key] = NodeChange(key, was, now)
    return _differing(changes.values())


def _differing(changes: Iterable[NodeChange]) -> list[NodeChange]:
    return sorted(filter(None, changes), key=lambda change: change.key)


# Message by message


def _changes_among(
    graph: Graph, entries: Iterable[Entry], before: Views, keys: Collection[str]
) -> Iterator[tuple[Touch, NodeChange]]:
    """Applies the messages; of each, which of these nodes it changed itself."""
    known = {key: before.get(key) for key in keys}
    for entry in entries:
        for key, view in _views(graph, known.keys() & graph.apply(entry.message).changed).items():
            yield Touch.of(entry), NodeChange(key, known[key], view)
            known[key] = view


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
    line = [key]
    while (standpoint := graph.standpoint(line[-1])) is not None and standpoint.parent:
        line.append(standpoint.parent)
    return _views(graph, [key])[key], frozenset(line)
