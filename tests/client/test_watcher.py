"""Who iterates over changes misses none, however slow they are."""

import asyncio
import gc

from vuer_rtc.client.watcher import Watchers


class Room:
    """What has changes, until it ends."""

    def __init__(self) -> None:
        self.has_ended = False
        self.watchers = Watchers(lambda: self.has_ended)

    def end(self) -> None:
        self.has_ended = True
        self.watchers.wake()


async def test_what_changes_before_the_first_turn_is_told() -> None:
    room = Room()
    changes = room.watchers.changes()
    room.watchers.tell(["a"])
    assert await anext(changes) == {"a"}


async def test_everybody_is_told_be_the_names_given_once_or_not() -> None:
    room = Room()
    both = room.watchers.changes(), room.watchers.changes()
    room.watchers.tell(name for name in ("a", "b"))
    assert [await anext(changes) for changes in both] == [{"a", "b"}, {"a", "b"}]


async def test_who_is_busy_when_the_room_ends_is_told_what_changed_before() -> None:
    room = Room()
    turns: list[frozenset[str]] = []

    async def follow() -> None:
        async for names in room.watchers.changes():
            turns.append(names)
            await asyncio.sleep(0.05)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    room.watchers.tell(["a"])
    await asyncio.sleep(0.01)
    room.watchers.tell(["b"])
    room.end()
    await asyncio.wait_for(following, 5)
    assert turns == [{"a"}, {"b"}]


async def test_who_stops_looking_or_never_begins_is_forgotten() -> None:
    room = Room()
    room.watchers.changes()
    stopped = room.watchers.changes()
    room.watchers.tell(["a"])
    await anext(stopped)
    await stopped.aclose()
    del stopped
    gc.collect()
    assert not len(room.watchers._watchers)
