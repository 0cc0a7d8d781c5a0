"""Rows of the durable side.  FORMAT.md states their invariants as rules.

Every primary key is an explicit UUID in column `_id`, and ordinary indexes stand beside the unique ones that
are queried: so one set of migrations serves SQLite, PostgreSQL and MongoDB.  `JournalBatch` and `Snapshot`
are the truth; `Operation` and `SceneObject` are projections and can be rebuilt; `Document` points into its
journal.
"""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.db import models, router

KEY_CHARS_MAX = 512
"""Node keys, paths and ids in projections.  Longer ones are cut and marked with a hash
(`journal.projection`)."""


def primary_key() -> "models.UUIDField[Any, Any]":
    """The primary key of every model here."""
    return models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, db_column="_id")


Row = TypeVar("Row", bound=models.Model)


document_checks: list[Callable[["Document"], None]] = []
"""What other apps have against a document that a form is about to save: each raises ValidationError."""


class PrimaryManager(models.Manager[Row]):
    """Reads where it writes: a replica that lags would show a journal that is not the journal any more."""

    def get_queryset(self) -> models.QuerySet[Row]:
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


class Document(models.Model):
    """One room: who may enter it, and how far its journal reaches."""

    class Visibility(models.TextChoices):
        """What anonymous visitors may do."""

        PRIVATE = "private", "private: people with permission only"
        PUBLIC_VIEW = "public-view", "everybody may look"
        PUBLIC_EDIT = "public-edit", "everybody may edit"

    class Condition(models.TextChoices):
        """Whether its rows are all there."""

        WHOLE = "", "whole"
        IMPORTING = "importing", "being imported: not whole yet"
        PURGING = "purging", "being deleted for good"

    id = primary_key()
    slug = models.SlugField(
        max_length=200,
        unique=True,
        allow_unicode=True,
        help_text="Name in the WebSocket path, /ws/rooms/NAME/. Unique; clients keep it, so it does not "
        "change.",
    )
    title = models.CharField(max_length=200, blank=True, help_text="Name for people; has no effect.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="User who may do everything in it, whatever the permissions say. Empty: nobody.",
    )
    visibility = models.CharField(
        max_length=20,
        choices=Visibility,
        default=Visibility.PRIVATE,
        help_text="What visitors without an account may do.",
    )
    is_read_only = models.BooleanField(
        "read-only", default=False, help_text="When set, nobody may edit; all may still look."
    )
    limits = models.JSONField(
        default=dict,
        blank=True,
        help_text="Overrides of the site's limits for this document: {name: number}.",
    )
    keep_messages = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Newest messages that compaction leaves alone. Empty: the site's setting.",
    )
    keep_days = models.FloatField(
        null=True,
        blank=True,
        help_text="Days for which compaction leaves messages alone. Empty: the site's setting.",
    )
    head_seq = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Server sequence that both projections have reached. Trails the journal; never used to "
        "decide anything.",
    )
    truncated_seq = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Batches at or below this server sequence are gone or going; the newest snapshot holds "
        "their messages. "
        "Never falls.",
    )
    cut = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Lamport time at or below which history was folded by the last truncation. Never falls.",
    )
    epoch = models.PositiveIntegerField(
        default=0,
        editable=False,
        help_text="Counts resets of the room; messages of older epochs are refused.",
    )
    access_version = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Another number whenever it may have changed who may do what here: processes with open "
        "connections then ask again. Random; compare for equality only.",
    )
    lease_holder = models.CharField(
        max_length=64,
        blank=True,
        default="",
        editable=False,
        help_text="Process that is compacting it; empty: none.",
    )
    lease_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When that process counts as dead unless it renews."
    )
    turns_wanted = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Counts how often a process that kept losing races asked the others for a turn.",
    )
    archived_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the room was closed for everybody; its journal stays. Empty: open.",
    )
    condition = models.CharField(
        max_length=20,
        choices=Condition,
        blank=True,
        default=Condition.WHOLE,
        editable=False,
        help_text="Nobody can enter a document that is not whole; the command that was at work goes on when it is "
        "run again.",
    )
    damage = models.TextField(
        blank=True,
        default="",
        editable=False,
        help_text="What is wrong with its journal and what to do, as found when it was last read. Until it is "
        "repaired nobody can edit it. Empty: nothing was found.",
    )
    damaged_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When that was found first."
    )
    created_at = models.DateTimeField(auto_now_add=True, help_text="When the row was made.")
    updated_at = models.DateTimeField(
        auto_now=True, help_text="When the row was last saved or a projection advanced."
    )

    objects = PrimaryManager()

    class Meta:
        ordering = ["slug"]
        permissions = [
            ("moderate_document", "Can moderate document (undo others' work, reset, close sessions)")
        ]
        indexes = [
            models.Index(fields=["slug"], name="vuer_document_slug"),
            models.Index(fields=["updated_at"], name="vuer_document_updated"),
        ]

    def __str__(self) -> str:
        return self.title or self.slug

    def clean(self) -> None:
        for check in document_checks:
            check(self)


class JournalBatch(models.Model):
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

    objects = PrimaryManager()

    class Meta:
        ordering = ["document", "first_seq"]
        verbose_name_plural = "journal batches"
        constraints = [
            models.UniqueConstraint(fields=["document", "first_seq"], name="vuer_batch_first_seq_unique")
        ]
        indexes = [
            # Rows are looked up by where they end; one index more is one page more per room and commit.
            models.Index(fields=["document", "last_seq"], name="vuer_batch_last_seq"),
            models.Index(fields=["created_at"], name="vuer_batch_created"),
        ]

    def __str__(self) -> str:
        return f"{self.first_seq}–{self.last_seq}"


class Operation(models.Model):
    """One op of a retained message, for the admin, search and audit.  A projection: goes with its batch."""

    id = primary_key()
    document = models.ForeignKey(
        Document,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="operations",
        help_text="Document it changed.",
    )
    batch = models.ForeignKey(
        JournalBatch,
        on_delete=models.DO_NOTHING,
        db_index=False,
        db_constraint=False,
        related_name="+",
        help_text="Batch that holds the message.",
    )
    server_seq = models.BigIntegerField(
        help_text="Server sequence of its message: the order of durability, not of meaning."
    )
    op_index = models.PositiveIntegerField(help_text="Place in its message, from 0.")
    message_id = models.CharField(
        max_length=KEY_CHARS_MAX, help_text="Id of its message, unique in the document."
    )
    client = models.CharField(
        max_length=KEY_CHARS_MAX, help_text="Client id that authored it; `=server` for server records."
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        help_text="Account the message came in by; empty: anonymous. Stays when the account is deleted.",
    )
    session = models.CharField(
        max_length=64, blank=True, default="", help_text="Key of the session it came in by."
    )
    otype = models.CharField(max_length=40, help_text="`dtype.verb`, for example `vector3.add`.")
    key = models.CharField(
        max_length=KEY_CHARS_MAX,
        help_text="Key of the node it is about; for `node.*` that node, not its parent.",
    )
    path = models.CharField(
        max_length=KEY_CHARS_MAX, blank=True, help_text="Property it is about; empty for `node.*`."
    )
    value = models.JSONField(null=True, help_text="Operand; empty: none, or JSON null.")
    extra = models.JSONField(
        default=dict, help_text="Other fields of the op (separator, order, alpha, from, to, ids, ranges)."
    )
    target_message_id = models.CharField(
        max_length=KEY_CHARS_MAX,
        blank=True,
        default="",
        help_text="`meta.undo`, `meta.redo`: id of the message meant.",
    )
    lt = models.BigIntegerField(
        "Lamport time", help_text="Lamport time of its message: the order of meaning."
    )
    ts = models.FloatField(
        "client clock", help_text="The author's wall clock as sent: seconds below 1e11, else milliseconds."
    )
    received_at = models.DateTimeField(help_text="When the server received it, by the server's clock.")
    undone = models.BooleanField(default=False, help_text="Whether its message is undone now.")

    objects = PrimaryManager()

    class Meta:
        ordering = ["document", "server_seq", "op_index"]
        constraints = [
            models.UniqueConstraint(
                fields=["document", "server_seq", "op_index"], name="vuer_operation_seq_unique"
            )
        ]
        indexes = [
            models.Index(fields=["document", "server_seq"], name="vuer_operation_seq"),
            models.Index(fields=["document", "key", "server_seq"], name="vuer_operation_key"),
            models.Index(fields=["document", "client", "server_seq"], name="vuer_operation_client"),
            models.Index(fields=["document", "message_id"], name="vuer_operation_message"),
            models.Index(fields=["received_at"], name="vuer_operation_received"),
        ]

    def __str__(self) -> str:
        return f"{self.server_seq}/{self.op_index} {self.otype} {self.key} {self.path}".rstrip()


class SceneObject(models.Model):
    """One node of the scene graph as it is now.  A projection: site code may query it."""

    id = primary_key()
    document = models.ForeignKey(
        Document,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="scene_objects",
        help_text="Document it is part of.",
    )
    key = models.CharField(max_length=KEY_CHARS_MAX, help_text="Key of the node, unique in the document.")
    tag = models.CharField(
        max_length=KEY_CHARS_MAX, blank=True, help_text="Kind of node, for example `mesh`."
    )
    name = models.TextField(blank=True, help_text="Name for people.")
    parent = models.CharField(
        max_length=KEY_CHARS_MAX, blank=True, help_text="Key of its parent, known or not; empty: root level."
    )
    properties = models.JSONField(
        default=dict, help_text="Everything but tag and name; texts as plain strings."
    )
    is_tombstone = models.BooleanField(
        "removed", default=False, help_text="Whether it was removed; undo may bring it back."
    )
    is_hidden = models.BooleanField(
        "hidden", default=False, help_text="Whether it, or a node above it, is removed or missing."
    )
    lt = models.BigIntegerField(
        "Lamport time", help_text="Lamport time of the last message that had an effect on it."
    )
    updated_at = models.DateTimeField(
        null=True, help_text="Client clock of that message; empty when it is no time."
    )
    seq = models.BigIntegerField(default=0, help_text="Server sequence of the state this row was taken from.")

    objects = PrimaryManager()

    class Meta:
        ordering = ["document", "key"]
        constraints = [models.UniqueConstraint(fields=["document", "key"], name="vuer_object_key_unique")]
        indexes = [
            models.Index(fields=["document", "key"], name="vuer_object_key"),
            models.Index(fields=["document", "parent"], name="vuer_object_parent"),
            models.Index(fields=["document", "tag"], name="vuer_object_tag"),
        ]

    def __str__(self) -> str:
        return self.name or self.key


class Snapshot(models.Model):
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

    objects = PrimaryManager()

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
            models.Index(fields=["document", "seq"], name="vuer_snapshot_seq"),
            models.Index(fields=["document", "label"], name="vuer_snapshot_label"),
        ]

    def __str__(self) -> str:
        return self.label or f"{self.seq} (cut {self.cut})"
