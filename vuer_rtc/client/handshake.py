"""How a client asks for a room: where, as whom, and by what right."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from .presence import FEATURE as PRESENCE

Token = str | Callable[[], str | Awaitable[str]]
"""A room token, or what gives one."""

FEATURES = f"batch,{PRESENCE}"
"""What it asks the server for, beyond what every native client gets."""


class NoToken(RuntimeError):
    """The function that gives tokens has failed."""


@dataclass(frozen=True)
class Handshake:
    """What is said at every connection anew."""

    url: str
    """The room's WebSocket address, without query."""
    client: str
    token: Token | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def can_renew(self) -> bool:
        """True when the next connection has another token."""
        return callable(self.token)

    def address(self, since: int | None, at: str = "", after: float = 0.0) -> str:
        """Where to connect; `since` is the sequence up to which everything is known, None: nothing is; `at` the id of
        the message there, empty: not known; `after` when the connection before began, 0: there was none."""
        query = {"client": self.client, "format": "msgpack", "v": "2", "features": FEATURES}
        if since is not None:
            query["since"] = str(since)
        if at:
            query["at"] = at
        if after:
            query["after"] = str(after)
        return f"{self.url}?{urlencode(query)}"

    async def all_headers(self) -> dict[str, str]:
        """The headers, and the token as one of them.

        Raises: NoToken.
        """
        try:
            token = self.token() if callable(self.token) else self.token
            token = await token if inspect.isawaitable(token) else token
        except Exception as error:
            raise NoToken(f"no token: {error!r}") from error
        credential = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return {**self.headers, **credential}


def room_url(url: str) -> str:
    """A room's WebSocket address, without query."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


__all__ = ["Handshake", "NoToken", "Token", "room_url"]
