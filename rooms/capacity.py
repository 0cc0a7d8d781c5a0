"""What a document may grow to: asked of each message before it goes into a batch (rule L1).

Whatever a commit may add counts, also where it turns out to have no effect, and so does what is undone or deleted:
all of it is kept.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

from vuer_rtc.crdt.dtype import CREATE_OPS, META_OPS, NODE_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from vuer_rtc.crdt.message import SITE_CLIENT, UNSET, Message, Op
from vuer_rtc.crdt.node import ROOT
from vuer_rtc.crdt.register import is_spread
from vuer_rtc.crdt.size import size_of, value_size
from vuer_rtc.crdt.view import Standpoint
from vuer_rtc.protocol.codes import ClientFault, ErrorCode
from vuer_rtc.protocol.limit import Limits

Place = tuple[str, str]
"""Key of a node, and property."""
PLACING_OPS = NODE_OPS - CREATE_OPS
COMPARING_OPS = frozenset({"array.union", "array.remove"})
SMALL_BYTES = 64
"""Of a value that a property may have instead of its own in a document that is full: people move things there, too."""


class Growing(Protocol):
    """What is asked of the room's graph."""

    @property
    def clock(self) -> Mapping[str, int]: ...
    @property
    def gap_count(self) -> int: ...
    def has_counter(self, client: str, counter: int) -> bool: ...
    @property
    def node_count(self) -> int: ...
    @property
    def waiting_count(self) -> int: ...
    def has_node(self, key: str) -> bool: ...
    def standpoint(self, key: str) -> Standpoint | None: ...
    def is_text(self, key: str, path: str) -> bool: ...
    def text_size(self, key: str, path: str) -> int: ...
    def member_count(self, key: str, path: str) -> int: ...
    def message(self, message_id: str) -> Message | None: ...
    @property
    def content_bytes(self) -> int: ...
    def value_bytes(self, key: str, path: str) -> int | None: ...


class Growth(NamedTuple):
    """What one message may add."""

    made: set[str]
    """Keys of nodes."""
    waiting: int
    """Operations on nodes that are not there."""
    typed: dict[Place, int]
    """Characters, by text."""
    joined: dict[Place, int]
    """Members, by list or map."""


class Capacity:
    """Room for the messages of one batch, behind what is in the graph."""

    def __init__(self, graph: Growing, limits: Limits) -> None:
        self._graph = graph
        self._limits = limits
        self._newcomers: set[str] = set()
        """Clients of whom the graph has nothing."""
        self._counters: dict[str, int] = {}
        """Of the clients whose messages are in the batch, the highest."""
        self._node_count = graph.node_count
        self._bytes = graph.content_bytes
        self._waiting_count: int | None = None
        """Counted when it is needed: that means a look at everything that waits."""
        self._made: set[str] = set()
        self._moves: dict[str, Standpoint] = {}
        """Where the batch leaves the nodes that it makes, moves or removes."""
        self._sizes: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}

    def take(self, message: Message) -> None:
        """Afterwards what the message may add is reckoned with.

        Raises: ClientFault `too-many-nodes`, `over-limit`; nothing is reckoned with then.
        """
        is_newcomer = self._is_newcomer(message.client)
        if is_newcomer and len(self._graph.clock) + len(self._newcomers) >= self._limits.clients_max:
            detail = f"clients_max is {self._limits.clients_max}: as many as that have edited the document"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
        self._check_counter(message)
        size = self._bytes + size_of(message)
        if size > self._limits.document_bytes_max and any(map(self._adds, message.ops)):
            bound = self._limits.document_bytes_max
            detail = f"document_bytes_max is {bound}: the document takes nothing that adds to it"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
        growth = self._growth(message)
        node_count = self._node_count + sum(op.ot in CREATE_OPS for op in message.ops)
        if growth.made and node_count > self._limits.nodes_max:
            detail = "the document has as many nodes as it takes"
            raise ClientFault(ErrorCode.TOO_MANY_NODES, detail, message.id)
        sizes = {place: self._size(place) + count for place, count in growth.typed.items()}
        bound = self._limits.text_chars_max
        for size in sizes.values():
            if size > bound:
                detail = f"text_chars_max is {bound}, the text would have {size}, deleted ones included"
                raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
        counts = {place: self._count(place) + count for place, count in growth.joined.items()}
        bound = self._limits.value_members_max
        for count in counts.values():
            if count > bound:
                detail = f"value_members_max is {bound}, the list or map could have {count}"
                raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
        self._check_comparisons(message)
        moved = self._moved(message)
        if growth.waiting:
            self._wait(growth.waiting, message)
        if is_newcomer:
            self._newcomers.add(message.client)
        self._counters[message.client] = max(message.counter, self._highest(message.client))
        self._bytes = size
        self._node_count = node_count
        self._made |= growth.made
        self._moves.update(moved)
        self._sizes.update(sizes)
        self._counts.update(counts)

    def _is_newcomer(self, client: str) -> bool:
        """True for one that the document would have to remember from now on; the site itself may always come."""
        return client not in self._graph.clock and client not in self._newcomers and client != SITE_CLIENT

    def _highest(self, client: str) -> int:
        found = self._counters.get(client)
        return self._graph.clock.get(client, 0) if found is None else found

    def _check_counter(self, message: Message) -> None:
        """Raises: ClientFault when it leaves a gap, or parts one in two, and there are too many already."""
        client, counter, bound = message.client, message.counter, self._limits.counter_gaps_max
        if self._graph.gap_count < bound or counter == self._highest(client) + 1:
            return
        if not any(self._graph.has_counter(client, beside) for beside in (counter - 1, counter + 1)):
            detail = f"counter_gaps_max is {bound}: clients have left out as many, count one by one"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)

    def _adds(self, op: Op) -> bool:
        """False when the document does not become larger by it, or no more than by what every property may take."""
        if op.ot in META_OPS:
            return self._graph.message(op.target) is None  # it waits for its target, through every compaction
        if op.ot in PLACING_OPS:
            return False
        if op.ot not in PROPERTY_OPS or _members(op) or any(_characters(op)):
            return True
        has = self._graph.value_bytes(op.key, op.path)
        return has is None or (op.value is not UNSET and value_size(op.value) > max(SMALL_BYTES, has))

    def _growth(self, message: Message) -> Growth:
        made: set[str] = set()
        waiting, typed, joined = 0, dict[Place, int](), dict[Place, int]()
        for op in message.ops:
            for place, string in _strings(op):
                if self._graph.is_text(*place):
                    typed[place] = typed.get(place, 0) + len(string)
            if op.ot in CREATE_OPS:
                made.add(op.value["key"])
            elif op.ot in PROPERTY_OPS or op.ot in TEXT_OPS:
                is_there = op.key in made or op.key in self._made or self._graph.has_node(op.key)
                waiting += not is_there
                for count in _characters(op):
                    typed[op.key, op.path] = typed.get((op.key, op.path), 0) + count
                if count := _members(op):
                    joined[op.key, op.path] = joined.get((op.key, op.path), 0) + count
        return Growth(made, waiting, typed, joined)

    def _check_comparisons(self, message: Message) -> None:
        """Raises: ClientFault when the message's operations look at more members of lists than they may."""
        if not any(op.ot in COMPARING_OPS for op in message.ops):
            return
        compared, counts = 0, dict[Place, int]()
        for op in message.ops:
            place = op.key, op.path
            if op.ot in COMPARING_OPS:
                counts[place] = counts.get(place) or self._count(place)
                compared += counts[place]
            if op.ot in PROPERTY_OPS:
                counts[place] = max(counts.get(place) or self._count(place), _length(op.value)) + _members(op)
            elif op.ot in CREATE_OPS:
                counts.update({(op.value["key"], name): _length(each) for name, each in op.value.items()})
        bound = self._limits.compared_members_max
        if compared > bound:
            detail = f"compared_members_max is {bound}, unions and removals would look at {compared}"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)

    def _moved(self, message: Message) -> dict[str, Standpoint]:
        """Where nodes stand after the message.

        Raises: ClientFault when it puts one too deep: a move looks at all that its new parent hangs below.
        """
        moved, bound = dict[str, Standpoint](), self._limits.tree_depth_max
        for op in message.ops:
            if op.ot not in NODE_OPS:
                continue
            key, parent = _placing(op)
            found = self._standpoint(key, moved)
            if parent is None:
                if found is not None:
                    moved[key] = found._replace(is_removed=True)
                continue
            above = list(islice(self._above(parent, moved), bound))
            if len(above) == bound:
                detail = f"tree_depth_max is {bound}: nothing is put deeper than that"
                raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
            if op.ot == "node.move":
                if found is not None and key not in above:
                    moved[key] = found._replace(parent=parent)
            elif found is None or found.is_removed:
                moved[key] = Standpoint(ROOT if key in above else parent)
        return moved

    def _above(self, key: str, moved: dict[str, Standpoint]) -> Iterator[str]:
        """The node, and those that it hangs below."""
        while key != ROOT:
            yield key
            found = self._standpoint(key, moved)
            key = ROOT if found is None else found.parent

    def _standpoint(self, key: str, moved: dict[str, Standpoint]) -> Standpoint | None:
        return moved.get(key) or self._moves.get(key) or self._graph.standpoint(key)

    def _wait(self, count: int, message: Message) -> None:
        if self._waiting_count is None:
            self._waiting_count = self._graph.waiting_count
        if self._waiting_count + count > self._limits.waiting_ops_max:
            detail = f"waiting_ops_max is {self._limits.waiting_ops_max}: too many operations wait for missing nodes"
            raise ClientFault(ErrorCode.OVER_LIMIT, detail, message.id)
        self._waiting_count += count

    def _size(self, place: Place) -> int:
        found = self._sizes.get(place)
        return self._graph.text_size(*place) if found is None else found

    def _count(self, place: Place) -> int:
        found = self._counts.get(place)
        return self._graph.member_count(*place) if found is None else found


def _placing(op: Op) -> tuple[str, str | None]:
    """Key of the node that a `node.*` op is about, and the parent it is to have; None: it is removed."""
    if op.ot == "node.remove":
        return op.value, None
    if op.ot == "node.move":
        return op.value["nodeKey"], op.value["newParent"]
    return op.value["key"], op.key


def _length(value: Any) -> int:
    return len(value) if type(value) is list else 0


def _members(op: Op) -> int:
    """How many the op may add to the list or map that is there."""
    match op.ot, op.value:
        case "array.push", _:
            return 1
        case "array.union", list(members):
            return len(members)
        case "object.merge", dict(members) if op.path != ".":
            return len(members)
    return 0


def _strings(op: Op) -> Iterator[tuple[Place, str]]:
    """What the op sets that becomes characters where there is a text (rule X2)."""
    if op.ot in SET_OPS:
        if type(op.value) is str:
            yield (op.key, op.path), op.value
    elif op.ot != "node.insert" and is_spread(op) and type(op.value) is dict:
        key = op.value["key"] if op.ot in CREATE_OPS else op.key
        for path, member in op.value.items():
            if type(member) is str:
                yield (key, path), member


def _characters(op: Op) -> Iterator[int]:
    """How many the op may add to what is there."""
    if op.ot in TEXT_OPS:
        content = op.value[1] if type(op.value) is list else op.value
        if type(content) is str:
            yield len(content)
    elif op.ot == "string.concat" and type(op.value) is str:
        yield len(op.value) + (len(op.separator) if type(op.separator) is str else 0)
