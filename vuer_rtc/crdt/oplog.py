"""The messages above the cut, in total order, and which were ever seen (rules I1, I2)."""

import enum
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping

from .message import Message, content_of
from .place import Placed, Spot, placed_at
from .seen import Seen


class Identity(enum.Enum):
    """What a message is to a replica that has seen others (rule I1)."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    """Its id or its counter was used for another content."""


class OpLog:
    """The op log of one replica."""

    def __init__(self, folded: Seen | None = None) -> None:
        self.by_id: dict[str, Placed] = {}
        self.order: list[Placed] = []
        """In total order."""
        self.folded = Seen() if folded is None else folded
        """What is folded away."""
        self.pending = 0
        """How many are not journalled."""
        self.size = 0
        """About how many bytes the ops of all of them take."""
        self._ids: dict[str, dict[int, str]] = {}
        """Ids by client and counter."""

    def add(self, message: Message, cut: int) -> Placed:
        """Afterwards the message is retained; at its place."""
        placed = placed_at(message, cut)
        client, message_id = message.client, message.id
        self.by_id[message_id] = placed
        self.size += placed.size
        if not message.server_seq:
            self.pending += 1
        order = self.order
        if order and placed.place < order[-1].place:
            insort(order, placed, key=place_of)
        else:
            order.append(placed)
        ids = self._ids.get(client)
        if ids is None:
            ids = self._ids[client] = {}
        ids[message.clock.get(client, 0)] = message_id
        return placed

    def remove(self, placed: Placed) -> None:
        """Afterwards it is as if the message had never been there."""
        message = placed.message
        self._drop(message)
        self.size -= placed.size
        self.pending -= not message.server_seq
        at = bisect_left(self.order, placed.place, key=place_of)
        del self.order[at]

    def fold_away(self, placed: Iterable[Placed], end: Spot) -> None:
        """Afterwards these, and nothing else before `end`, are folded away."""
        for one in placed:
            one.is_folded = True
            self.size -= one.size
            self.folded.add(one.message.client, self._drop(one.message))
        at = self.count_before(end)
        self.order[:at] = [one for one in self.order[:at] if not one.is_folded]

    def _drop(self, message: Message) -> int:
        """Forget the message; its counter."""
        client = message.client
        counter = message.clock.get(client, 0)
        self.by_id.pop(message.id, None)
        ids = self._ids.get(client, {})
        if ids.get(counter) == message.id:
            del ids[counter]
            if not ids:
                del self._ids[client]
        return counter

    def count_before(self, end: Spot) -> int:
        """How many stand before `end`."""
        return bisect_left(self.order, end[0], key=place_of)

    def is_folded(self, message: Message) -> bool:
        return (message.client, message.counter) in self.folded

    def has_counter(self, client: str, counter: int) -> bool:
        """True when a message of that counter is retained, or was folded away."""
        return counter in self._ids.get(client, ()) or (client, counter) in self.folded

    def identify(self, message: Message) -> Identity:
        """Whether `message` is new here, a duplicate, or a re-use of an id or counter (rule I1)."""
        known = self.by_id.get(message.id)
        if known is not None:
            return Identity.DUPLICATE if content_of(known.message) == content_of(message) else Identity.REUSED
        if message.counter in self._ids.get(message.client, ()):
            return Identity.REUSED
        return Identity.DUPLICATE if self.is_folded(message) else Identity.NEW

    def messages_since(self, clock: Mapping[str, int]) -> list[Message] | None:
        """Journalled messages above `clock`, by sequence; None when one of them is folded away.

        With them come those that were journalled after a higher counter of their client: a clock that covers them
        does not tell whether they are there.
        """
        if self.folded.missing(clock):
            return None
        messages = (placed.message for placed in self.order)
        highest = self.folded.highest()
        lacking = []
        for message in sorted((m for m in messages if m.server_seq), key=lambda m: m.server_seq):
            client, counter = message.client, message.counter
            if counter > clock.get(client, 0) or counter < highest.get(client, 0):
                lacking.append(message)
            highest[client] = max(counter, highest.get(client, 0))
        return lacking

    def messages_of(self, client: str) -> Iterator[Message]:
        """The client's retained messages, the one that was added last first."""
        return (self.by_id[message_id].message for message_id in reversed(self._ids.get(client, {}).values()))

    def under(self, client: str, counter: int) -> Placed | None:
        """The client's retained message of that counter."""
        message_id = self._ids.get(client, {}).get(counter)
        return None if message_id is None else self.by_id.get(message_id)

    def highest_of(self, client: str) -> int:
        """The client's highest counter, retained or folded away; 0 for none."""
        return max(max(self._ids.get(client, ()), default=0), self.folded.highest_of(client))

    def highest_lt(self) -> int:
        """The highest Lamport time of a retained message; 0 for none."""
        if self.order and not self.order[-1].is_late:  # above the cut they stand by it
            return self.order[-1].message.lt
        return max((placed.message.lt for placed in self.order), default=0)

    def messages(self, ids: Iterable[str]) -> dict[str, Message]:
        """Those of these ids that are retained."""
        found = ((message_id, self.by_id.get(message_id)) for message_id in ids)
        return {message_id: placed.message for message_id, placed in found if placed is not None}


def place_of(placed: Placed) -> tuple[object, ...]:
    return placed.place
