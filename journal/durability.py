"""What the database promises about a committed batch, as the live connection itself says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connections, router, transaction

from journal.error import OpenTransaction
from journal.lock_wait import PATIENCE_MS
from journal.settings import settings
from journal.turnstile import one_writer

BROKEN = "this database may lose acknowledged messages in a power cut"


class NotDurable(Exception):
    """The database may lose what was acknowledged, and the site has not said that it accepts that."""


View = TypeVar("View", bound=Callable[..., Any])

Connection = Any
"""A Django database wrapper; its type differs per backend."""


@dataclass(frozen=True, slots=True)
class Durability:
    """One database's promise."""

    is_full: bool
    """True when a commit that returned survives a power cut."""
    detail: str
    """The settings found, for people."""
    hint: str = ""
    """How to get the full promise; empty when it is given."""


def refuse_unless_durable(promise: Durability) -> None:
    """Returns when the promise may be given.

    Raises: NotDurable, with what to do.
    """
    if not promise.is_full and settings.durability != "relaxed":
        raise NotDurable(f"{BROKEN} ({promise.detail}). {hint_of(promise)}")


def hint_of(promise: Durability) -> str:
    """How to get the full promise, or to do without."""
    return f"{promise.hint} Or accept the loss: VUER_RTC = {{'JOURNAL_DURABILITY': 'relaxed'}}"


def journal_alias() -> str:
    """Alias of the database that journals are written to."""
    from journal.models import JournalBatch

    return router.db_for_write(JournalBatch)


def journal_connection() -> Connection:
    """This thread's connection to the database that journals are written to."""
    return connections[journal_alias()]


def non_atomic(view: View) -> View:
    """The view, outside the transactions of `ATOMIC_REQUESTS`, whichever database the site has set it for: what it
    writes must be durable when it tells so, and Django runs no async view in one."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def refuse_manual_commit(connection: Connection) -> None:
    """Returns unless the caller, or the site, has switched autocommit off: then nothing that returns has committed.

    Raises: OpenTransaction.
    """
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise OpenTransaction("with autocommit off nothing is durable before somebody commits: switch it on")


@contextmanager
def derived_rows(alias: str) -> Iterator[None]:
    """A transaction whose commit need not wait for the disk: what it writes can be made again from the journal (J16).

    A power cut may take it back, but none that the durable commit of another connection has followed: both databases
    have one log, and write it in order.
    """
    connection = connections[alias]
    is_outermost = not connection.in_atomic_block
    with ExitStack() as stack:
        stack.enter_context(one_writer(connection))
        if is_outermost and connection.vendor == "sqlite":
            stack.callback(_put_back, connection, _execute(connection, "PRAGMA synchronous"))
            _execute(connection, "PRAGMA synchronous = NORMAL")
        stack.enter_context(transaction.atomic(using=alias))
        if is_outermost and connection.vendor == "postgresql":
            _execute(connection, RELAXED)
        yield


RELAXED = (
    "SELECT set_config('synchronous_commit', 'off', true),"  # true: local, for a pooler may share the session
    f" set_config('lock_timeout', '{PATIENCE_MS}', true)"
)


def _put_back(connection: Connection, synchronous: int) -> None:
    """Afterwards commits of SQLite's connection wait for the disk as before; or it is closed, and the next one begins
    as the site has it: what comes next may be acknowledged."""
    try:
        _execute(connection, f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        connection.close()
        raise


def _execute(connection: Connection, statement: str) -> Any:
    """The first value of its answer, if it has one."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def read_durability(connection: Connection) -> Durability:
    """The promise of one connection; asks the database."""
    match connection.vendor:
        case "sqlite":
            return _read_sqlite(connection)
        case "postgresql":
            return _read_postgresql(connection)
        case "mongodb":
            return _read_mongodb(connection)
        case vendor:
            return Durability(True, f"{vendor}: as its server is configured")


def _read_sqlite(connection: Connection) -> Durability:
    with connection.cursor() as cursor:
        journal_mode = str(cursor.execute("PRAGMA journal_mode").fetchone()[0]).lower()
        synchronous = int(cursor.execute("PRAGMA synchronous").fetchone()[0])
    name = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}.get(synchronous, str(synchronous))
    return Durability(
        is_full=journal_mode == "wal" and synchronous >= 2,
        detail=f"SQLite: journal_mode={journal_mode.upper()}, synchronous={name}",
        hint='OPTIONS = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"}',
    )


def _read_postgresql(connection: Connection) -> Durability:
    names = ("synchronous_commit", "fsync", "full_page_writes")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(['current_setting(%s)'] * len(names))}", names)
        found = dict(zip(names, cursor.fetchone(), strict=True))
    return Durability(
        is_full="off" not in found.values(),
        detail="PostgreSQL: " + ", ".join(f"{name}={value}" for name, value in found.items()),
        hint="Switch them on in postgresql.conf, or for synchronous_commit for the role of this site.",
    )


def _read_mongodb(connection: Connection) -> Durability:
    concern = connection.database.write_concern.document
    return Durability(
        is_full=concern.get("w") == "majority" and concern.get("j") is True,
        detail=f"MongoDB: write concern w={concern.get('w', 1)}, j={str(concern.get('j', False)).lower()}",
        hint='OPTIONS = {"w": "majority", "journal": True}',
    )


def isolation_level(connection: Connection) -> str:
    """Of a PostgreSQL connection's statements, which is the server's default, or, if that is `read committed`, of its
    transactions, which the site's OPTIONS may change."""
    default = str(_execute(connection, "SHOW default_transaction_isolation"))
    if default != "read committed":
        return default
    return str(connection.isolation_level.name).replace("_", " ").lower()


def encoding_of(connection: Connection) -> str:
    """In which a PostgreSQL database stores text."""
    return str(_execute(connection, "SHOW server_encoding"))
