"""Which commits of one's own the next undo and redo are about."""

from bisect import bisect_left, insort


class Undoable:
    """Own commits: those in force by age, those undone by when they were undone."""

    def __init__(self) -> None:
        self._ages: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        """By age, which counts all there ever were."""
        self._count = 0
        self._in_force: list[int] = []
        self._undone: list[int] = []

    def add(self, message_id: str) -> None:
        """A new commit, in force."""
        if message_id not in self._ages:
            age = self._ages[message_id] = self._count
            self._ids[age] = message_id
            self._in_force.append(age)
            self._count += 1

    def mark(self, message_id: str, is_undone: bool) -> None:
        """A commit was undone or redone, by whomever; idempotent."""
        age = self._ages.get(message_id)
        if age is None:
            return
        at = bisect_left(self._in_force, age)
        is_in_force = at < len(self._in_force) and self._in_force[at] == age
        if is_undone and is_in_force:
            del self._in_force[at]
            self._undone.append(age)
        elif not is_undone and not is_in_force:
            insort(self._in_force, age)
            self._undone.remove(age)

    def discard(self, message_id: str) -> None:
        """A commit was refused or folded away: it is neither undone nor redone again."""
        age = self._ages.pop(message_id, None)
        if age is None:
            return
        del self._ids[age]
        for ages in (self._in_force, self._undone):
            if age in ages:
                ages.remove(age)

    def to_undo(self) -> str | None:
        """The newest commit in force."""
        return self._ids[self._in_force[-1]] if self._in_force else None

    def to_redo(self) -> str | None:
        """The commit undone last."""
        return self._ids[self._undone[-1]] if self._undone else None


__all__ = ["Undoable"]
