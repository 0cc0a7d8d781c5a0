"""The tests' own PostgreSQL: it keeps what was committed, and ends with whoever started it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.postgresql import PostgreSQL
from tests.server import ROOT

START_AND_DIE = """
import os, signal
from tests.postgresql import PostgreSQL
server = PostgreSQL()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """One that may be ended."""
    with PostgreSQL() as server:
        yield server


def test_it_keeps_what_was_committed_over_a_restart_and_over_a_crash(server: PostgreSQL) -> None:
    url = server.create_database("kept")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE word (word text)")
    for word, end in (("stopped", server.stop), ("crashed", server.crash)):
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO word VALUES (%s)", [word])
        end()
        assert not server.is_ready()
        server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT word FROM word").fetchall() == [("stopped",), ("crashed",)]


def test_it_promises_that_commits_last(postgresql: PostgreSQL) -> None:
    with postgresql.connect() as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)


def test_it_does_not_outlive_a_process_that_was_killed() -> None:
    done = subprocess.run([sys.executable, "-c", START_AND_DIE], cwd=ROOT, capture_output=True, text=True)
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + 30
    while is_running(int(pid)):
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.02)
    shutil.rmtree(folder)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
