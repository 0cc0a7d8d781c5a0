"""What all tests share: how much hypothesis tries, and where the tests' outside programs are."""

import os
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


LONGEST = {"test_storage.py"}
"""Begun first, so that two workers end at about the same time."""

DATABASE_FIXTURES = {"db", "transactional_db"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use Django's database are the storage contract: they hold on every database
    (`test_storage`)."""
    for item in items:
        if isinstance(item, pytest.Function) and (
            item.get_closest_marker("django_db")
            or DATABASE_FIXTURES & set(item.fixturenames)
            or (item.cls is not None and issubclass(item.cls, TransactionTestCase))
        ):
            item.add_marker("storage")
    items.sort(key=lambda item: item.path.name not in LONGEST)
