"""System checks: settings of the wrong kind, databases that would break the promise of an ack."""

from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Warning
from django.db import DatabaseError, connections, router

from journal.archive import has_storage
from journal.batch_sql import has_pipelines
from journal.durability import (
    BROKEN,
    Connection,
    encoding_of,
    hint_of,
    isolation_level,
    journal_alias,
    read_durability,
)
from journal.settings import PREFIX, JournalSettings, settings

DURABILITIES = ("full", "relaxed")
LABELS = ("vuer_journal", "vuer_rooms")
"""Of the apps whose rows point to each other and to accounts."""


def check_settings(**_: Any) -> list[CheckMessage]:
    """Errors for unknown keys and for values of the wrong type or below zero."""
    hints = get_type_hints(JournalSettings)
    found: list[CheckMessage] = []
    for key in getattr(django_settings, "VUER_RTC", {}):
        if key.startswith(PREFIX) and key.removeprefix(PREFIX).lower() not in hints:
            found.append(Error(f"VUER_RTC has an unknown key {key!r}.", id="vuer_journal.E001"))
    for name, kind in hints.items():
        value = getattr(settings, name)
        if not _fits(value, kind):
            key = PREFIX + name.upper()
            text = f"VUER_RTC[{key!r}] is {value!r}; it must be {kind.__name__}, and not negative."
            found.append(Error(text, id="vuer_journal.E002"))
    if settings.durability not in DURABILITIES:
        text = f"VUER_RTC['JOURNAL_DURABILITY'] is {settings.durability!r}; it must be one of {DURABILITIES}."
        found.append(Error(text, id="vuer_journal.E003"))
    if settings.archive is True and not has_storage():
        text = f"VUER_RTC['JOURNAL_ARCHIVE'] is on, but STORAGES has no alias {settings.archive_storage!r}."
        found.append(Error(text, id="vuer_journal.E004"))
    return found


def _fits(value: Any, kind: type) -> bool:
    if kind in (str, bool):
        return isinstance(value, kind)
    allowed = (int, float) if kind is float else (int,)
    return isinstance(value, allowed) and not isinstance(value, bool) and value >= 0


def check_accounts(**_: Any) -> list[CheckMessage]:
    """A warning when routers part our rows from the accounts: no foreign key leads into another database."""
    accounts = router.db_for_write(get_user_model())
    ours = [model for model in apps.get_models() if model._meta.app_label in LABELS]
    aliases = dict.fromkeys(router.db_for_write(model) for model in ours)
    apart = [alias for alias in aliases if _place(alias) != _place(accounts)]
    if not apart:
        return []
    text = f"Rows of rooms or journals are in the database {apart[0]!r}, the accounts they point to in {accounts!r}."
    hint = "Route the apps `vuer_journal` and `vuer_rooms` to where the accounts are; see docs/embed.md."
    return [Warning(text, hint=hint, id="vuer_journal.W014")]


def _place(alias: str) -> tuple[Any, ...]:
    """Two aliases may well lead to one database."""
    return tuple(connections.settings[alias].get(name) for name in ("ENGINE", "HOST", "PORT", "NAME"))


def check_durability(databases: Sequence[str] | None = None, **_: Any) -> Iterable[CheckMessage]:
    """Asks the journal's live connection what it promises; runs with `check --database` and `migrate`."""
    alias = journal_alias()
    if alias not in (databases or ()):
        return []
    connection = connections[alias]
    try:
        checks = (_check_promise, _check_transactions, _check_encoding, _check_driver)
        return [found for check in checks for found in check(connection)]
    except DatabaseError as error:
        return [Error(f"The journal's database does not answer: {error}", id="vuer_journal.E010")]


def _check_promise(connection: Connection) -> Iterable[CheckMessage]:
    promise = read_durability(connection)
    if promise.is_full or _is_of_tests(connection):
        return
    if settings.durability == "relaxed":
        text = f"Acknowledged messages may be lost in a power cut ({promise.detail})."
        yield Warning(text, hint=promise.hint, id="vuer_journal.W011")
    else:
        text = f"{BROKEN[0].upper()}{BROKEN[1:]} ({promise.detail})."
        yield Error(text, hint=hint_of(promise), id="vuer_journal.E011")


def _is_of_tests(connection: Connection) -> bool:
    """SQLite in memory: Django's test runner makes one, and runs the checks on it.  No server starts on one."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


def _check_transactions(connection: Connection) -> Iterable[CheckMessage]:
    """The writer reads the truncation point after its insert and must see what others committed (rule J8); its commits
    are its own."""
    if not connection.settings_dict["AUTOCOMMIT"]:
        text = "The journal's transactions are its own; with AUTOCOMMIT off it writes nothing."
        yield Error(text, hint="Remove `AUTOCOMMIT` from the database's settings.", id="vuer_journal.E013")
    if connection.vendor == "postgresql" and (level := isolation_level(connection)) != "read committed":
        text = f"The journal needs transactions that are READ COMMITTED; here they are {level.upper()}."
        hint = "Remove `isolation_level` from the database's OPTIONS, and `default_transaction_isolation` from the "
        hint += "settings of its role, database and server."
        yield Error(text, hint=hint, id="vuer_journal.E012")
    if connection.vendor == "sqlite" and connection.transaction_mode != "IMMEDIATE":
        text = "SQLite transactions that begin as readers fail at their first write while another process writes."
        yield Warning(text, hint='OPTIONS = {"transaction_mode": "IMMEDIATE"}', id="vuer_journal.W012")


def _check_encoding(connection: Connection) -> Iterable[CheckMessage]:
    """Batches are bytes; rows for people and queries are text."""
    if connection.vendor == "postgresql" and (encoding := encoding_of(connection)) != "UTF8":
        text = f"The database's encoding is {encoding}: a document with a character that it does not have gets no rows "
        text += "of operations and objects any more, and a client with one in its id cannot come in."
        hint = "Move to a database that was made with ENCODING 'UTF8', by pg_dump and pg_restore."
        yield Warning(text, hint=hint, id="vuer_journal.W015")


def _check_driver(connection: Connection) -> Iterable[CheckMessage]:
    """The portable way to write asks PostgreSQL for nothing beside the rows (rules J8, J9)."""
    if connection.vendor == "postgresql" and not has_pipelines():
        text = "The driver of PostgreSQL has no pipelines: commits of the journal are slower, wait for somebody's lock "
        text += "for ever, and for the disk only as long as nobody switches `synchronous_commit` off."
        hint = "Install psycopg 3 with libpq 14 or newer: django-vuer-rtc[postgres]."
        yield Warning(text, hint=hint, id="vuer_journal.W016")
