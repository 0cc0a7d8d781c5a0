"""The journal."""

from django.db import models

from journal.models.document import Document
from journal.models.row import Row, primary_key


class JournalBatch(Row):
    """The write-ahead log: what one group commit wrote for one document.  Immutable."""

    id = primary_key()
    document = models.ForeignKey(
        Document,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="batches",
        help_text="Document it belongs to. A document with a journal cannot be deleted by accident.",
    )
    first_seq = models.BigIntegerField(
        help_text="Server sequence of its first message, from 1. Unique per document: this arbitrates "
        "between writers."
    )
    last_seq = models.BigIntegerField(
        help_text="Server sequence of its last message. The next batch begins right after it."
    )
    message_count = models.PositiveIntegerField(help_text="last_seq - first_seq + 1, at least 1.")
    payload = models.BinaryField(
        help_text="Entries in order: msgpack, as one Zstandard frame when that is smaller (rule J3)."
    )
    checksum = models.CharField(
        max_length=32, help_text="BLAKE2b-128 over document, sequence range and payload (rule J4)."
    )
    writer = models.CharField(max_length=64, help_text="Process that wrote it: host, process id, start.")
    created_at = models.DateTimeField(help_text="When the commit was built, by the writer's clock.")

    class Meta:
        ordering = ["document", "first_seq"]
        verbose_name_plural = "journal batches"
        constraints = [
            models.UniqueConstraint(fields=["document", "first_seq"], name="vuer_batch_first_seq_unique")
        ]
        indexes = [
            # Rows are looked up by where they end; one index more is one page more per room and commit, so there is
            # none by time: keys are in the order in which rows were written.
            models.Index(fields=["document", "last_seq"], name="vuer_batch_last_seq"),
        ]

    def __str__(self) -> str:
        return f"{self.first_seq}–{self.last_seq}"
