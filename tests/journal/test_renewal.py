"""A session with the database that has died turns nobody away, wherever it is kept."""

import threading
from typing import Any

import pytest
from django.db import connections

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
