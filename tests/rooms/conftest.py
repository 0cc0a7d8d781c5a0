"""Documents for the tests of the live side, its hub in this process, and Redis."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.models import Document
from rooms.hub import Hub, current_hub
from tests.rooms.in_process import QUICK
from tests.rooms.redis_process import RedisProcess


@pytest.fixture
def document(db: None) -> Document:
    return Document.objects.create(slug="room", visibility="public-edit")


@pytest.fixture
def open_document(transactional_db: None) -> Document:
    return Document.objects.create(slug="room", visibility="public-edit")


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    """Of the hub; a module with others has a fixture of this name."""
    return QUICK


@pytest.fixture
async def hub(open_document: Document, hub_settings: dict[str, Any], settings: Any) -> AsyncIterator[Hub]:
    settings.VUER_RTC = dict(hub_settings)
    running = current_hub()
    yield running
    await running.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as running:
        yield running
