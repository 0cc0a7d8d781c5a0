"""A session with the database that has died turns nobody away, wherever it is kept."""

import io
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.db.backends.dummy.base import DatabaseWrapper
from django.test import override_settings

from journal.management import per_document
from journal.management.commands.verify_journals import Command
from journal.models import Document
from journal.renewal import renew, renew_if_dead

connection: Any = connections["default"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sql]
THREADS = 3


def fill_pool() -> None:
    """Afterwards several sessions have been used, and given back."""
    barrier = threading.Barrier(THREADS)

    def use() -> None:
        Document.objects.exists()
        barrier.wait()
        connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_sessions() -> None:
    """This connection's, and those in the pool; SQLite's do not die."""
    if connection.vendor == "sqlite":
        return
    fill_pool()
    killer = connections.create_connection(connection.alias)
    killer.settings_dict = {**killer.settings_dict, "OPTIONS": {}}  # a session that is not of the pool
    with killer.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] > THREADS
    killer.close()


def test_the_next_callers_find_sessions_that_live(document: Document) -> None:
    connection.ensure_connection()
    kill_sessions()
    renew_if_dead(connection)
    for _ in range(THREADS + 1):
        assert Document.objects.exists()
        connection.close()


def test_a_session_that_lives_is_left() -> None:
    connection.ensure_connection()
    session = connection.connection
    renew_if_dead(connection)
    assert connection.connection is session


def test_a_session_that_is_renewed_is_another(document: Document) -> None:
    connection.ensure_connection()
    session = connection.connection
    renew(connection)
    renew(connection)
    assert Document.objects.exists()
    assert connection.connection is not session


def test_a_database_that_starts_again_costs_a_command_the_document_it_is_at(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    treated = []

    def treat(self: Any, each: Document, options: Any) -> Any:
        if not treated:
            kill_sessions()
        treated.append(each.slug)
        return {"slug": each.slug, "messages": Document.objects.count()}, bool(treated[1:])

    monkeypatch.setattr(Command, "treat", treat)
    monkeypatch.setattr(Command, "describe", lambda self, result: iter(["treated"]))
    out, first = io.StringIO(), min(document.slug, other.slug)
    with pytest.raises(CommandError, match=f"not well: {first}$"):
        call_command("verify_journals", stdout=out, stderr=out)
    assert len(treated) == 2


def test_a_database_that_stays_away_ends_the_command(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    treated = []

    def treat(self: Any, each: Document, options: Any) -> Any:
        treated.append(each.slug)
        connections.close_all()
        monkeypatch.setattr(connection, "connect", away)
        return {"slug": each.slug, "detail": "it went away"}, False

    def away() -> None:
        raise OperationalError("nobody is there")

    monkeypatch.setattr(Command, "treat", treat)
    monkeypatch.setattr(per_document, "RECONNECT_PAUSES_S", (0, 0))
    with pytest.raises(CommandError, match="nobody is there"):
        call_command("verify_journals", stdout=io.StringIO(), stderr=io.StringIO())
    monkeypatch.undo()
    assert treated == [min(document.slug, other.slug)]


def test_a_command_goes_on_with_the_database_that_holds_the_journals(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site may have that under another name, and nothing at all under `default`."""
    treated = []

    class Router:
        def db_for_write(self, model: Any, **_: Any) -> str:
            return "journal"

    def treat(self: Any, each: Document, options: Any) -> Any:
        treated.append(each.slug)
        connections["default"] = DatabaseWrapper({})  # what Django has where DATABASES names none
        return {"slug": each.slug, "detail": "not well"}, False

    monkeypatch.setattr(Command, "treat", treat)
    monkeypatch.setattr(per_document, "_all_slugs", lambda: iter([document.slug, other.slug]))
    monkeypatch.setattr(per_document, "_found", {each.slug: each for each in (document, other)}.get)
    connections["journal"] = connection
    try:
        with override_settings(DATABASE_ROUTERS=[Router()]), pytest.raises(CommandError, match="not well"):
            call_command("verify_journals", stdout=io.StringIO(), stderr=io.StringIO())
    finally:
        connections["default"] = connection
        del connections["journal"]
    assert sorted(treated) == sorted([document.slug, other.slug])
