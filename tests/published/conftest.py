"""A server of its own for every test, and published stores that are not connected yet."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import ServerProcess

from .crew import CLIENTS, SLUG, Clients
from .process import PublishedClient


@pytest.fixture
def server(tmp_path: Any) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        running.create_documents([SLUG])
        yield running


@pytest.fixture
def clients() -> Iterator[Clients]:
    started = {name: PublishedClient(name) for name in (*CLIENTS, "joiner")}
    yield started
    for client in started.values():
        client.stop()
