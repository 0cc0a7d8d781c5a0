"""Rooms."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import models

from journal.models.row import MongoIndex, Row, primary_key

document_checks: list[Callable[["Document"], None]] = []
"""What other apps have against a document that a form is about to save: each raises ValidationError."""


class Document(Row):
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
    truncated_batch = models.UUIDField(
        null=True,
        editable=False,
        help_text="Key of the batch that ended at that sequence: who has read it knows the journal again by it. "
        "Empty: not known.",
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
        help_text="When the room was closed for everybody; its journal stays. A time that is yet to come closes it "
        "now, too. Empty: open.",
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
        help_text="What is wrong with its journal and what to do, as found when it was last read. Nobody can edit "
        "it while rows are missing that it needs to open. Empty: nothing was found.",
    )
    damaged_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When that was found first."
    )
    created_at = models.DateTimeField(auto_now_add=True, help_text="When the row was made.")
    updated_at = models.DateTimeField(
        auto_now=True, help_text="When the row was last saved or a projection advanced."
    )

    class Meta:
        ordering = ["slug"]
        permissions = [
            ("moderate_document", "Can moderate document (undo others' work, reset, close sessions)")
        ]
        indexes = [
            MongoIndex(fields=["slug"], name="vuer_document_slug"),
            models.Index(fields=["updated_at"], name="vuer_document_updated"),
        ]

    def __str__(self) -> str:
        return self.title or self.slug

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Afterwards what people edit is saved, and nothing else unless `update_fields` names it or the row is new.

        The other fields are the journal's, which changes them by updates of its own (rule J29): those of a row that
        was read a moment ago may be old, and the truncation point must never fall.

        Raises: DatabaseError when it was deleted meanwhile.
        """
        if update_fields is None and not (self._state.adding or force_insert):
            edited = {field.attname for field in self._meta.concrete_fields if field.editable}
            update_fields = edited - self.get_deferred_fields() | {"updated_at"}
        super().save(
            force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields
        )

    def clean(self) -> None:
        for check in document_checks:
            check(self)
