"""What native clients are told of a document: all of it (rules N1 to N5)."""

from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.wire import NativeDocument


def native_document(graph: Graph) -> NativeDocument:
    """From this `Graph` makes the same document, to the last thing a later merge may depend on."""
    return NativeDocument(graph.snapshot(), graph.retained_messages())


def undoable_ids(graph: Graph, client: str, ids_max: int) -> list[str]:
    """Ids of the client's retained messages that are not undone, oldest first; at most the newest so many."""
    undone = graph.undone_ids()
    own = (message for message in graph.retained_messages() if message.client == client)
    ids = [message.id for message in own if message.id not in undone and is_undoable(message)]
    return ids[-ids_max:] if ids_max else []


def is_undoable(message: Message) -> bool:
    """True when something of it can be undone: undos themselves cannot."""
    return any(op.ot not in META_OPS for op in message.ops)
