"""A bound on what a page is sent.

Django on ASGI reads the whole body of a request before it looks at anything else, and what does not fit its memory goes
into a file of the system's temporary folder: without a bound anybody fills the disk, at any address.
"""

from typing import Any

BODY_BYTES_MAX = 2_621_440
"""As much as Django itself takes of a form (`DATA_UPLOAD_MAX_MEMORY_SIZE`); no page here takes files."""
TEXT = f"at most {BODY_BYTES_MAX} bytes\n".encode()
HEADERS = [(b"content-length", str(len(TEXT)).encode()), (b"connection", b"close")]


class BodyLimit:
    """The wrapped application, for which a request with a longer body has ended; who sent it is told 413."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        read = 0

        async def receive_bounded() -> Any:
            nonlocal read
            event = await receive()
            read += len(event.get("body", b""))
            return {"type": "http.disconnect"} if read > BODY_BYTES_MAX else event

        await self.application(scope, receive_bounded, send)
        if read > BODY_BYTES_MAX:
            await send({"type": "http.response.start", "status": 413, "headers": HEADERS})
            await send({"type": "http.response.body", "body": TEXT})
