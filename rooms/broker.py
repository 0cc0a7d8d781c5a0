"""The reference server's `RoomBroker`, for site code: sequenced messages and members of rooms, whoever is the server.

    async with ChannelLayerBroker() as broker:
        unsubscribe = broker.subscribe(document.pk, lambda message: print(message.server_seq, message.ops))
        await broker.publish(document.pk, {"id": "bot:1", "client": "bot", "clock": {"bot": 1}, …})
        await broker.get_members(document.pk)

A room is a document, by its primary key; a message is a client's commit.  Three differences, all of them on purpose.
The sequence is the journal's: `publish` gives the number in the same step that makes the message durable, so numbers
leave no gaps, never begin again, and are the clients' `serverSeq`.  A subscription reads the journal, and news only
wake it: nothing is lost or doubled, however slow its handler, and what the server's clients write comes too.  Members
are the rows of `Session`, the server's own connections among them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from journal.error import JournalError, UnknownDocument
from journal.position import look, read_heads
from rooms.bus import Bus
from rooms.member import Member, delete_member, delete_members, read_members, save_member
from rooms.news import Committed
from rooms.process import ProcessIdentity
from rooms.publication import Publisher
from rooms.settings import settings
from rooms.signals import batch_committed
from rooms.subscription import Handler, OnGap, Subscription
from rooms.thread import Worker
from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)

READER_THREADS = 2
POLL_PAUSE_S = 1
"""Where `head_poll_s` says never, how often that is looked at again."""

Unsubscribe = Callable[[], None]


class RoomBroker(Protocol):
    """The port.  All but `subscribe` may wait; errors are those of `journal.error`, and `EditRefused`."""

    async def publish(
        self, room: UUID, message: Message | Mapping[str, Any], *, user: str | None = None
    ) -> int | None:
        """Afterwards the message is in the journal, and everybody who has the room open, on any process, is being sent
        it, subscribers included; its sequence.  Published again it has no second effect.

        `user`: primary key, as text, of the account that is recorded as its sender.
        """

    def subscribe(
        self, room: UUID, handler: Handler, *, after: int | None = None, on_gap: OnGap | None = None
    ) -> Unsubscribe:
        """From now on, or from behind sequence `after`, `handler` gets the room's messages, each once, in sequence.

        Where the database was put back (`journal/FORMAT.md`, J66), what it has in place of what was lost comes, with
        sequences that came before.  What the handler raises is logged, and harms nobody else.  The result ends this
        very subscription; to call it again does nothing.
        """

    async def next_seq(self, room: UUID) -> int:
        """The sequence that the next message will have unless somebody else is faster; 1 in a new room."""

    async def set_member(self, room: UUID, member: Member) -> None:
        """Afterwards the member is there, as given."""

    async def remove_member(self, room: UUID, session: str) -> None:
        """Afterwards it is not, if it was set here; nothing happens when there is none."""

    async def get_members(self, room: UUID) -> dict[str, Member]:
        """The members by client id, a copy: those that were set, and the clients that the servers have connected."""

    async def clear_room(self, room: UUID) -> None:
        """Afterwards no member is there that was set; subscriptions go on, and so does the sequence."""

    async def delete_room(self, room: UUID) -> None:
        """The same, and the subscriptions here have ended.  The document is not touched: `purge_document` does that."""


class _Broker:
    """What both implementations share; they differ in what wakes subscriptions."""

    def __init__(self) -> None:
        self._process = ProcessIdentity.of_this_process()
        self._subscriptions: dict[UUID, dict[Subscription, None]] = {}
        self._publisher = Publisher(str(self._process))

    async def __aenter__(self) -> Self:
        self._writer = Worker("vuer-broker-writer", keeps_connections=False)
        self._reader = Worker("vuer-broker-reader", READER_THREADS, keeps_connections=False)
        self._poll = asyncio.create_task(self._poll_heads())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subscriptions = [each for those in self._subscriptions.values() for each in those]
        for subscription in subscriptions:
            subscription.end()
        self._poll.cancel()
        tasks = [subscription.task for subscription in subscriptions]
        await asyncio.gather(self._poll, *tasks, return_exceptions=True)
        await asyncio.gather(self._writer.close(), self._reader.close())

    # Messages

    async def publish(
        self, room: UUID, message: Message | Mapping[str, Any], *, user: str | None = None
    ) -> int | None:
        """See `RoomBroker`."""
        for subscription in self._of(room):
            await subscription.has_begun.wait()
        seq = await self._writer.run(self._publisher.publish, room, message, user)
        self._wake(room)
        return seq

    def subscribe(
        self, room: UUID, handler: Handler, *, after: int | None = None, on_gap: OnGap | None = None
    ) -> Unsubscribe:
        """See `RoomBroker`."""
        subscription = Subscription(self._reader, room, handler, after, on_gap)
        self._subscriptions.setdefault(room, {})[subscription] = None
        self._opened(room)

        def unsubscribe() -> None:
            subscription.end()
            those = self._subscriptions.get(room, {})
            if subscription in those:
                del those[subscription]
                if not those:
                    del self._subscriptions[room]
                    self._forgotten(room)

        subscription.task.add_done_callback(lambda _: unsubscribe())
        return unsubscribe

    async def next_seq(self, room: UUID) -> int:
        """See `RoomBroker`."""
        heads = await self._reader.run(read_heads, [room])
        if room not in heads:
            raise UnknownDocument(f"{room}")
        return heads[room] + 1

    # Members

    async def set_member(self, room: UUID, member: Member) -> None:
        """See `RoomBroker`."""
        await self._writer.run(save_member, room, member, self._process)

    async def remove_member(self, room: UUID, session: str) -> None:
        """See `RoomBroker`."""
        await self._writer.run(delete_member, room, session)

    async def get_members(self, room: UUID) -> dict[str, Member]:
        """See `RoomBroker`."""
        return await self._reader.run(read_members, room)

    async def clear_room(self, room: UUID) -> None:
        """See `RoomBroker`."""
        await self._writer.run(delete_members, room)

    async def delete_room(self, room: UUID) -> None:
        """See `RoomBroker`."""
        for subscription in self._of(room):
            subscription.end()
        await self.clear_room(room)

    # What wakes subscriptions

    def _opened(self, room: UUID) -> None:
        """The room has a subscription."""

    def _forgotten(self, room: UUID) -> None:
        """It has none any more."""

    def _of(self, room: UUID) -> list["Subscription"]:
        return list(self._subscriptions.get(room, ()))

    def _wake(self, room: UUID) -> None:
        for subscription in self._of(room):
            subscription.has_news.set()

    async def _poll_heads(self) -> None:
        """News may be lost: ask for the heads now and then."""
        while True:
            await asyncio.sleep(settings.head_poll_s or POLL_PAUSE_S)
            if settings.head_poll_s and self._subscriptions:
                try:
                    read = [each.last_batch for those in self._subscriptions.values() for each in those]
                    positions, there = await self._reader.run(look, list(self._subscriptions), read)
                except JournalError as error:
                    logger.warning("nobody knows how far the documents are: %s", error)
                    continue
                for room, position in positions.items():
                    if position and any(each.is_behind(position, there) for each in self._of(room)):
                        self._wake(room)


class InProcessBroker(_Broker):
    """Wakes subscriptions by what this process commits; what others commit is found by the poll of the heads."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._loop = asyncio.get_running_loop()
        batch_committed.connect(self._committed, dispatch_uid=str(id(self)), weak=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        batch_committed.disconnect(dispatch_uid=str(id(self)))
        await super().__aexit__(kind, error, trace)

    def _committed(self, sender: Any, document_id: UUID, **told: Any) -> None:
        """In a thread of the hub."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, document_id)


class ChannelLayerBroker(_Broker):
    """Wakes subscriptions by the news that processes tell each other through the channel layer; what the layer loses is
    found by the poll of the heads."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._bus = Bus(str(self._process))
        self._bus.on(Committed, lambda news: self._wake(news.document))
        self._listening = asyncio.create_task(self._bus.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._bus.drained()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    def _opened(self, room: UUID) -> None:
        self._bus.opened(room)

    def _forgotten(self, room: UUID) -> None:
        self._bus.forgotten(room)


__all__ = ["ChannelLayerBroker", "InProcessBroker", "Member", "RoomBroker"]
