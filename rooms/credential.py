"""By what a connection came in, and what that is worth now.

A login ends, an account is closed, a permission is taken away while sockets stay open: so a connection keeps what
it came in by, and it is asked again (`rooms.review`).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser

from journal.models import Document
from rooms.address import Address, Scope, has_token_subprotocol
from rooms.policy import NOTHING, User, policy
from rooms.refusal import Refused
from rooms.tokens import BadToken, Grant, read
from rooms.visitor import session_key_of, user_of_session
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.session import Rights


@dataclass(frozen=True, slots=True)
class Credential:
    """A login, a token, the user that a site's own middleware found, or nothing."""

    account: Any = None
    """Primary key of the account; None: an anonymous visitor."""
    session_key: str | None = field(default=None, repr=False)
    """Of the login it came in by; None: it did not come in by one."""
    grant: Grant | None = None
    """Of its token."""

    @property
    def expires_at(self) -> float | None:
        """When its token ends, seconds since the epoch; None without one."""
        return self.grant.expires_at if self.grant is not None else None


class Accounts:
    """Accounts and logins as they are now, each asked for once."""

    def __init__(self) -> None:
        self._by_key: dict[str, User | None] = {}
        self._by_session: dict[str, User] = {}

    def load(self, credentials: Iterable[Credential]) -> None:
        """Afterwards the accounts that these name, and no login, are known; one query for all."""
        keys = {
            str(key)
            for credential in credentials
            for key in (credential.account, credential.grant and credential.grant.granter)
            if key is not None and credential.session_key is None
        }
        if keys:
            found = get_user_model()._default_manager.in_bulk([_key(key) for key in keys])
            active = {str(pk): user for pk, user in found.items() if user.is_active}
            self._by_key.update((key, active.get(key)) for key in keys)

    def of_key(self, key: Any) -> User | None:
        """The account of that primary key, when it is there and active."""
        text = str(key)
        if text not in self._by_key:
            found = get_user_model()._default_manager.filter(pk=_key(text)).first()
            self._by_key[text] = found if found is not None and found.is_active else None
        return self._by_key[text]

    def of_session(self, session_key: str) -> User:
        """The account that is logged in under that key; the anonymous visitor when nobody is any more."""
        if session_key not in self._by_session:
            self._by_session[session_key] = user_of_session(session_key)
        return self._by_session[session_key]


def credential_of(address: Address, scope: Scope, accounts: Accounts) -> Credential:
    """By what a connection comes in: its token, else the site's middleware, else the session cookie.

    Raises: Refused `bad-token`, before anything is known of the room.
    """
    given: User | None = scope.get("user")
    if address.token is not None:
        try:
            grant = read(address.token)
        except BadToken:
            if given is None or given.is_anonymous or has_token_subprotocol(scope):
                raise Refused(CloseCode.BAD_TOKEN) from None
            return Credential(given.pk)  # a token of the site's own, by which its middleware knows who comes
        if grant.client not in (None, address.client):
            raise Refused(CloseCode.BAD_TOKEN)
        return Credential(None if grant.user is None else _key(grant.user), grant=grant)
    if given is not None:
        return Credential(None if given.is_anonymous else given.pk)
    session_key = session_key_of(scope)
    user = accounts.of_session(session_key) if session_key else AnonymousUser()
    return Credential() if user.is_anonymous else Credential(user.pk, session_key=session_key)


def _key(text: str) -> Any:
    """A primary key of an account that was written as text."""
    return get_user_model()._meta.pk.to_python(text)


def rights_of(credential: Credential, document: Document, accounts: Accounts) -> Rights:
    """What a connection may do in the document now; nothing in an archived one.

    Raises: Refused `logged-out` when its login or its account is over, `token-expired`.
    """
    user = user_of(credential, accounts)
    if document.archived_at is not None:
        return NOTHING
    grant = credential.grant
    if grant is None:
        return policy().rights(user, document)
    if grant.document_id != document.pk:
        return NOTHING
    authority = user
    if grant.user is None and grant.granter is not None:
        granter = accounts.of_key(grant.granter)
        if granter is None:
            raise Refused(CloseCode.LOGGED_OUT)
        authority = granter
    granted = policy().rights(authority, document)
    rights = granted if grant.rights is None else granted & grant.rights
    if rights and grant.is_expired(time.time()):
        raise Refused(CloseCode.TOKEN_EXPIRED)
    return rights


def user_of(credential: Credential, accounts: Accounts) -> User:
    """The account as it is now, or the anonymous visitor.

    Raises: Refused `logged-out`.
    """
    if credential.account is None:
        return AnonymousUser()
    if credential.session_key is not None:
        user = accounts.of_session(credential.session_key)
        is_same = not user.is_anonymous and user.pk == credential.account
    else:
        found = accounts.of_key(credential.account)
        user, is_same = found or AnonymousUser(), found is not None
    if not is_same:
        raise Refused(CloseCode.LOGGED_OUT)
    return user
