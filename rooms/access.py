"""Who may do what has changed: how that reaches the processes that hold the sockets.

`Document.access_version` becomes another number for every document whose open connections may be concerned, in the
transaction of the change.  Server processes read it once a second with the heads of their live rooms, and ask the
policy again (`rooms.reviewer`); through the bus they hear of it at once.  What changes without Django's
signals (queries that update rows, object permissions, a policy of one's own) is found every `rights_recheck_s`, or at
once by `rights_changed`.
"""

import random
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import router, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete

from journal.models import Document
from rooms.bus import announce
from rooms.models import Session
from rooms.news import News, RightsChanged

WITHOUT_RIGHTS = {
    Document: frozenset({
        "head_seq", "truncated_seq", "truncated_batch", "cut", "epoch", "lease_holder", "lease_until", "updated_at",
    }),
    get_user_model(): frozenset({"last_login"}),
}  # fmt: skip
"""Fields no policy looks at: a save of nothing else tells nobody anything."""


def rights_changed(*, document: Document | None = None, user: Any = None) -> None:
    """Afterwards the open connections to a document, or those of a user, soon have the rights they have now.

    For what Django's signals do not tell: object permissions, or whatever a policy of the site looks at.
    """
    if document is not None:
        touch([document.pk])
    if user is not None:
        touch_users([user.pk])


def touch(document_ids: Iterable[UUID]) -> None:
    """Afterwards every process soon asks again what the open connections to these documents may do."""
    ids = frozenset(document_ids)
    if not ids:
        return
    # Random, not counted up: a row from a backup brings an old number back, which must not look like the one after it.
    Document.objects.filter(pk__in=ids).update(access_version=random.getrandbits(62))
    tell_once_committed(RightsChanged(document=pk) for pk in ids)


def touch_users(user_ids: Iterable[Any]) -> None:
    """The same for the documents that these users are connected to."""
    keys = list(user_ids)
    sessions = Session.objects.connected().filter(user__in=keys).order_by()
    touch(sessions.values_list("document", flat=True).distinct())
    tell_once_committed(RightsChanged(user=str(key)) for key in keys)  # guests by their leave as well


def tell_once_committed(news: Iterable[News]) -> None:
    """Afterwards, when this transaction is committed, every process is told."""
    those = list(news)
    on = router.db_for_write(Document)
    transaction.on_commit(lambda: [announce(each) for each in those], using=on, robust=True)


# Signals


def connect_signals() -> None:
    """Afterwards changes of documents, accounts, groups and their permissions are noticed."""
    user = get_user_model()
    uid = "vuer_rooms.access"
    for sender in _kinds_of(Document):
        post_save.connect(_document_saved, sender=sender, dispatch_uid=uid)
    for sender in _kinds_of(user):
        post_save.connect(_user_saved, sender=sender, dispatch_uid=uid)
        pre_delete.connect(_user_going, sender=sender, dispatch_uid=uid)
    for sender in _kinds_of(Group):
        pre_delete.connect(_group_going, sender=sender, dispatch_uid=uid)
        post_delete.connect(_group_gone, sender=sender, dispatch_uid=uid)
    for model, name in ((user, "groups"), (user, "user_permissions"), (Group, "permissions")):
        relation = getattr(model, name, None)
        if relation is not None:
            m2m_changed.connect(_permissions_changed, sender=relation.through, dispatch_uid=uid)
    user_logged_out.connect(_logged_out, dispatch_uid=uid)


def _kinds_of(model: type[Model]) -> list[type[Model]]:
    """The model, and those of the site that show its rows (proxies, children): signals name only the one in use."""
    return [kind for kind in apps.get_models() if issubclass(kind, model)]


def _concerns_rights(model: type[Model], update_fields: Iterable[str] | None) -> bool:
    return update_fields is None or not set(update_fields) <= WITHOUT_RIGHTS[model]


def _document_saved(instance: Document, created: bool, update_fields: Any, **_: Any) -> None:
    if not created and _concerns_rights(Document, update_fields):
        touch([instance.pk])


def _user_saved(instance: Any, created: bool, update_fields: Any, **_: Any) -> None:
    if not created and _concerns_rights(get_user_model(), update_fields):
        touch_users([instance.pk])


def _user_going(instance: Any, **_: Any) -> None:
    touch_users([instance.pk])


def _logged_out(user: Any, **_: Any) -> None:
    """The login itself ends right after this; the reviewer waits a moment."""
    if user is not None:
        touch_users([user.pk])


def _members(group: Any) -> list[Any]:
    return list(get_user_model()._default_manager.filter(groups=group).values_list("pk", flat=True))


def _group_going(instance: Any, **_: Any) -> None:
    instance._vuer_members = _members(instance)


def _group_gone(instance: Any, **_: Any) -> None:
    touch_users(instance._vuer_members)


def _permissions_changed(
    instance: Any, action: str, reverse: bool, model: Any, pk_set: Any, **_: Any
) -> None:
    """A user's groups or permissions, or a group's permissions, from whichever side they were changed."""
    user = get_user_model()
    if isinstance(instance, user):
        changed = [instance.pk]
    elif issubclass(model, user):  # group.user_set, permission.user_set
        changed = _from_the_other_side(instance, action, model, pk_set)
    elif isinstance(instance, Group):
        changed = _members(instance)
    else:  # permission.group_set
        changed = [
            pk for group in _from_the_other_side(instance, action, model, pk_set) for pk in _members(group)
        ]
    if action.startswith("post_"):
        touch_users(changed)


def _from_the_other_side(instance: Any, action: str, model: Any, pk_set: Any) -> list[Any]:
    """Keys of those added or removed; a clear names none, so they are looked up before it."""
    if pk_set is not None:
        return list(pk_set)
    if action == "pre_clear":
        name = "user_set" if model is get_user_model() else "group_set"
        instance._vuer_cleared = list(getattr(instance, name).values_list("pk", flat=True))
    cleared: list[Any] = instance._vuer_cleared
    return cleared
