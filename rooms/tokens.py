"""Room tokens: signed and expiring, for who brings no session cookie of this site: robots, other hosts, guests.

A token names one document, and never grants: the policy does.  What its bearer may do is what the policy lets
its account do *now*, narrowed to the rights in the token.  A guest's token names no account but a granter, and
its bearer may do what the policy lets the granter do, as an anonymous visitor.

Whoever has a token can use it until it expires.  Bound to a client id it lets in, and replaces, that client only;
for single use it lets in once (`rooms.models.SpentToken`).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.core import signing

from journal.models import Document
from rooms.settings import settings
from vuer_rtc.protocol.session import Right, Rights

SALT = "vuer_rtc.rooms.token"
SEPARATOR = "."
"""Not Django's colon: a token has to pass through addresses, headers and the names of subprotocols."""
TOKEN_CHARS_MAX = 4096
LIFETIME_MAX_S = 315_360_000
"""Ten years: who wants no end wants an account."""


class BadToken(Exception):
    """Not a token of this site: forged, damaged, or signed with another key."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says."""

    id: UUID
    document_id: UUID
    user: str | None
    """Primary key, as text, of the account that its bearer acts as; None: an anonymous visitor."""
    granter: str | None
    """Primary key, as text, of the account whose rights a guest borrows; None: nobody's, only its own."""
    rights: Rights | None
    """At most these; None: all that the policy grants."""
    client: str | None
    """The only client id it lets in; None: any."""
    expires_at: float
    """Server's clock, seconds since the epoch."""
    is_single_use: bool = False

    @property
    def authority(self) -> str | None:
        """Primary key of the account whose rights bound it."""
        return self.user if self.user is not None else self.granter

    def is_expired(self, now: float) -> bool:
        return now >= self.expires_at


def mint(
    document: Document,
    user: Any = None,
    *,
    granter: Any = None,
    rights: Iterable[Right | str] | None = None,
    client: str | None = None,
    expires_in_s: float | None = None,
    single_use: bool = False,
) -> str:
    """A token with which its bearer may enter `document`: as `user`, or as a guest on the rights of `granter`.

    Nothing is asked here: what the token is worth is asked when it is used, and again while it is in use.  It stays
    valid through resets of the document; it ends with `expires_in_s` (default: `TOKEN_LIFETIME_S`), when the
    account loses its rights, or with the site's signing key.

    Raises: ValueError for an impossible lifetime, an unknown right, or both a user and a granter.
    """
    lifetime_s = settings.token_lifetime_s if expires_in_s is None else expires_in_s
    if not 0 < lifetime_s <= LIFETIME_MAX_S:
        raise ValueError(f"a token lives for some seconds, at most {LIFETIME_MAX_S}, not {lifetime_s!r}")
    if user is not None and granter is not None:
        raise ValueError("a token is an account's or a guest's: give `user` or `granter`")
    return sign(
        Grant(
            id=uuid4(),
            document_id=document.pk,
            user=_key_of(user),
            granter=_key_of(granter),
            rights=None if rights is None else frozenset(map(Right, rights)) | {Right.VIEW},
            client=client,
            expires_at=time.time() + lifetime_s,
            is_single_use=single_use,
        )
    )


def _key_of(user: Any) -> str | None:
    return None if user is None or user.is_anonymous else str(user.pk)


def sign(grant: Grant) -> str:
    """The token that says so."""
    fields = {
        "id": grant.id.hex,
        "document": grant.document_id.hex,
        "user": grant.user,
        "granter": grant.granter,
        "rights": None if grant.rights is None else sorted(grant.rights),
        "client": grant.client,
        "expires": grant.expires_at,
        "once": grant.is_single_use or None,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return _signer().sign_object(present)


def read(token: str) -> Grant:
    """What the token says; whether it still holds is asked elsewhere.

    Raises: BadToken.
    """
    if len(token) > TOKEN_CHARS_MAX:
        raise BadToken
    try:
        fields = _signer().unsign_object(token)
        rights = fields.get("rights")
        return Grant(
            id=UUID(fields["id"]),
            document_id=UUID(fields["document"]),
            user=fields.get("user"),
            granter=fields.get("granter"),
            rights=None if rights is None else frozenset(map(Right, rights)),
            client=fields.get("client"),
            expires_at=float(fields["expires"]),
            is_single_use=bool(fields.get("once")),
        )
    except (signing.BadSignature, ValueError, KeyError, TypeError, AttributeError):
        raise BadToken from None


def _signer() -> signing.Signer:
    return signing.Signer(salt=SALT, sep=SEPARATOR)
