"""What a room answers from memory: its document as it is now, how far that is, and what somebody missed of it."""

from collections.abc import Mapping, Sequence

from rooms.fanout import Delivery
from rooms.missing import deliveries_since
from rooms.native import native_document
from rooms.recent import Recent
from rooms.settings import settings
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.wire import Dialect, Edition, Frame, Standing, State


class Answers:
    """Of one graph; each is made once while nothing changes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._recent = Recent(graph.head_seq, settings.recent_messages_max)
        self._states: dict[Dialect, Frame] = {}
        self._standing: Standing | None = None

    def note(self, deliveries: Sequence[Delivery]) -> None:
        """These have been applied to the graph, each once, without a gap."""
        self._recent.add(deliveries)
        self._states.clear()
        self._standing = None

    def state(self, dialect: Dialect) -> Frame:
        """The document as it is; encoded once per dialect."""
        frame = self._states.get(dialect)
        if frame is None:
            is_native = dialect.edition is Edition.NATIVE
            tail = settings.state_tail_messages
            document = native_document(self._graph) if is_native else self._graph.state(tail)
            frame = self._states[dialect] = encode(State(document, self._graph.head_seq), *dialect)
        return frame

    def standing(self) -> Standing:
        """How far the document is; costs a digest of all of it."""
        if self._standing is None:
            graph = self._graph
            self._standing = Standing(dict(graph.clock), graph.head_seq, graph.digest())
        return self._standing

    def holds_after(self, seq: int) -> bool:
        """True when everything behind `seq` is in memory."""
        return self._recent.after(seq) is not None

    def after(self, since: int, read: Sequence[Message]) -> list[Delivery] | None:
        """What came behind `since`, of which `read` is from the journal; None when not all of it is known."""
        found = [Delivery(m, None) for m in read if since < m.server_seq <= self._graph.head_seq]
        rest = self._recent.after(found[-1].message.server_seq if found else since)
        return found + rest if rest is not None else None

    def beyond(self, clock: Mapping[str, int]) -> list[Delivery] | None:
        """What `clock` lacks; None when only the whole state can tell."""
        return deliveries_since(self._graph, self._recent, clock)
