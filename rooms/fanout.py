"""What one commit has for a room: encoded once per dialect in use, never per receiver."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from vuer_rtc.crdt.message import Message, epoch_of
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.wire import Batch, Broadcast, Dialect, Edition, Frame

Frames = tuple[Sequence[Frame], int]
"""Frames, and their size together."""


WORK_FREE_S = 0.001
"""What any message may take; most take a hundredth."""
WORK_FREE_PER_OP_S = 20e-6
"""What each operation may take beside that; most take a quarter."""


class Delivery(NamedTuple):
    """One journalled message on its way to the clients."""

    message: Message
    """As it was journalled: native clients get that."""
    relay: Message | None
    """What published clients can be sent of it; None: nothing."""
    is_late: bool = False
    size: int = 0
    """About how many bytes its operations take."""
    work_s: float = 0.0
    """Processor time that it took to apply, in seconds."""

    @property
    def is_heavy(self) -> bool:
        """It took longer than messages of its size do (rule L9)."""
        return self.work_s > WORK_FREE_S + WORK_FREE_PER_OP_S * len(self.message.ops)

    def frame(self, dialect: Dialect) -> Frame | None:
        """Its broadcast; None when there is nothing that such clients could be sent."""
        message = self.message if dialect.edition is Edition.NATIVE else self.relay
        return encode(Broadcast(message, self.is_late), *dialect) if message is not None else None


class Fanout:
    """What a commit sends to the room, in sequence."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries
        self._encoded: dict[Dialect, list[Frame | None]] = {}
        self._plain: dict[tuple[Dialect, bool], Frames] = {}

    @property
    def has_restore(self) -> bool:
        """True when published clients cannot follow (MERGE.md, R7)."""
        return any(delivery.message.touches_restore for delivery in self._deliveries)

    @property
    def has_reset(self) -> bool:
        """True when the document was emptied, and published clients begin anew (rule R5)."""
        records = (d.message for d in self._deliveries if d.message.is_server_record)
        return any(epoch_of(record) is not None for record in records)

    @staticmethod
    def of_replies(replies: Mapping[int, Sequence[Frame]]) -> Frames:
        """The acknowledgements alone: the first frame of each."""
        frames = [frame for own in replies.values() for frame in own[:1]]
        return frames, sum(map(len, frames))

    def for_others(self, dialect: Dialect, *, is_batched: bool = False) -> Frames:
        """For who wrote none of the messages; the same list for every such receiver."""
        plain = self._plain.get((dialect, is_batched))
        if plain is None:
            frames = [frame for frame in self._frames(dialect) if frame is not None]
            plain = self._plain[dialect, is_batched] = packed(frames, dialect, is_batched)
        return plain

    def for_author(
        self, dialect: Dialect, replies: Mapping[int, Sequence[Frame]], *, is_batched: bool = False
    ) -> Frames:
        """For who wrote those messages whose indices are in `replies`, which stand in their places."""
        rows = enumerate(self._frames(dialect))
        parts = (replies.get(i, () if frame is None else (frame,)) for i, frame in rows)
        return packed(list(chain.from_iterable(parts)), dialect, is_batched)

    def _frames(self, dialect: Dialect) -> list[Frame | None]:
        frames = self._encoded.get(dialect)
        if frames is None:
            frames = self._encoded[dialect] = [delivery.frame(dialect) for delivery in self._deliveries]
        return frames


def packed(frames: list[Frame], dialect: Dialect, is_batched: bool) -> Frames:
    """The frames, in one if that is asked for and there are several (rule N6)."""
    if is_batched and len(frames) > 1:
        frames = [encode(Batch(frames), *dialect)]
    return frames, sum(map(len, frames))
