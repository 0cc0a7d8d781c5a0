"""A Redis server of our own, which a test kills and starts again at the same address."""

import subprocess
import time
from pathlib import Path
from typing import Self

import redis

from tests.server import HOST, free_port

READY_MAX_S = 20


class RedisProcess:
    """`redis-server` without files; runs inside the block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.kill()

    def start(self) -> None:
        """Afterwards it answers."""
        options = ["--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            ["redis-server", *options], cwd=self.directory, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY_MAX_S
        with redis.Redis.from_url(self.url) as connection:
            while True:
                try:
                    connection.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def subscribers(self, group: str) -> int:
        """Processes whose channel layer has joined the group."""
        channel = f"asgi__group__{group}"
        with redis.Redis.from_url(self.url) as connection:
            [(_, count)] = connection.pubsub_numsub(channel)
        return int(count)
