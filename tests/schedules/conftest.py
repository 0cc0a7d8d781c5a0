"""Sites of several processes, on each database."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.postgresql import PostgreSQL
from tests.schedules.place import Site

TEMPLATE = "schedules"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database is prepared: copying it takes less than preparing another."""
    folder = tmp_path_factory.mktemp("template")
    Site(folder, "").prepare()
    return folder


@pytest.fixture(scope="session")
def postgresql_template(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> str:
    """A prepared database on the server of the session."""
    Site(tmp_path_factory.mktemp("template"), postgresql.create_database(TEMPLATE)).prepare()
    return TEMPLATE


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site with one empty document, none of its servers running yet."""
    if request.param == "sqlite":
        shutil.copytree(request.getfixturevalue("sqlite_template"), tmp_path, dirs_exist_ok=True)
        site = Site(tmp_path, "")
        yield site
        site.end()
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"schedule_{uuid4().hex}"
    site = Site(tmp_path, server.create_database(name, request.getfixturevalue("postgresql_template")))
    yield site
    site.end()
    server.drop_database(name)
