"""Documents for the tests of the live side."""

import pytest

from journal.models import Document


@pytest.fixture
def document(db: None) -> Document:
    return Document.objects.create(slug="room", visibility="public-edit")
