"""One row per connection, kept after it ended: who was here, from where, how far they had come."""

from django.conf import settings as django_settings
from django.db import models

from journal.models.row import PrimaryManager, primary_key

ADDRESS_CHARS_MAX = 64
"""An IPv6 address with a zone, or the name of a Unix socket."""
USER_AGENT_CHARS_MAX = 256
"""Longer ones are cut: the header is written by the client."""
CLIENT_CHARS_MAX = 255
PROCESS_CHARS_MAX = 64


class SessionQuerySet(models.QuerySet["Session"]):
    def connected(self) -> "SessionQuerySet":
        """Sessions whose end nobody has recorded."""
        return self.filter(closed_at=None)


class Session(models.Model):
    """One WebSocket connection of one client to one document.

    Written when it opens and closes; between the two, progress is written in batches every few seconds, so
    the row may be a little behind.  A row that is still open although its process is gone is closed by that
    process's next start or by `close_stale_sessions`.
    """

    class ClosedBy(models.TextChoices):
        """Who ended it: the codes of clients that crash and of a server that fails are the same."""

        NOBODY = "", "nobody: the connection was lost"
        SERVER = "server", "the server"
        CLIENT = "client", "the client"

    id = primary_key()
    document = models.ForeignKey(
        "vuer_journal.Document", on_delete=models.CASCADE, related_name="sessions", help_text="The room."
    )
    client = models.CharField(
        max_length=CLIENT_CHARS_MAX,
        help_text="Client id. Once a logged-in user has used it in a document, it is that user's there.",
    )
    user = models.ForeignKey(
        django_settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="vuer_sessions",
        help_text="Account; empty for an anonymous visitor.",
    )
    transport = models.CharField(
        max_length=32,
        default="websocket",
        help_text="How the client is connected, and the framing it asked for.",
    )
    remote_address = models.CharField(
        max_length=ADDRESS_CHARS_MAX, blank=True, help_text="Peer of the connection as the server saw it."
    )
    user_agent = models.CharField(
        max_length=USER_AGENT_CHARS_MAX,
        blank=True,
        help_text="As the client called itself; cut to 256 characters.",
    )
    process = models.CharField(
        max_length=PROCESS_CHARS_MAX,
        help_text="Server process that holds the connection: host name, process id, start.",
    )
    connected_at = models.DateTimeField(help_text="When the connection was let in.")
    last_seen_at = models.DateTimeField(
        db_index=True,
        help_text="Last time the server knew the connection to be alive, at most a minute or so behind.",
    )
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When it ended; empty while connected.")
    close_code = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="WebSocket close code; 1006 when there was none: the connection was lost, or the process died.",
    )
    closed_by = models.CharField(
        max_length=8,
        choices=ClosedBy,
        blank=True,
        default=ClosedBy.NOBODY,
        help_text="Whose close code that is.",
    )
    close_requested_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When somebody asked the server to close the connection; empty: nobody has.",
    )
    vector_clock = models.JSONField(
        default=dict, blank=True, help_text="What the client said it has, from its last heartbeat or sync."
    )
    acked_seq = models.PositiveBigIntegerField(
        default=0, help_text="Highest server sequence acknowledged to this client as its own; 0: none."
    )

    objects = PrimaryManager.from_queryset(SessionQuerySet)()

    class Meta:
        ordering = ["-connected_at"]
        indexes = [
            models.Index(fields=["document", "client"], name="vuer_session_document_client"),
            models.Index(fields=["document", "closed_at"], name="vuer_session_document_closed"),
            models.Index(fields=["process", "closed_at"], name="vuer_session_process_closed"),
            models.Index(fields=["connected_at"], name="vuer_session_connected_at"),
        ]

    def __str__(self) -> str:
        return f"{self.client} in {self.document}"

    @property
    def is_connected(self) -> bool:
        return self.closed_at is None


class SpentToken(models.Model):
    """A token for single use that has let somebody in; forgotten once it has expired."""

    id = models.UUIDField(
        primary_key=True,
        editable=False,
        db_column="_id",
        help_text="Id of the token. As the primary key it lets one of several processes win.",
    )
    expires_at = models.DateTimeField(
        db_index=True, help_text="When the token ends, and this row has no use any more."
    )

    objects = PrimaryManager()

    def __str__(self) -> str:
        return str(self.id)
