"""News between processes, through the channel layer: told without waiting, heard by kind.

Nothing depends on them (see `rooms.news`), so the layer may be slow, away, restarted, or not there at all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from rooms.news import SITE_GROUP, News, group_of

logger = logging.getLogger(__name__)

PAUSE_S = 2.5
"""After a failure of the layer.  The part of Redis's layer that receives pauses for one second: it has to be connected
again before we ask for anything, for two that connect at the same time break each other's connection, in step for
ever."""
PATIENCE_S = 5
"""How long the layer may take for one message before it counts as failed."""
SYNC_PATIENCE_S = 2
"""The same for somebody who waits: a page, a command, a server that stops."""
CANCEL_AGAIN_S = 0.1
"""How long a part that was cancelled may go on before it is cancelled once more."""
WAITING_MAX = 10_000
"""News that wait for the layer; beyond it the oldest are dropped."""

N = TypeVar("N", bound=News)
T = TypeVar("T")

_decoder = msgspec.json.Decoder(News)
_encoder = msgspec.json.Encoder()


def reaches_others(layer: Any) -> bool:
    """False without a channel layer that reaches other processes."""
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


def as_event(news: News, process: str) -> dict[str, str]:
    """The channel layer's message; JSON, so that every serializer takes it and people can read along."""
    return {"type": "vuer.news", "process": process, "news": _encoder.encode(news).decode()}


class Bus:
    """What this process tells the others, and hears of them."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._handlers: dict[type, Callable[[Any], None]] = {}
        self._waiting: dict[Hashable, News] = {}
        """In order of first arrival, by subject."""
        self._wanted = {SITE_GROUP}
        self._subscribed: set[str] = set()
        self._half_left: set[str] = set()
        """Groups that the layer failed to leave: it may have forgotten them, and be sent their news all the same."""
        self._has_work = asyncio.Event()
        self._has_told = asyncio.Event()
        self._has_told.set()
        self._loop = asyncio.get_running_loop()
        self.told = 0
        self.heard = 0
        self.lost = 0
        """Since the start, in messages of the layer; those lost that we know of."""

    @property
    def has_others(self) -> bool:
        """False without a channel layer that reaches other processes: then nobody is told."""
        return reaches_others(self._layer)

    def on(self, kind: type[N], handler: Callable[[N], None]) -> None:
        """From now on `handler` is called, on the event loop, with all news of that kind from elsewhere."""
        self._handlers[kind] = handler

    def opened(self, document_id: UUID) -> None:
        """Afterwards, soon, news of the document are heard."""
        self._wanted.add(group_of(document_id))
        self._has_work.set()

    def forgotten(self, document_id: UUID) -> None:
        """Afterwards, soon, no news of the document come."""
        self._wanted.discard(group_of(document_id))
        self._has_work.set()

    def tell(self, news: News) -> None:
        """Tell the other processes, soon.  Never waits."""
        if self.has_others:
            subject = news.subject
            key = object() if subject is None else (type(news), subject)
            older: Any = self._waiting.get(key)
            self._waiting[key] = news if older is None else news.after(older)
            if len(self._waiting) > WAITING_MAX:
                del self._waiting[next(iter(self._waiting))]
                self.lost += 1
            self._has_told.clear()
            self._has_work.set()

    async def drained(self) -> None:
        """Returns when everything has been told, or after `SYNC_PATIENCE_S`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_PATIENCE_S):
                await self._has_told.wait()

    def hear(self, news: News) -> None:
        """Have this process do what the news mean to it."""
        handler = self._handlers.get(type(news))
        if handler is not None:
            try:
                handler(news)
            except Exception:
                logger.exception("news could not be taken: %r", news)

    async def run(self) -> None:
        """Tells and hears until cancelled."""
        _running.add(self)
        try:
            if self.has_others:
                await self._open_channel()
                self._has_work.set()
                await _together(self._work(), self._listen())
            else:
                await asyncio.Event().wait()
        finally:
            _running.discard(self)

    async def _open_channel(self) -> None:
        while not self._channel:
            try:
                self._channel = await _patiently(self._layer.new_channel("vuer-process"))
            except Exception as error:
                logger.warning("the channel layer does not answer, news come by polling: %r", error)
                await asyncio.sleep(PAUSE_S)

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            if not (await self._subscribe() and await self._tell()):
                self._has_work.set()
                await asyncio.sleep(PAUSE_S)

    async def _subscribe(self) -> bool:
        """Afterwards the layer sends what is wanted; False when it failed."""
        for group in (self._wanted | self._half_left) - self._subscribed:
            if not await self._try(self._layer.group_add(group, self._channel)):
                return False
            self._subscribed.add(group)
        for group in self._subscribed - self._wanted:
            self._subscribed.discard(group)
            self._half_left.add(group)
            if not await self._try(self._layer.group_discard(group, self._channel)):
                return False
            self._half_left.discard(group)
        return True

    async def _tell(self) -> bool:
        """Afterwards the others know, or the layer failed and what is worth it waits."""
        waiting, self._waiting = self._waiting, {}
        while waiting:
            subject, news = next(iter(waiting.items()))
            if not await self._try(self._layer.group_send(news.group, as_event(news, self._process))):
                lasting = {key: item for key, item in waiting.items() if not item.is_fleeting}
                self.lost += len(waiting) - len(lasting)
                self._waiting = {**lasting, **self._waiting}
                return False
            del waiting[subject]
            self.told += 1
        if not self._waiting:
            self._has_told.set()
        return True

    async def _try(self, request: Awaitable[Any]) -> bool:
        try:
            await _patiently(request)
        except Exception as error:
            logger.warning("the channel layer does not answer, news come by polling: %r", error)
            return False
        return True

    async def _listen(self) -> None:
        while True:
            try:
                event = await self._layer.receive(self._channel)
                if event["process"] != self._process:
                    self.heard += 1
                    self.hear(_decoder.decode(event["news"]))
            except (KeyError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
                logger.warning("news that are not understood here: %r", error)
            except Exception as error:
                logger.warning("the channel layer is not heard, news come by polling: %r", error)
                await asyncio.sleep(PAUSE_S)

    def announce(self, news: News, *, is_teller: bool) -> None:
        """From any thread: have this process hear the news, and tell the others.  Never waits."""
        self._loop.call_soon_threadsafe(self._announce, news, is_teller)

    def _announce(self, news: News, is_teller: bool) -> None:
        self.hear(news)
        if is_teller:
            self.tell(news)

    @property
    def is_alive(self) -> bool:
        return not self._loop.is_closed()


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs them until one fails or we are cancelled; afterwards none of them runs.

    Not a `TaskGroup`, which cancels once: the client of Redis may swallow that (see `_patiently`) while it waits for
    news, which nothing bounds.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending = set(tasks)
        while ending:
            for task in ending:
                task.cancel()
            _, ending = await asyncio.wait(ending, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _patiently(request: Awaitable[T]) -> T:
    """What the layer answers.

    The client of Redis may swallow a cancellation, with `asyncio.wait_for` of Python 3.11 (python/cpython#86296): one
    that came meanwhile is raised again, or whoever cancelled us would wait for ever.

    Raises: TimeoutError after `PATIENCE_S`; whatever the layer raises.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await request
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


_running: set[Bus] = set()
"""The buses of this process that run: its hub's, and those of brokers."""


def announce(news: News) -> bool:
    """Tell every process, this one included, from code outside the hub: pages, commands, signal handlers.

    In a transaction, call it `on_commit`.  A process that serves rooms hands the news to its hub and does not
    wait; another one waits for the layer, `SYNC_PATIENCE_S` at most.  False when the layer did not take them:
    who hears of it otherwise, hears later.
    """
    if buses := [bus for bus in list(_running) if bus.is_alive]:
        for bus in buses:
            bus.announce(news, is_teller=bus is buses[0])
        return True
    layer: Any = get_channel_layer()
    if not reaches_others(layer):
        return True
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_send(layer, news))
    task = loop.create_task(_send(layer, news))
    _sending.add(task)
    task.add_done_callback(_sending.discard)
    return True


_sending: set[asyncio.Task[bool]] = set()
"""Keeps the tasks from being collected before they have run."""


async def _send(layer: Any, news: News) -> bool:
    try:
        async with asyncio.timeout(SYNC_PATIENCE_S):
            await layer.group_send(news.group, as_event(news, process=""))
    except Exception as error:
        logger.warning("the channel layer does not answer, news come by polling: %r", error)
        return False
    return True
