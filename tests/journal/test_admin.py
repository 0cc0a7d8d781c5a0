"""An operator finds who changed an object, when, and from what; and can change nothing that is journalled."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from journal.admin_operation import OperationAdmin
from journal.label import label_state
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from journal.reader import hydrate
from journal.snapshot import draft_snapshot, take_snapshot
from rooms.models import Session
from tests.journal.history import append, insert, message, put, undo
from tests.journal.test_reader import damage
from vuer_rtc.crdt.message import Op

EVIL = "<script>alert(1)</script>"
MODELS = ["document", "journalbatch", "operation", "sceneobject", "snapshot"]


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann-the-editor")


@pytest.fixture
def scene(document: Document, ann: User) -> Document:
    append(document, message(1, insert("arm", x=0, tag="mesh"), insert(EVIL, label=EVIL)))
    append(document, message(2, put("arm", "x", 41)), user=str(ann.pk))
    append(document, message(3, put("arm", "x", 42), client="bob"), user=str(ann.pk))
    append(document, message(4, undo("ann:2")))
    append(document, message(5, Op(ot="string.set", key="arm", path=EVIL, value=EVIL)))
    catch_up(document.pk)
    label_state(document.pk, 5, EVIL)
    return document


@pytest.fixture
def operator(client: Client, db: None) -> Client:
    """May look at everything of this app and edit documents, but is no superuser."""
    user = User.objects.create_user("operator", is_staff=True)
    wanted = Permission.objects.filter(content_type__app_label="vuer_journal", codename__startswith="view_")
    user.user_permissions.set(
        [*wanted, *Permission.objects.filter(codename__in=["add_document", "change_document"])]
    )
    client.force_login(user)
    return client


def page(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, url
    return response.content.decode()


def list_page(client: Client, model: str, query: str = "") -> str:
    return page(client, reverse(f"admin:vuer_journal_{model}_changelist") + query)


def row_page(client: Client, row: Any) -> str:
    return page(client, reverse(f"admin:vuer_journal_{row._meta.model_name}_change", args=[row.pk]))


def links(html: str) -> list[str]:
    return [url.replace("&amp;", "&") for url in re.findall(r'href="([^"]+)"', html)]


def test_who_changed_this_object_when_and_from_what_takes_three_clicks(
    operator: Client, scene: Document
) -> None:
    first = list_page(operator, "sceneobject", "?q=arm")
    history = next(url for url in links(first) if "/operation/?" in url and "key=arm" in url)
    second = page(operator, history)
    assert "ann-the-editor" in second
    changed = Operation.objects.get(message_id="bob:3")
    detail = next(url for url in links(second) if str(changed.pk) in url)
    third = page(operator, detail)
    assert "ann-the-editor" in third
    earlier = third[third.index("What was there before") :]
    assert earlier.index("<code>41</code>") < earlier.index("node.insert")
    assert "<code>42</code>" not in earlier


def test_a_document_leads_to_all_that_belongs_to_it(operator: Client, scene: Document) -> None:
    found = [url for url in links(row_page(operator, scene)) if f"document={scene.pk}" in url]
    assert {url.split("/")[-2] for url in found} == {*MODELS} - {"document"}  # this operator sees no sessions
    for url in found:
        assert str(scene) in page(operator, url)


@pytest.mark.parametrize(
    ("model", "column"), [("document", "slug"), ("sceneobject", "key"), ("snapshot", "label")]
)
def test_a_column_is_not_asked_for_what_no_database_holds(
    operator: Client, scene: Document, model: str, column: str
) -> None:
    page(operator, reverse(f"admin:vuer_journal_{model}_changelist") + f"?{column}=%00", status=400)


def test_documents_of_the_same_title_are_told_apart(
    operator: Client, scene: Document, other: Document
) -> None:
    Document.objects.update(title="Untitled")
    html = list_page(operator, "operation")
    assert 'title="Untitled (room)">Untitled<' in html, "under the mouse"
    offered = html[html.index("By document") :]
    assert offered.index("Untitled (other-room)") < offered.index("Untitled (room)")


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_pages_open_and_escape_what_clients_sent(
    operator: Client, scene: Document, model: str
) -> None:
    html = list_page(operator, model)
    assert EVIL not in html
    table = {m._meta.model_name: m for m in (Document, JournalBatch, Operation, SceneObject, Snapshot)}[model]
    for row in table._default_manager.all():
        assert EVIL not in row_page(operator, row)


def test_a_strict_content_security_policy_takes_nothing_from_a_page(
    operator: Client, scene: Document
) -> None:
    """No script and no style stands in a page: the browser would ignore it."""
    urls = [reverse(f"admin:vuer_journal_{model}_changelist") for model in MODELS]
    urls += [reverse("admin:vuer_journal_document_looking_back", args=[scene.pk]) + "?seq=4&since=1"]
    for row in (scene, Operation.objects.first(), SceneObject.objects.first(), JournalBatch.objects.first()):
        urls.append(reverse(f"admin:vuer_journal_{row._meta.model_name}_change", args=[row.pk]))
    for url in urls:
        assert not re.findall(
            r"<style|<[^>]* style=|<[^>]* on\w+=|<script(?![^>]* src=)", page(operator, url)
        ), url


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("otype=number.", [2, 3]),
        ("otype=meta.undo", [4]),
        ("client=bob", [3]),
        ("user=ann-the", [2, 3]),
        ("user=nobody", []),
        ("undone__exact=1", [2]),
        ("key=arm&otype=node.insert", [1]),
        ("q=ann:5", [5]),
        ("q=ar", [1, 2, 3, 5]),
        ("q=x", [2, 3]),
        ("received_at__gte=2025-06-15 15:06:44%2B00:00", [4, 5]),
        ("received_at__gte=2030-01-01 00:00:00%2B00:00", []),
    ],
)
def test_operations_are_found_by_what_is_known_of_them(
    operator: Client, scene: Document, query: str, seqs: list[int]
) -> None:
    html = list_page(operator, "operation", f"?document={scene.pk}&{query}")
    assert sorted({int(seq) for seq in re.findall(r">(\d+)/\d+</a>", html)}) == seqs


@pytest.mark.parametrize("name", ["key", "client", "user", "message", "otype"])
def test_text_that_no_column_holds_is_found_nowhere(operator: Client, scene: Document, name: str) -> None:
    """PostgreSQL refuses the NUL character."""
    url = reverse("admin:vuer_journal_operation_changelist")
    assert not operator.get(f"{url}?{name}=%00").context["cl"].result_count


def test_names_are_found_as_clients_wrote_them(operator: Client, scene: Document) -> None:
    """Whatever columns hold of them."""
    append(scene, message(6, put("a\0b", "x", 1), put("k" * 600, "x", 1), client="no\0body"))
    catch_up(scene.pk)
    for query in ("client=no%00body", "client=no␀body", "key=a%00b", f"key={'k' * 600}"):
        assert "6/" in list_page(operator, "operation", f"?document={scene.pk}&{query}")


def test_text_filters_keep_the_other_filters(operator: Client, scene: Document) -> None:
    html = list_page(operator, "operation", f"?document={scene.pk}&client=bob&q=arm")
    for name, value in (("document", str(scene.pk)), ("client", "bob"), ("q", "arm")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in html


def test_the_key_of_no_document_is_no_error(operator: Client, scene: Document) -> None:
    response = operator.get(reverse("admin:vuer_journal_operation_changelist") + "?document=nonsense")
    assert response.status_code == 302


def test_an_undone_operation_names_who_undid_it(operator: Client, scene: Document) -> None:
    html = row_page(operator, Operation.objects.get(message_id="ann:2"))
    assert "meta.undo" in html[html.index("Undone by") :]


def test_a_batch_shows_its_messages(operator: Client, scene: Document) -> None:
    html = row_page(operator, JournalBatch.objects.get(first_seq=3))
    for text in ("bob:3", "number.set", "arm", "<code>42</code>", "ann-the-editor"):
        assert text in html


def test_a_large_batch_shows_its_first_messages_only(operator: Client, document: Document) -> None:
    append(document, *[message(lt, put("n", "x", lt)) for lt in range(1, 31)])
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_MESSAGES_MAX": 10}):
        html = row_page(operator, JournalBatch.objects.get())
    assert "The first 10 of 30 messages" in html
    assert ("ann:10<" in html, "ann:11<" in html) == (True, False)


def test_long_values_are_cut(operator: Client, document: Document) -> None:
    append(document, message(1, insert("n", text="y" * 9000)))
    catch_up(document.pk)
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_VALUE_CHARS_MAX": 100}):
        for row in (JournalBatch.objects.get(), Operation.objects.get(), SceneObject.objects.get()):
            html = row_page(operator, row)
            assert "y" * 50 in html
            assert "y" * 101 not in html


def test_a_damaged_batch_or_snapshot_says_so(operator: Client, scene: Document) -> None:
    batch, snapshot = JournalBatch.objects.get(first_seq=3), Snapshot.objects.get()
    damage(batch)
    damage(snapshot)
    assert "its checksum does not hold" in row_page(operator, batch)
    assert "DAMAGED" in row_page(operator, snapshot)


def test_operations_of_a_deleted_account_stay(operator: Client, scene: Document, ann: User) -> None:
    key = ann.pk
    ann.delete()
    assert f"deleted account {key}" in list_page(operator, "operation")
    assert f"deleted account {key}" in row_page(operator, Operation.objects.get(message_id="bob:3"))
    assert f"deleted account {key}" in row_page(operator, JournalBatch.objects.get(first_seq=3))


def test_operations_of_a_deleted_account_are_found_by_what_the_admin_calls_it(
    operator: Client, scene: Document, ann: User
) -> None:
    key = ann.pk
    ann.delete()
    for user in (f"deleted account {key}", str(key)):
        html = list_page(operator, "operation", f"?user={user}")
        assert sorted(re.findall(r">(\d+)/\d+</a>", html)) == ["2", "3"], user
    User.objects.create_user(str(key))
    assert "0 operations" in list_page(operator, "operation", f"?user={key}"), "the account of that name"
    assert ">2/0<" in list_page(operator, "operation", f"?user=deleted account {key}")


@pytest.mark.parametrize(
    "user",
    ["deleted account", "deleted account x", "deleted account -1", "9" * 30, "-" + "9" * 30],
)
def test_the_key_of_no_account_is_no_error(operator: Client, scene: Document, user: str) -> None:
    assert "0 operations" in list_page(operator, "operation", f"?user={user}")


def test_for_whoever_may_not_look_nothing_is_read(
    client: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    monkeypatch.setattr("journal.admin_object.object_page", lambda row: pytest.fail("read"))
    row = SceneObject.objects.first()
    assert row is not None
    page(client, reverse("admin:vuer_journal_sceneobject_change", args=[row.pk]), status=403)


@pytest.mark.parametrize("model", ["journalbatch", "operation", "sceneobject", "snapshot"])
def test_the_journal_is_read_only_even_for_superusers(
    admin_client: Client, scene: Document, model: str
) -> None:
    table = {m._meta.model_name: m for m in (JournalBatch, Operation, SceneObject, Snapshot)}[model]
    row = table._default_manager.first()
    assert row is not None
    assert admin_client.get(reverse(f"admin:vuer_journal_{model}_add")).status_code == 403
    for action in ("change", "delete"):
        url = reverse(f"admin:vuer_journal_{model}_{action}", args=[row.pk])
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert table._default_manager.filter(pk=row.pk).exists()


def document_form(**changes: Any) -> dict[str, Any]:
    return {
        "title": "",
        "owner": "",
        "visibility": "private",
        "archived_at_0": "",
        "archived_at_1": "",
        "limits": "{}",
        "keep_messages": "",
        "keep_days": "",
        **changes,
    }


def test_an_operator_edits_who_may_enter_a_document_and_nothing_else(
    operator: Client, scene: Document, ann: User
) -> None:
    url = reverse("admin:vuer_journal_document_change", args=[scene.pk])
    form = document_form(
        title="Robot arm",
        owner=ann.pk,
        visibility="public-view",
        is_read_only="on",
        slug="stolen",
        head_seq=99,
        cut=99,
    )
    assert operator.post(url, form).status_code == 302
    changed = Document.objects.get(pk=scene.pk)
    assert (changed.title, changed.owner, changed.visibility, changed.is_read_only) == (
        "Robot arm",
        ann,
        "public-view",
        True,
    )
    assert (changed.slug, changed.head_seq, changed.cut) == ("room", 5, 0)


@pytest.mark.parametrize(
    "limits",
    [
        "[" * 2000 + "]" * 2000,
        '{"a":' * 600 + "1" + "}" * 600,
        "9" * 5000,
        f'{{"nodes_max": {"9" * 4000}}}',
        r'{"\ud800": 1}',
        '{"nodes_max": NaN}',
    ],
    ids=lambda limits: limits[:14],
)
def test_limits_that_nothing_could_keep_or_show_are_refused_in_the_form(
    operator: Client, scene: Document, limits: str
) -> None:
    answer = operator.post(
        reverse("admin:vuer_journal_document_change", args=[scene.pk]), document_form(limits=limits)
    )
    assert answer.status_code == 200
    assert "Enter a valid JSON." in answer.content.decode()
    assert Document.objects.get(pk=scene.pk).limits == {}


def test_days_to_keep_begin_at_none(operator: Client, scene: Document) -> None:
    url = reverse("admin:vuer_journal_document_change", args=[scene.pk])
    answer = operator.post(url, document_form(keep_days="-1"))
    assert "greater than or equal to 0" in answer.content.decode()
    assert operator.post(url, document_form(keep_days="0")).status_code == 302
    assert Document.objects.get(pk=scene.pk).keep_days == 0


def test_j29_a_form_saved_late_takes_nothing_of_the_journal_back(
    operator: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row changes between the form's reading it and its saving it."""

    def change(document: Document) -> None:
        Document.objects.filter(pk=document.pk).update(truncated_seq=3, lease_holder="elsewhere/1/0")

    monkeypatch.setattr("journal.models.document.document_checks", [change])
    url = reverse("admin:vuer_journal_document_change", args=[scene.pk])
    assert operator.post(url, document_form(title="Late")).status_code == 302
    scene.refresh_from_db()
    assert (scene.title, scene.truncated_seq, scene.lease_holder) == ("Late", 3, "elsewhere/1/0")


def test_of_two_who_edit_a_document_at_once_each_changes_what_they_changed(
    operator: Client, scene: Document
) -> None:
    url = reverse("admin:vuer_journal_document_change", args=[scene.pk])
    late = form_of(operator, url) | {"title": "Late"}
    first = form_of(operator, url) | {"is_read_only": "on", "limits": '{"nodes_max": 5}', "keep_days": "3"}
    for form in (first, late):
        assert operator.post(url, form).status_code == 302
    scene.refresh_from_db()
    assert (scene.title, scene.is_read_only, scene.limits, scene.keep_days) == (
        "Late",
        True,
        {"nodes_max": 5},
        3,
    )
    reopened = form_of(operator, url)
    del reopened["is_read_only"]
    assert operator.post(url, reopened).status_code == 302
    scene.refresh_from_db()
    assert (scene.title, scene.is_read_only) == ("Late", False)


def form_of(client: Client, url: str) -> dict[str, Any]:
    """What a browser posts of the page's form when nothing is changed."""
    form = client.get(url).context["adminform"].form
    fields = Fields()
    fields.feed(str(form))
    return fields.values


class Fields(HTMLParser):
    """The fields of a form as HTML, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        match tag, given.get("type"):
            case "input", "checkbox":
                if "checked" in given:
                    self.values[str(given["name"])] = "on"
            case "input", _:
                self.values[str(given["name"])] = given.get("value") or ""
            case "select" | "textarea", _:
                self.inside = str(given["name"])
            case "option", _:
                if "selected" in given:
                    self.values[self.inside] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self.lasttag == "textarea":
            self.values.setdefault(self.inside, data.strip())


def test_an_operator_makes_documents_and_deletes_none(operator: Client, admin_client: Client) -> None:
    assert (
        operator.post(reverse("admin:vuer_journal_document_add"), document_form(slug="new-room")).status_code
        == 302
    )
    made = Document.objects.get(slug="new-room")
    url = reverse("admin:vuer_journal_document_delete", args=[made.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403


def test_a_document_says_what_an_acknowledgement_means(operator: Client, scene: Document) -> None:
    assert "acknowledged" in row_page(operator, scene)


@pytest.mark.parametrize("model", ["document", "journalbatch", "operation", "sceneobject", "snapshot"])
def test_more_rows_take_no_more_queries(
    operator: Client, db: None, ann: User, model: str, django_assert_max_num_queries: Any
) -> None:
    for n in range(12):
        room = Document.objects.create(slug=f"room-{n}", owner=ann)
        append(room, message(1, insert("a"), insert("b")), user=str(ann.pk))
        catch_up(room.pk)
        take_snapshot(room.pk, draft_snapshot(hydrate(room.pk).graph), Snapshot.Reason.COUNT)
    list_page(operator, model)  # what a process asks once is asked
    with django_assert_max_num_queries(9):
        list_page(operator, model)


@pytest.mark.parametrize("model", ["vuer_rooms_session", *(f"vuer_journal_{name}" for name in MODELS[1:])])
def test_no_list_counts_what_every_choice_of_a_filter_would_show(
    admin_client: Client, scene: Document, model: str
) -> None:
    answer = admin_client.get(reverse(f"admin:{model}_changelist"), {"_facets": "True"})
    assert " counts" not in answer.content.decode()
    assert not answer.context["cl"].add_facets


def test_the_pages_of_a_batch_take_a_few_queries_whatever_it_holds(
    operator: Client, document: Document, ann: User, django_assert_max_num_queries: Any
) -> None:
    append(document, *[message(lt, put("n", "x", lt)) for lt in range(1, 90)], user=str(ann.pk))
    batch = JournalBatch.objects.get()
    row_page(operator, batch)  # what a process asks once is asked
    with django_assert_max_num_queries(9):
        row_page(operator, batch)


def test_lists_do_not_load_payloads(
    operator: Client, scene: Document, django_assert_max_num_queries: Any
) -> None:
    list_page(operator, "journalbatch")  # what a process asks once is asked
    for model in ("journalbatch", "snapshot", "sceneobject"):
        with django_assert_max_num_queries(9) as captured:
            list_page(operator, model)
        asked = [query["sql"] for query in captured.captured_queries]
        assert not [sql for sql in asked if '"payload"' in sql or '"properties"' in sql]


def test_damage_stands_first_on_a_document_s_page_and_in_the_list(operator: Client, scene: Document) -> None:
    """J23."""
    page = reverse("admin:vuer_journal_document_change", args=[scene.pk])
    assert "Damaged" not in operator.get(page).content.decode()
    Document.objects.filter(pk=scene.pk).update(damage=f"seq 3: {EVIL}", damaged_at=timezone.now())
    html = operator.get(page).content.decode()
    assert "verify_journals" in html
    assert "people edit on" in html
    assert escape(EVIL) in html
    assert EVIL not in html
    assert html.index("seq 3:") < html.index("Access")
    JournalBatch.objects.filter(document=scene).update(checksum="no")
    assert "nobody can edit" in operator.get(page).content.decode()
    table = list_page(operator, "document")
    assert "icon-no" in table
    assert "cknowledged is on disk" in table or "may be lost" in table
    assert "<title>Select document to" in table  # which tab it is
    only = operator.get(reverse("admin:vuer_journal_document_changelist") + "?damaged=yes")
    assert scene.slug in only.content.decode()


def test_the_list_says_which_documents_are_closed_and_finds_them(operator: Client, db: None) -> None:
    states = {
        "open": {},
        "read-only": {"is_read_only": True},
        "archived": {"is_read_only": True, "archived_at": timezone.now()},
        "being imported: not whole yet": {"condition": "importing"},
    }
    for number, fields in enumerate(states.values()):
        Document.objects.create(slug=f"room-{number}", **fields)
    listed = list_page(operator, "document")
    assert re.findall(r'class="field-state">([^<]*)<', listed) == list(states)
    found = [list_page(operator, "document", f"?archived={answer}") for answer in ("yes", "no")]
    assert [re.findall(r'class="field-state">([^<]*)<', html) for html in found] == [
        ["archived"],
        [state for state in states if state != "archived"],
    ]


def test_a_time_to_come_closes_a_document_now_and_the_form_says_so(operator: Client, scene: Document) -> None:
    assert "A time that is yet to come closes it now" in row_page(operator, scene)
    Document.objects.update(archived_at=timezone.now() + timedelta(days=365))
    assert scene.slug in list_page(operator, "document", "?archived=yes")


def test_a_document_that_is_yet_to_be_shows_nothing_of_a_journal(operator: Client) -> None:
    asked = page(operator, reverse("admin:vuer_journal_document_add"))
    assert 'name="slug"' in asked
    for absent in ("field-contents", "field-head_seq", "field-created_at", ">Journal</h2>"):
        assert absent not in asked


@pytest.mark.parametrize("model", [JournalBatch, Operation, SceneObject, Snapshot])
def test_no_button_leads_to_a_history_that_the_admin_does_not_have(
    operator: Client, scene: Document, model: type[Model]
) -> None:
    row = model._default_manager.first()
    assert row is not None
    assert not any(url.endswith("/history/") for url in links(row_page(operator, row)))


def test_the_list_of_objects_says_whose_clock_its_times_are_by(operator: Client, scene: Document) -> None:
    SceneObject.objects.update(updated_at=datetime(2026, 1, 31, 5, 0, 7, tzinfo=UTC))
    SceneObject.objects.create(document=scene, key="late", lt=1, seq=1)
    html = list_page(operator, "sceneobject")
    assert "Updated, by the client&#x27;s clock" in html
    assert set(re.findall(r'class="field-client_clock">([^<]*)<', html)) == {"2026-01-31 05:00:07", "-"}


def test_an_undo_is_titled_by_what_it_undoes(operator: Client, scene: Document) -> None:
    row = Operation.objects.get(otype="meta.undo")
    assert str(row) == "4/0 meta.undo of ann:2"
    html = list_page(operator, "operation", "?otype=meta.undo")
    assert "_meta" not in html[html.index('id="result_list"') :]


def test_a_long_key_is_clipped_on_the_screen_and_whole_under_the_mouse(
    operator: Client, document: Document
) -> None:
    key = "k" * 255
    append(document, message(1, insert(key)))
    catch_up(document.pk)
    for model in ("sceneobject", "operation"):
        assert f'<span class="clipped" title="{key}">{key}</span>' in list_page(operator, model)


def test_an_operation_does_not_lead_to_a_session_whose_row_is_gone(
    admin_client: Client, scene: Document
) -> None:
    operation, now = Operation.objects.filter(key="arm").earliest("server_seq"), timezone.now()
    row = Session.objects.create(document=scene, client="ann", connected_at=now, last_seen_at=now)
    Operation.objects.update(session=str(row.pk))
    assert f"/session/{row.pk}/" in row_page(admin_client, operation)
    row.delete()
    html = row_page(admin_client, operation)
    assert f"/session/{row.pk}/" not in html
    assert "(its row is gone)" in html


def test_far_pages_of_a_list_are_left_to_filters(
    operator: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal.admin_list.PAGES_MAX", 2)
    monkeypatch.setattr(OperationAdmin, "list_per_page", 2)
    html = list_page(operator, "operation")
    assert "?p=2" in links(html)
    assert "?p=3" not in links(html)
    assert "6 operations" in html
    assert "This is page 2, the last that is shown" in list_page(operator, "operation", "?p=3")
    assert "the last that is shown" not in list_page(operator, "operation", "?p=2")
