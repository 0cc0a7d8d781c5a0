"""Names of what has changed, kept for readers that come for them when they have time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from weakref import WeakSet


class Watchers:
    """Everybody who iterates over the changes of one kind."""

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        self._has_ended = has_ended
        self._watchers: WeakSet[_Watcher] = WeakSet()

    def tell(self, names: Iterable[str]) -> None:
        """These have changed."""
        names = frozenset(names)
        for watcher in self._watchers:
            watcher.add(names)

    def wake(self) -> None:
        """Let everybody look whether it has ended."""
        self.tell(())

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """What changes from now on, by turns: what has since the last one, as often as there is anything, until it has
        ended."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        return self._turns(watcher)

    async def _turns(self, watcher: "_Watcher") -> AsyncGenerator[frozenset[str], None]:
        while (names := watcher.take()) or not self._has_ended():
            if names:
                yield names
            else:
                await watcher.event.wait()


class _Watcher:
    """Names that one reader has not taken yet."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._names: set[str] = set()

    def add(self, names: frozenset[str]) -> None:
        self._names.update(names)
        self.event.set()

    def take(self) -> frozenset[str]:
        self.event.clear()
        names, self._names = frozenset(self._names), set()
        return names


__all__ = ["Watchers"]
