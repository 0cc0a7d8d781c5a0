import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from journal.admin_filter import DOCUMENTS_MAX, UserFilter
from journal.models import Document
from rooms.admin import close_reason
from rooms.models import Session

LIST = "/admin/vuer_rooms/session/"


@pytest.fixture
def sessions(document: Document) -> list[Session]:
    now = timezone.now()
    common: dict[str, Any] = {
        "document": document,
        "connected_at": now,
        "last_seen_at": now,
        "process": "h:1:x",
    }
    bob = get_user_model()._default_manager.create(username="bob")
    return [
        Session.objects.create(client="ann<script>", vector_clock={"<b>x</b>": 3}, acked_seq=7, **common),
        Session.objects.create(client="bob", user=bob, closed_at=now, close_code=4410, **common),
    ]


def test_sessions_are_listed_filtered_and_searched(admin_client: Client, sessions: list[Session]) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "ann&lt;script&gt;" in page
    assert "ended: replaced (4410)" in page
    for query, shown in [
        ("connected=yes", "ann"),
        ("connected=no", "bob"),
        ("q=ann", "ann"),
        ("user=bob", "bob"),
        ("client=ann<script>", "ann"),
        (f"document={sessions[0].document_id}&connected=yes", "ann"),
    ]:
        answer = admin_client.get(f"{LIST}?{query}")
        assert [row.client[:3] for row in answer.context["cl"].result_list] == [shown], query


def test_a_user_is_found_by_name_however_many_names_begin_so(
    admin_client: Client, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UserFilter, "accounts_max", 2)
    now = timezone.now()
    for name in ("bobby", "bobo", "Bob"):
        user = get_user_model()._default_manager.create(username=name)
        Session.objects.create(
            client=name, document=sessions[0].document, user=user, connected_at=now, last_seen_at=now
        )

    def listed(name: str) -> tuple[set[str], bool]:
        answer = admin_client.get(f"{LIST}?user={name}")
        found = {str(row.user) for row in answer.context["cl"].result_list}
        return found, "Type more" in answer.content.decode()

    assert listed("bob") == ({"bob"}, False)
    assert listed("bobb") == ({"bobby"}, False)
    found, is_warned = listed("bo")
    assert (len(found), is_warned) == (2, True)


def test_however_many_rooms_and_people_there_were_the_list_offers_a_few(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    for n in range(DOCUMENTS_MAX + 10):
        user = get_user_model()._default_manager.create(username=f"person-{n}")
        room = Document.objects.create(slug=f"room-{n}")
        Session.objects.create(client="c", document=room, user=user, connected_at=now, last_seen_at=now)
    with django_assert_max_num_queries(8):
        page = admin_client.get(f"{LIST}?connected=no").content.decode()
    assert page.count("room-") < 3 * DOCUMENTS_MAX
    assert "person-" not in page


def test_a_session_shows_its_clock_escaped_and_links_to_its_document(
    admin_client: Client, sessions: list[Session]
) -> None:
    page = admin_client.get(f"{LIST}{sessions[0].pk}/change/").content.decode()
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert f"/admin/vuer_journal/document/{sessions[0].document_id}/change/" in page
    assert "Sessions of this client" in page


def test_the_page_of_a_session_shows_what_forgets_whoever_it_was(
    admin_client: Client, sessions: list[Session]
) -> None:
    told = [admin_client.get(f"{LIST}{row.pk}/change/").content.decode() for row in sessions]
    command = "<code>manage.py redact_user --document room --client &#x27;ann&lt;script&gt;&#x27;</code>"
    assert command in told[0]
    assert "<code>manage.py redact_user --user bob</code>" in told[1]


def test_of_an_open_connection_nobody_says_that_it_was_lost(
    admin_client: Client, sessions: list[Session]
) -> None:
    told = [admin_client.get(f"{LIST}{row.pk}/change/").content.decode() for row in sessions]
    assert ["the connection was lost</div>" in html for html in told] == [False, True]


def test_one_connection_is_closed_from_its_own_page_by_who_may_moderate(
    admin_client: Client, client: Client, sessions: list[Session]
) -> None:
    page = admin_client.get(f"{LIST}{sessions[0].pk}/change/").content.decode()
    [pressed] = re.findall(r'<button [^>]*formaction="([^"]*)">Close this connection', page)
    fields = dict(re.findall(r'<input type="hidden" name="(action|_selected_action)" value="([^"]*)"', page))
    told = admin_client.post(unescape(pressed), fields | {"index": "0"}, follow=True).content.decode()
    assert "1 connection is being closed." in told
    assert Session.objects.get(pk=sessions[0].pk).close_requested_at is not None
    assert (
        "Close this" not in admin_client.get(f"{LIST}{sessions[1].pk}/change/").content.decode()
    )  # has ended
    clerk = get_user_model()._default_manager.create(username="clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_session"))
    client.force_login(clerk)
    assert "Close this" not in client.get(f"{LIST}{sessions[0].pk}/change/").content.decode()


def test_to_close_connections_is_offered_to_who_may_and_to_nobody_else(
    client: Client, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = get_user_model()._default_manager.create(username="clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_session"))
    client.force_login(clerk)

    def is_offered() -> bool:
        return "close_connections" in client.get(LIST).content.decode()

    assert not is_offered()
    fields = {"action": "close_connections", "_selected_action": str(sessions[0].pk), "index": "0"}
    assert client.post(LIST, fields).status_code == 200
    assert Session.objects.get(pk=sessions[0].pk).close_requested_at is None
    Document.objects.update(owner=clerk)
    assert is_offered()
    Document.objects.update(owner=None)
    monkeypatch.setattr("rooms.admin.DOCUMENTS_ASKED_MAX", 0)
    assert is_offered(), "nobody knows of so many"
    monkeypatch.undo()
    clerk.user_permissions.add(Permission.objects.get(codename="moderate_document"))
    assert is_offered()


def test_of_connections_that_have_ended_nobody_says_that_they_are_being_closed(
    admin_client: Client, sessions: list[Session]
) -> None:
    fields = {"action": "close_connections", "_selected_action": str(sessions[1].pk), "index": "0"}
    told = admin_client.post(LIST, fields, follow=True).content.decode()
    assert "None of these connections is open." in told
    assert "being closed" not in told


def test_nobody_can_add_change_or_delete_sessions(admin_client: Client, sessions: list[Session]) -> None:
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{sessions[0].pk}/change/", {"client": "eve"}).status_code == 403
    assert admin_client.post(f"{LIST}{sessions[0].pk}/delete/", {"post": "yes"}).status_code == 403
    assert Session.objects.get(pk=sessions[0].pk).client == "ann<script>"


def test_a_session_that_does_not_exist_is_no_error(admin_client: Client, sessions: list[Session]) -> None:
    assert admin_client.get(f"{LIST}{sessions[0].document_id}/change/").status_code == 302


def test_close_codes_have_names() -> None:
    assert [close_reason(code, "server") for code in (4404, 1001, 1011, 3333, None)] == [
        "unknown-room (4404)",
        "going-away (1001)",
        "internal (1011)",
        "closed (3333)",
        "–",
    ]
    assert [close_reason(code, "client") for code in (1000, 1001, 1005, 1011, 4000)] == [
        "left (1000)",
        "left (1001)",
        "left (1005)",
        "the client failed (1011)",
        "the client closed it (4000)",
    ]
    assert close_reason(1006, "") == "connection lost (1006)"
