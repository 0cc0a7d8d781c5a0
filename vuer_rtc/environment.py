"""What the runnable project reads from its environment, each variable with one meaning and one default.

`VUER_RTC_DATA_DIR`       folder of everything that must survive a restart; default `data` beside `manage.py`
`VUER_RTC_SECRET_KEY`     Django's signing key; default: made once, kept in the data folder
`VUER_RTC_DEBUG`          `1` shows tracebacks in the browser; default off
`VUER_RTC_ALLOWED_HOSTS`  host names, separated by commas, of pages and browsers' WebSockets; default loopback
`VUER_RTC_HTTPS`          `1` behind a proxy that ends TLS and sets `X-Forwarded-Proto`; default off
`DATABASE_URL`            `postgres://user:pass@host/name`, `mongodb://host/name` or `sqlite:////path`; default: a file
                          in the data folder
`VUER_RTC_METRICS_TOKEN`  what Prometheus sends as its bearer token; default: metrics are for staff only
`REDIS_URL`               channel layer between several server processes; default: one process, in memory
"""

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

SQLITE_BUSY_TIMEOUT_S = 20
"""How long a writer waits for another process's transaction before SQLite says `locked`."""

MONGODB = "django_mongodb_backend"
"""Django's backend for it."""

POSTGRES_POOL_SIZE_MAX = 8
"""Connections of one server process: the committer, a few readers, the pages."""

POSTGRES_POOL_PATIENCE_S = {"timeout": 3, "reconnect_timeout": 2}
"""How long a caller waits for a connection, and how long the pool goes on trying for one by itself.  Its pauses double,
and meanwhile nobody else tries: with its own five minutes, a PostgreSQL that was away for one is found half a minute
late."""

POSTGRES_NETWORK_PATIENCE = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How long a server that does not answer at all counts as one that is there, in seconds, the last in milliseconds: its
host is gone, or a firewall has forgotten the connection.  With the system's own times a commit waits a quarter of an
hour for it, though the database may be back under the same name after seconds.  What takes long is not concerned: the
server's system answers meanwhile."""


def flag(name: str) -> bool:
    """True when the variable says yes."""
    return os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}


def words(name: str, default: list[str]) -> list[str]:
    """The comma-separated words of a variable, or the default when it is unset or empty."""
    found = [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]
    return found or default


def metrics_token() -> str:
    """What lets a scraper in; empty: nothing does."""
    return os.environ.get("VUER_RTC_METRICS_TOKEN", "")


def data_dir(default: Path) -> Path:
    """The data folder; it exists after the call and only its owner may enter a new one."""
    path = Path(os.environ.get("VUER_RTC_DATA_DIR") or default).expanduser().resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def secret_key(folder: Path) -> str:
    """The signing key: from the environment, else from a file made once and readable by its owner alone.

    Safe when several processes start at once: the key is written elsewhere first and linked into place whole.
    """
    if given := os.environ.get("VUER_RTC_SECRET_KEY"):
        return given
    path = folder / "secret_key"
    if not path.exists():
        draft = folder / f"secret_key.{os.getpid()}.{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(64))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its key counts
        finally:
            draft.unlink()
    return path.read_text().strip()


def database(folder: Path) -> dict[str, Any]:
    """Django's `DATABASES["default"]` for `DATABASE_URL`.

    SQLite: write-ahead log, an fsync in every commit (an acknowledged message must survive a power cut) and
    transactions that take the write lock at once, so that no commit fails half-way for lack of it.
    Raises: ValueError for a database that the project does not know how to set up.
    """
    url = os.environ.get("DATABASE_URL") or f"sqlite:///{folder / 'db.sqlite3'}"
    if url.startswith(("mongodb://", "mongodb+srv://")):
        return mongodb_database(url)
    found: dict[str, Any] = dict(dj_database_url.parse(url))
    options = found.setdefault("OPTIONS", {})
    match found["ENGINE"]:
        case "django.db.backends.sqlite3":
            options["timeout"] = SQLITE_BUSY_TIMEOUT_S
            options["transaction_mode"] = "IMMEDIATE"
            options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
            # A file, as in production: threads of one process share an in-memory database without its locks.
            found["TEST"] = {"NAME": str(folder / "test.sqlite3")}
        case "django.db.backends.postgresql":
            found["DISABLE_SERVER_SIDE_CURSORS"] = True  # a pooler of transactions may stand between
            found["OPTIONS"] = POSTGRES_NETWORK_PATIENCE | options
            found["OPTIONS"]["pool"] = {
                "min_size": 1,
                "max_size": POSTGRES_POOL_SIZE_MAX,
            } | POSTGRES_POOL_PATIENCE_S
        case engine:
            raise ValueError(
                f"DATABASE_URL: {engine} is not set up by vuer_rtc.settings; use SQLite, PostgreSQL or MongoDB"
            )
    return found


def mongodb_database(url: str) -> dict[str, Any]:
    """The same for MongoDB: a commit counts when a majority of the replica set has it in its journals.

    Raises: ValueError for an address without the name of a database.
    """
    name = urlsplit(url).path.strip("/")
    if not name:
        raise ValueError("DATABASE_URL: name the database, as in mongodb://host/name")
    options = {"w": "majority", "journal": True, "readConcernLevel": "majority"}
    return {"ENGINE": MONGODB, "HOST": url, "NAME": name, "OPTIONS": options}


def channel_layers() -> dict[str, Any]:
    """Django's `CHANNEL_LAYERS`: Redis when `REDIS_URL` names one, else in memory (one process only)."""
    if url := os.environ.get("REDIS_URL"):
        backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
        return {"default": {"BACKEND": backend, "CONFIG": {"hosts": [url]}}}
    return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
