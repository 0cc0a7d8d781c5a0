"""An operator reads a document's past, and brings back what was lost (rules J30 to J33)."""

import json
import re
import shlex
from datetime import UTC, datetime
from html import unescape
from io import StringIO
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from journal.cut import journal_cut
from journal.damage import note_damage
from journal.entry import Entry
from journal.error import JournalUnavailable
from journal.label import label_named, label_state
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.projection import catch_up
from journal.reader import hydrate
from journal.writer import Draft, append_batches
from tests.journal.history import append, append_each, head_of, insert, message, put, undo
from tests.journal.test_admin import EVIL, links, page, row_page
from tests.journal.test_difference import remove
from tests.journal.test_history import compact, snapshot
from vuer_rtc.crdt.message import Op


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann-the-editor")


@pytest.fixture
def scene(document: Document, ann: User) -> Document:
    append(document, message(1, insert("arm", x=0), insert("hand", "arm"), insert(EVIL, label=EVIL)))
    append(document, message(2, put("arm", "x", 41)), user=str(ann.pk))
    append(document, message(3, put("arm", "x", 42), client="bob"))
    append(document, message(4, remove("arm")), user=str(ann.pk))
    append(document, message(5, put("hand", "x", 1)))
    catch_up(document.pk)
    return document


def staff(client: Client, *codenames: str) -> Client:
    user = User.objects.create_user("operator", is_staff=True)
    wanted = Permission.objects.filter(content_type__app_label="vuer_journal")
    views = wanted.filter(codename__startswith="view_")
    user.user_permissions.set([*views, *wanted.filter(codename__in=codenames)])
    client.force_login(user)
    return client


@pytest.fixture
def visitor(client: Client, db: None) -> Client:
    """May look, and nothing else."""
    return staff(client)


@pytest.fixture
def moderator(client: Client, db: None) -> Client:
    """May look, and moderate documents, not change their settings."""
    return staff(client, "moderate_document")


def looking_back(client: Client, document: Document, query: str = "") -> str:
    return page(client, reverse("admin:vuer_journal_document_looking_back", args=[document.pk]) + query)


def act(client: Client, document: Document, name: str, /, **fields: Any) -> str:
    """What the operator is told."""
    url = reverse(f"admin:vuer_journal_document_{name}", args=[document.pk])
    response = client.post(url, fields, follow=True)
    assert response.status_code == 200
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', response.content.decode(), re.DOTALL)
    assert found is not None
    return found[1]


def assert_refused(client: Client, document: Document, name: str, /, **fields: Any) -> None:
    before = head_of(document), Snapshot.objects.count()
    url = reverse(f"admin:vuer_journal_document_{name}", args=[document.pk])
    assert client.post(url, fields).status_code == 403
    assert (head_of(document), Snapshot.objects.count()) == before


def arm(document: Document) -> SceneObject:
    return SceneObject.objects.get(document=document, key="arm")


def object_page(client: Client, document: Document) -> str:
    return page(client, reverse("admin:vuer_journal_sceneobject_change", args=[arm(document).pk]))


# Looking


def test_the_page_tells_how_far_it_reaches_and_the_present_state(visitor: Client, scene: Document) -> None:
    html = looking_back(visitor, scene)
    assert "The state at sequence 5, the present" in html
    assert "2 removed or hidden" in html
    assert 'rel="prev"' in html
    assert 'rel="next"' not in html


def test_of_a_damaged_document_the_page_shows_the_last_state_that_can_be_read(
    visitor: Client, scene: Document
) -> None:
    """J23."""
    JournalBatch.objects.filter(first_seq=4).update(checksum="no")
    html = looking_back(visitor, scene)
    assert "The state at sequence 3, the last that can be read" in html
    assert re.search(r'<a href="\?seq=3">3</a>; what follows cannot be read', html)
    assert "seq 4: batch" in html
    assert "The state at sequence 2<" in looking_back(visitor, scene, "?seq=2")
    beyond = looking_back(visitor, scene, "?seq=5")
    assert "The state at" not in beyond
    assert beyond.count("seq 4: batch") == 1
    assert "what follows cannot be read" in beyond
    assert "What follows" not in looking_back(visitor, scene, "?seq=2&since=1")


def test_the_state_at_a_sequence_and_at_a_time(visitor: Client, scene: Document) -> None:
    html = looking_back(visitor, scene, "?seq=2")
    state = html[html.index("tree") : html.index("What differs")]
    assert "x</bdi>: <code>41</code>" in state
    assert str(arm(scene).pk) in state
    at = timezone.localtime(Operation.objects.get(message_id="bob:3").received_at)
    assert "The state at sequence 3<" in looking_back(visitor, scene, f"?at={at:%Y-%m-%dT%H:%M:%S}")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?seq=99", "not to 99 yet"),
        ("?seq=-1", "no sequence and no time"),
        ("?at=yesterday", "no sequence and no time"),
        ("?at=0001-01-01T00:00:00%2B14:00", "no sequence and no time"),
        ("?at=9999-12-31T23:59:59-12:00", "no sequence and no time"),
        ("?label=none", "has no label"),
        ("?seq=5&since=77", "not to 77 yet"),
        ("?seq=99999999999999999999999", "not to 99999999999999999999999 yet"),
    ],
)
def test_a_point_that_cannot_be_told_is_explained(
    visitor: Client, scene: Document, query: str, words: str
) -> None:
    assert words in looking_back(visitor, scene, query)


def test_after_a_compaction_the_page_says_what_is_gone(visitor: Client, scene: Document) -> None:
    compact(scene, keep=2)
    html = looking_back(visitor, scene, "?seq=1")
    assert "Sequence 1 is folded away: history begins at 3" in html
    assert "What is older is folded away" in html


@pytest.mark.parametrize(
    ("at", "seq"),
    [
        ("2026-10-25T01:59", 0),
        ("2026-10-25T02:30", 1),  # comes twice: the first
        ("2026-10-25T03:00", 2),
        ("2026-03-29T02:30", 0),  # never comes
    ],
)
def test_times_when_clocks_are_set_can_be_asked_for(
    visitor: Client, document: Document, at: str, seq: int
) -> None:
    for hour in (0, 1):  # UTC: 02:15 in Berlin, twice
        received_at = datetime(2026, 10, 25, hour, 15, tzinfo=UTC)
        entry = Entry(message(hour + 1), user=None, session=None, received_at=received_at.timestamp())
        append_batches([Draft(document.pk, hour + 1, [entry])], "test")
        JournalBatch.objects.filter(first_seq=hour + 1).update(created_at=received_at)
    with override_settings(TIME_ZONE="Europe/Berlin"):
        html = looking_back(visitor, document, f"?at={at}")
    assert f"The state at sequence {seq}" in html
    assert "Time (Europe/Berlin)" in html, "CET or CEST depends on the day that is asked for"


@override_settings(USE_TZ=False, TIME_ZONE="America/Sao_Paulo")
def test_a_site_without_time_zones_looks_back_in_its_own(visitor: Client, document: Document) -> None:
    append_each(document, [message(1, insert("arm", x=0)), message(2, put("arm", "x", 41))])
    html = looking_back(visitor, document, "?seq=2")
    assert 'value="2025-06-15T12:06:42"' in html
    assert "on 2025-06-15 12:06:42" in html
    assert "The state at sequence 2," in looking_back(visitor, document, "?at=2025-06-15T12:06:42")


@override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE="de")
def test_where_a_site_groups_digits_numbers_come_back_from_pages_as_they_are(
    moderator: Client, document: Document
) -> None:
    append(
        document, message(1, insert("arm", x=0)), *(message(n, put("arm", "x", n)) for n in range(2, 1004))
    )
    catch_up(document.pk)
    Document.objects.update(epoch=1234)
    html = looking_back(moderator, document, "?seq=1002")
    assert 'name="seq" value="1002"' in html
    assert 'href="?seq=1001"' in html
    html = object_page(moderator, document)
    assert 'name="seq" value="1002"' in html
    assert "?seq=1002" in html
    operation = Operation.objects.get(server_seq=1002)
    html = page(moderator, reverse("admin:vuer_journal_operation_change", args=[operation.pk]))
    assert "?seq=1002" in html
    html = page(moderator, reverse("admin:vuer_journal_document_reset", args=[document.pk]))
    assert 'name="epoch" value="1234"' in html


def test_a_difference_names_who_made_it(visitor: Client, scene: Document) -> None:
    html = looking_back(visitor, scene, "?seq=4&since=1")
    table = html[html.index('id="difference"') : html.index('id="labels"')]
    assert re.search(r"removed.*?ann-the-editor", table, re.DOTALL)
    assert re.search(r"hidden.*?ann-the-editor", table, re.DOTALL)
    assert "3 messages" in table


def test_what_changed_between_two_times_is_told(visitor: Client, scene: Document) -> None:
    html = looking_back(visitor, scene, "?at=2025-06-15T15:06:43&since_at=2025-06-15T15:06:41")
    assert "From sequence 1 to 3: 1 object, 2 messages." in html
    assert 'id="id_since_at" step="1" required value="2025-06-15T15:06:41"' in html
    assert "That is no sequence and no time." in looking_back(visitor, scene, "?seq=1&since_at=noon")
    compact(scene, keep=2)
    assert "folded away" in looking_back(visitor, scene, "?since_at=2025-06-15T15:06:41")


def test_a_label_out_of_reach_is_compared_without_names(visitor: Client, scene: Document) -> None:
    label_state(scene.pk, 2, "v1")
    compact(scene, keep=2)
    html = looking_back(visitor, scene, "?label=v1&since=5")
    table = html[html.index('id="difference"') : html.index('id="labels"')]
    assert "removed" in table
    assert "ann-the-editor" not in table


def test_an_object_tells_who_changed_it_from_what_to_what(visitor: Client, scene: Document) -> None:
    html = object_page(visitor, scene)
    table = html[html.index('id="object-history"') :]
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    assert [" ".join(row.split())[:1] for row in rows if row.strip()[:1].isdigit()] == ["4", "3", "2", "1"]
    assert any("bob" in row and re.search(r"x\s+41\s+42", row) for row in rows)
    assert any("ann-the-editor" in row and re.search(r"x\s+0\s+41", row) for row in rows)
    assert "Have it back" not in html


def test_an_object_older_than_what_is_retained_says_so(visitor: Client, scene: Document) -> None:
    compact(scene, keep=1)
    assert "What came before is folded away" in object_page(visitor, scene)


def test_a_change_far_into_a_value_is_seen(visitor: Client, document: Document) -> None:
    text = "<" * 4000
    append(document, message(1, insert("arm", note=f"{text}old")))
    append(document, message(2, Op("string.set", "arm", "note", f"{text}new")))
    catch_up(document.pk)
    row = Operation.objects.get(message_id="ann:2")
    for html in (
        object_page(visitor, document),
        page(visitor, reverse("admin:vuer_journal_operation_change", args=[row.pk])),
        looking_back(visitor, document, "?since=1"),
    ):
        assert re.search(r"<code>…(&lt;)+old&quot;</code>.*<code>…(&lt;)+new&quot;</code>", html, re.DOTALL)


def test_an_operation_tells_what_its_message_changed(visitor: Client, scene: Document) -> None:
    row = Operation.objects.get(message_id="ann:4")
    html = page(visitor, reverse("admin:vuer_journal_operation_change", args=[row.pk]))
    effect = html[html.index('id="effect"') : html.index('id="earlier-operations"')]
    assert re.search(r"arm</a>.*?removed.*?hand</a>.*?hidden", effect, re.DOTALL)
    assert "Undo this message" not in html
    compact(scene, keep=2)
    row = Operation.objects.get(message_id="ann:4")
    html = page(visitor, reverse("admin:vuer_journal_operation_change", args=[row.pk]))
    assert "removed" in html[html.index('id="effect"') :]


@pytest.mark.parametrize("message_id", ["ann:1", "ann's tablet: 1", "ann\0", "i" * 600])
def test_a_link_to_a_message_leads_to_that_message_alone(
    visitor: Client, document: Document, message_id: str
) -> None:
    append(document, message(1, insert("arm"), id=message_id), message(11, put("arm", "x", 1), id="ann:11"))
    catch_up(document.pk)
    html = looking_back(visitor, document, "?seq=1&since=0")
    url = unescape(re.findall(r'<a href="([^"]*/operation/[^"]*)" title="', html)[0])
    listed = visitor.get(url).context["cl"].result_list
    assert [row.server_seq for row in listed] == [1]


@pytest.mark.parametrize("query", ["", "?seq=1&since=5", f"?label={EVIL}", f"?seq={EVIL}", f"?at={EVIL}"])
def test_what_people_named_is_escaped(admin_client: Client, scene: Document, query: str) -> None:
    append(scene, message(6, put(EVIL, EVIL, 1), client=EVIL))
    append(scene, message(7, undo(f"{EVIL}:6"), client=EVIL))
    scene.title = EVIL
    scene.save()
    label_state(scene.pk, 6, EVIL)
    assert EVIL not in looking_back(admin_client, scene, query)


SHORT = override_settings(VUER_RTC={"JOURNAL_ADMIN_REPLAY_MESSAGES_MAX": 4})


def commands_of(html: str) -> list[list[str]]:
    """The commands that a page names, as a shell would split them."""
    lines = re.findall(r"manage\.py ([^<\n]+)", html)
    return [shlex.split(unescape(line)) for line in lines]


def assert_left_to(html: str, *expected: str) -> None:
    """The page does it not and names the command, which works."""
    assert commands_of(html) == [list(expected)]
    call_command(*expected, stdout=StringIO())


def test_what_is_too_long_for_a_page_is_left_to_a_command(moderator: Client, scene: Document) -> None:
    late = Operation.objects.get(message_id="ann:5", op_index=0)
    room = ("--document", "room")
    with SHORT:
        assert_left_to(looking_back(moderator, scene), "look_back", *room, "--seq", "5")
        told = looking_back(moderator, scene, "?seq=3&since=5")
        assert_left_to(told, "look_back", *room, "--since", "3", "--seq", "5")
        assert_left_to(object_page(moderator, scene), "look_back", *room, "--key", "arm")
        told = page(moderator, reverse("admin:vuer_journal_operation_change", args=[late.pk]))
        assert_left_to(told.partition('id="forget"')[0], "look_back", *room, "--since", "4", "--seq", "5")
        told = act(moderator, scene, "label", seq=5, name="v 1")
        assert_left_to(told, "label_document", *room, "--label", "v 1", "--seq", "5")
        told = act(moderator, scene, "undo", message_id="ann:5")
        assert_left_to(told, "restore_document", *room, "--undo", "ann:5")
        told = act(moderator, scene, "redo", message_id="ann:5")
        assert_left_to(told, "restore_document", *room, "--redo", "ann:5")
        told = act(moderator, scene, "restore", seq=3, key="arm")
        assert_left_to(told, "restore_document", *room, "--seq", "3", "--key", "arm")
    assert head_of(scene) == 8


def test_a_label_out_of_reach_may_be_far_from_what_it_is_compared_with(
    visitor: Client, scene: Document
) -> None:
    """Only the state at the other end is replayed."""
    label_state(scene.pk, 2, "v1")
    compact(scene, keep=2)
    with SHORT:
        html = looking_back(visitor, scene, "?label=v1&since=5")
    assert "removed" in html[html.index('id="difference"') : html.index('id="labels"')]
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_REPLAY_MESSAGES_MAX": 1}):
        told = looking_back(visitor, scene, "?label=v1&since=5")
    assert_left_to(told, "look_back", "--document", "room", "--seq", "5")


def test_keys_are_quoted_for_the_shell(moderator: Client, scene: Document) -> None:
    with SHORT:
        told = act(moderator, scene, "restore", seq=3, key=f"-{EVIL} '")
    assert commands_of(told)[0][-1] == f"--key=-{EVIL} '"
    assert EVIL not in told


def test_what_a_snapshot_holds_is_not_counted(moderator: Client, document: Document) -> None:
    append_each(
        document, [message(1, insert("arm")), *(message(n, put("arm", "x", n)) for n in range(2, 12))]
    )
    journal_cut(document.pk, 11, 11)
    snapshot(document)
    append(document, message(12, put("arm", "x", 13)))
    catch_up(document.pk)
    with SHORT:
        assert "x</bdi>: <code>13</code>" in looking_back(moderator, document)
        told = object_page(moderator, document)
        assert re.search(r"<code>11</code>.*<code>13</code>", told, re.DOTALL)
        assert "What came before is more than a page reads" in told
        assert_left_to(told, "look_back", "--document", "room", "--key", "arm")
        assert "Restored the object arm" in act(moderator, document, "restore", seq=12, key="arm")
        told = act(moderator, document, "restore", seq=9, key="arm")
        assert_left_to(told, "restore_document", "--document", "room", "--seq", "9", "--key", "arm")
    assert hydrate(document.pk).graph.nodes()["arm"].properties == {"x": 9}


def test_states_and_tables_are_bounded(visitor: Client, document: Document) -> None:
    append(document, message(1, *[insert(f"n{n}", **{f"p{m}": m for m in range(9)}) for n in range(9)]))
    catch_up(document.pk)
    bounds = {
        "JOURNAL_ADMIN_NODES_MAX": 4,
        "JOURNAL_ADMIN_PROPERTIES_MAX": 2,
        "JOURNAL_HISTORY_NODES_MAX": 3,
        "JOURNAL_HISTORY_PROPERTIES_MAX": 2,
    }
    with override_settings(VUER_RTC=bounds):
        html = looking_back(visitor, document, "?since=0")
    assert "and 5 more objects: 9 in all" in html
    assert html.count("7 more</li>") == 4
    assert "and 6 more objects" in html
    assert html.count("7 more properties") == 3


def test_the_page_takes_a_few_queries_whatever_it_shows(
    visitor: Client, scene: Document, ann: User, django_assert_max_num_queries: Any
) -> None:
    for lt in range(6, 40):
        append(scene, message(lt, insert(f"n{lt}"), put("arm", "x", lt)), user=str(ann.pk))
    for name in "abc":
        label_state(scene.pk, 3, name, ann.pk)
    with django_assert_max_num_queries(55):
        looking_back(visitor, scene, "?seq=30&since=2")


def test_a_page_shows_the_first_of_many_objects_and_counts_all(visitor: Client, document: Document) -> None:
    append(document, message(1, *[insert(key) for key in ("b", "a", "gone")], insert("below", "gone")))
    append(document, message(2, insert("a1", "a"), insert("a2", "a1"), insert("lost", "nowhere")))
    append(document, message(3, remove("gone")))
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_NODES_MAX": 2}):
        html = looking_back(visitor, document)
    shown = re.findall(
        r'data-depth="(\d)">\s*<td class="key object"><span class="clipped" title="(\w+)"', html
    )
    assert shown == [("0", "a"), ("1", "a1")]
    assert "and 2 more objects: 4 in all" in html
    assert "3 removed or hidden" in html
    assert "and 1 more." in html


# Acting


def test_an_object_comes_back_in_three_clicks(moderator: Client, scene: Document) -> None:
    first = page(moderator, reverse("admin:vuer_journal_sceneobject_changelist") + "?q=arm")
    second = page(moderator, next(url for url in links(first) if str(arm(scene).pk) in url))
    [action] = set(re.findall(r'formaction="([^"]+/restore/)"', second))
    assert 'name="key" value="arm"' in second
    assert 'name="seq" value="3"' in second
    told = moderator.post(action, {"key": "arm", "seq": "3"}, follow=True).content.decode()
    assert "Restored the object arm to sequence 3" in told
    nodes = hydrate(scene.pk).graph.nodes()
    assert not nodes["arm"].deleted
    assert (nodes["arm"].properties["x"], nodes["hand"].properties["x"]) == (42, 1)
    assert not arm(scene).is_tombstone


def test_a_whole_document_comes_back_and_that_can_be_undone(moderator: Client, scene: Document) -> None:
    then = hydrate(scene.pk).graph.digest()
    assert "Restore the document to this state" in looking_back(moderator, scene, "?seq=2")
    told = act(moderator, scene, "restore", seq=2)
    assert "Restored the document to sequence 2" in told
    nodes = hydrate(scene.pk).graph.nodes()
    assert nodes["arm"].properties["x"] == 41
    assert "x" not in nodes["hand"].properties
    row = Operation.objects.filter(server_seq=6)[0]
    assert row.user is not None
    assert (row.client, row.user.get_username()) == ("=site", "operator")
    act(moderator, scene, "undo", message_id=row.message_id)
    assert hydrate(scene.pk).graph.digest() == then


def test_what_is_undone_already_is_not_undone_again(moderator: Client, scene: Document) -> None:
    assert "counts again already" in act(moderator, scene, "redo", message_id="ann:4")
    act(moderator, scene, "undo", message_id="ann:4")
    assert "The message ann:4 is undone already." in act(moderator, scene, "undo", message_id="ann:4")
    assert head_of(scene) == 6
    assert "counts again," in act(moderator, scene, "redo", message_id="ann:4")


def test_a_key_of_blanks_can_be_clicked(visitor: Client, document: Document) -> None:
    append(document, message(1, insert(" ")))
    catch_up(document.pk)
    assert "&quot; &quot;</span>" in page(visitor, reverse("admin:vuer_journal_sceneobject_changelist"))
    assert "&quot; &quot;</a>" in looking_back(visitor, document)


@pytest.mark.parametrize("key", ["\u200b", "\u200d\ufeff", "\u0301\u0301", "\u3164", "\u2060 \u00a0"])
def test_a_key_that_nobody_sees_is_told_by_its_code_points(
    visitor: Client, document: Document, key: str
) -> None:
    append(document, message(1, insert(key)))
    catch_up(document.pk)
    told = json.dumps(key).replace('"', "&quot;")
    assert f"{told}</span>" in page(visitor, reverse("admin:vuer_journal_sceneobject_changelist"))
    assert f"{told}</span>" in page(visitor, reverse("admin:vuer_journal_operation_changelist"))
    assert f"{told}</a>" in looking_back(visitor, document, "?since=0")


def test_a_name_does_not_turn_the_sentence_about_it(moderator: Client, document: Document) -> None:
    key, id = "\u202egnp.exe", "\u2067:1"
    append(document, message(1, insert(key, x=1)))
    append(document, message(2, put(key, "x", 2), id=id))
    catch_up(document.pk)
    told = [
        act(moderator, document, "restore", seq=1, key=quote(key)),
        act(moderator, document, "undo", message_id=quote(id)),
    ]
    assert "Restored the object \\u202egnp.exe to sequence 1" in told[0]
    assert "The message \\u2067:1 is undone" in told[1]
    told += [entry.get_change_message() for entry in LogEntry.objects.all()]
    assert not any(turn in words for words in told for turn in "\u202e\u2067")


@pytest.mark.parametrize("name", ["two\nlines", "old\rlines", "100%25", "a+b & c", "\u202eabc"])
def test_what_is_named_strangely_comes_back_and_is_undone(
    moderator: Client, document: Document, name: str
) -> None:
    append(document, message(1, insert(name, x=1)), message(2, put(name, "x", 2), id=name))
    catch_up(document.pk)
    operation = Operation.objects.get(server_seq=2)
    undo_page = page(moderator, reverse("admin:vuer_journal_operation_change", args=[operation.pk]))
    assert "is undone" in act(moderator, document, "undo", message_id=as_posted(undo_page, "message_id"))
    row = SceneObject.objects.get(document=document)
    key = as_posted(page(moderator, reverse("admin:vuer_journal_sceneobject_change", args=[row.pk])), "key")
    assert "Restored" in act(moderator, document, "restore", key=key, seq=2)
    assert hydrate(document.pk).graph.nodes()[name].properties["x"] == 2


def as_posted(html: str, name: str) -> str:
    """What a browser makes of a hidden field."""
    value = unescape(re.findall(f'type="hidden" name="{name}" value="([^"]*)"', html)[0])
    return re.sub("\r\n|\r|\n", "\r\n", value)


def test_restoring_what_is_there_writes_nothing(moderator: Client, scene: Document) -> None:
    assert "Nothing to do" in act(moderator, scene, "restore", seq=5)
    assert "no object nobody" in act(moderator, scene, "restore", seq=3, key="nobody")
    assert "no sequence" in act(moderator, scene, "restore", seq="x")
    assert "not to 99 yet" in act(moderator, scene, "restore", seq=99)
    assert head_of(scene) == 5
    assert not LogEntry.objects.exists()


def test_a_label_that_is_out_of_reach_can_be_restored(moderator: Client, scene: Document) -> None:
    assert "kept as" in act(moderator, scene, "label", seq=2, name="before the incident")
    compact(scene, keep=1)
    assert "before the incident" in looking_back(moderator, scene)
    assert "Restored the document" in act(moderator, scene, "restore", label="before the incident")
    assert hydrate(scene.pk).graph.nodes()["arm"].properties["x"] == 41


def test_a_message_is_undone_and_redone_from_its_page(moderator: Client, scene: Document) -> None:
    row = Operation.objects.get(message_id="ann:4")
    url = reverse("admin:vuer_journal_operation_change", args=[row.pk])
    assert "Undo this message" in page(moderator, url)
    assert "is undone" in act(moderator, scene, "undo", message_id="ann:4", next=url)
    assert not arm(scene).is_tombstone
    html = page(moderator, url)
    assert "Undone by" in html
    assert "Let this message count again" in html
    assert "counts again" in act(moderator, scene, "redo", message_id="ann:4")
    assert arm(scene).is_tombstone
    assert "retains no message" in act(moderator, scene, "undo", message_id="nobody:1")


def test_labels_are_given_once_and_dropped(moderator: Client, scene: Document) -> None:
    act(moderator, scene, "label", seq=2, name="v1")
    assert "already" in act(moderator, scene, "label", seq=3, name="v1")
    assert "printable" in act(moderator, scene, "label", seq=3, name=" ")
    assert "is gone" in act(moderator, scene, "drop_label", name="v1")
    assert "no label" in act(moderator, scene, "drop_label", name="v1")
    assert label_named(scene.pk, "v1") is None


def test_of_many_labels_the_page_shows_some_and_leads_to_all(
    visitor: Client, scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal.admin_looking_back.LABELS_MAX", 2)
    for seq in (1, 2):
        label_state(scene.pk, seq, f"& state {seq}")
    assert "All labels" not in looking_back(visitor, scene)
    label_state(scene.pk, 5, "newest")
    html = looking_back(visitor, scene)
    assert "newest 2 states" in html
    assert "& state 1" not in unescape(html)
    listed = page(visitor, unescape(re.findall(r'href="([^"]*)">All labels', html)[0]))
    label = Snapshot.objects.get(seq=1, reason=Snapshot.Reason.LABEL)
    url = next(url for url in links(listed) if str(label.pk) in url)
    then = unescape(re.findall(r'href="([^"]*)">The document then', page(visitor, url))[0])
    assert "The state at sequence 1: &amp; state 1" in page(visitor, then)


def test_every_act_stands_in_the_admins_log(moderator: Client, scene: Document) -> None:
    act(moderator, scene, "label", seq=2, name="v1")
    act(moderator, scene, "restore", seq=3, key="arm")
    act(moderator, scene, "undo", message_id="ann:5")
    act(moderator, scene, "redo", message_id="ann:5")
    act(moderator, scene, "drop_label", name="v1")
    entries = LogEntry.objects.filter(object_id=str(scene.pk), user__username="operator")
    told = [entry.get_change_message() for entry in entries.order_by("pk")]
    assert [words.split()[0] for words in told] == ["Labelled", "Restored", "Undid", "Redid", "Dropped"]
    history = page(moderator, reverse("admin:vuer_journal_document_history", args=[scene.pk]))
    assert "Restored the object arm to sequence 3" in history


@pytest.mark.parametrize(
    ("name", "fields"), [("restore", {"seq": 1}), ("undo", {"message_id": "ann:5"}), ("reset", {"epoch": 0})]
)
def test_what_is_done_is_told_and_logged_though_rows_cannot_be_written(
    moderator: Client, scene: Document, monkeypatch: pytest.MonkeyPatch, name: str, fields: dict[str, Any]
) -> None:
    def away(document_id: UUID) -> None:
        raise JournalUnavailable("a lock is in the way")

    monkeypatch.setattr("journal.admin_act.catch_up", away)
    head_seq = hydrate(scene.pk).head_seq
    answer = act(moderator, scene, name, **fields)
    assert hydrate(scene.pk).head_seq == head_seq + 1
    assert ("a lock is in the way" in answer, LogEntry.objects.count()) == (False, 1)


ACTS: list[tuple[str, dict[str, Any]]] = [
    ("restore", {"seq": 3}),
    ("undo", {"message_id": "ann:5"}),
    ("redo", {"message_id": "ann:5"}),
    ("label", {"seq": 2, "name": "v1"}),
    ("drop_label", {"name": "kept"}),
]


@pytest.mark.parametrize(("name", "fields"), ACTS)
def test_who_may_only_look_changes_nothing(
    visitor: Client, scene: Document, name: str, fields: dict[str, Any]
) -> None:
    label_state(scene.pk, 1, "kept")
    assert_refused(visitor, scene, name, **fields)
    html = looking_back(visitor, scene, "?seq=2") + object_page(visitor, scene)
    assert not re.search(r"(Restore|Label it|Drop|Have it back)\b.*</button>", html)


@pytest.mark.parametrize(("name", "fields"), ACTS)
def test_acts_are_posts_with_a_token(scene: Document, name: str, fields: dict[str, Any]) -> None:
    client = staff(Client(enforce_csrf_checks=True), "change_document")
    assert_refused(client, scene, name, **fields)


@pytest.mark.parametrize(("name", "fields"), ACTS)
def test_a_login_on_the_way_to_an_act_leads_to_the_document_and_says_that_nothing_was_done(
    visitor: Client, scene: Document, name: str, fields: dict[str, Any]
) -> None:
    """The session ends while the page is open: Django leads from the login to the act's own address."""
    url = reverse(f"admin:vuer_journal_document_{name}", args=[scene.pk])
    User.objects.filter(username="operator").update(password=make_password("pw"))
    visitor.logout()
    asked = visitor.post(url, fields)
    entered = visitor.post(asked["Location"], {"username": "operator", "password": "pw"}, follow=True)
    assert entered.status_code == 200
    assert "Nothing was changed" in entered.content.decode()
    assert entered.request["PATH_INFO"].endswith("/looking-back/")


@pytest.mark.parametrize("name", ["looking_back", "restore", "undo", "label"])
def test_who_may_not_look_at_documents_sees_no_past(scene: Document, client: Client, name: str) -> None:
    url = reverse(f"admin:vuer_journal_document_{name}", args=[scene.pk])
    assert client.get(url).status_code == 302
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="moderate_document"))
    client.force_login(user)
    assert client.get(url).status_code == 403
    assert client.post(url, {"seq": 3}).status_code == 403


def test_the_past_of_no_document_leads_to_the_index(visitor: Client, db: None) -> None:
    for key in ("nonsense", "00000000-0000-0000-0000-000000000000"):
        url = reverse("admin:vuer_journal_document_looking_back", args=[key])
        assert visitor.get(url).status_code == 302


@pytest.mark.parametrize("field", ["is_read_only", "archived_at"])
def test_a_frozen_document_is_looked_at_and_labelled_only(
    moderator: Client, scene: Document, field: str
) -> None:
    Document.objects.filter(pk=scene.pk).update(**{field: timezone.now() if field == "archived_at" else True})
    assert "Nothing was changed" in act(moderator, scene, "restore", seq=3)
    assert "Nothing was changed" in act(moderator, scene, "undo", message_id="ann:5")
    assert head_of(scene) == 5
    assert "Have it back" not in object_page(moderator, scene)
    assert "kept as" in act(moderator, scene, "label", seq=2, name="v1")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"condition": "importing"}, "The document is being imported"),
        ({"condition": "purging", "truncated_seq": 2**62}, "The document is being deleted for good"),
    ],
)
def test_j45_nothing_is_done_to_a_document_whose_rows_are_not_all_there_and_pages_say_why(
    moderator: Client, scene: Document, fields: dict[str, Any], told: str
) -> None:
    Document.objects.filter(pk=scene.pk).update(**fields)
    acts = {"label": {"seq": 2, "name": "v1"}, "restore": {"seq": 2}, "undo": {"message_id": "ann:5"}}
    for name, sent in (acts | {"verify": {}, "compact": {}}).items():
        assert told in act(moderator, scene, name, **sent)
    assert not Snapshot.objects.exists()
    assert not LogEntry.objects.exists()
    assert told in object_page(moderator, scene)
    assert told in row_page(moderator, Operation.objects.all()[0])
    assert told in looking_back(moderator, scene)
    assert "Compact it now" not in row_page(moderator, scene)


def test_damage_freezes_a_document_only_when_it_does_not_open(moderator: Client, scene: Document) -> None:
    """J23."""
    note_damage(scene.pk, "seq 0: origin snapshot: the checksum does not hold")
    assert "Nothing was changed" not in act(moderator, scene, "restore", seq=3)
    assert head_of(scene) == 6
    JournalBatch.objects.filter(first_seq=6).update(checksum="no")
    assert "Nothing was changed" in act(moderator, scene, "restore", seq=2)
    assert head_of(scene) == 6


def test_back_leads_to_this_site_only(moderator: Client, scene: Document) -> None:
    url = reverse("admin:vuer_journal_document_label", args=[scene.pk])
    there = reverse("admin:vuer_journal_sceneobject_changelist")
    assert moderator.post(url, {"seq": 2, "name": "a", "next": there}).url == there  # type: ignore[attr-defined]
    elsewhere = moderator.post(url, {"seq": 2, "name": "b", "next": "https://evil.example/"})
    assert elsewhere.url.endswith("/looking-back/")  # type: ignore[attr-defined]
