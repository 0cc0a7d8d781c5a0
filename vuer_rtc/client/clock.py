"""Vector clocks: how much of every client's work somebody has seen."""

VectorClock = dict[str, int]
"""Client id to the counter of its latest commit known."""


class VectorClockManager:
    """Functions on vector clocks; none changes its arguments."""

    def create(self, client: str) -> VectorClock:
        """A clock that has seen nothing, with an entry for `client`."""
        return {client: 0}

    def increment(self, clock: VectorClock, client: str) -> VectorClock:
        """The clock after one more commit of `client`."""
        return {**clock, client: clock.get(client, 0) + 1}

    def merge(self, clock1: VectorClock, clock2: VectorClock) -> VectorClock:
        """The clock of who has seen what either has seen."""
        merged = dict(clock1)
        merge_into(merged, clock2)
        return merged

    def compare(self, clock1: VectorClock, clock2: VectorClock) -> int:
        """1: the first has seen all of the second and more; -1: the other way round; 0: concurrent or equal."""
        clients = clock1.keys() | clock2.keys()
        is_ahead = any(clock1.get(client, 0) > clock2.get(client, 0) for client in clients)
        is_behind = any(clock1.get(client, 0) < clock2.get(client, 0) for client in clients)
        return is_ahead - is_behind

    def areConcurrent(self, clock1: VectorClock, clock2: VectorClock) -> bool:
        """True when neither has seen more than the other; also for equal clocks."""
        return self.compare(clock1, clock2) == 0

    are_concurrent = areConcurrent


def merge_into(clock: VectorClock, other: VectorClock) -> None:
    """Afterwards `clock` has seen what `other` has."""
    for client, counter in other.items():
        if clock.get(client, -1) < counter:
            clock[client] = counter


__all__ = ["VectorClock", "VectorClockManager", "merge_into"]
