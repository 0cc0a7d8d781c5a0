"""Projection of a document's nodes."""

from django.db import models

from journal.models.document import Document
from journal.models.row import KEY_CHARS_MAX, MongoIndex, Row, primary_key


class SceneObject(Row):
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

    class Meta:
        ordering = ["document", "key"]
        constraints = [models.UniqueConstraint(fields=["document", "key"], name="vuer_object_key_unique")]
        indexes = [
            MongoIndex(fields=["document", "key"], name="vuer_object_key"),
            models.Index(fields=["document", "parent"], name="vuer_object_parent"),
            models.Index(fields=["document", "tag"], name="vuer_object_tag"),
        ]

    def __str__(self) -> str:
        return self.name or self.key
