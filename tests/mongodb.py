"""A MongoDB of the tests' own: SecantusDB, which speaks its protocol and, unlike mongod, can be had from PyPI.

`MONGO_URI=mongodb://…` names a real replica set to be used instead.
"""

import os
import subprocess
import sys
import tempfile
import time
from typing import Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.postgresql import GUARD
from tests.server import HOST, ROOT, free_port

READY_MAX_S = 60
STOP_MAX_S = 20


class MongoDB:
    """A server without data, in memory; runs inside the block.  One that `MONGO_URI` names is used as it is."""

    def __init__(self) -> None:
        self.address = os.environ.get("MONGO_URI", "")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not self.address:
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(STOP_MAX_S)

    def url(self, database: str = "vuer") -> str:
        """A DATABASE_URL."""
        return f"{self.address.rstrip('/')}/{database}"

    def _start(self) -> None:
        port = free_port()
        self.address = f"mongodb://{HOST}:{port}"
        options = [
            "--host",
            HOST,
            "--port",
            str(port),
            "--storage-path",
            ":memory:",
            "--log-level",
            "WARNING",
        ]
        with tempfile.TemporaryFile() as log:
            command = ["sh", "-c", GUARD, "sh", sys.executable, "-m", "tests.secantus", *options]
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)
            deadline = time.monotonic() + READY_MAX_S
            while not self._is_ready():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"SecantusDB is not ready:\n{log.read().decode()[-4000:]}")

    def _is_ready(self) -> bool:
        with MongoClient[dict[str, object]](self.address, serverSelectionTimeoutMS=200) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True
