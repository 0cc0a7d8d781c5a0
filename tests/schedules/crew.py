"""Processes without sockets that work on one document of a site: the server's own rooms and committers, or cron."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from types import TracebackType
from typing import IO, Self
from uuid import UUID

import msgspec

from tests.journal.victim import START, Task
from tests.rooms.disk import rows_of
from tests.schedules.place import Site

PATIENCE_S = 180


class Worker:
    """One process with a task, and what it reports."""

    def __init__(self, site: Site, task: Task) -> None:
        self.report: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is buried
        command = [sys.executable, "-c", START]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self.report,
            env=site.shell.environment(),
        )
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(task))
        self.process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.report.close()

    def has_said(self, line: str) -> None:
        """Returns when it has."""
        deadline = time.monotonic() + PATIENCE_S
        while line not in self.said():
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.01)

    def finish(self) -> list[str]:
        """Waits until it has done its task; what it said, line by line."""
        assert self.process.wait(PATIENCE_S) == 0
        return self.said()

    def said(self) -> list[str]:
        number = self.report.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode().split("\n")[:-1]


def documents_of(site: Site) -> dict[str, UUID]:
    """The keys of the site's documents by name."""
    rows = rows_of(site.data_dir, "SELECT slug, _id FROM vuer_journal_document", (), site.database_url)
    return {slug: UUID(str(key)) for slug, key in rows}


def acks_of(lines: list[str]) -> dict[int, dict[str, int]]:
    """By document (its index in the task): sequence by message id.

    Nothing was refused, nor acknowledged at two places.
    """
    acked: dict[int, dict[str, int]] = {}
    for line in lines:
        if line == "ready":
            continue
        word, place, *rest = line.split(" ")
        assert word in ("sent", "acked"), line
        if word == "acked":
            index, _, client = place.partition("/")
            seq = int(rest[1])
            assert acked.setdefault(int(index), {}).setdefault(f"{client}:{rest[0]}", seq) == seq
    return acked
