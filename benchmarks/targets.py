"""What is put under load: our server, a bare relay, and peers, each in a process of its own on core 0."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.crowd import Client
from benchmarks.yjs import YjsClient
from tests.server import HOST, ROOT, ServerProcess, free_port

LIMITS = {
    "messages_per_second_max": 1e9,
    "message_burst_max": 10**9,
    "bytes_per_second_max": 1e12,
    "byte_burst_max": 10**12,
    "reads_per_second_max": 1e9,
    "read_burst_max": 10**9,
}
SETTINGS: dict[str, Any] = {"LIMITS": LIMITS}
NATIVE = "&format=msgpack&v=2&features=batch"
PLAIN = "&format=msgpack"
ROOMS = 200
PEERS = ROOT / "benchmarks" / "peers"


@dataclass
class Target:
    """Something to put under load."""

    name: str
    port: int
    pid: int
    query: str = PLAIN
    client: type[Client] = Client
    is_quiet: bool = False
    """Says nothing to who joins."""

    def path(self, room: str, client: str) -> str:
        return f"/ws/rooms/{room}/?client={client}{self.query}"


def pin(pid: int, core: int) -> None:
    """All threads to one core, where there are two; a thread may have ended meanwhile."""
    if (os.cpu_count() or 1) > 1:
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task), {core})


@contextmanager
def our_server() -> Iterator[tuple[ServerProcess, int]]:
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), settings=SETTINGS) as server:
        assert server.process is not None
        pid = server.process.pid
        pin(pid, 0)
        server.create_documents([f"bench-{number}" for number in range(ROOMS)])
        yield server, pid


@contextmanager
def relay(*, is_coalescing: bool) -> Iterator[Target]:
    port = free_port()
    options = (
        "--log-level error --ws websockets-sansio --ws-per-message-deflate false --loop uvloop --lifespan off"
    )
    command = [sys.executable, "-m", "uvicorn", "benchmarks.relay:application", "--port", str(port)]
    with process([*command, *options.split()], port, COALESCE=str(int(is_coalescing))) as pid:
        yield Target("relay, coalescing" if is_coalescing else "relay", port, pid, is_quiet=True)


@contextmanager
def hocuspocus() -> Iterator[Target]:
    """With SQLite on disk; installed from the lock file first, where it is not."""
    if not (PEERS / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PEERS, check=True, stdout=sys.stderr)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["node", str(PEERS / "hocuspocus.mjs"), str(port), str(Path(folder) / "documents.sqlite3")]
        with process(command, port) as pid:
            yield Target("Hocuspocus + SQLite", port, pid, client=YjsClient)


@contextmanager
def process(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Its id, on core 0, once it answers; dead afterwards."""
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
    try:
        wait_for(port)
        pin(running.pid, 0)
        yield running.pid
    finally:
        running.kill()
        running.wait()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urlopen(f"http://{HOST}:{port}/", timeout=1)
            return
        except OSError as error:
            if "refused" not in str(error) or time.monotonic() > deadline:
                return
        except Exception:
            return
        time.sleep(0.05)


PEERS_BY_NAME = {"hocuspocus": hocuspocus}
