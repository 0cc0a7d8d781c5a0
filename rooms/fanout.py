"""The broadcasts of one commit: encoded once per framing and naming in use, never per receiver."""

from collections.abc import Mapping, Sequence
from itertools import chain

from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.wire import Broadcast, Frame, Framing, Naming

Dialect = tuple[Framing, Naming]


class Fanout:
    """What a commit sends to the room, in sequence; None where a message has nothing that clients could be
    sent."""

    def __init__(self, broadcasts: Sequence[Broadcast | None]) -> None:
        self._broadcasts = broadcasts
        self._encoded: dict[Dialect, list[Frame | None]] = {}
        self._plain: dict[Dialect, tuple[list[Frame], int]] = {}

    def for_others(self, dialect: Dialect) -> tuple[list[Frame], int]:
        """All frames and their size, for who wrote none of the messages; the same list for every such
        receiver."""
        plain = self._plain.get(dialect)
        if plain is None:
            frames = [frame for frame in self._frames(dialect) if frame is not None]
            plain = self._plain[dialect] = (frames, sum(map(len, frames)))
        return plain

    def for_author(self, dialect: Dialect, replies: Mapping[int, Sequence[Frame]]) -> tuple[list[Frame], int]:
        """The frames for who wrote those messages whose indices are in `replies`, which stand in their
        places."""
        rows = enumerate(self._frames(dialect))
        parts = (replies.get(i, () if frame is None else (frame,)) for i, frame in rows)
        frames = list(chain.from_iterable(parts))
        return frames, sum(map(len, frames))

    def _frames(self, dialect: Dialect) -> list[Frame | None]:
        frames = self._encoded.get(dialect)
        if frames is None:
            frames = [None if item is None else encode(item, *dialect) for item in self._broadcasts]
            self._encoded[dialect] = frames
        return frames
