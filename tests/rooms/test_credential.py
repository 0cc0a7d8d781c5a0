"""What a connection may do now, by what it came in by; rules R1 and R2."""

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from journal.models import Document
from rooms.address import Address
from rooms.credential import Accounts, Credential, credential_of, rights_of
from rooms.refusal import Refused
from rooms.tokens import mint
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.session import Right
from vuer_rtc.protocol.wire import Naming

VIEW, EDIT, MODERATE = Right.VIEW, Right.EDIT, Right.MODERATE
ADDRESS = Address("room", "tablet", None, Naming.COMPRESSED, "", "")


@pytest.fixture
def ann(db: None) -> Any:
    return get_user_model()._default_manager.create(username="ann")


@pytest.fixture
def room(ann: Any) -> Document:
    return Document.objects.create(slug="room", owner=ann)


def scope(user: Any = None, cookie: str = "") -> dict[str, Any]:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return {"headers": headers, **({"user": user} if user is not None else {})}


def by_token(token: str) -> Credential:
    return credential_of(replace(ADDRESS, token=token), scope(), Accounts())


def by_login(user: Any) -> tuple[Client, Credential]:
    browser = Client()
    browser.force_login(user)
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    return browser, credential_of(ADDRESS, scope(cookie=cookie), Accounts())


def rights(credential: Credential, document: Document) -> set[Right] | CloseCode:
    document.refresh_from_db()
    try:
        return set(rights_of(credential, document, Accounts()))
    except Refused as refusal:
        return refusal.code


def test_a_login_is_worth_its_account_s_rights_until_it_ends(room: Document, ann: Any) -> None:
    browser, credential = by_login(ann)
    assert credential.account == ann.pk
    assert rights(credential, room) == set(Right)
    browser.logout()
    assert rights(credential, room) is CloseCode.LOGGED_OUT


def test_a_login_ends_with_its_account_or_its_password(room: Document, ann: Any) -> None:
    _, credential = by_login(ann)
    ann.set_password("another")
    ann.save()
    assert rights(credential, room) is CloseCode.LOGGED_OUT
    _, credential = by_login(ann)
    ann.is_active = False
    ann.save()
    assert rights(credential, room) is CloseCode.LOGGED_OUT


def test_a_user_found_by_a_site_s_middleware_is_asked_for_again(room: Document, ann: Any) -> None:
    credential = credential_of(ADDRESS, scope(user=ann), Accounts())
    assert rights(credential, room) == set(Right)
    ann.delete()
    assert rights(credential, room) is CloseCode.LOGGED_OUT


def test_a_site_s_middleware_may_read_tokens_of_its_own(ann: Any) -> None:
    """R1."""
    address = replace(ADDRESS, token="eyJ.of.theirs")
    assert credential_of(address, scope(user=ann), Accounts()) == Credential(ann.pk)
    ours = {"subprotocols": ["vuer-rtc", "vuer-rtc.token.eyJ.of.theirs"]}
    for nobody in (scope(), scope(user=AnonymousUser()), scope(user=ann) | ours):
        with pytest.raises(Refused) as refused:
            credential_of(address, nobody, Accounts())
        assert refused.value.code is CloseCode.BAD_TOKEN


def test_an_anonymous_visitor_may_what_the_visibility_says(room: Document) -> None:
    credential = credential_of(ADDRESS, scope(user=AnonymousUser()), Accounts())
    assert rights(credential, room) == set()
    Document.objects.update(visibility="public-edit")
    assert rights(credential, room) == {VIEW, EDIT}
    Document.objects.update(is_read_only=True)
    assert rights(credential, room) == {VIEW}
    Document.objects.update(archived_at=timezone.now())
    assert rights(credential, room) == set()


def test_a_token_gives_what_the_policy_gives_its_account_now(room: Document) -> None:
    """R1."""
    bob = get_user_model()._default_manager.create(username="bob")
    credential = by_token(mint(room, bob))
    assert credential.account == bob.pk
    assert rights(credential, room) == set()
    bob.user_permissions.add(Permission.objects.get(codename="change_document"))
    assert rights(credential, room) == {VIEW, EDIT}
    bob.user_permissions.clear()
    assert rights(credential, room) == set()
    bob.is_active = False
    bob.save()
    assert rights(credential, room) is CloseCode.LOGGED_OUT


def test_a_token_narrows_and_never_widens(room: Document, ann: Any) -> None:
    assert rights(by_token(mint(room, ann)), room) == set(Right)
    assert rights(by_token(mint(room, ann, rights=["view"])), room) == {VIEW}
    assert rights(by_token(mint(room, rights=list(Right))), room) == set()
    Document.objects.update(visibility="public-view")
    assert rights(by_token(mint(room, rights=list(Right))), room) == {VIEW}


def test_accounts_are_loaded_together_and_a_closed_one_is_none(room: Document, ann: Any) -> None:
    people = [get_user_model()._default_manager.create(username=f"u{n}", is_active=n > 0) for n in range(5)]
    credentials = [by_token(mint(room, user)) for user in people] + [
        by_token(mint(room, granter=ann)),
        Credential(),
    ]
    accounts = Accounts()
    with CaptureQueriesContext(connection) as queries:
        accounts.load(credentials)
        found = [accounts.of_key(user.pk) for user in (*people, ann)]
    assert found == [None, *people[1:], ann]
    assert len(queries) == 1


def test_a_guest_has_the_rights_of_who_invited_it_for_as_long(room: Document, ann: Any) -> None:
    credential = by_token(mint(room, granter=ann, rights=["edit"]))
    assert credential.account is None
    assert rights(credential, room) == {VIEW, EDIT}
    Document.objects.update(owner=None)
    assert rights(credential, room) == set()
    ann.delete()
    assert rights(credential, room) is CloseCode.LOGGED_OUT


def test_a_token_ends_and_is_of_no_use_in_another_document(room: Document, ann: Any) -> None:
    other = Document.objects.create(slug="other", owner=ann)
    credential = by_token(mint(room, ann, expires_in_s=1e-6))
    assert rights(credential, room) is CloseCode.TOKEN_EXPIRED
    assert rights(credential, other) == set()


def test_a_token_counts_instead_of_a_login(room: Document, ann: Any) -> None:
    browser, _ = by_login(ann)
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    address = replace(ADDRESS, token=mint(room))
    assert credential_of(address, scope(cookie=cookie), Accounts()).account is None


@pytest.mark.parametrize("token", ["", "forged", "a.b"])
def test_what_is_no_token_is_refused_before_a_room_is_looked_for(token: str) -> None:
    """R2; no database here."""
    with pytest.raises(Refused) as refusal:
        by_token(token)
    assert refusal.value.code is CloseCode.BAD_TOKEN


def test_a_token_bound_to_a_client_lets_in_no_other(room: Document, ann: Any) -> None:
    assert by_token(mint(room, ann, client="tablet")).account == ann.pk
    with pytest.raises(Refused) as refusal:
        by_token(mint(room, ann, client="phone"))
    assert refusal.value.code is CloseCode.BAD_TOKEN


def test_no_secret_shows_in_what_may_be_logged(room: Document, ann: Any) -> None:
    browser, credential = by_login(ann)
    assert browser.cookies["sessionid"].value not in repr(credential)
    token = mint(room, ann)
    assert token not in repr(replace(ADDRESS, token=token)) + repr(by_token(token))
