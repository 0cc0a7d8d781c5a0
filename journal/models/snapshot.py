"""Whole states."""

from django.conf import settings
from django.db import models

from journal.models.document import Document
from journal.models.row import Row, primary_key


class Snapshot(Row):
    """The fold of every message with serverSeq <= seq and lt <= cut.  Immutable.

    One taken for a label, or as the origin of time travel, holds every message up to `seq`; its cut is its own, and
    recovery never starts from it.
    """

    class Reason(models.TextChoices):
        """Why it was taken."""

        COMPACTION = "compaction", "compaction"
        COUNT = "count", "every so many messages"
        SHUTDOWN = "shutdown", "server shut down"
        MANUAL = "manual", "asked for"
        LABEL = "label", "named by a person"
        ORIGIN = "origin", "where time travel begins"

    id = primary_key()
    document = models.ForeignKey(
        Document,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="snapshots",
        help_text="Document it is a fold of.",
    )
    seq = models.BigIntegerField(
        help_text="H: highest server sequence it knows; the last_seq of a batch, but for a label."
    )
    cut = models.BigIntegerField(help_text="F: Lamport time up to which it holds messages.")
    covered_seq = models.BigIntegerField(
        help_text="Every message up to this server sequence is in it. Recovery may start from it while this "
        "is at least the "
        "document's truncated_seq."
    )
    payload = models.BinaryField(help_text="The state: msgpack as one Zstandard frame (rule J5).")
    checksum = models.CharField(
        max_length=32, help_text="BLAKE2b-128 over document, seq, cut, covered_seq and payload."
    )
    digest = models.CharField(
        max_length=64, help_text="Canonical digest of the document at seq, tail included."
    )
    full_digest = models.CharField(
        max_length=64, help_text="Digest of all that later merges depend on, at seq."
    )
    label = models.CharField(
        max_length=100,
        blank=True,
        default="",
        help_text="Name given by a person; such a snapshot is kept. Of `label` ones it is unique in the document.",
    )
    reason = models.CharField(max_length=20, choices=Reason, help_text="Why it was taken.")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="User who asked for it; empty: the server.",
    )
    created_at = models.DateTimeField(help_text="When it was taken.")

    class Meta:
        ordering = ["document", "-seq", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["document", "label"],
                condition=models.Q(reason="label"),
                name="vuer_snapshot_label_unique",
            )
        ]
        indexes = [
            # In SQLite's rows the reason stands behind the payload: to see there that a row is a label takes reading
            # all of its pages, and a document may have a thousand labels.
            models.Index(fields=["document", "seq", "reason"], name="vuer_snapshot_seq_reason"),
            models.Index(fields=["created_at"], name="vuer_snapshot_created"),
            models.Index(fields=["document", "label"], name="vuer_snapshot_label"),
        ]

    def __str__(self) -> str:
        return self.label or f"{self.seq} (cut {self.cut})"
