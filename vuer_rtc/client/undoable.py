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
        is_in_force = self._withdraw(age)
        if is_undone and is_in_force:
            self._undone.append(age)
        elif not is_undone:
            insort(self._in_force, age)
            if not is_in_force:
                self._undone.remove(age)

    def _withdraw(self, age: int) -> bool:
        """Take it out of those in force; true when it was one of them."""
        at = bisect_left(self._in_force, age)
        is_in_force = at < len(self._in_force) and self._in_force[at] == age
        if is_in_force:
            del self._in_force[at]
        return is_in_force

    def discard(self, message_id: str) -> None:
        """A commit was refused or folded away: it is neither undone nor redone again."""
        age = self._ages.pop(message_id, None)
        if age is None:
            return
        del self._ids[age]
        if not self._withdraw(age):
            self._undone.remove(age)

    def to_undo(self) -> str | None:
        """The newest commit in force."""
        return self._ids[self._in_force[-1]] if self._in_force else None

    def to_redo(self) -> str | None:
        """The commit undone last."""
        return self._ids[self._undone[-1]] if self._undone else None


__all__ = ["Undoable"]
