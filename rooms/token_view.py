"""`POST /api/rooms/<slug>/token/`: a room token for who is logged in here, to be used where the cookie is not.

    {"client"?: id, "rights"?: ["view", …], "expires_in_s"?: seconds, "single_use"?: true, "guest"?: true}
    200 {"token", "expires_at", "rights", "client", "subprotocols"}

Decided in an order that tells nothing of rooms: rate (429), size and form of the request (413, 400), the room (404:
there is none, or none one may see), the right to invite guests (403).
"""

import time
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from journal.models import Document
from rooms import tokens
from rooms.address import SUBPROTOCOL, TOKEN_SUBPROTOCOL, is_client_id
from rooms.doorplate import document_of, is_there
from rooms.policy import policy
from rooms.settings import settings
from rooms.throttle import Throttle, household_of
from vuer_rtc.protocol.session import Right

BODY_BYTES_MAX = 4096

_throttle = Throttle()


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    client: str | None = None
    """The only client id the token is to let in."""
    rights: list[Literal["view", "edit", "moderate"]] | None = None
    """At most these; None: all one has."""
    expires_in_s: float | None = None
    single_use: bool = False
    guest: bool = False
    """For somebody without an account, on one's own rights; moderators may invite."""


@login_not_required
@never_cache
@csrf_protect
@require_POST
def token(request: HttpRequest, slug: str) -> JsonResponse:
    """A token for the document of that name."""
    user = getattr(request, "user", None) or AnonymousUser()  # no middleware, no logins
    if not _throttle.takes(_visitor(request, user), settings.token_requests_per_minute_max):
        return _refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many tokens, wait a moment")
    if _length(request) > BODY_BYTES_MAX:
        return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes")
    try:
        wish = _wish_of(request.body)
    except ValueError as error:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))
    document = document_of(slug)
    granted = policy().rights(user, document)
    if not is_there(document) or Right.VIEW not in granted:
        return _refusal(HTTPStatus.NOT_FOUND, "there is no such room, or none you may see")
    if wish.guest and Right.MODERATE not in granted:
        return _refusal(HTTPStatus.FORBIDDEN, "only moderators invite guests")
    return _answer(document, user, wish, granted)


def _length(request: HttpRequest) -> int:
    """What the request says of its body's; 0 when that is nothing, or no number."""
    told = request.headers.get("Content-Length", "")
    return int(told[:20]) if told.isdecimal() else 0


def _answer(document: Document, user: Any, wish: Wish, granted: frozenset[Right]) -> JsonResponse:
    rights = (
        granted if wish.rights is None else (granted & {Right(name) for name in wish.rights}) | {Right.VIEW}
    )
    lifetime_s = wish.expires_in_s or settings.token_lifetime_s
    minted = tokens.mint(
        document,
        **({"granter": user} if wish.guest else {"user": user}),
        rights=rights,
        client=wish.client,
        expires_in_s=lifetime_s,
        single_use=wish.single_use,
    )
    return JsonResponse(
        {
            "token": minted,
            "expires_at": time.time() + lifetime_s,
            "rights": sorted(rights),
            "client": wish.client,
            "subprotocols": [SUBPROTOCOL, TOKEN_SUBPROTOCOL + minted],
        }
    )


def _wish_of(body: bytes) -> Wish:
    """Raises: ValueError, with a text for people."""
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"at most {BODY_BYTES_MAX} bytes")
    wish = msgspec.json.decode(body or b"{}", type=Wish)
    if wish.client is not None and not is_client_id(wish.client):
        raise ValueError("`client` is no usable client id")
    if wish.expires_in_s is not None and not 0 < wish.expires_in_s <= settings.token_lifetime_max_s:
        raise ValueError(f"`expires_in_s` is from 0 to {settings.token_lifetime_max_s}")
    return wish


def _visitor(request: HttpRequest, user: Any) -> str:
    if user.is_authenticated:
        return f"user {user.pk}"
    return f"address {household_of(request.META.get('REMOTE_ADDR', ''))}"


def _refusal(status: HTTPStatus, text: str) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)
