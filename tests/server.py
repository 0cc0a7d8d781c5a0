"""A real server in a process of its own, for tests that drive it over real sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent
READY_MAX_S = 60
STOP_MAX_S = 20
HOST = "127.0.0.1"


class ServerProcess:
    """`python -m vuer_rtc.serve` with a data folder of its own, and by default the SQLite database in it;
    as a context manager it runs inside the block.

    The port stays the same over restarts, so that clients find the server again.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: dict[str, Any] | None = None,
        port: int | None = None,
        database_url: str = "",
    ) -> None:
        self.database_url = database_url
        self.data_dir = Path(data_dir)
        self.port = port or free_port()
        self.settings = settings or {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.kill()

    # Life

    def start(self) -> None:
        """Afterwards the server answers /healthz."""
        assert self.process is None, "it runs already"
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "vuer_rtc.serve"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=log, stderr=log)
        deadline = time.monotonic() + READY_MAX_S
        while not self.is_ready():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready (exit code {code}):\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, closed or said goodbye to."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit code once it has shut down."""
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets, its locks and its leases, and does nothing."""
        assert self.process is not None, "it does not run"
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        assert self.process is not None, "it does not run"
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> int:
        assert self.process is not None, "it does not run"
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def is_ready(self) -> bool:
        return self.page("/healthz")[0] == 200

    def page(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text of a page; status 0 when nobody answers."""
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    # Surroundings

    def environment(self) -> dict[str, str]:
        settings = {"VUER_RTC_TEST_SETTINGS": json.dumps(self.settings)} if self.settings else {}
        module = "tests.server_settings" if self.settings else "vuer_rtc.settings"
        return {
            **os.environ,
            "HOST": HOST,
            "PORT": str(self.port),
            "VUER_RTC_DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self.database_url,
            "DJANGO_SETTINGS_MODULE": module,
            **settings,
        }

    @property
    def log_path(self) -> Path:
        return self.data_dir / "server.log"

    def log(self) -> str:
        """What the server has printed, all starts together."""
        return self.log_path.read_text(errors="replace")

    def manage(self, *arguments: str) -> str:
        """The output of a management command on this server's data, in a process of its own."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create_documents(self, slugs: Iterable[str], visibility: str = "public-edit") -> None:
        """Make documents that anonymous visitors may edit, or as `visibility` says."""
        rows = [{"slug": slug, "visibility": visibility} for slug in slugs]
        code = f"from journal.models import Document\nfor row in {rows!r}: Document.objects.create(**row)"
        self.manage("shell", "--no-imports", "-c", code)

    # Rooms

    def url(self, slug: str, client: str, **query: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"ws://{HOST}:{self.port}/ws/rooms/{slug}/?client={client}{more}"

    def status(self, slug: str, client: str = "status-reader") -> dict[str, Any]:
        """What the server answers a `sync-check`: clock and digest."""
        with connect(self.url(slug, client, format="json"), max_size=None, compression=None) as connection:
            connection.send(json.dumps({"mtype": "sync-check", "requestId": "status"}))
            while True:
                frame = json.loads(connection.recv(timeout=20))
                if frame["mtype"] == "sync-status":
                    status: dict[str, Any] = frame["status"]
                    return status

    def digest(self, slug: str) -> str:
        """The canonical digest of a document as the live room has it."""
        return str(self.status(slug)["digest"])

    def wait_for_messages(self, slug: str, count: int, timeout_s: float = 30) -> None:
        """Returns once the clock of the live room counts at least `count` messages."""
        deadline = time.monotonic() + timeout_s
        while sum(self.status(slug)["vectorClock"].values()) < count:
            assert time.monotonic() < deadline, f"fewer than {count} messages after {timeout_s} s"
            time.sleep(0.02)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
