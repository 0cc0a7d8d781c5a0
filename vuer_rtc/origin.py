"""Which pages may open a WebSocket here.

A browser names the page's origin in every WebSocket handshake and sends the site's cookies along, so an
origin that is not ours is refused.  A program (robot, simulation, script) sends no origin and no cookies of
anybody's browser: there is nothing to protect from, and it comes in with its own rights.
"""

from typing import Any
from urllib.parse import ParseResult, urlparse

from channels.security.websocket import OriginValidator, WebsocketDenier
from django.conf import settings

HOSTS_OF_DEVELOPERS = [".localhost", "127.0.0.1", "[::1]"]
"""What Django itself allows with DEBUG and without ALLOWED_HOSTS, which is how a new project begins."""


class PageOriginValidator(OriginValidator):
    """Lets handshakes without an origin pass; any other origin must be one of the allowed hosts."""

    def __init__(self, application: Any) -> None:
        allowed = settings.ALLOWED_HOSTS or (HOSTS_OF_DEVELOPERS if settings.DEBUG else [])
        super().__init__(application, allowed)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        origins = [value for name, value in scope.get("headers", ()) if name == b"origin"]
        application = super().__call__ if all(map(_is_address, origins)) else WebsocketDenier()
        return await application(scope, receive, send)

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        return parsed_origin is None or bool(self.validate_origin(parsed_origin))


def _is_address(origin: bytes) -> bool:
    """False for what cannot be read as one, such as `http://[`, at which Channels would fail."""
    try:
        _ = urlparse(origin.decode("latin-1")).port
    except ValueError:
        return False
    return True
