"""What all tests share: how much hypothesis tries, and where the tests' outside programs are."""

import os
from collections.abc import Iterator

import pytest
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
