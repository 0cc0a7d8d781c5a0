"""Documents for the tests of the live side, and Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.models import Document
from tests.rooms.redis_process import RedisProcess


@pytest.fixture
def document(db: None) -> Document:
    return Document.objects.create(slug="room", visibility="public-edit")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as running:
        yield running
