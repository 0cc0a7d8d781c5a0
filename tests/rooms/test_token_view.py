import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.utils import timezone

from journal.models import Document
from rooms import token_view
from rooms.throttle import Throttle, household_of
from rooms.tokens import read
from vuer_rtc.protocol.session import Right

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_view, "_throttle", Throttle())


@pytest.fixture
def ann() -> Any:
    return get_user_model()._default_manager.create(username="ann")


@pytest.fixture
def room(ann: Any) -> Document:
    return Document.objects.create(slug="room", owner=ann)


def browser_of(user: Any = None) -> Client:
    browser = Client()
    if user is not None:
        browser.force_login(user)
    return browser


def ask(browser: Client, wish: Any = None, slug: str = "room") -> Any:
    body = wish if isinstance(wish, str | bytes) else json.dumps(wish or {})
    return browser.post(f"/api/rooms/{slug}/token/", body, content_type="application/json")


@override_settings(MIDDLEWARE=[])
def test_on_a_site_that_knows_no_logins_everybody_is_a_visitor(room: Document) -> None:
    assert ask(browser_of()).status_code == 404
    Document.objects.update(visibility=Document.Visibility.PUBLIC_VIEW)
    assert ask(browser_of()).json()["rights"] == ["view"]


def test_who_is_logged_in_gets_a_token_of_their_own(room: Document, ann: Any) -> None:
    answer = ask(browser_of(ann), {"client": "arm", "rights": ["view"], "expires_in_s": 60})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    body = answer.json()
    assert body["subprotocols"] == ["vuer-rtc", f"vuer-rtc.token.{body['token']}"]
    assert (body["rights"], body["client"]) == (["view"], "arm")
    grant = read(body["token"])
    assert (grant.document_id, grant.user, grant.client) == (room.pk, str(ann.pk), "arm")
    assert grant.rights == {Right.VIEW}
    assert abs(grant.expires_at - body["expires_at"]) < 1


def test_nobody_is_given_more_than_they_have(room: Document) -> None:
    bob = get_user_model()._default_manager.create(username="bob")
    Document.objects.update(visibility="public-view")
    answer = ask(browser_of(bob), {"rights": ["view", "edit", "moderate"]})
    assert answer.json()["rights"] == ["view"]


def test_moderators_invite_guests_and_others_do_not(room: Document, ann: Any) -> None:
    grant = read(ask(browser_of(ann), {"guest": True, "rights": ["edit"]}).json()["token"])
    assert (grant.user, grant.granter) == (None, str(ann.pk))
    Document.objects.update(visibility="public-edit")
    assert ask(browser_of(), {"guest": True}).status_code == 403


def test_a_room_one_may_not_see_is_answered_like_none(room: Document, ann: Any) -> None:
    bob = get_user_model()._default_manager.create(username="bob")
    Document.objects.create(slug="archived", owner=bob, archived_at=timezone.now())
    answers = [
        ask(browser, slug=slug)
        for browser in (browser_of(bob), browser_of())
        for slug in ("room", "nowhere", "archived")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_another_site_s_page_cannot_ask(room: Document, ann: Any) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)
    assert ask(browser).status_code == 403
    assert browser.get("/api/rooms/room/token/").status_code == 405


@pytest.mark.parametrize(
    "wish",
    [
        "not json", "[]", {"rights": ["fly"]}, {"rights": "edit"}, {"client": ""}, {"client": "=server"},
        {"client": "a\nb"}, {"client": "x" * 129}, {"expires_in_s": 0}, {"expires_in_s": -1},
        {"expires_in_s": 1e9}, '{"expires_in_s": NaN}', {"user": 1}, {"single_use": "yes"}, b"\xff",
    ],
)  # fmt: skip
def test_a_malformed_wish_is_refused_whatever_the_room(room: Document, ann: Any, wish: Any) -> None:
    for slug in ("room", "nowhere"):
        assert ask(browser_of(ann), wish, slug).status_code == 400


def test_a_long_request_is_not_read(room: Document, ann: Any) -> None:
    assert ask(browser_of(ann), {"client": "x" * 5000}).status_code == 413


def test_a_length_that_is_no_number_is_not_believed(room: Document, ann: Any) -> None:
    address = "/api/rooms/room/token/"
    browser = browser_of(ann)
    for length in ("many", "-1", "9" * 5000):
        answer = browser.post(address, b"{}", content_type="application/json", CONTENT_LENGTH=length)
        assert answer.status_code < 500


def test_who_asks_too_often_has_to_wait_and_others_do_not(room: Document, ann: Any, settings: Any) -> None:
    settings.VUER_RTC = {"TOKEN_REQUESTS_PER_MINUTE_MAX": 3}
    browser = browser_of(ann)
    assert [ask(browser).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask(browser_of(), slug="nowhere").status_code == 404


def test_a_visitor_with_many_addresses_is_one(room: Document, settings: Any) -> None:
    settings.VUER_RTC = {"TOKEN_REQUESTS_PER_MINUTE_MAX": 2}
    browsers = [Client(REMOTE_ADDR=f"2001:db8:0:7::{number}") for number in range(3)]
    assert [ask(browser).status_code for browser in browsers] == [404, 404, 429]
    assert ask(Client(REMOTE_ADDR="2001:db8:0:8::1")).status_code == 404


@pytest.mark.parametrize(
    ("address", "household"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_what_counts_as_one_visitor(address: str, household: str) -> None:
    assert household_of(address) == household


def test_a_throttle_forgets_who_was_away_for_longest() -> None:
    throttle = Throttle(visitors_max=2)
    assert throttle.takes("a", 1)
    assert not throttle.takes("a", 1)
    assert throttle.takes("b", 1)
    assert throttle.takes("c", 1)
    assert throttle.takes("a", 1)
