"""The newest messages of a room, as they went out: for who missed some of them."""

from collections import deque
from collections.abc import Iterable
from itertools import islice

from rooms.fanout import Delivery


class Recent:
    """Consecutive deliveries up to the newest message, at most so many, of at most so many bytes."""

    def __init__(self, head_seq: int, messages_max: int, bytes_max: int) -> None:
        self._head_seq = head_seq
        self._messages_max = messages_max
        self._bytes_left = bytes_max
        self._deliveries: deque[Delivery] = deque()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """What was applied next, each message once, without a gap."""
        for delivery in deliveries:
            assert delivery.message.server_seq == self._head_seq + 1
            self._head_seq += 1
            self._deliveries.append(delivery)
            self._bytes_left -= delivery.size
        while self._bytes_left < 0 or len(self._deliveries) > self._messages_max:
            self._bytes_left += self._deliveries.popleft().size

    def holds_after(self, seq: int) -> bool:
        """True when everything behind `seq` is held."""
        return 0 <= self._head_seq - seq <= len(self._deliveries)

    def after(self, seq: int) -> list[Delivery] | None:
        """Everything behind `seq`; None when that is not held, or not there."""
        if not self.holds_after(seq):
            return None
        count = self._head_seq - seq
        return list(islice(self._deliveries, len(self._deliveries) - count, None))

    def at(self, seq: int) -> Delivery | None:
        """The message of that sequence; None when it is not held."""
        index = len(self._deliveries) - 1 - (self._head_seq - seq)
        return self._deliveries[index] if 0 <= index < len(self._deliveries) else None
