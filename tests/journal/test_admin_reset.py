"""A moderator empties a document from the admin (rule J34)."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from journal.error import JournalBusy, JournalUnavailable
from journal.label import graph_of_label, label_named, label_state
from journal.models import Document, SceneObject
from journal.projection import catch_up
from journal.reader import hydrate
from journal.reset import reset_document
from tests.journal.history import append, insert, message
from tests.journal.test_admin_history import staff
from vuer_rtc.crdt.message import Message


@pytest.fixture
def scene(document: Document) -> Document:
    append(document, message(1, insert("arm")))
    catch_up(document.pk)
    return document


def url(document: Document) -> str:
    return f"/admin/vuer_journal/document/{document.pk}/reset/"


def messages_of(answer: Any) -> list[str]:
    return [str(item) for item in answer.context["messages"]]


def test_a_moderator_is_asked_and_then_empties_it(client: Client, scene: Document) -> None:
    moderator = staff(client, "moderate_document")
    page = moderator.get(url(scene)).content.decode()
    assert "This empties" in page
    assert SceneObject.objects.count() == 1
    answer = moderator.post(url(scene), {"epoch": "0", "label": "before"}, follow=True)
    assert messages_of(answer) == ["Reset the document at sequence 2: epoch 1."]
    assert SceneObject.objects.count() == hydrate(scene.pk).graph.node_count == 0
    assert list(graph_of_label(scene.pk, "before").nodes()) == ["arm"]
    assert list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message")) == [
        (str(scene.pk), messages_of(answer)[0]),
        (str(scene.pk), "Labelled the state at sequence 1 “before”."),
    ]
    assert "Reset…" in moderator.get(f"/admin/vuer_journal/document/{scene.pk}/change/").content.decode()


def test_a_second_click_changes_nothing(client: Client, scene: Document) -> None:
    moderator = staff(client, "moderate_document")
    for _ in range(2):
        answer = moderator.post(url(scene), {"epoch": "0"}, follow=True)
    assert messages_of(answer) == ["the document is in epoch 1, not in 0"]
    assert hydrate(scene.pk).head_seq == 2
    for epoch in ("x", "0"):
        moderator.post(url(scene), {"epoch": epoch, "label": "too late"})
        assert hydrate(scene.pk).head_seq == 2
        assert label_named(scene.pk, "too late") is None, "what was not done has no state before it"


def have_somebody_edit_first(scene: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    def reset_behind_others(document_id: UUID, **options: Any) -> Message:
        append(scene, message(2, insert("last minute")))
        return reset_document(document_id, **options)

    monkeypatch.setattr("journal.admin_reset.reset_document", reset_behind_others)


def test_a_reset_is_logged_though_the_state_right_before_it_could_not_be_labelled(
    client: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def label_the_first(document_id: UUID, seq: int, name: str, author_id: Any) -> None:
        if seq > 1:
            raise JournalUnavailable("the database is away")
        label_state(document_id, seq, name, author_id)

    have_somebody_edit_first(scene, monkeypatch)
    monkeypatch.setattr("journal.admin_reset.label_state", label_the_first)
    answer = staff(client, "moderate_document").post(
        url(scene), {"epoch": "0", "label": "before"}, follow=True
    )
    done = "Reset the document at sequence 3: epoch 1."
    assert messages_of(answer) == [done, "the database is away"]
    assert LogEntry.objects.get().change_message == done


def test_the_label_keeps_what_people_did_until_the_reset(
    client: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_somebody_edit_first(scene, monkeypatch)
    moderator = staff(client, "moderate_document")
    answer = moderator.post(url(scene), {"epoch": "0", "label": "before"}, follow=True)
    assert messages_of(answer) == ["Reset the document at sequence 3: epoch 1."]
    assert set(graph_of_label(scene.pk, "before").nodes()) == {"arm", "last minute"}
    assert LogEntry.objects.filter(change_message="Labelled the state at sequence 2 “before”.").exists()


def test_a_reset_that_found_no_room_leaves_no_label(
    client: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(document_id: UUID, **options: Any) -> Message:
        raise JournalBusy("its writers left no room for the reset; try again")

    monkeypatch.setattr("journal.admin_reset.reset_document", busy)
    answer = staff(client, "moderate_document").post(
        url(scene), {"epoch": "0", "label": "before"}, follow=True
    )
    assert "try again" in messages_of(answer)[0]
    assert label_named(scene.pk, "before") is None, "the next try would find it taken"


@pytest.mark.parametrize("fields", [{}, {"epoch": "x"}, {"epoch": "-1"}, {"epoch": "9" * 5000}])
def test_without_an_epoch_nothing_is_emptied(client: Client, scene: Document, fields: dict[str, str]) -> None:
    answer = staff(client, "moderate_document").post(url(scene), fields, follow=True)
    assert "open the page again" in messages_of(answer)[0]
    assert hydrate(scene.pk).head_seq == 1


@pytest.mark.parametrize("codenames", [(), ("change_document",)])
def test_who_does_not_moderate_it_does_not(
    client: Client, scene: Document, codenames: tuple[str, ...]
) -> None:
    visitor = staff(client, *codenames)
    assert visitor.get(url(scene)).status_code == 403
    assert visitor.post(url(scene), {"epoch": "0"}).status_code == 403
    assert "Reset…" not in visitor.get(f"/admin/vuer_journal/document/{scene.pk}/change/").content.decode()
    assert hydrate(scene.pk).head_seq == 1


def test_its_owner_does(client: Client, scene: Document) -> None:
    owner = staff(client)
    Document.objects.update(owner=User.objects.get(username="operator"))
    assert Permission.objects.filter(user__username="operator", codename="moderate_document").count() == 0
    owner.post(url(scene), {"epoch": "0"})
    assert hydrate(scene.pk).graph.epoch.number == 1


def test_a_read_only_document_is_left_alone(client: Client, scene: Document) -> None:
    Document.objects.update(is_read_only=True)
    moderator = staff(client, "moderate_document")
    assert "read-only" in moderator.get(url(scene)).content.decode()
    moderator.post(url(scene), {"epoch": "0"})
    assert hydrate(scene.pk).head_seq == 1


def test_a_document_that_is_not_there_is_nowhere(client: Client, db: None) -> None:
    missing = url(Document(slug="none"))
    assert staff(client, "moderate_document").get(missing).status_code == 302
