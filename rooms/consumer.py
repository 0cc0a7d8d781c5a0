"""The border to Channels: one socket, from handshake to end.

Frames do not pass through Channels' dispatch, which goes through a thread for every message: the server hands
them over, or they are read here, and what is sent goes through the server's own `send`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer

from rooms.address import agreed_subprotocol
from rooms.connection import Connection
from rooms.hub import current_hub
from rooms.models import Session
from rooms.outbox import close_event
from rooms.refusal import Refused
from rooms.server_extension import Take, read_with
from rooms.session import CLOSED_ABNORMALLY
from rooms.tally import tally
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Frame

logger = logging.getLogger(__name__)

Event = Any  # an ASGI event or scope: a dict whose keys depend on its type
Receive = Callable[[], Awaitable[Event]]


class RoomConsumer(AsyncConsumer):
    """One WebSocket to one room.  Refusals come as close codes, after the handshake: a browser shows no others."""

    async def __call__(
        self, scope: Event, receive: Receive, send: Callable[[Event], Awaitable[None]]
    ) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": agreed_subprotocol(scope)})
        hub = current_hub()
        try:
            connection = await hub.join(scope, send)
        except Refused as refusal:
            tally.closed[refusal.code, Session.ClosedBy.SERVER] += 1
            await send(close_event(refusal.code))
            return
        except Exception:
            tally.failures["join"] += 1
            logger.exception("somebody could not be let in")
            await send(close_event(CloseCode.INTERNAL))
            return
        code = CLOSED_ABNORMALLY
        take = partial(self.take, connection)
        try:
            read_with(scope, take)
            code = await self.read(receive, take)
        except asyncio.CancelledError:
            if not connection.is_cut_off:
                raise
        finally:
            hub.leave(connection, code)

    async def read(self, receive: Receive, take: Take) -> int:
        """Hands over the frames that come as events; returns the close code once the socket has closed."""
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return int(event.get("code") or CLOSED_ABNORMALLY)
            frame = event.get("bytes")
            take(event["text"] if frame is None else frame)

    def take(self, connection: Connection, frame: Frame) -> None:
        """Have the connection do what the frame asks for."""
        try:
            connection.receive(frame)
        except Exception:
            tally.failures["frame"] += 1
            logger.exception("a frame of client %s failed", connection.client)
            connection.close(CloseCode.INTERNAL)
