"""What our own server offers beside ASGI (`vuer_rtc/websocket.py`), where every message, in and out, is an event of its
own that costs system calls and a turn of the event loop; with other servers the rooms do without."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vuer_rtc.protocol.wire import Frame

EXTENSION = "vuer_rtc.frames"

Write = Callable[[Sequence[Frame]], bool]
"""Hands frames to the socket at once, without waiting; False, and nothing is written, when it takes none now."""
Take = Callable[[Frame], object]
"""What becomes of a frame; must not raise."""


def write_of(scope: Mapping[str, Any]) -> Write:
    """How frames are written without waiting; of servers that cannot, nothing ever is."""
    write: Write = _offered(scope).get("write", write_nothing)
    return write


def write_nothing(frames: Sequence[Frame]) -> bool:
    """For a socket that takes nothing without waiting."""
    return False


def read_with(scope: Mapping[str, Any], take: Take) -> None:
    """From now on `take` is called with each frame as it comes; with other servers, never: then they come as events."""
    read: Callable[[Take], None] | None = _offered(scope).get("read")
    if read is not None:
        read(take)


def _offered(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    offered: Mapping[str, Any] = (scope.get("extensions") or {}).get(EXTENSION, {})
    return offered
