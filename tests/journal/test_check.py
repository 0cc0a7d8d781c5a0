"""Settings and databases that break the promise of an acknowledgement are refused."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dj_database_url
import pytest
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQLWrapper
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.test import override_settings

from journal import check
from journal.durability import read_durability
from tests.journal.sqlite import FULL, sqlite_connection
from tests.postgresql import PostgreSQL


def ids(messages: Any) -> list[str | None]:
    return [message.id for message in messages]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[Any]:
    """Makes a connection the journal's: to a SQLite file of its own, with the options given, or that which is given."""
    made: list[Any] = []

    def make(
        init_command: str = "", transaction_mode: str | None = "IMMEDIATE", connection: Any = None
    ) -> Any:
        connection = connection or sqlite_connection(tmp_path, init_command, transaction_mode)
        made.append(connection)
        monkeypatch.setattr(check, "connections", {"own": connection})
        monkeypatch.setattr(check, "journal_alias", lambda: "own")
        return connection

    with django_db_blocker.unblock():
        yield make
    for connection in made:
        connection.close()


@pytest.mark.parametrize("pragmas", [FULL, "PRAGMA journal_mode=WAL; PRAGMA synchronous=EXTRA"])
def test_sqlite_with_wal_and_an_fsync_per_commit_is_accepted(database: Any, pragmas: str) -> None:
    database(pragmas)
    assert ids(check.check_durability(databases=["own"])) == []


@pytest.mark.parametrize(
    "pragmas",
    [
        "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL",
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
    ],
)
def test_sqlite_that_may_lose_commits_is_refused_unless_the_site_says_so(database: Any, pragmas: str) -> None:
    database(pragmas)
    assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.E011"]
    with override_settings(VUER_RTC={"JOURNAL_DURABILITY": "relaxed"}):
        assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.W011"]


def test_sqlite_transactions_that_begin_as_readers_are_warned_of(database: Any) -> None:
    database(FULL, transaction_mode=None)
    [warning] = check.check_durability(databases=["own"])
    assert (warning.id, warning.msg[-23:]) == ("vuer_journal.W012", "another process writes.")


@pytest.mark.parametrize(
    ("default", "options", "expected"),
    [
        ("read committed", {}, []),
        ("read committed", {"isolation_level": IsolationLevel.SERIALIZABLE}, ["vuer_journal.E012"]),
        ("repeatable read", {}, ["vuer_journal.E012"]),
        ("serializable", {"isolation_level": IsolationLevel.READ_COMMITTED}, ["vuer_journal.E012"]),
    ],
)
def test_postgresql_transactions_that_see_less_than_is_committed_are_refused(
    database: Any, postgresql: PostgreSQL, default: str, options: dict[str, Any], expected: list[str]
) -> None:
    """Whether the site or the server has it so."""
    url = postgresql.url() + f"?options=-c default_transaction_isolation={default.replace(' ', '%5C%20')}"
    settings = {**connections["default"].settings_dict, **dj_database_url.parse(url)}
    settings["OPTIONS"] |= options
    database(connection=PostgreSQLWrapper(settings, alias="own"))
    assert ids(check.check_durability(databases=["own"])) == expected


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_postgresql_that_does_not_store_every_character_is_warned_of(
    database: Any, postgresql: PostgreSQL, encoding: str
) -> None:
    with postgresql.connect() as server:
        server.execute(f"CREATE DATABASE {encoding.lower()} ENCODING '{encoding}' TEMPLATE template0")
    settings = {
        **connections["default"].settings_dict,
        **dj_database_url.parse(postgresql.url(encoding.lower())),
        "OPTIONS": {},
    }
    connection = database(connection=PostgreSQLWrapper(settings, alias="own"))
    assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.W015"]
    connection.close()
    postgresql.drop_database(encoding.lower())


def test_a_driver_of_postgresql_that_asks_it_for_less_is_warned_of(
    database: Any, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As psycopg2 is, which many sites have."""
    settings = {**connections["default"].settings_dict, **dj_database_url.parse(postgresql.url())}
    settings["OPTIONS"] = {}
    database(connection=PostgreSQLWrapper(settings, alias="own"))
    assert ids(check.check_durability(databases=["own"])) == []
    monkeypatch.setattr(check, "has_pipelines", lambda: False)
    assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.W016"]


def test_the_check_asks_only_the_database_it_was_told_to(database: Any) -> None:
    database("PRAGMA journal_mode=DELETE")
    assert ids(check.check_durability(databases=["other"])) == []
    assert ids(check.check_durability()) == []


def test_a_database_that_does_not_answer_is_an_error(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = database(FULL)

    def refuse(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(connection, "get_new_connection", refuse)
    assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.E010"]


def test_the_promise_names_what_it_found(database: Any) -> None:
    promise = read_durability(database("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"))
    assert promise.detail == "SQLite: journal_mode=WAL, synchronous=NORMAL"
    assert "synchronous=FULL" in promise.hint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"JOURNAL_KEEP_MESSAGES": 5, "JOURNAL_KEEP_DAYS": 0.5, "ROOM_IDLE_S": 1}, []),
        ({"JOURNAL_KEEP_MESAGES": 5}, ["vuer_journal.E001"]),
        ({"JOURNAL_KEEP_MESSAGES": "5"}, ["vuer_journal.E002"]),
        ({"JOURNAL_KEEP_MESSAGES": True}, ["vuer_journal.E002"]),
        ({"JOURNAL_KEEP_DAYS": -1}, ["vuer_journal.E002"]),
        ({"JOURNAL_DURABILITY": "maybe"}, ["vuer_journal.E003"]),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(given: dict[str, Any], expected: list[str]) -> None:
    with override_settings(VUER_RTC=given):
        found = check.check_settings()
    assert ids(found) == expected
    assert all(message.msg.endswith(".") for message in found)


@pytest.mark.parametrize(
    ("concern", "is_full"),
    [
        ({"w": "majority", "j": True}, True),
        ({"w": "majority"}, False),
        ({"w": 1, "j": True}, False),
        ({}, False),
    ],
)
def test_mongodb_has_to_wait_for_a_majority_and_its_disks(concern: dict[str, Any], is_full: bool) -> None:
    database = SimpleNamespace(write_concern=SimpleNamespace(document=concern))
    promise = read_durability(SimpleNamespace(vendor="mongodb", database=database))
    assert promise.is_full is is_full
    assert "majority" in promise.hint


def test_a_database_whose_transactions_somebody_else_ends_is_refused(database: Any) -> None:
    database(FULL).settings_dict["AUTOCOMMIT"] = False
    assert ids(check.check_durability(databases=["own"])) == ["vuer_journal.E013"]


def test_a_database_in_memory_is_that_of_the_site_s_tests(database: Any) -> None:
    connection = database(FULL)
    connection.settings_dict["NAME"] = "file:memorydb_own?mode=memory&cache=shared"
    assert not read_durability(connection).is_full
    assert ids(check.check_durability(["own"])) == []


class Apart:
    """Routes one of the apps into a database of its own."""

    def __init__(self, label: str) -> None:
        self.label = label

    def db_for_write(self, model: Any, **_: Any) -> str | None:
        return "journal" if model._meta.app_label == self.label else None


@pytest.mark.parametrize("label", ["vuer_journal", "vuer_rooms"])
@pytest.mark.parametrize(("name", "found"), [("elsewhere", ["vuer_journal.W014"]), (None, [])])
def test_rows_apart_from_the_accounts_are_told(
    label: str, name: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = connections.settings["default"]
    monkeypatch.setitem(connections.settings, "journal", own | ({"NAME": name} if name else {}))
    with override_settings(DATABASE_ROUTERS=[Apart(label)]):
        assert ids(check.check_accounts()) == found
    assert ids(check.check_accounts()) == []
