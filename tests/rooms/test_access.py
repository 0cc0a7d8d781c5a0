"""Which changes make the server ask the policy again; rule R3."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.test import Client, TestCase
from django.test.utils import isolate_apps
from django.utils import timezone

from journal.models import Document
from rooms import access
from rooms.models import Session
from rooms.news import RightsChanged

EDIT = "change_document"


@pytest.fixture
def ann(db: None) -> Any:
    return get_user_model()._default_manager.create(username="ann")


@pytest.fixture
def room(ann: Any) -> Document:
    """One that ann is connected to."""
    room = Document.objects.create(slug="room")
    now = timezone.now()
    Session.objects.create(
        document=room, client="a", user=ann, process="p", connected_at=now, last_seen_at=now
    )
    return room


def assert_touched(room: Document, change: Callable[[], object], *, is_touched: bool = True) -> None:
    before = Document.objects.get(pk=room.pk).access_version
    change()
    assert (Document.objects.get(pk=room.pk).access_version != before) is is_touched


def permission(codename: str = EDIT) -> Permission:
    return Permission.objects.get(codename=codename)


def test_a_document_that_is_saved_is_asked_for_again(room: Document) -> None:
    assert_touched(room, room.save)
    assert_touched(room, lambda: room.save(update_fields=["visibility"]))
    assert_touched(room, lambda: room.save(update_fields=["head_seq"]), is_touched=False)


def test_an_old_form_saved_late_does_not_hide_the_change(room: Document) -> None:
    old = Document.objects.get(pk=room.pk)
    seen = set()
    for _ in range(3):
        old.save()
        seen.add(Document.objects.get(pk=room.pk).access_version)
    assert len(seen) == 3


def test_changes_of_an_account_concern_the_documents_it_is_connected_to(room: Document, ann: Any) -> None:
    assert_touched(room, ann.save)
    assert_touched(room, lambda: ann.save(update_fields=["last_login"]), is_touched=False)
    other = get_user_model()._default_manager.create(username="bob")
    assert_touched(room, other.save, is_touched=False)
    assert_touched(room, ann.delete)


@isolate_apps("tests")
def test_a_site_s_own_view_of_accounts_and_groups_counts_as_they_do(
    room: Document, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Colleague(get_user_model()):  # type: ignore[misc]
        class Meta:
            app_label, proxy = "tests", True

    class Team(Group):
        class Meta:
            app_label, proxy = "tests", True

    models = [*apps.get_models(), Colleague, Team]
    monkeypatch.setattr(apps, "get_models", lambda: models)
    access.connect_signals()
    colleague = Colleague._default_manager.get()
    assert_touched(room, colleague.save)
    assert_touched(room, lambda: colleague.save(update_fields=["last_login"]), is_touched=False)
    ann.groups.add(Team.objects.create(name="editors"))
    assert_touched(room, Team.objects.get().delete)
    assert_touched(room, colleague.delete)


def test_permissions_concern_it_from_whichever_side_they_change(room: Document, ann: Any) -> None:
    group = Group.objects.create(name="editors")
    for change in (
        lambda: ann.user_permissions.add(permission()),
        lambda: ann.user_permissions.remove(permission()),
        lambda: ann.user_permissions.set([permission()]),
        lambda: ann.user_permissions.clear(),
        lambda: permission().user_set.add(ann),
        lambda: permission().user_set.clear(),
        lambda: ann.groups.add(group),
        lambda: group.permissions.add(permission()),
        lambda: group.permissions.clear(),
        lambda: permission().group_set.add(group),
        lambda: permission().group_set.clear(),
        lambda: group.user_set.clear(),
        lambda: group.user_set.add(ann),
        lambda: group.delete(),
    ):
        assert_touched(room, change)


def test_permissions_of_others_concern_nobody(room: Document) -> None:
    bob = get_user_model()._default_manager.create(username="bob")
    assert_touched(room, lambda: bob.user_permissions.add(permission()), is_touched=False)


def test_a_logout_concerns_it(room: Document, ann: Any) -> None:
    browser = Client()
    browser.force_login(ann)
    assert_touched(room, browser.logout)


def test_a_closed_session_concerns_nobody(room: Document, ann: Any) -> None:
    Session.objects.update(closed_at=timezone.now())
    assert_touched(room, ann.save, is_touched=False)


def test_site_code_tells_what_no_signal_does(room: Document, ann: Any) -> None:
    assert_touched(room, lambda: access.rights_changed(user=ann))
    assert_touched(room, lambda: access.rights_changed(document=room))


def test_every_process_is_told_once_the_change_is_committed(
    room: Document, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[RightsChanged] = []
    monkeypatch.setattr(access, "announce", told.append)
    with TestCase.captureOnCommitCallbacks() as callbacks:
        room.save()
        ann.save()
        assert told == []
    for callback in callbacks:
        callback()
    of_room = RightsChanged(document=room.pk)
    assert told == [of_room, of_room, RightsChanged(user=str(ann.pk))]
