"""Pages name the command that forgets a person, so that it means that person and nobody else."""

import shlex

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from journal.admin_forget import forget_command
from journal.models import Document, Operation
from journal.projection import catch_up
from tests.journal.history import append, insert, message, put
from tests.journal.test_commands import run

EVIL = "eve's; rm -rf /"


@pytest.fixture
def eve(db: None) -> User:
    return User.objects.create_user(EVIL)


@pytest.fixture
def scene(document: Document, eve: User) -> Document:
    append(document, message(1, insert("n", x=0)), user=str(eve.pk))
    append(document, message(2, put("n", "x", 1), client="-pad"))
    catch_up(document.pk)
    return document


def forget(row: Operation) -> str:
    return forget_command(row.document, row.client, row.user_id, row.user)


def test_an_account_is_named_for_all_documents_and_a_visitor_for_this_one(scene: Document) -> None:
    of_eve, of_visitor = map(forget, Operation.objects.order_by("server_seq"))
    assert shlex.split(of_eve) == ["manage.py", "redact_user", "--user", EVIL]
    assert of_visitor == "manage.py redact_user --document room --client=-pad"
    for told in (of_eve, of_visitor):
        assert "would be redacted (clients: " in run(*shlex.split(told)[1:])


def test_a_deleted_account_is_named_by_its_key_unless_that_is_somebody_s_name(
    scene: Document, eve: User
) -> None:
    key = eve.pk
    eve.delete()
    row = Operation.objects.select_related("user").get(server_seq=1)
    assert forget(row) == f"manage.py redact_user --user {key}"
    User.objects.create_user(str(key))
    assert forget(row) == "manage.py redact_user --document room --client ann"


@pytest.mark.parametrize("client", ["=site", "=server", "a␀b", "x" * 512])
def test_who_cannot_be_named_is_not(document: Document, client: str) -> None:
    assert forget_command(document, client, None, None) == ""


def test_the_page_of_an_operation_shows_the_command(admin_client: Client, scene: Document) -> None:
    row = Operation.objects.get(server_seq=1)
    html = admin_client.get(f"/admin/vuer_journal/operation/{row.pk}/change/").content.decode()
    assert f"<code>{escape(forget(row))}</code>" in html
