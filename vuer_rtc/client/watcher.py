"""Names of what has changed, kept for readers that come for them when they have time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable


class Watchers:
    """Everybody who iterates over the changes of one kind."""

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        self._has_ended = has_ended
        self._watchers: set[_Watcher] = set()

    def tell(self, names: Iterable[str]) -> None:
        """These have changed."""
        for watcher in self._watchers:
            watcher.add(names)

    def wake(self) -> None:
        """Let everybody look whether it has ended."""
        self.tell(())

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """What has changed since the last turn, as often as there is anything, until it has ended."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while not self._has_ended():
                await watcher.event.wait()
                if names := watcher.take():
                    yield names
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    """Names that one reader has not taken yet."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        self._names.update(names)
        self.event.set()

    def take(self) -> frozenset[str]:
        self.event.clear()
        names, self._names = frozenset(self._names), set()
        return names


__all__ = ["Watchers"]
