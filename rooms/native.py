"""What native clients are told of a document: all of it (rules N1 to N5)."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codec import encode, encode_commit
from vuer_rtc.protocol.wire import Dialect, Frame, NativeDocument, State

NODES_PER_TURN = 2000
"""Nodes of a `state` that are encoded in one turn of the event loop: about 3 ms."""
COMMITS_PER_TURN = 4000
"""The same of retained messages."""


def native_state(graph: Graph, dialect: Dialect, head_id: str | None = None) -> Frame:
    """From this `Graph` makes the same document, to the last thing a later merge may depend on.  `head_id`: of the
    message at its head; None: not known."""
    document = NativeDocument(graph.snapshot(), _commits(graph.retained_messages(), dialect), head_id)
    return encode(State(document, graph.head_seq), *dialect)


async def native_state_in_turns(graph: Graph, dialect: Dialect, head_id: str | None = None) -> Frame:
    """The state as it is when this begins; others have their turns meanwhile.

    Raises: SnapshotOvertaken, when something was folded away meanwhile.
    """
    seq, retained = graph.head_seq, graph.retained_messages()
    snapshot = await snapshot_in_turns(graph, NODES_PER_TURN)  # of now: it begins before it waits
    commits: list[bytes] = []
    for start in range(0, len(retained), COMMITS_PER_TURN):
        commits += _commits(retained[start : start + COMMITS_PER_TURN], dialect)
        await asyncio.sleep(0)
    return encode(State(NativeDocument(snapshot, commits, head_id), seq), *dialect)


async def snapshot_in_turns(graph: Graph, nodes_per_turn: int) -> bytes:
    """The graph's snapshot as of the call, made so many nodes at a time.

    Raises: SnapshotOvertaken, when something was folded away meanwhile.
    """
    parts = []
    for part in graph.snapshot_parts(nodes_per_turn):
        parts.append(part)
        await asyncio.sleep(0)
    return b"".join(parts)


def _commits(messages: Iterable[Message], dialect: Dialect) -> list[bytes]:
    return [encode_commit(message, dialect.framing, dialect.naming) for message in messages]


def undoable_ids(graph: Graph, client: str, ids_max: int) -> list[str]:
    """Ids of the client's retained messages that are not undone, oldest first; at most the newest so many."""
    own = (m.id for m in graph.messages_of(client) if not graph.is_undone(m.id) and is_undoable(m))
    return list(islice(own, ids_max))[::-1]


def is_undoable(message: Message) -> bool:
    """True when something of it can be undone: undos themselves cannot."""
    return any(op.ot not in META_OPS for op in message.ops)
