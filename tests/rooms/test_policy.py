from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, Permission
from django.db import models

from journal.models import Document
from rooms.policy import RoomPolicy, policy
from vuer_rtc.protocol.session import Right

VIEW, EDIT, MODERATE = Right.VIEW, Right.EDIT, Right.MODERATE
ALL = {VIEW, EDIT, MODERATE}


@pytest.fixture
def ann(db: None) -> Any:
    return get_user_model()._default_manager.create(username="ann")


def document(visibility: str = "private", **fields: Any) -> Document:
    return Document.objects.create(slug=f"room-{Document.objects.count()}", visibility=visibility, **fields)


def rights(user: Any, room: Document) -> set[Right]:
    """As a fresh login has them: Django remembers permissions on the user object."""
    if user.pk:
        user = type(user)._default_manager.get(pk=user.pk)
    return set(RoomPolicy().rights(user, room))


def allow(user: Any, *names: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


@pytest.mark.parametrize(
    ("visibility", "expected"), [("private", set()), ("public-view", {VIEW}), ("public-edit", {VIEW, EDIT})]
)
def test_anonymous_visitors_may_what_the_visibility_says(
    db: None, visibility: str, expected: set[Right]
) -> None:
    assert rights(AnonymousUser(), document(visibility)) == expected


def test_an_account_may_no_less_than_an_anonymous_visitor(ann: Any) -> None:
    assert rights(ann, document("private")) == set()
    assert rights(ann, document("public-edit")) == {VIEW, EDIT}


def test_permissions_of_the_app_hold_for_every_document(ann: Any) -> None:
    room = document()
    allow(ann, "view_document")
    assert rights(ann, room) == {VIEW}
    allow(ann, "change_document")
    assert rights(ann, room) == {VIEW, EDIT}
    allow(ann, "moderate_document")
    assert rights(ann, room) == ALL


class BareUser(AbstractBaseUser):
    """As little as Django lets a site's own user model have."""

    email = models.EmailField(primary_key=True)
    USERNAME_FIELD = "email"

    class Meta:
        app_label = "bare"
        managed = False


class UserWithPermissions(BareUser):
    """And what Django's own example adds, without PermissionsMixin."""

    class Meta:
        proxy = True
        app_label = "bare"

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return perm == "vuer_journal.view_document"

    def get_full_name(self) -> str:
        return "Ann Lee"


def test_a_user_model_of_the_site_s_own_need_not_have_django_s_permissions() -> None:
    room, asked = Document(owner_id=None, visibility="private"), RoomPolicy()
    bare, permitted = BareUser(email="ann@site.example"), UserWithPermissions(email="ann@site.example")
    assert asked.rights(bare, room) == set()
    assert asked.rights(permitted, room) == {VIEW}
    room.owner_id = bare.pk
    assert asked.rights(bare, room) == ALL
    assert (asked.shown_name(bare), asked.shown_name(permitted)) == ("ann@site.example", "Ann Lee")


def test_who_may_edit_may_also_look(ann: Any) -> None:
    allow(ann, "change_document")
    assert rights(ann, document()) == {VIEW, EDIT}


class OneRoomBackend(BaseBackend):
    """Object permissions, as guardian or rules give them."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return perm == "vuer_journal.change_document" and obj is not None and obj.title == "hers"


def test_permissions_on_the_object_hold_for_it_only(ann: Any, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.OneRoomBackend",
    ]
    assert rights(ann, document(title="hers")) == {VIEW, EDIT}
    assert rights(ann, document(title="not hers")) == set()


def test_the_owner_may_everything_and_superusers_too(ann: Any) -> None:
    root = get_user_model()._default_manager.create(username="root", is_superuser=True)
    assert rights(ann, document(owner=ann)) == ALL
    assert rights(root, document(owner=ann)) == ALL


def test_an_inactive_account_may_what_everybody_may(ann: Any) -> None:
    ann.is_active = False
    ann.save()
    assert rights(ann, document(owner=ann)) == set()
    assert rights(ann, document("public-view")) == {VIEW}


def test_nobody_edits_a_read_only_document(ann: Any) -> None:
    assert rights(ann, document(owner=ann, is_read_only=True)) == {VIEW, MODERATE}
    assert rights(AnonymousUser(), document("public-edit", is_read_only=True)) == {VIEW}


class NobodyEdits(RoomPolicy):
    def rights(self, user: Any, document: Document) -> frozenset[Right]:
        return frozenset({VIEW})


def test_a_site_names_a_policy_of_its_own(settings: Any) -> None:
    assert type(policy()) is RoomPolicy
    settings.VUER_RTC = {"POLICY": f"{__name__}.NobodyEdits"}
    assert policy().rights(AnonymousUser(), Document(visibility="public-edit")) == {VIEW}
