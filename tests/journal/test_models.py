"""The rows follow what one set of migrations for three databases needs, and say what they mean."""

from typing import Any
from uuid import RFC_4122

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, models, transaction
from django.test import override_settings

from journal.compaction import KeepRules, compact_document
from journal.lease import lease
from journal.models import Document, JournalBatch, row
from journal.models.row import MongoIndex
from journal.purge import PURGED_SEQ, mark_purged
from journal.reader import hydrate
from tests.journal.history import append_each, insert, message, put

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


class Replica:
    """A site's router, whose replica must not be asked for any of our rows: it lags."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"


@pytest.mark.parametrize("model", [*MODELS, *apps.get_app_config("vuer_rooms").get_models()])
def test_rows_are_read_where_they_are_written(model: type[models.Model]) -> None:
    with override_settings(DATABASE_ROUTERS=[Replica()]):
        assert model._default_manager.all().db == "default"


@pytest.mark.django_db
def test_what_a_query_left_out_is_read_there_too(document: Document) -> None:
    append_each(document, [message(1)])
    with override_settings(DATABASE_ROUTERS=[Replica()]):
        batch = JournalBatch.objects.defer("payload").get()
        assert batch.payload
        assert batch.document == document
        document.refresh_from_db()


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


def test_j29_a_document_saved_late_takes_no_truncation_back(document: Document) -> None:
    append_each(document, [message(1, insert("n")), *[message(lt, put("n", "x", lt)) for lt in range(2, 9)]])
    late = Document.objects.get(pk=document.pk)
    compact_document(document, KeepRules(3, 0))
    before = Document.objects.values().get(pk=document.pk)
    digest = hydrate(document.pk).graph.digest()
    late.title, late.keep_days = "Late", 2
    late.save()
    assert before["truncated_seq"] > 0
    after = Document.objects.values().get(pk=document.pk)
    assert {name for name in after if after[name] != before[name]} == {
        "title",
        "keep_days",
        "access_version",
        "updated_at",
    }
    assert hydrate(document.pk).graph.digest() == digest


def test_j29_a_document_saved_late_takes_no_purge_back(document: Document) -> None:
    late = Document.objects.get(pk=document.pk)
    with lease(document.pk) as held:
        mark_purged(held)
        late.save()
        document.refresh_from_db()
        assert (document.condition, document.truncated_seq, document.lease_holder) == (
            Document.Condition.PURGING,
            PURGED_SEQ,
            held.holder,
        )
    Document.objects.filter(pk=document.pk).delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        late.save()
    assert not Document.objects.exists()


def test_a_document_may_be_saved_by_fields_and_in_part(document: Document) -> None:
    Document.objects.update(title="Hall")
    partly = Document.objects.defer("title").get()
    Document.objects.update(title="Great hall")
    partly.is_read_only = True
    partly.save()
    document.head_seq = 3
    document.save(update_fields=["head_seq"])
    document.refresh_from_db()
    assert (document.title, document.is_read_only, document.head_seq) == ("Great hall", True, 3)
