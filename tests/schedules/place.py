"""A site of several server processes on one database, for schedules that need each of them at its place."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from journal.failpoint import VARIABLE
from tests.rooms.client import Client
from tests.server import ServerProcess
from vuer_rtc.crdt.message import Message, Op

SLUG = "stage"
PATIENCE_S = 60
SETTINGS = {
    "LIMITS": {
        "messages_per_second_max": 1_000_000,
        "message_burst_max": 1_000_000,
        "byte_burst_max": 10**12,
    },
    "JOURNAL_DELETE_MESSAGES_MAX": 20,
}
"""Truncation goes in small steps, so that there is something between them."""


class Counter(Client):
    """A client whose messages count one up on its own node each: what is folded away can still be
    counted."""

    async def count(self) -> Message:
        """Sends the next message; it has been sent, not acknowledged."""
        more = [Op(ot="number.add", key=self.name, path="count", value=1)]
        if self.counter == 0:
            value = {"key": self.name, "count": 0}
            more.insert(0, Op(ot="node.insert", path="children", value=value))
        return await self.send(*more)

    async def count_on(self, messages: int) -> None:
        """Afterwards so many more are acknowledged."""
        sent = [await self.count() for _ in range(messages)]
        await self.until(lambda: all(message.id in self.acks for message in sent))

    @property
    def acked_seqs(self) -> dict[str, int]:
        """Sequence by id, of what was acknowledged with one."""
        return {id: seq for id, seq in self.acks.items() if seq is not None}


class Site:
    """One data folder and one database; its servers know of each other by the journal alone."""

    def __init__(self, data_dir: Path, database_url: str, **settings: Any) -> None:
        self.data_dir = data_dir
        self.database_url = database_url
        self.settings = SETTINGS | settings
        self.servers: list[ServerProcess] = []
        self.shell = self.server()

    def prepare(self) -> None:
        """Afterwards the database has its tables, and the document."""
        self.shell.manage("migrate", "--verbosity", "0")
        self.shell.create_documents([SLUG])

    def server(self) -> ServerProcess:
        """Another one, not running yet."""
        made = ServerProcess(self.data_dir, settings=self.settings, database_url=self.database_url)
        self.servers.append(made)
        return made

    def started(self, failpoint: str = "") -> ServerProcess:
        """Another one that runs; `failpoint` as in `journal.failpoint`."""
        made = self.server()
        if failpoint:
            os.environ[VARIABLE] = failpoint
        try:
            made.start()
        finally:
            os.environ.pop(VARIABLE, None)
        return made

    def end(self) -> None:
        """Afterwards none of its servers runs, the sleeping ones included."""
        for server in self.servers:
            if server.process is not None:
                server.kill()

    def compact(self, keep: int = 10) -> str:
        """Afterwards cron has been; what it says."""
        return self.shell.manage("compact_journals", "--keep", str(keep), "--older-than", "0", "--json")

    @contextmanager
    def no_commits(self) -> Iterator[None]:
        """Inside the block nobody can commit a batch: whoever tries waits."""
        if self.database_url:
            with psycopg.connect(self.database_url) as rival:
                rival.execute("LOCK TABLE vuer_journal_journalbatch IN SHARE MODE")
                yield
        else:
            rival_file = sqlite3.connect(
                self.data_dir / "db.sqlite3", timeout=PATIENCE_S, isolation_level=None
            )
            rival_file.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                rival_file.execute("ROLLBACK")
                rival_file.close()


def wait_until_asleep(server: ServerProcess) -> None:
    """Returns when the server's process has been stopped by a signal."""
    assert server.process is not None
    stat = Path(f"/proc/{server.process.pid}/stat")
    deadline = time.monotonic() + PATIENCE_S
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "it was never stopped"
        time.sleep(0.01)


def wake(server: ServerProcess) -> None:
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGCONT)
