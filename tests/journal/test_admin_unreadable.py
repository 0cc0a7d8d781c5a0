"""Columns that hold what nobody wrote through us: a row that cannot be read takes nothing else away."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from rooms.models import Session
from tests.journal.history import append, insert, message, put
from tests.journal.test_admin import page, row_page
from tests.journal.test_history import snapshot

DEEP = "[" * 2000 + "]" * 2000
LONG = "9" * 5000
NO_TIME = "2026-13-45 00:00:00"
NO_TEXT = "what is this"

pytestmark = pytest.mark.sqlite


@pytest.fixture
def scene(document: Document) -> Document:
    append(document, message(1, insert("arm", x=0)))
    append(document, message(2, put("arm", "x", 41)))
    catch_up(document.pk)
    snapshot(document)
    now = timezone.now()
    for client in ("ann", "bob"):
        Session.objects.create(document=document, client=client, connected_at=now, last_seen_at=now)
    return document


def spoil(row: Any, column: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints=ON")
        cursor.execute(f"UPDATE {row._meta.db_table} SET {column} = %s WHERE _id = %s", [value, row.pk.hex])
        assert cursor.rowcount == 1
        cursor.execute("PRAGMA ignore_check_constraints=OFF")


@pytest.mark.parametrize("value", [DEEP, LONG, NO_TEXT])
@pytest.mark.parametrize(
    ("model", "column"),
    [
        (Operation, "value"),
        (Operation, "extra"),
        (SceneObject, "properties"),
        (Session, "vector_clock"),
        (Document, "limits"),
    ],
)
def test_json_that_cannot_be_read_takes_no_list_away(
    admin_client: Client, scene: Document, model: Any, column: str, value: str
) -> None:
    assert_others_are_listed(admin_client, model, column, value)


@pytest.mark.parametrize("value", [NO_TIME, NO_TEXT])
@pytest.mark.parametrize(
    ("model", "column"),
    [
        (Operation, "received_at"),
        (JournalBatch, "created_at"),
        (Snapshot, "created_at"),
        (SceneObject, "updated_at"),
        (Session, "last_seen_at"),
        (Document, "updated_at"),
    ],
)
def test_a_time_that_is_none_takes_no_list_away(
    admin_client: Client, scene: Document, model: Any, column: str, value: str
) -> None:
    assert_others_are_listed(admin_client, model, column, value)


def assert_others_are_listed(admin_client: Client, model: Any, column: str, value: str) -> None:
    row = model.objects.first()
    others = list(model.objects.exclude(pk=row.pk))
    spoil(row, column, value)
    name = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    told = page(admin_client, name)
    assert all(str(other.pk) in told for other in others)
    assert str(row.pk) in told
    response = admin_client.get(f"{name}{row.pk}/change/", follow=True)
    assert response.status_code == 200
    if response.redirect_chain:
        assert response.content.decode().count("cannot be read") == 1
        assert "Perhaps it was deleted" not in response.content.decode()


def test_a_payload_that_is_a_text_is_damage(admin_client: Client, scene: Document) -> None:
    for row in (JournalBatch.objects.first(), Snapshot.objects.first()):
        spoil(row, "payload", NO_TEXT)
    told = row_page(
        admin_client, JournalBatch.objects.defer("payload").get(pk=JournalBatch.objects.first().pk)
    )
    assert "is not of bytes" in told
    assert "DAMAGED: the payload is a text" in row_page(admin_client, Snapshot.objects.first())


def test_a_vector_clock_that_is_no_map_is_shown_as_it_is(admin_client: Client, scene: Document) -> None:
    row = Session.objects.first()
    assert row is not None
    Session.objects.filter(pk=row.pk).update(vector_clock=[1, 2])
    told = page(admin_client, f"/admin/vuer_rooms/session/{row.pk}/change/")
    assert "<td>cannot be read</td><td>[1, 2]</td>" in told
