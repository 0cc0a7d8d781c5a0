"""Links of the admin stay on the admin site that one is on."""

import re
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.admin import AdminSite, site
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.urls import include, path
from django.utils import timezone

from journal.label import label_state
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from tests.journal.history import append, insert, message, put, undo

ops = AdminSite("ops")
for model, model_admin in site._registry.items():
    ops.register(model, type(model_admin))

urlpatterns = [
    path("admin/", site.urls),
    path("ops/", ops.urls),
    path("", include("rooms.urls")),
]

Session = apps.get_model("vuer_rooms", "Session")
PAST = "/ops/vuer_journal/document/{}/looking-back/"


@pytest.fixture
def scene(document: Document, admin_user: User) -> Document:
    user = str(admin_user.pk)
    append(document, message(1, insert("arm", x=0)), user=user)
    append(document, message(2, put("arm", "x", 41)), user=user)
    append(document, message(3, put("arm", "x", 42), client="bob"))
    append(document, message(4, undo("ann:2")))
    catch_up(document.pk)
    label_state(document.pk, 3, "three", admin_user.pk)
    now = timezone.now()
    Session.objects.create(
        client="ann", user=admin_user, document=document, connected_at=now, last_seen_at=now, process="h:1:x"
    )
    return document


@pytest.fixture(autouse=True)
def two_admins() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def places(html: str) -> set[str]:
    """Where links, forms and buttons lead."""
    found = re.findall(r'(?:href|action)="([^"#?]*)', html)
    return {url for url in found if not url.startswith("/static/")}


def pages(scene: Document) -> list[str]:
    urls = [f"{PAST.format(scene.pk)}?seq=4&since=1"]
    urls += [f"/ops/vuer_journal/document/{scene.pk}/{name}/" for name in ("reset", "purge")]
    for model in (Document, JournalBatch, Operation, SceneObject, Snapshot, Session):
        list_of = f"/ops/{model._meta.app_label}/{model._meta.model_name}/"
        urls += [list_of, *(f"{list_of}{row.pk}/change/" for row in model._default_manager.all())]
    return urls


def test_of_two_admins_each_leads_to_its_own_pages(admin_client: Client, scene: Document) -> None:
    for url in pages(scene):
        for own, other in (("/ops/", "/admin/"), ("/admin/", "/ops/")):
            answer = admin_client.get(url.replace("/ops/", own))
            assert answer.status_code == 200, url
            found = places(answer.content.decode())
            assert any(place.startswith(own) for place in found), url
            assert not [place for place in found if place.startswith(other)], url


def test_what_one_does_on_an_admin_leads_back_to_it(admin_client: Client, scene: Document) -> None:
    room = f"/ops/vuer_journal/document/{scene.pk}"
    for name, sent in (
        ("restore", {"seq": "1"}),
        ("undo", {"message_id": "bob:3"}),
        ("label", {"seq": "2", "name": "two"}),
        ("compact", {}),
        ("reset", {"epoch": "none"}),
        ("reset", {"epoch": "1"}),
        ("purge", {"slug": scene.slug, "force": "on"}),
    ):
        answer = admin_client.post(f"{room}/{name}/", sent, follow=True)
        assert [url for url, _ in answer.redirect_chain if not url.startswith("/ops/")] == [], name
        assert answer.redirect_chain, name
        assert not [place for place in places(answer.content.decode()) if place.startswith("/admin/")], name
    assert not Document.objects.exists()


@pytest.mark.parametrize(
    "model", ["document", "journalbatch", "operation", "sceneobject", "snapshot", "session"]
)
def test_no_link_leads_to_what_one_may_not_see(client: Client, scene: Document, model: str) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename=f"view_{model}"))
    client.force_login(clerk)
    followed = 0
    for url in pages(scene):
        answer = client.get(url)
        if answer.status_code == 403:
            continue
        for link in places(answer.content.decode()):
            if link.startswith("/ops/") and "/logout/" not in link:
                assert client.get(link).status_code in (200, 302, 405), (url, link)
                followed += 1
    assert followed
