"""An operator compacts a document and looks for damage from its page."""

import re
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import InternalError, connection
from django.test import Client, override_settings
from django.utils import timezone

from journal.damage import note_damage
from journal.error import JournalUnavailable
from journal.models import Document, JournalBatch, Snapshot
from journal.projection import catch_up
from tests.journal.history import append, append_each, insert, message
from tests.journal.test_admin import list_page, row_page
from tests.journal.test_admin_history import act, assert_refused, staff
from tests.journal.test_history import STEPS
from tests.journal.test_reader import damage
from tests.server import ROOT

ACTS = """
import django
from django.conf import settings

settings.DATABASES["main"] = settings.DATABASES["default"]
django.setup()

from django.contrib import admin
from journal.models import Document

for url in admin.site.get_model_admin(Document).get_urls():
    if (freed := getattr(url.callback, "_non_atomic_requests", None)) is not None:
        print(url.pattern, *sorted(freed))
"""


@pytest.fixture
def room(document: Document) -> Document:
    append_each(document, STEPS)
    catch_up(document.pk)
    Document.objects.update(keep_messages=3, keep_days=0)
    return Document.objects.get()


@pytest.fixture
def operator(client: Client, db: None) -> Client:
    return staff(client, "change_document")


def test_a_document_is_compacted_by_its_own_rules(operator: Client, room: Document) -> None:
    assert "Compact it now" in row_page(operator, room)
    assert "5 messages in 5 batches are folded" in act(operator, room, "compact")
    assert JournalBatch.objects.count() == 4
    assert "nothing to do" in act(operator, room, "compact")
    [first, _] = LogEntry.objects.order_by("pk")
    assert "begins at sequence 6" in first.get_change_message()


def test_a_compaction_is_told_and_logged_though_rows_cannot_be_written(
    operator: Client, room: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(document_id: Any) -> None:
        raise JournalUnavailable("a lock is in the way")

    monkeypatch.setattr("journal.admin_act.catch_up", away)
    assert "5 messages in 5 batches are folded" in act(operator, room, "compact")
    assert "5 messages in 5 batches are folded" in LogEntry.objects.get().get_change_message()


def test_enter_in_a_field_saves_it(operator: Client, room: Document) -> None:
    """A browser then presses the first button of the form, whatever it does."""
    _, _, form = row_page(operator, room).partition('id="document_form"')
    buttons = re.findall(r'<(?:input|button) type="submit"[^>]*', form)
    assert 'name="_save"' in buttons[0]


def test_a_good_journal_is_called_good_and_a_damaged_one_damaged(operator: Client, room: Document) -> None:
    assert "Good: 8 messages in 8 batches, 0 snapshots" in act(operator, room, "verify")
    for batch in JournalBatch.objects.filter(first_seq__lte=7):
        damage(batch)
    told = act(operator, room, "verify")
    assert "DAMAGE, sequence 1: " in told
    assert "checksum does not hold" in told
    assert "And 2 more" in told
    assert list_page(operator, "document").count('alt="False"') == 1
    assert "checksum does not hold" in act(operator, room, "compact")
    assert JournalBatch.objects.count() == 8


def test_a_repaired_journal_is_called_intact_by_whoever_looks(operator: Client, room: Document) -> None:
    note_damage(room.pk, "seq 1: it was")
    assert "Good: 8 messages" in act(operator, room, "verify")
    assert ">Damaged<" not in row_page(operator, room)


def test_a_long_journal_is_left_to_the_commands(operator: Client, room: Document) -> None:
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_REPLAY_MESSAGES_MAX": 7}):
        assert "manage.py compact_journals --document room" in act(operator, room, "compact")
        assert "manage.py verify_journals --document room" in act(operator, room, "verify")
    assert not Snapshot.objects.exists()


def test_a_long_journal_of_which_nothing_may_go_is_no_work(operator: Client, room: Document) -> None:
    Document.objects.update(keep_days=30)
    JournalBatch.objects.update(created_at=timezone.now())
    with override_settings(VUER_RTC={"JOURNAL_ADMIN_REPLAY_MESSAGES_MAX": 7}):
        assert "nothing to do, the keep rules let nothing go" in act(operator, room, "compact")


@pytest.mark.parametrize("name", ["compact", "verify"])
def test_who_may_only_look_does_neither(client: Client, room: Document, name: str) -> None:
    visitor = staff(client)
    assert_refused(visitor, room, name)
    assert "Compact it now" not in row_page(visitor, room)
    assert JournalBatch.objects.count() == 8


@pytest.mark.sql
@pytest.mark.parametrize(
    ("name", "sent"),
    [("verify", {}), ("compact", {}), ("reset", {"epoch": "0"}), ("purge", {"slug": "room"})],
)
def test_a_database_that_takes_nothing_is_told_and_no_traceback(
    transactional_db: None, admin_client: Client, document: Document, name: str, sent: dict[str, str]
) -> None:
    """A standby after a failover, say, or a disk that is full."""
    append(document, message(1, insert("n", x=0)))

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            raise InternalError("cannot write in a read-only transaction")
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        answer = admin_client.post(f"/admin/vuer_journal/document/{document.pk}/{name}/", sent, follow=True)
    assert answer.status_code == 200
    [told] = [str(message) for message in answer.context["messages"]]
    assert "cannot write in a read-only transaction" in told


def test_acts_are_outside_the_transactions_of_requests_whatever_their_database_is_called() -> None:
    """A site may have `ATOMIC_REQUESTS` on another database than `default`, and everything there."""
    told = subprocess.run([sys.executable, "-c", ACTS], cwd=ROOT, capture_output=True, text=True, check=True)
    acts = [line.split(" ", 1) for line in told.stdout.splitlines()]
    assert len(acts) == 9
    assert {freed for _, freed in acts} == {"default main"}
