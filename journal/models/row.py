"""What every row of the journal has: a key that all databases can make, and reads from where it is written."""

import os
import time
import uuid
from typing import Any, TypeVar

from django.db import models, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement

KEY_CHARS_MAX = 512
"""Node keys, paths and ids in projections.  Longer ones are cut and marked with a hash
(`journal.column`)."""


def primary_key() -> "models.UUIDField[Any, Any]":
    """The primary key of every model here."""
    return models.UUIDField(primary_key=True, default=new_key, editable=False, db_column="_id")


def new_key() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): rows made one after the other are neighbours in the index, so that a commit
    of many rows writes few pages of it.  Below the millisecond, twelve bits of time follow (the RFC's method 3).

    Python has it as `uuid.uuid7` from 3.14 on.
    """
    ms, ns = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=ms << 80 | 0x7 << 76 | (ns << 12) // 1_000_000 << 64 | 0b10 << 62 | random)


class MongoIndex(models.Index):
    """An index beside a unique constraint that begins with its fields, which MongoDB does not use for look-ups.  SQL
    databases do, and are spared it: an index more is a page more to write for every row."""

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        return Statement("SELECT 1")  # Django executes whatever comes

    def remove_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any
    ) -> str:
        return "SELECT 1"


Model = TypeVar("Model", bound=models.Model)


class PrimaryManager(models.Manager[Model]):
    """Reads where it writes: a replica that lags would show a journal that is not the journal any more."""

    def get_queryset(self) -> models.QuerySet[Model]:
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


class Row(models.Model):
    """A row that is read where it is written, also what a query left out of it, and from a row that points to it."""

    objects = PrimaryManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
