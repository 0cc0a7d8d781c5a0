"""Which messages of which clients have been seen: intervals of each client's own counter (rule I2)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence


class Seen:
    """Sets of counters per client, as sorted disjoint closed intervals; contiguous counters cost nothing."""

    def __init__(self, intervals: Mapping[str, Sequence[Sequence[int]]] | None = None) -> None:
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        self.gap_count = 0
        """Of all clients: each costs an interval more."""
        for client, pairs in (intervals or {}).items():
            self._starts[client] = [first for first, _ in pairs]
            self._ends[client] = [last for _, last in pairs]
            self.gap_count += max(0, len(pairs) - 1)

    def add(self, client: str, counter: int) -> None:
        """Afterwards `(client, counter)` is seen; idempotent."""
        ends = self._ends.get(client)
        if not ends:
            self._starts[client], self._ends[client] = [counter], [counter]
            return
        if counter == ends[-1] + 1:  # the usual case
            ends[-1] = counter
            return
        starts = self._starts[client]
        at = bisect_right(starts, counter)
        if at and counter <= ends[at - 1]:
            return
        joins_left = at > 0 and ends[at - 1] == counter - 1
        joins_right = at < len(starts) and starts[at] == counter + 1
        if joins_left and joins_right:
            ends[at - 1] = ends[at]
            del starts[at], ends[at]
            self.gap_count -= 1
        elif joins_left:
            ends[at - 1] = counter
        elif joins_right:
            starts[at] = counter
        else:
            starts.insert(at, counter)
            ends.insert(at, counter)
            self.gap_count += 1

    def __contains__(self, item: tuple[str, int]) -> bool:
        client, counter = item
        starts = self._starts.get(client, [])
        at = bisect_right(starts, counter)
        return at > 0 and counter <= self._ends[client][at - 1]

    def intervals(self) -> dict[str, list[list[int]]]:
        return {c: [[a, b] for a, b in zip(s, self._ends[c], strict=True)] for c, s in self._starts.items()}

    def missing(self, clock: Mapping[str, int]) -> bool:
        """True when something seen here is above what `clock` covers."""
        return any(ends[-1] > clock.get(client, 0) for client, ends in self._ends.items() if ends)

    def highest_of(self, client: str) -> int:
        """The highest counter seen of one client; 0 for none."""
        return self._ends.get(client, [0])[-1]

    def highest(self) -> dict[str, int]:
        """The highest counter seen of each client."""
        return {client: ends[-1] for client, ends in self._ends.items() if ends}
