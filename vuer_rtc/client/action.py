"""Actions as functions from state to state, as the published library has them.

Each returns the new state; the old one may be read on (it shows the present) but not be acted on, unless it was copied.
"""

from .message import CRDTMessage, Operation
from .node import SceneGraph
from .state import ClientState, JournalEntry, Snapshot
from .store import Store


def createInitialState(client: str, initial_snapshot: Snapshot | None = None) -> ClientState:
    """The state of a client that has done nothing yet."""
    return ClientState(Store(client, initial_snapshot))


def initFromServer(client: str, snapshot: Snapshot, journal: list[CRDTMessage]) -> ClientState:
    """The state of a client that joins: a snapshot and the commits beside it, all of them acknowledged."""
    store = Store(client, snapshot)
    store.load(journal)
    return ClientState(store)


def onEdit(state: ClientState, op: Operation) -> ClientState:
    """With one more operation in the edit buffer.

    Raises: InvalidMessage, a ValueError, for what the server would refuse.
    """
    store = state.store
    store.edit(op)
    return ClientState(store)


def commitEdits(state: ClientState, description: str | None = None) -> tuple[ClientState, CRDTMessage | None]:
    """With the edit buffer as a commit; no commit for an empty buffer.  The description does not travel."""
    store = state.store
    committed = store.commit()
    return (ClientState(store), committed[1]) if committed else (state, None)


def cancelEdits(state: ClientState) -> ClientState:
    """Without the edit buffer's operations; what others did meanwhile stays."""
    store = state.store
    store.cancel()
    return ClientState(store)


def onServerAck(state: ClientState, msg_id: str) -> ClientState:
    """With a commit acknowledged."""
    store = state.store
    store.ack(msg_id)
    return ClientState(store)


def onRemoteMessage(state: ClientState, msg: CRDTMessage) -> ClientState:
    """With somebody's commit merged; a duplicate changes nothing."""
    store = state.store
    store.receive(msg)
    return ClientState(store)


def undo(state: ClientState) -> tuple[ClientState, CRDTMessage | None]:
    """With one's newest commit undone; pending edits are committed first and are what is undone."""
    store = state.store
    store.commit()
    undone = store.undo()
    return ClientState(store), undone[1] if undone else None


def redo(state: ClientState) -> tuple[ClientState, CRDTMessage | None]:
    """With what was undone last in force again."""
    store = state.store
    redone = store.redo()
    return ClientState(store), redone[1] if redone else None


def compact(state: ClientState) -> ClientState:
    """With the acknowledged commits in the snapshot instead of the journal."""
    store = state.store
    store.compact()
    return ClientState(store)


def rebuildGraph(snapshot: Snapshot, journal: list[JournalEntry], pending_ops: list[Operation]) -> SceneGraph:
    """A new graph: the snapshot, the entries that are not undone, and pending operations on top."""
    store = Store("local", snapshot)
    store.load(
        CRDTMessage(msg.id, msg.client, msg.clock, msg.lt, msg.ts, ops)
        for entry in journal
        if entry.deletedAt is None
        and (msg := entry.msg)
        and (ops := [op for op in msg.ops if not str(op.get("ot", op.get("otype"))).startswith("meta.")])
    )
    for op in pending_ops:
        store.edit(op)
    return store.read().deepCopy()


def getUnackedMessages(state: ClientState) -> list[CRDTMessage]:
    """One's commits that the server has not acknowledged, in order: what to send again."""
    return [entry.msg for entry in state.journal if not entry.ack]


def hasPendingMessages(state: ClientState) -> bool:
    """True when something waits for its acknowledgement."""
    return bool(state._store.unacked)


def getPendingCount(state: ClientState) -> int:
    """How many commits wait for their acknowledgement."""
    return len(state._store.unacked)


create_initial_state = createInitialState
init_from_server = initFromServer
on_edit = onEdit
commit_edits = commitEdits
cancel_edits = cancelEdits
on_server_ack = onServerAck
on_remote_message = onRemoteMessage
rebuild_graph = rebuildGraph
get_unacked_messages = getUnackedMessages
has_pending_messages = hasPendingMessages
get_pending_count = getPendingCount

__all__ = [
    "cancelEdits",
    "cancel_edits",
    "commitEdits",
    "commit_edits",
    "compact",
    "createInitialState",
    "create_initial_state",
    "getPendingCount",
    "getUnackedMessages",
    "get_pending_count",
    "get_unacked_messages",
    "hasPendingMessages",
    "has_pending_messages",
    "initFromServer",
    "init_from_server",
    "onEdit",
    "onRemoteMessage",
    "onServerAck",
    "on_edit",
    "on_remote_message",
    "on_server_ack",
    "rebuildGraph",
    "rebuild_graph",
    "redo",
    "undo",
]
