"""What all tests share: how much hypothesis tries, and where the tests' outside programs are."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from django.test import TransactionTestCase
from hypothesis import HealthCheck, settings

from tests.postgresql import PostgreSQL

settings.register_profile(
    "quick",
    max_examples=50,
    deadline=None,  # two busy cores: a slow example is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", parent=settings.get_profile("quick"), max_examples=200, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=5000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "quick")
)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for the whole session, started when the first test asks for it."""
    with PostgreSQL() as server:
        yield server


LONGEST = ("test_storage_postgresql.py", "test_storage_mongodb.py", "test_crash.py")
"""Begun first, then the files with the most tests, so that two workers end at about the same time."""

DATABASE_FIXTURES = {"db", "transactional_db"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use Django's database are the storage contract: they hold on every database
    (`storage_contract`), unless they break what only SQLite has."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and not item.get_closest_marker("sqlite")
            and (
                item.get_closest_marker("django_db")
                or DATABASE_FIXTURES & set(item.fixturenames)
                or (item.cls is not None and issubclass(item.cls, TransactionTestCase))
            )
        ):
            item.add_marker("storage")
    tests_in = Counter(item.path for item in items)
    items.sort(key=lambda item: (_rank(item.path.name), -tests_in[item.path]))


def _rank(name: str) -> int:
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
