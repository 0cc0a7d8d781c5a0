"""The ASGI lifespan protocol, which Channels' router leaves out.

Wrapped around an application, it runs one coroutine before the server takes connections and one after it has
stopped taking them.  A server without lifespan (daphne) never calls either: what they do must also work
lazily, and nothing that was acknowledged may depend on the second.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Step = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class Lifespan:
    """The wrapped application with `startup` and `shutdown` around its life; other scopes pass through."""

    def __init__(self, application: Application, *, startup: Step, shutdown: Step) -> None:
        self.application = application
        self.steps = {"startup": startup, "shutdown": shutdown}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.application(scope, receive, send)
            return
        is_over = False
        while not is_over:
            phase = (await receive())["type"].removeprefix("lifespan.")
            answer = await self.answer(phase)
            await send(answer)
            is_over = phase == "shutdown" or answer["type"].endswith(".failed")

    async def answer(self, phase: str) -> Event:
        """What the server is told after the phase's step has run; a step that raised becomes `failed`."""
        try:
            await self.steps[phase]()
        except Exception as error:
            logger.exception("lifespan %s failed", phase)
            return {"type": f"lifespan.{phase}.failed", "message": repr(error)}
        return {"type": f"lifespan.{phase}.complete"}
