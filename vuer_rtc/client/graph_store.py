"""The store that programs use: the client's document, with callbacks."""

from collections.abc import Callable
from typing import Self

from vuer_rtc.crdt.message import Message

from .action import *  # noqa: F403  (the published module has these names too)
from .action import __all__ as _actions
from .buffer import is_additive_op, isAdditiveOp, merge_values, mergeValues
from .message import AnyMessage, CRDTMessage, Operation
from .node import SceneGraph, SceneNode
from .state import (
    ClientState,
    EditBuffer,
    JournalEntry,
    Listener,
    Snapshot,
    StaleStateError,
    hydrate_text_snapshot,
    hydrateTextSnapshot,
)
from .store import Store

OnMessage = Callable[[CRDTMessage], object]
OnState = Callable[[ClientState], object]


class GraphStore:
    """One client's document: edit, commit, receive, undo.  It has no network; `RoomClient` brings one.

    `on_send` and `on_message_sent` are given every commit of ours, in that order; `on_state_change` and listeners are
    called after every action.  `getState()` is valid until the next action.
    """

    def __init__(
        self,
        client: str,
        on_send: OnMessage | None = None,
        on_state_change: OnState | None = None,
        on_message_sent: OnMessage | None = None,
        initial_snapshot: Snapshot | None = None,
    ) -> None:
        self._begin(Store(client, initial_snapshot), on_send, on_state_change, on_message_sent)

    def _begin(
        self,
        store: Store,
        on_send: OnMessage | None = None,
        on_state_change: OnState | None = None,
        on_message_sent: OnMessage | None = None,
    ) -> None:
        self._store = store
        self._on_send = on_send
        self._on_state_change = on_state_change
        self._on_message_sent = on_message_sent
        self._listeners: list[Listener] = []

    @classmethod
    def fromServer(
        cls,
        client: str,
        snapshot: Snapshot,
        journal: list[CRDTMessage],
        on_send: OnMessage | None = None,
        on_state_change: OnState | None = None,
        on_message_sent: OnMessage | None = None,
    ) -> Self:
        """A store that begins with a server's snapshot and the commits beside it."""
        store = Store(client, snapshot)
        store.load(journal)
        made = cls.__new__(cls)
        made._begin(store, on_send, on_state_change, on_message_sent)
        return made

    # Reading

    @property
    def client(self) -> str:
        return self._store.client

    @property
    def inner(self) -> Store:
        """What does the work: for what brings a store to a network."""
        return self._store

    def getState(self) -> ClientState:
        """Everything known now; valid until the next action, `copy()` keeps it."""
        return ClientState(self._store)

    @property
    def graph(self) -> SceneGraph:
        """The scene graph now, with pending edits on top."""
        return self._store.read()

    def node(self, key: str) -> SceneNode | None:
        """A node as it is now, a removed one too; None when there is none."""
        return self._store.read().nodes.get(key)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every action, until the function returned is called."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _tell(self) -> None:
        if self._on_state_change is not None:
            self._on_state_change(self.getState())
        for listener in list(self._listeners):
            listener()

    # Editing

    def edit(self, op: Operation) -> None:
        """Put an operation into the edit buffer; it shows here at once.

        Raises: InvalidMessage, a ValueError, for what the server would refuse.
        """
        self._store.edit(op)
        self._tell()

    def commit(self, description: str | None = None) -> CRDTMessage | None:
        """Send what is in the edit buffer as one commit; None when it is empty.  The description does not travel."""
        return self._sent(self._store.commit())

    def cancel(self) -> None:
        """Drop what is in the edit buffer; what others did meanwhile stays."""
        self._store.cancel()
        self._tell()

    def undo(self) -> CRDTMessage | None:
        """Undo one's newest commit; pending edits are committed first, and are then what is undone."""
        if self._store.pending.ops:
            self.commit()
        return self._sent(self._store.undo())

    def redo(self) -> CRDTMessage | None:
        """Redo what was undone last."""
        return self._sent(self._store.redo())

    def _sent(self, committed: tuple[Message, CRDTMessage] | None) -> CRDTMessage | None:
        if committed is None:
            self._tell()
            return None
        message, msg = committed
        self._made(message)
        self._tell()
        self._send(msg)
        return msg

    def _made(self, message: Message) -> None:
        """There is a new commit; nobody has been told of it.  A listener may commit in its turn, or raise."""

    def _send(self, msg: CRDTMessage) -> None:
        if self._on_send is not None:
            self._on_send(msg)
        if self._on_message_sent is not None:
            self._on_message_sent(msg)

    # The server's side

    def receive(self, msg: AnyMessage) -> None:
        """Merge somebody's commit; a duplicate changes nothing, one's own acknowledges it."""
        self._store.receive(msg)
        self._tell()

    def ack(self, msg_id: str, server_seq: int = 0, *, auth: bool = False) -> None:
        """The server has a commit of ours; with `auth` its undos count on anybody's commits."""
        self._store.ack(msg_id, server_seq, auth=auth)
        self._tell()

    def reject(self, msg_id: str) -> None:
        """The server refused a commit of ours: take it back."""
        self._store.reject(msg_id)
        self._tell()

    def replace(self, store: Store) -> None:
        """Go on with another document state; every node may have changed."""
        store.version = self._store.version + 1
        store.changed = self._store.changed | set(self._store.read().nodes) | set(store.read().nodes)
        self._store = store
        self._tell()

    def compact(self) -> None:
        """Take acknowledged commits out of the journal, into the snapshot.  The replica still knows them."""
        self._store.compact()
        self._tell()

    get_state = getState
    from_server = fromServer


def createGraph(
    client: str,
    on_send: OnMessage | None = None,
    on_state_change: OnState | None = None,
    on_message_sent: OnMessage | None = None,
    initial_snapshot: Snapshot | None = None,
) -> GraphStore:
    """A store."""
    return GraphStore(client, on_send, on_state_change, on_message_sent, initial_snapshot)


create_graph = createGraph

__all__ = [
    *_actions,
    "ClientState",
    "EditBuffer",
    "GraphStore",
    "JournalEntry",
    "Snapshot",
    "StaleStateError",
    "createGraph",
    "create_graph",
    "hydrateTextSnapshot",
    "hydrate_text_snapshot",
    "isAdditiveOp",
    "is_additive_op",
    "mergeValues",
    "merge_values",
]
