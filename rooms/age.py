"""Which messages of a live room are how old, roughly, and which of them its next cut folds away."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Protocol

from rooms.settings import settings

STEP_S = 10
"""How finely ages are known."""
LIGHT_SHARE = 0.9
"""Of the bytes that open messages may take: as many stay when there were more, so that not every message is a cut."""


class Retained(Protocol):
    """What a decision needs to know of the room's graph."""

    @property
    def lt(self) -> int: ...
    @property
    def retained_count(self) -> int: ...
    @property
    def retained_bytes(self) -> int: ...
    def retained_lt(self, index: int) -> int:
        """Lamport time of a message above the cut, counted from the lowest."""

    def retained_index(self, size: int) -> int:
        """Index of the message with which so many bytes are reached."""


class Ages:
    """The highest Lamport time of a document at moments in the past."""

    def __init__(self, known: Iterable[tuple[float, int]] = ()) -> None:
        self._times: list[float] = []
        self._lts: list[int] = []
        for time_s, lt in known:
            self.note(time_s, lt)

    def note(self, time_s: float, lt: int) -> None:
        """At that time, in seconds since 1970, `lt` was the highest.  Cheap; called for every commit."""
        if not self._times or time_s >= self._times[-1] + STEP_S:
            self._times.append(time_s)
            self._lts.append(lt)

    def highest_before(self, time_s: float) -> int:
        """The highest Lamport time that is known to be older than that; -1: none is.  What is older still is
        forgotten."""
        at = bisect_right(self._times, time_s) - 1
        if at < 0:
            return -1
        del self._times[:at], self._lts[:at]
        return self._lts[0]


def is_heavy(graph: Retained) -> bool:
    """True when the open messages take more memory than they may."""
    return graph.retained_bytes > settings.open_bytes_max


def cut_of(graph: Retained, ages: Ages, now_s: float) -> int | None:
    """The Lamport time up to which history is to be folded now; None when too little is ready (rule J21)."""
    if is_heavy(graph):
        index = graph.retained_index(graph.retained_bytes - int(LIGHT_SHARE * settings.open_bytes_max))
        return graph.retained_lt(min(index, settings.fold_messages_max - 1))
    surplus = graph.retained_count - settings.open_messages
    fewest = settings.fold_messages
    if surplus < fewest:
        return None
    wanted = graph.retained_lt(min(surplus, settings.fold_messages_max) - 1)
    minutes = settings.open_minutes
    old = ages.highest_before(now_s - 60 * minutes) if minutes else graph.lt
    if graph.retained_lt(fewest - 1) <= old:
        return min(wanted, old)
    return wanted if graph.retained_count >= settings.open_messages_max else None
