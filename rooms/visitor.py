"""Whose connection it is.

Channels' `AuthMiddlewareStack` would tell, but it also wraps `send`, and looks at the session for every frame sent
to every receiver: a quarter of a busy server's time.  So the cookie is read here, once, in the thread that asks
the database anyway.  Where a site's own middleware has put a user into the scope, that user counts.
"""

from importlib import import_module

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from rooms.address import Scope, header_of
from rooms.policy import User


def visitor_of(scope: Scope) -> User:
    """The account of the session cookie, or the anonymous visitor.  Asks the database."""
    given: User | None = scope.get("user")
    if given is not None:
        return given
    cookies = parse_cookie(header_of(scope, b"cookie"))
    request = HttpRequest()
    engine = import_module(django_settings.SESSION_ENGINE)
    request.session = engine.SessionStore(cookies.get(django_settings.SESSION_COOKIE_NAME))
    return get_user(request)
