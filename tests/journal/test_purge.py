"""Rules J52 and J53: a purged document is gone, for whoever reads, writes or looks into the database."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.storage import Storage, storages
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test import Client, override_settings
from django.utils import timezone

from journal import live_side, purge
from journal.compaction import KeepRules, compact_document
from journal.entry import Entry
from journal.error import ArchiveFailed, JournalBusy, PurgeRefused, UnknownDocument
from journal.label import label_state
from journal.lease import lease
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.position import load_document, read_heads
from journal.projection import catch_up, project
from journal.purge import delete_document, mark_purged, purge_document
from journal.reader import hydrate, read_after
from journal.writer import Draft, Fenced, append_batches
from rooms.models import Session
from tests.journal.history import append, append_each, insert, message, put

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 9)]]


@pytest.fixture
def place(tmp_path: Path) -> Any:
    backend = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path / "archive"), "base_url": "/"},
    }
    with override_settings(STORAGES={"journal-archive": backend, "default": backend, "staticfiles": backend}):
        yield tmp_path / "archive"


@pytest.fixture
def full(document: Document, place: Path) -> Document:
    """A document with everything that one can have."""
    append_each(document, HISTORY)
    label_state(document.pk, 3, "three")
    compact_document(document, KeepRules(3, 0), is_archiving=True)
    catch_up(document.pk)
    now = timezone.now()
    Session.objects.create(document=document, client="ann", connected_at=now, last_seen_at=now, closed_at=now)
    for model in (JournalBatch, Snapshot, Operation, SceneObject, Session):
        assert model._default_manager.filter(document=document).exists(), model
    assert any(place.rglob("*.zst"))
    return document


def traces(word: str) -> list[str]:
    """Tables that hold the word in any column."""
    found = []
    for model in apps.get_models(include_auto_created=True):
        for row in model._base_manager.values():
            if word in repr(row):
                found.append(model._meta.label)
    return found


def test_j53_nothing_of_it_is_left_and_others_are_untouched(
    full: Document, other: Document, place: Path
) -> None:
    append_each(other, HISTORY[:3])
    before = hydrate(other.pk).graph.full_digest()
    deleted = purge_document(full)
    assert deleted["archives"] == 1
    assert deleted["journal batches"] > 0
    assert not any(place.rglob("*"))
    assert traces(repr(full.pk)) == traces("'room'") == []
    assert hydrate(other.pk).graph.full_digest() == before


def test_j52_a_purge_on_a_page_stops_with_its_server_and_goes_on_there(
    full: Document, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that it is in would keep the process from ending until all is deleted."""
    page = f"/admin/vuer_journal/document/{full.pk}/purge/"
    with monkeypatch.context() as ending:
        ending.setattr(type(live_side.current_live_side()), "is_ending", lambda _: True)
        answer = admin_client.post(page, {"slug": "room"}, follow=True)
    assert "The server stops." in answer.text
    assert "Its deletion has begun" in answer.text
    assert Document.objects.get(pk=full.pk).condition == Document.Condition.PURGING
    assert JournalBatch.objects.filter(document=full).exists()
    assert "is deleted" in admin_client.post(page, {"slug": "room"}, follow=True).text
    assert not Document.objects.filter(pk=full.pk).exists()


def test_j50_files_go_that_the_storage_has_named_itself(full: Document, place: Path) -> None:
    """As Django does when there is one of that name; the run that would have deleted it was killed."""
    [path] = place.rglob("*.zst")
    path.with_name("000000000001-000000000005.jsonl_x7Qa2Lm.zst").write_bytes(path.read_bytes())
    assert purge_document(full)["archives"] == 2
    assert not any(place.rglob("*"))


def test_the_name_may_be_used_again_without_a_trace_of_the_old(full: Document) -> None:
    purge_document(full)
    again = Document.objects.create(slug="room")
    assert hydrate(again.pk).head_seq == 0
    assert not any(
        model.objects.filter(document=again).exists() for model in (Snapshot, Operation, SceneObject)
    )


def test_j52_from_the_mark_on_it_is_gone_for_readers_and_writers(full: Document) -> None:
    head_seq = read_heads([full.pk])[full.pk]
    graph = hydrate(full.pk).graph
    with lease(full.pk) as held:
        mark_purged(held)
        entry = Entry(message(99, put("n", "x", 99)))
        assert append_batches([Draft(full.pk, head_seq + 1, [entry])], "late") == [Fenced()]
        assert read_heads([full.pk]) == {}
        for read in (
            lambda: hydrate(full.pk),
            lambda: read_after(full.pk, head_seq),
            lambda: load_document("room"),
            lambda: project(full.pk, head_seq, frozenset(), graph.nodes()),
        ):
            with pytest.raises(UnknownDocument):
                read()
        for command in ("verify_journals", "compact_journals", "rebuild_projections"):
            call_command(command)
        delete_document(held)
    assert not Document.objects.exists()


def test_two_purges_do_not_collide(full: Document) -> None:
    with lease(full.pk, "elsewhere/1/0"):
        with pytest.raises(JournalBusy):
            purge_document(full)
        out = io.StringIO()
        call_command("purge_document", "--document=room", "--yes", "--json", stdout=out)
        assert json.loads(out.getvalue())["outcome"] == "busy"
    full.refresh_from_db()
    assert full.condition == Document.Condition.WHOLE


def test_a_command_that_is_not_sure_does_nothing(full: Document) -> None:
    with pytest.raises(CommandError, match="with --yes"):
        call_command("purge_document", "--document=room")
    with pytest.raises(CommandError, match="no such document"):
        call_command("purge_document", "--document=elsewhere", "--yes")
    assert hydrate(full.pk).head_seq > 0


def test_cron_hears_nothing_of_a_purge(
    full: Document, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "journal")
    call_command("purge_document", "--document=room", "--yes")
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_a_document_with_people_in_it_is_refused_but_by_force(
    full: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "FAREWELL_MAX_S", 0)
    now = timezone.now()
    Session.objects.create(document=full, client="bob", connected_at=now, last_seen_at=now)
    with pytest.raises(PurgeRefused, match="1 connections are open"):
        purge_document(full)
    full.refresh_from_db()
    assert (full.condition, hydrate(full.pk).head_seq) == ("", 9)
    purge_document(full, is_forced=True)
    assert not Document.objects.exists()


def test_a_session_of_a_dead_process_is_nobody(full: Document) -> None:
    long_ago = timezone.now() - timezone.timedelta(hours=2)
    Session.objects.create(document=full, client="bob", connected_at=long_ago, last_seen_at=long_ago)
    assert live_side.current_live_side().connected(full.pk) == 0
    purge_document(full)


def test_a_storage_that_fails_leaves_it_marked_and_the_next_run_goes_on(
    full: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(storages["journal-archive"], "delete", fail)
    with pytest.raises(CommandError):
        call_command("purge_document", "--document=room", "--yes", stderr=io.StringIO())
    full.refresh_from_db()
    assert full.condition == Document.Condition.PURGING
    monkeypatch.undo()
    call_command("purge_document", "--document=room", "--yes")
    assert not Document.objects.exists()


def test_j53_a_storage_that_cannot_list_holds_nothing_of_a_document_that_was_never_folded(
    full: Document, other: Document, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was folded may be in it, and nobody would know."""
    append_each(other, HISTORY[:3])
    storage = storages["journal-archive"]
    monkeypatch.setattr(storage, "listdir", lambda path: Storage.listdir(storage, path))
    assert "archives" not in purge_document(other)
    assert not Document.objects.filter(pk=other.pk).exists()
    with pytest.raises(ArchiveFailed, match=r"cannot list .* a backend that has `listdir`"):
        purge_document(full)
    monkeypatch.undo()
    full.refresh_from_db()
    assert purge_document(full)["archives"] == 1
    assert not any(place.rglob("*.zst"))


@pytest.mark.parametrize("dies_at", ["purge.marked", "purge.deleting", "purge.emptied"])
def test_j52_a_purge_that_dies_goes_on(full: Document, monkeypatch: pytest.MonkeyPatch, dies_at: str) -> None:
    def die(point: str) -> None:
        if point == dies_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(purge, "reach", die)
    monkeypatch.setattr(purge, "ROWS_MAX", 2)
    with pytest.raises(KeyboardInterrupt):
        purge_document(full)
    monkeypatch.undo()
    [slug] = Document.objects.values_list("slug", flat=True)
    call_command("purge_document", f"--document={slug}", "--yes")
    assert traces(repr(full.pk)) == []


def test_a_row_that_is_written_while_the_last_transaction_runs_is_deleted_too(full: Document) -> None:
    with lease(full.pk) as held:
        mark_purged(held)
        SceneObject.objects.create(document=full, key="late", lt=1)
        purge._delete_last(held)
    assert not SceneObject.objects.exists()


# Rows of the site


def model_of_site(name: str, **fields: Any) -> Any:
    meta = type("Meta", (), {"app_label": "vuer_rooms"})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


@pytest.fixture
def contract(transactional_db: None) -> Iterator[Any]:
    """Its rows protect documents, which know nothing of it."""
    to_document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="+")
    model = model_of_site("Contract", document=to_document)
    with in_the_database(model):
        yield model


@pytest.fixture
def binder_and_paper(transactional_db: None) -> Iterator[Any]:
    """Rows of the one go with a document; rows of the other protect them."""
    to_document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    binder = model_of_site("Binder", document=to_document)
    paper = model_of_site("Paper", binder=models.ForeignKey(binder, on_delete=models.PROTECT))
    with in_the_database(binder, paper):
        yield binder, paper


@contextmanager
def in_the_database(*made: type[models.Model]) -> Iterator[None]:
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(made):
            editor.delete_model(model)
    for model in made:
        del apps.all_models["vuer_rooms"][model._meta.model_name]
    apps.clear_cache()


def assert_purge_refused(document: Document, why: str) -> None:
    """And nothing has changed."""
    before = hydrate(document.pk).graph.full_digest()
    with pytest.raises(PurgeRefused, match=why):
        purge_document(document)
    assert Document.objects.get(pk=document.pk).condition == Document.Condition.WHOLE
    assert hydrate(document.pk).graph.full_digest() == before


@pytest.mark.sql
def test_j53_rows_that_protect_it_refuse_the_purge_before_it_begins(contract: Any) -> None:
    document = Document.objects.create(slug="room")
    append_each(document, HISTORY)
    row = contract.objects.create(document=document)
    assert_purge_refused(document, r"rows of vuer_rooms\.Contract refer to it and protect it")
    row.delete()
    purge_document(document)
    assert not Document.objects.exists()


@pytest.mark.sql
def test_j53_rows_that_protect_what_goes_with_it_do_so_too(
    binder_and_paper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "ROWS_MAX", 2)
    binder, paper = binder_and_paper
    document = Document.objects.create(slug="room")
    append_each(document, HISTORY)
    binders = [binder.objects.create(document=document) for _ in range(5)]
    row = paper.objects.create(binder=binders[-1])
    assert_purge_refused(document, r"'Paper\.binder'")
    row.delete()
    assert purge_document(document)["binders"] == 5


# In the admin


def page(document: Document) -> str:
    return f"/admin/vuer_journal/document/{document.pk}/purge/"


def test_a_superuser_deletes_it_by_typing_its_name(full: Document, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert (
        "Delete for good…" in client.get(f"/admin/vuer_journal/document/{full.pk}/change/").content.decode()
    )
    assert "Type its name" in client.get(page(full)).content.decode()
    assert "Nothing was deleted" in client.post(page(full), {"slug": "other"}, follow=True).content.decode()
    assert Document.objects.exists()
    types = apps.get_model("contenttypes.ContentType").objects
    for row in (full, Session.objects.get()):
        LogEntry.objects.create(
            user=User.objects.get(),
            content_type_id=types.get_for_model(row).pk,
            object_id=str(row.pk),
            object_repr=str(row),
            action_flag=2,
        )
    answer = client.post(page(full), {"slug": "room"}, follow=True)
    assert [str(told) for told in answer.context["messages"]] == [
        "room and all that belonged to it is deleted."
    ]
    assert not Document.objects.exists()
    assert not LogEntry.objects.exists()


def test_nobody_else_does(full: Document, client: Client) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(apps.get_model("auth.Permission").objects.all())
    client.force_login(staff)
    assert (
        "Delete for good"
        not in client.get(f"/admin/vuer_journal/document/{full.pk}/change/").content.decode()
    )
    assert client.post(page(full), {"slug": "room"}).status_code == 403
    client.logout()
    assert client.post(page(full), {"slug": "room"}).status_code == 302
    assert hydrate(full.pk).head_seq > 0


def test_the_admin_asks_before_it_sends_people_away(full: Document, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    now = timezone.now()
    Session.objects.create(document=full, client="bob", connected_at=now, last_seen_at=now)
    assert "1 connection is open in it" in client.get(page(full)).content.decode()
    answer = client.post(page(full), {"slug": "room"}, follow=True)
    assert "1 connections are open" in str(next(iter(answer.context["messages"])))
    assert append(full, message(50, put("n", "x", 50)))
