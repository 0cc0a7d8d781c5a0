"""What every row of the journal has: a key that all databases can make, and reads from where it is written."""

import uuid
from typing import Any, TypeVar

from django.db import models, router

KEY_CHARS_MAX = 512
"""Node keys, paths and ids in projections.  Longer ones are cut and marked with a hash
(`journal.projection`)."""


def primary_key() -> "models.UUIDField[Any, Any]":
    """The primary key of every model here."""
    return models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, db_column="_id")


Row = TypeVar("Row", bound=models.Model)


class PrimaryManager(models.Manager[Row]):
    """Reads where it writes: a replica that lags would show a journal that is not the journal any more."""

    def get_queryset(self) -> models.QuerySet[Row]:
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))
