"""A `state` that was encoded a moment ago, and what has happened since: who joins is sent both (rule A4).

That is what somebody who joined then has been sent by now.  So a join costs what has changed and not the document, and
all of a crowd are sent the same bytes.
"""

from collections.abc import Iterable

from rooms.fanout import Delivery, Frames, packed
from rooms.settings import settings
from vuer_rtc.crdt.message import epoch_of
from vuer_rtc.crdt.replay import may_be_read_otherwise
from vuer_rtc.protocol.wire import Dialect, Edition, Frame

TAIL_SHARE = 0.25
"""How large what has happened since may become, beside the state; and how many of the messages in it may have been
folded away.  Beyond it a state is made anew: neither do those who join get much more than the document, nor does a busy
room make one for each of them."""


class KeptState:
    """One `state`, and the broadcasts behind it, in one dialect."""

    def __init__(self, state: Frame, server_seq: int, retained_count: int, dialect: Dialect) -> None:
        self.state = state
        self.head_seq = self.state_seq = server_seq
        self._retained_min = int(retained_count * (1 - TAIL_SHARE))
        self._dialect = dialect
        self._tail: list[Frame] = []
        self._bytes_left = int(len(state) * TAIL_SHARE)
        self._authors: set[str] = set()
        self._packed: dict[bool, Frames] = {}

    def extend(self, deliveries: Iterable[Delivery], retained_count: int) -> bool:
        """Take in what came behind `head_seq`; False when this state is of no more use, also because the document, of
        which so many messages are retained now, has become small beside it."""
        if retained_count < self._retained_min:
            return False
        for delivery in deliveries:
            if self._is_beginning(delivery):
                return False
            frame = delivery.frame(self._dialect)
            if frame is not None:
                self._tail.append(frame)
                self._bytes_left -= len(frame)
                if self._bytes_left < 0 or len(self._tail) > settings.since_messages_max:
                    return False
            self._authors.add(delivery.message.client)
            self.head_seq = delivery.message.server_seq
            self._packed.clear()
        return True

    def _is_beginning(self, delivery: Delivery) -> bool:
        """True when a reset has emptied the document, or published clients were sent a `state` or would have to
        apply what they read otherwise (rules R5, A8)."""
        message = delivery.message
        if message.is_server_record:
            return epoch_of(message) is not None
        if self._dialect.edition is not Edition.PUBLISHED:
            return False
        relay = delivery.relay
        return message.touches_restore or (relay is not None and may_be_read_otherwise(relay))

    def suits(self, client: str) -> bool:
        """False for a client of whose own messages some are behind the state: it counts its messages from what its
        `state` says, and may write before it has read on."""
        return client not in self._authors

    def frames(self, *, is_batched: bool) -> Frames:
        """The state, and what came behind it; the same for every such receiver."""
        found = self._packed.get(is_batched)
        if found is None:
            tail, size = packed(self._tail, self._dialect, is_batched)
            found = self._packed[is_batched] = [self.state, *tail], len(self.state) + size
        return found
