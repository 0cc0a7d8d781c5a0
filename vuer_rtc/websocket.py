"""uvicorn's WebSocket protocol with one more bound, on how long a closed connection may take to be gone; and it tells
a connection that was lost from one that its peer closed without a code."""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

GONE_MAX_S = 15
"""After the application is done with a connection: longer than uvicorn's ten seconds for the peer's close frame."""
LOST = 1006
"""As RFC 6455 has it; uvicorn's own 1005 says that there was a close frame."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Closing a transport waits until the peer has taken what is buffered.

    One that never reads, and keeps its side open, would hold the socket and the buffer for ever.
    """

    _gone_timer: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._gone_timer = self.loop.call_later(GONE_MAX_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone_timer is not None:
            self._gone_timer.cancel()
        if self.handshake_complete:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": LOST, "reason": ""})
        super().connection_lost(exc)
