"""The rows follow what one set of migrations for three databases needs, and say what they mean."""

from uuid import RFC_4122

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, models

from journal.models import JournalBatch, row
from journal.models.row import MongoIndex

MODELS = list(apps.get_app_config("vuer_journal").get_models())


@pytest.mark.parametrize("model", MODELS)
def test_every_primary_key_is_an_explicit_uuid_in_column_id(model: type[models.Model]) -> None:
    key = model._meta.pk
    assert isinstance(key, models.UUIDField)
    assert (key.column, key.has_default()) == ("_id", True)


@pytest.mark.parametrize("model", MODELS)
def test_every_field_says_what_it_means(model: type[models.Model]) -> None:
    silent = [field.name for field in model._meta.fields if not field.primary_key and not field.help_text]
    assert silent == []


@pytest.mark.parametrize("model", [model for model in MODELS if model is not JournalBatch])
def test_an_ordinary_index_stands_beside_every_unique_one(model: type[models.Model]) -> None:
    indexed = [tuple(index.fields) for index in model._meta.indexes]
    unique = [tuple(c.fields) for c in model._meta.constraints if isinstance(c, models.UniqueConstraint)]
    unique += [(field.name,) for field in model._meta.fields if field.unique and not field.primary_key]
    for fields in unique:
        assert any(fields[: len(index)] == index for index in indexed), fields


@pytest.mark.django_db
def test_only_mongodb_has_the_indexes_beside_unique_ones() -> None:
    indexes = [(model, index) for model in MODELS for index in model._meta.indexes]
    beside = [(model, index.name) for model, index in indexes if isinstance(index, MongoIndex)]
    assert len(beside) == 3
    with connection.cursor() as cursor:
        for model, name in beside:
            there = connection.introspection.get_constraints(cursor, model._meta.db_table)
            assert (name in there) is (connection.vendor == "mongodb")


def test_the_permissions_of_a_document_are_view_edit_and_moderate() -> None:
    document = apps.get_model("vuer_journal", "Document")
    assert set(document._meta.default_permissions) >= {"view", "change"}
    assert [code for code, _ in document._meta.permissions] == ["moderate_document"]


@pytest.mark.django_db
def test_the_migrations_are_up_to_date() -> None:
    call_command("makemigrations", "vuer_journal", check=True, dry_run=True, verbosity=0)


def test_keys_are_neighbours_in_the_order_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [
        1_764_000_000_000_000_000 + 300 * n for n in range(10_000)
    ]  # nanoseconds, over three milliseconds
    monkeypatch.setattr(row.time, "time_ns", iter(moments).__next__)
    keys = [row.new_key() for _ in moments]
    assert {(key.version, key.variant) for key in keys} == {(7, RFC_4122)}
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert {key.int >> 80 for key in keys} == {moment // 1_000_000 for moment in moments}
