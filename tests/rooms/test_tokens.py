import time
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core import signing

from journal.models import Document
from rooms import tokens
from rooms.tokens import BadToken, mint, read
from vuer_rtc.protocol.session import Right

ROOM = Document(slug="room")


class Account:
    is_anonymous = False

    def __init__(self, pk: Any) -> None:
        self.pk = pk


def test_a_token_says_what_it_was_minted_with() -> None:
    grant = read(mint(ROOM, Account(7), rights=["edit"], client="arm", expires_in_s=60, single_use=True))
    assert (grant.document_id, grant.user, grant.granter, grant.client) == (ROOM.pk, "7", None, "arm")
    assert grant.rights == {Right.VIEW, Right.EDIT}
    assert grant.is_single_use
    assert not grant.is_expired(time.time() + 59)
    assert grant.is_expired(time.time() + 61)


def test_without_more_it_is_an_anonymous_visitor_s_for_an_hour() -> None:
    for user in (None, AnonymousUser()):
        grant = read(mint(ROOM, user))
        assert (grant.user, grant.authority, grant.rights, grant.client) == (None, None, None, None)
        assert 3590 < grant.expires_at - time.time() <= 3600


def test_a_guest_acts_as_nobody_on_the_rights_of_who_invited_it() -> None:
    key = uuid4()
    grant = read(mint(ROOM, granter=Account(key)))
    assert (grant.user, grant.authority) == (None, str(key))


def test_a_token_passes_through_addresses_headers_and_subprotocols() -> None:
    minted = mint(ROOM, client="Räuber 😀")
    assert set(minted) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert read(minted).client == "Räuber 😀"


def test_the_longest_client_id_still_makes_a_token_that_is_read() -> None:
    assert read(mint(ROOM, client="😀" * 128)).client == "😀" * 128


@pytest.mark.parametrize("damage", ["", "x", "a.b.c", "\0", "é", "." * 5000])
def test_what_was_not_signed_here_is_no_token(damage: str) -> None:
    with pytest.raises(BadToken):
        read(damage)


def test_a_token_with_any_character_changed_is_none() -> None:
    minted = mint(ROOM)
    for at, was in enumerate(minted):
        with pytest.raises(BadToken):
            read(minted[:at] + ("A" if was != "A" else "B") + minted[at + 1 :])


def test_another_key_or_another_use_of_the_key_makes_no_token(settings: Any) -> None:
    minted = mint(ROOM)
    with pytest.raises(BadToken):
        read(signing.Signer(salt="another use", sep=tokens.SEPARATOR).sign_object({"id": "x"}))
    with pytest.raises(BadToken):
        read(signing.Signer(salt=tokens.SALT, sep=tokens.SEPARATOR).sign_object(["not", "a", "map"]))  # type: ignore[arg-type]
    settings.SECRET_KEY = "another key"
    with pytest.raises(BadToken):
        read(minted)
    settings.SECRET_KEY_FALLBACKS = ["unused"]


@pytest.mark.parametrize("lifetime_s", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_token_without_an_end_is_not_minted(lifetime_s: float) -> None:
    with pytest.raises(ValueError, match="lives"):
        mint(ROOM, expires_in_s=lifetime_s)


def test_a_token_is_an_account_s_or_a_guest_s_and_has_known_rights() -> None:
    with pytest.raises(ValueError, match="guest"):
        mint(ROOM, Account(1), granter=Account(2))
    with pytest.raises(ValueError, match="fly"):
        mint(ROOM, rights=["fly"])
