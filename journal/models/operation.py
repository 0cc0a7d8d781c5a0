"""Projection of the journal's ops."""

from django.conf import settings
from django.db import models

from journal.models.document import Document
from journal.models.journal_batch import JournalBatch
from journal.models.row import KEY_CHARS_MAX, MongoIndex, Row, primary_key


class Operation(Row):
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

    class Meta:
        ordering = ["document", "server_seq", "op_index"]
        constraints = [
            models.UniqueConstraint(
                fields=["document", "server_seq", "op_index"], name="vuer_operation_seq_unique"
            )
        ]
        indexes = [
            MongoIndex(fields=["document", "server_seq"], name="vuer_operation_seq"),
            models.Index(fields=["document", "key", "server_seq"], name="vuer_operation_key"),
            models.Index(fields=["document", "client", "server_seq"], name="vuer_operation_client"),
            models.Index(fields=["document", "message_id"], name="vuer_operation_message"),
            models.Index(fields=["received_at"], name="vuer_operation_received"),
        ]

    def __str__(self) -> str:
        place = f"{self.server_seq}/{self.op_index} {self.otype}"
        if self.target_message_id:
            return f"{place} of {self.target_message_id}"
        return f"{place} {self.key} {self.path}".rstrip() if self.is_about_a_node else place

    @property
    def is_about_a_node(self) -> bool:
        """False for an op on a message, and for the server's records."""
        return not self.otype.startswith(("meta.", "server."))
