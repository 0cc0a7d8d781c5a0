"""The ASGI lifespan protocol, which Channels' router leaves out.

Wrapped around an application, it runs one coroutine before the server takes connections and one after it has
stopped taking them.  A server without lifespan (daphne) never calls either: what they do must also work
lazily, and nothing that was acknowledged may depend on the second.
"""

import logging
from collections.abc import Awaitable, Callable

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    LifespanShutdownCompleteEvent,
    LifespanShutdownFailedEvent,
    LifespanStartupCompleteEvent,
    LifespanStartupFailedEvent,
    Scope,
)

Step = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class Lifespan:
    """The wrapped application with `startup` and `shutdown` around its life; other scopes pass through."""

    def __init__(self, application: ASGI3Application, *, startup: Step, shutdown: Step) -> None:
        self.application = application
        self.startup = startup
        self.shutdown = shutdown

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan":
            await self.application(scope, receive, send)
            return
        event = await receive()
        assert event["type"] == "lifespan.startup"
        if fault := await _fault_of(self.startup, "startup"):
            await send(LifespanStartupFailedEvent(type="lifespan.startup.failed", message=fault))
            return
        await send(LifespanStartupCompleteEvent(type="lifespan.startup.complete"))
        event = await receive()
        assert event["type"] == "lifespan.shutdown"
        if fault := await _fault_of(self.shutdown, "shutdown"):
            await send(LifespanShutdownFailedEvent(type="lifespan.shutdown.failed", message=fault))
            return
        await send(LifespanShutdownCompleteEvent(type="lifespan.shutdown.complete"))


async def _fault_of(step: Step, name: str) -> str:
    """What the server is to be told about the step after it ran; empty when it went well."""
    try:
        await step()
    except Exception as error:
        logger.exception("lifespan %s failed", name)
        return repr(error)
    return ""
