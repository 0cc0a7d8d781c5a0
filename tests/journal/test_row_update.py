"""Many rows changed by one statement, as Django's `bulk_update` would change them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from journal import row_update
from journal.models import Document, SceneObject
from journal.row_update import update_rows

pytestmark = pytest.mark.django_db

FIELDS = ["name", "properties", "is_hidden", "lt", "updated_at"]
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
VALUES: list[tuple[Any, ...]] = [
    ("it's", {"x": [1.5, None, "é"]}, True, 1 << 60, None),
    ("%s", {}, False, 0, MOMENT),
    ("", {"a": {"b": 1}}, True, -1, None),
]


def make(document: Document, count: int) -> list[SceneObject]:
    rows = [SceneObject(document=document, key=f"n{number}", tag="mesh", lt=7) for number in range(count)]
    return SceneObject.objects.bulk_create(rows)


def test_the_rows_have_the_values_of_those_fields_and_no_others(document: Document) -> None:
    *rows, other = make(document, 4)
    for row, values in zip(rows, VALUES, strict=True):
        for name, value in zip(FIELDS, values, strict=True):
            setattr(row, name, value)
        row.tag = "not to be written"
    update_rows(rows, FIELDS)
    for row, values in zip(rows, VALUES, strict=True):
        row.refresh_from_db()
        assert tuple(getattr(row, name) for name in FIELDS) == values
        assert row.tag == "mesh"
    assert SceneObject.objects.get(pk=other.pk).lt == 7


def test_rows_that_are_gone_stay_gone_and_nothing_is_nothing(document: Document) -> None:
    kept, gone = make(document, 2)
    kept.lt = gone.lt = 8
    SceneObject.objects.filter(pk=gone.pk).delete()
    update_rows([kept, gone], ["lt"])
    update_rows([], ["lt"])
    assert list(SceneObject.objects.values_list("key", "lt")) == [("n0", 8)]


@pytest.mark.sql
def test_many_rows_take_few_statements(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_update, "ROWS_MAX", 4)
    rows = make(document, 10)
    for number, row in enumerate(rows):
        row.lt = 100 + number
    with CaptureQueriesContext(
        connection,
    ) as queries:
        update_rows(rows, ["lt"])
    assert len(queries) == 3
    assert list(SceneObject.objects.order_by("lt").values_list("key", "lt")) == [
        (f"n{n}", 100 + n) for n in range(10)
    ]
