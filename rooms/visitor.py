"""Who is behind a session cookie.

Channels' `AuthMiddlewareStack` would tell, but it also wraps `send`, and looks at the session for every frame sent
to every receiver: a quarter of a busy server's time.  So the cookie is read here, in a thread that may ask the
database.
"""

from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from rooms.address import Scope, header_of
from rooms.policy import User


def session_key_of(scope: Scope) -> str | None:
    """What the session cookie of a handshake holds; None without one."""
    cookies = parse_cookie(header_of(scope, b"cookie"))
    return cookies.get(django_settings.SESSION_COOKIE_NAME) or None


class _Seen(dict[str, Any]):
    """What a session holds, only looked at: a WebSocket sets no cookie, so a new key would be one that the browser is
    never told, and end the login."""

    def cycle_key(self) -> None:
        """The login is of a signing key that SECRET_KEY_FALLBACKS names: the next page does it."""

    def flush(self) -> None:
        """The account has another password."""


def user_of_session(session_key: str) -> User:
    """The account that is logged in under that key, or the anonymous visitor.  Asks the database, changes nothing."""
    request: Any = HttpRequest()
    request.session = _Seen(import_module(django_settings.SESSION_ENGINE).SessionStore(session_key).items())
    return get_user(request)
