"""What a store shows of itself, in the published shapes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message

from .bootstrap import Origin, items_of, origin_of
from .clock import VectorClock
from .message import CRDTMessage, Operation, op_fields, published_message
from .node import SceneGraph, node_to_dict
from .optimistic import keep_draft
from .text_draft import TextDraft, write

if TYPE_CHECKING:
    from .store import Store


@dataclass
class Snapshot:
    """A document as it was, to begin from."""

    graph: SceneGraph
    vectorClock: VectorClock
    lt: int = 0
    journalIndex: int = 0
    """How many journal entries it stands for; of a server's, the sequence."""
    textRopes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Texts by node and path, hidden characters included.  Without it a text is a plain string."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From `snapshot` of a `state` message, in either naming."""
        return cls(
            SceneGraph.from_dict(data.get("graph") or {}),
            dict(data.get("vectorClock") or {}),
            data.get("lt", data.get("lamportTime", 0)),
            data.get("journalIndex", 0),
            data.get("textRopes") or {},
        )

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """The document of an engine."""
        state = graph.state(0)
        nodes = SceneGraph.from_dict(state.graph)
        return cls(nodes, dict(state.vector_clock), state.lt, state.journal_index, state.text_ropes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "graph": self.graph.to_dict(),
            "vectorClock": dict(self.vectorClock),
            "lt": self.lt,
            "journalIndex": self.journalIndex,
            "textRopes": self.textRopes,
        }

    def origin(self, head_seq: int = 0) -> Origin:
        """What a replica of it begins with."""
        return origin_of(self.graph, self.vectorClock, self.lt, self.textRopes, head_seq)

    @property
    def vector_clock(self) -> VectorClock:
        return self.vectorClock

    @property
    def journal_index(self) -> int:
        return self.journalIndex


def hydrateTextSnapshot(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its texts in the nodes, visible and ready to be typed into; the argument is not changed.

    `textRopes` stays: a store made of the result loses nothing.
    """
    if not snapshot.textRopes:
        return snapshot
    graph = snapshot.graph.deepCopy()
    for key, ropes in snapshot.textRopes.items():
        node = graph.nodes.get(key)
        for path, rope in ropes.items() if node is not None else ():
            assert node is not None
            keep_draft(node, path, draft_of_rope(rope))
    return Snapshot(graph, dict(snapshot.vectorClock), snapshot.lt, snapshot.journalIndex, snapshot.textRopes)


def draft_of_rope(rope: dict[str, Any]) -> TextDraft:
    """A text out of its serialised rope."""
    from vuer_rtc.crdt.message import Op

    draft = TextDraft()
    text = draft.encoded
    for item in items_of(rope):
        value = [item["anchor"], item["content"]]
        write(text, Op("text.insert", value=value, id=item["id"], seq=item["seq"], ts=item["ts"]))
        if item["deleted"]:
            text.delete([[item["id"], len(item["content"])]])
    draft.visible = text.visible()
    return draft


class JournalEntry:
    """One commit in a store's journal."""

    __slots__ = ("_is_undone", "_message", "_msg", "ack", "deletedAt")

    def __init__(self, msg: CRDTMessage, ack: bool = False, deletedAt: float | None = None) -> None:
        self._msg: CRDTMessage | None = msg
        self._message: Message | None = None
        self.ack = ack
        """True once the server has it."""
        self.deletedAt = deletedAt
        """Wall clock of the undo in force; None while it is not undone."""

    @classmethod
    def of(cls, message: Message, msg: CRDTMessage | None, ack: bool) -> Self:
        """The entry of a message that the replica has; the published form is made when somebody asks."""
        entry = cls.__new__(cls)
        entry._msg, entry._message, entry.ack, entry.deletedAt = msg, message, ack, None
        return entry

    @property
    def msg(self) -> CRDTMessage:
        if self._msg is None:
            assert self._message is not None
            self._msg = published_message(self._message)
        return self._msg

    @property
    def message_id(self) -> str:
        return self._msg.id if self._msg is not None else self._message.id  # type: ignore[union-attr]

    @property
    def deleted_at(self) -> float | None:
        return self.deletedAt

    def __repr__(self) -> str:
        return f"JournalEntry(msg={self.msg!r}, ack={self.ack}, deletedAt={self.deletedAt})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JournalEntry):
            return NotImplemented
        return (self.msg, self.ack, self.deletedAt) == (other.msg, other.ack, other.deletedAt)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class EditBuffer:
    """Edits that are not committed."""

    ops: list[Operation] = field(default_factory=list)
    baseGraph: SceneGraph | None = None
    """What was there before them; always None here: the replica knows."""


class StaleStateError(RuntimeError):
    """An action on a state that a later action has replaced; `copy()` would have kept it."""


class ClientState:
    """Everything a store knows, as it is now: valid until the next action, `copy()` keeps it.

    Reading a state is always about the present.  Acting on one that is not the latest raises.
    """

    __slots__ = ("_store", "_version")

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._version = store.version

    @property
    def store(self) -> "Store":
        """The store behind it.

        Raises: StaleStateError.
        """
        if self._version != self._store.version:
            raise StaleStateError(
                "this state has been replaced by a later one; keep a copy() to go back to it"
            )
        return self._store

    @property
    def graph(self) -> SceneGraph:
        """The scene graph with pending edits on top."""
        return self._store.read()

    @property
    def journal(self) -> list[JournalEntry]:
        """Commits in the order of arrival, since the last `compact()`."""
        return self._store.journal.entries

    @property
    def edits(self) -> EditBuffer:
        return EditBuffer([op_fields(op) for op in self._store.pending.ops])

    @property
    def snapshot(self) -> Snapshot:
        """The document as of the last `compact()`, or as it began; made when asked for."""
        return self._store.journal.checkpoint()

    @property
    def lt(self) -> int:
        return self._store.replica.lt

    @property
    def vectorClock(self) -> VectorClock:
        return self._store.replica.clock

    @property
    def client(self) -> str:
        return self._store.client

    def copy(self) -> "ClientState":
        """This state for good, in a store of its own.  Costs as much as the history is long."""
        return ClientState(self._store.copy())

    lamport_time = lt
    vector_clock = vectorClock


Listener = Callable[[], None]

hydrate_text_snapshot = hydrateTextSnapshot

__all__ = [
    "ClientState",
    "EditBuffer",
    "JournalEntry",
    "Listener",
    "Snapshot",
    "StaleStateError",
    "hydrateTextSnapshot",
    "hydrate_text_snapshot",
    "node_to_dict",
]
