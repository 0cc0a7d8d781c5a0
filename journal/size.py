"""How much of the disk a document fills."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, Count, Sum
from django.db.models.functions import Length

from journal.models import JournalBatch, Operation, Snapshot

ROW_BYTES = 500
"""What the row of a batch takes beside its payload, and one of an operation as a whole, with their indexes, about: on
SQLite, of messages that change one property."""


@dataclass(frozen=True, slots=True)
class Size:
    """What the rows of a document hold, those included that an interrupted compaction has left."""

    batches: int
    journal_bytes: int
    """Of the payloads, as stored."""
    snapshots: int
    """Labels and origins among them."""
    snapshot_bytes: int
    operations: int

    @property
    def about_bytes(self) -> int:
        """What that takes on the disk; close enough to tell the large ones."""
        return self.journal_bytes + self.snapshot_bytes + ROW_BYTES * (self.batches + self.operations)


class ByteLength(Length):
    """Of a binary column: databases tell it without reading the value."""

    output_field = BigIntegerField()

    def as_mql_expr(self, compiler: Any, connection: Any) -> dict[str, Any]:
        """MongoDB's, which tells the lengths of texts by another name."""
        [source] = self.get_source_expressions()
        return {"$binarySize": source.as_mql(compiler, connection, as_expr=True)}


def size_of(document_id: UUID) -> Size:
    """Cost: a look at each row, not at its payload."""
    batches, journal_bytes = _payloads(JournalBatch, document_id)
    snapshots, snapshot_bytes = _payloads(Snapshot, document_id)
    operations = Operation.objects.filter(document=document_id).count()
    return Size(batches, journal_bytes, snapshots, snapshot_bytes, operations)


def _payloads(model: type[JournalBatch | Snapshot], document_id: UUID) -> tuple[int, int]:
    rows = model._default_manager.filter(document=document_id).order_by()
    told = rows.aggregate(count=Count("pk"), bytes=Sum(ByteLength("payload"), default=0))
    return told["count"], told["bytes"]
