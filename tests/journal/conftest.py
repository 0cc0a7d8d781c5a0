"""Documents for the journal's tests."""

import pytest

from journal.models import Document


@pytest.fixture
def document(db: None) -> Document:
    return Document.objects.create(slug="room")


@pytest.fixture
def other(db: None) -> Document:
    return Document.objects.create(slug="other-room")
