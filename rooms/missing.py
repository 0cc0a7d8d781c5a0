"""What a published client lacks, in the form that it can be sent (rule S3)."""

from collections.abc import Mapping, Sequence

from rooms.fanout import Delivery
from rooms.recent import Recent
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, is_restore


def deliveries_since(graph: Graph, recent: Recent, clock: Mapping[str, int]) -> list[Delivery] | None:
    """The messages above `clock`, in sequence, as the others got them; None when part of that is folded away, or is a
    restore, which they got as a state."""
    messages = graph.messages_since(clock)
    if messages is None or any(message.touches_restore for message in messages):
        return None
    sent = {message.server_seq: recent.at(message.server_seq) for message in messages}
    forgotten = [message for message in messages if sent[message.server_seq] is None]
    safe = safe_forms(graph, forgotten)
    if safe is None:
        return None
    return [sent[message.server_seq] or Delivery(message, safe.get(message.id)) for message in messages]


def safe_forms(graph: Graph, messages: Sequence[Message]) -> dict[str, Message] | None:
    """Of retained messages, by id, what published clients can be sent; None when a restore stands after one of them.
    Costs as much as a `state`."""
    if not messages:
        return {}
    first = min(message.stamp for message in messages)
    tail = [message for message in graph.retained_messages() if message.stamp >= first]
    if any(is_restore(message.id) for message in tail):
        return None
    return {message.id: message for message in graph.state(len(tail)).journal}
