"""The first page."""

import datetime

import pytest
from django.test import Client
from django.test.utils import override_script_prefix

from journal.models import Document

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


@pytest.fixture
def page(db: None, client: Client) -> str:
    """The page over one document of every kind."""
    Document.objects.create(slug="open", title="<b>Hall</b>", visibility="public-edit")
    Document.objects.create(slug="shown", visibility="public-view")
    Document.objects.create(slug="frozen", visibility="public-edit", is_read_only=True)
    Document.objects.create(slug="secret")
    Document.objects.create(slug="half", visibility="public-edit", condition="importing")
    Document.objects.create(slug="closed", visibility="public-edit", archived_at=NOW)
    response = client.get("/", headers={"host": "localhost:8123"})
    assert response.status_code == 200
    return response.content.decode()


def test_it_lists_what_visitors_may_see_and_nothing_else(page: str) -> None:
    for slug in ("open", "shown", "frozen"):
        assert f"ws://localhost:8123/ws/rooms/{slug}/?client=" in page
    assert "secret" not in page
    assert "closed" not in page
    assert "half" not in page


def test_addresses_stand_below_where_the_site_does(db: None, client: Client) -> None:
    Document.objects.create(slug="open", visibility="public-edit")
    with override_script_prefix("/rtc/"):
        response = client.get("/", headers={"host": "localhost:8123"})
    assert "ws://localhost:8123/rtc/ws/rooms/open/?client=" in response.content.decode()


def test_it_says_where_visitors_may_edit(page: str) -> None:
    assert page.count("visitors may edit") == 1
    assert page.count("visitors may look") == 2


def test_titles_are_escaped(page: str) -> None:
    assert "&lt;b&gt;Hall" in page
    assert "<b>" not in page


def test_behind_tls_the_addresses_are_wss(db: None, client: Client) -> None:
    Document.objects.create(slug="open", visibility="public-edit")
    assert (
        "wss://localhost/ws/rooms/open/"
        in client.get("/", secure=True, headers={"host": "localhost"}).content.decode()
    )


def test_without_open_documents_it_says_how_to_make_one(db: None, client: Client) -> None:
    assert "seed_demo" in client.get("/", headers={"host": "localhost"}).content.decode()


def test_long_lists_come_in_pages(db: None, client: Client) -> None:
    Document.objects.bulk_create(Document(slug=f"room-{n:03}", visibility="public-view") for n in range(51))
    first = client.get("/", headers={"host": "localhost"}).content.decode()
    second = client.get("/?page=2", headers={"host": "localhost"}).content.decode()
    assert "room-049" in first
    assert "room-050" not in first
    assert "room-050" in second
