from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client, override_settings

from rooms.policy import User
from rooms.visitor import session_key_of, user_of_session


@pytest.fixture
def ann(db: None) -> Any:
    return get_user_model()._default_manager.create(username="ann")


def scope(cookie: str | None) -> dict[str, Any]:
    headers = [(b"host", b"here")] + ([(b"cookie", cookie.encode())] if cookie is not None else [])
    return {"headers": headers}


def visitor_of(scope: dict[str, Any]) -> User:
    return user_of_session(session_key_of(scope) or "")


def cookie_of(user: Any) -> str:
    browser = Client()
    browser.force_login(user)
    return f"theme=dark; sessionid={browser.cookies['sessionid'].value}"


def test_the_session_cookie_names_the_account(ann: Any) -> None:
    assert visitor_of(scope(cookie_of(ann))) == ann


@pytest.mark.parametrize(
    "cookie", [None, "", "sessionid=", "sessionid=made-up", "sessionid=\x00;=;;", "theme=dark"]
)
def test_anything_else_is_an_anonymous_visitor(db: None, cookie: str | None) -> None:
    assert visitor_of(scope(cookie)).is_anonymous


def test_a_session_ends_with_the_password_it_was_opened_with(ann: Any) -> None:
    cookie = cookie_of(ann)
    ann.set_password("another")
    ann.save()
    assert visitor_of(scope(cookie)).is_anonymous
    assert Session.objects.exists()  # it is for pages to end it


def test_a_session_outlives_a_change_of_the_signing_key(ann: Any) -> None:
    with override_settings(SECRET_KEY="the old one"):
        cookie = cookie_of(ann)
    with override_settings(SECRET_KEY_FALLBACKS=["the old one"]):
        assert [visitor_of(scope(cookie)), visitor_of(scope(cookie))] == [ann, ann]
    assert visitor_of(scope(cookie)).is_anonymous


@pytest.mark.parametrize("engine", ["cache", "cached_db", "db", "file", "signed_cookies"])
def test_every_kind_of_session_is_read(ann: Any, engine: str, tmp_path: Path) -> None:
    with override_settings(
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}", SESSION_FILE_PATH=tmp_path
    ):
        assert visitor_of(scope(cookie_of(ann))) == ann
