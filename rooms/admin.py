"""Sessions in Django's admin: who is connected, who was, how far they have come.  For reading, and for sending away."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from journal.admin_filter import ClientFilter, DocumentFilter, UserFilter
from journal.admin_forget import forget_command
from journal.admin_link import list_url, row_link
from journal.admin_read_only import ReadOnlyAdmin
from journal.admin_text import UNREADABLE, brief, clipped
from journal.models import Document
from rooms.models import Session
from rooms.moderation import close_sessions
from rooms.policy import RoomPolicy, policy
from rooms.session import CLOSED_ABNORMALLY
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.session import Right

NOTHING = "–"
CLOCK_ENTRIES_SHOWN_MAX = 200
DOCUMENTS_ASKED_MAX = 50
"""So many the policy is asked about, each time the list is shown, before an action is offered."""
CLIENTS_REASONS = {
    1000: "left",
    1001: "left",
    1005: "left",
    1009: "too big for the client",
    1011: "the client failed",
}
"""What a client means by its close code: a browser's is 1001 when its page goes away, not that the server does."""


class ConnectedFilter(admin.SimpleListFilter):
    """Open sessions, or ended ones."""

    title = "connected"
    parameter_name = "connected"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "now"), ("no", "ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        match self.value():
            case "yes":
                return queryset.filter(closed_at=None)
            case "no":
                return queryset.exclude(closed_at=None)
        return queryset


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """A record of connections; what could be changed here would be a lie."""

    list_display = (
        "short_client",
        "document_link",
        "short_user",
        "state",
        "connected_at",
        "last_seen_at",
        "acked_seq",
        "remote_address",
    )
    list_filter = (ConnectedFilter, DocumentFilter, ClientFilter, UserFilter, "connected_at")
    search_fields = ("client", "document__slug", "remote_address", "user_agent")
    list_select_related = ("document", "user")
    change_form_template = "admin/vuer_rooms/session/change_form.html"
    actions = ("close_connections",)
    fieldsets = (
        (None, {"fields": ("client", "document_link", "user_link", "state")}),
        ("Connection", {"fields": ("transport", "remote_address", "user_agent", "process")}),
        (
            "Times",
            {
                "fields": (
                    "connected_at",
                    "last_seen_at",
                    "close_requested_at",
                    "closed_at",
                    "close_code",
                    "ender",
                )
            },
        ),
        ("Progress", {"fields": ("acked_seq",)}),
    )

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        """False for who may moderate none of the documents that people are in: no action is offered then.  Where there
        are many, who may moderate only some has it offered all the same."""
        if request.user.has_perm(RoomPolicy.PERMISSIONS[Right.MODERATE]):
            return True
        live = Document.objects.filter(pk__in=Session.objects.connected().values("document"))
        documents = list(live[: DOCUMENTS_ASKED_MAX + 1])
        ask = policy().rights
        return len(documents) > DOCUMENTS_ASKED_MAX or any(
            Right.MODERATE in ask(request.user, document) for document in documents
        )

    @admin.action(description="Close these connections", permissions=["moderate"])
    def close_connections(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """Those of documents that the user may moderate; the servers close them within about a second."""
        opened = queryset.filter(closed_at=None)  # few, of all the rows there are
        allowed = _moderated(request, opened)
        count = close_sessions(Session.objects.filter(pk__in=allowed), by=request.user)
        if count:
            told = ngettext("%d connection is", "%d connections are", count) % count
            self.message_user(request, f"{told} being closed.")
        if not opened:
            self.message_user(request, "None of these connections is open.", messages.WARNING)
        if len(allowed) < len(opened):
            text = "You may not moderate all of the documents: the other connections stay open."
            self.message_user(request, text, messages.WARNING)

    @admin.display(description="client", ordering="client")
    def short_client(self, session: Session) -> SafeString:
        return clipped(session.client)

    @admin.display(description="user", ordering="user")
    def user_link(self, session: Session) -> SafeString | str:
        return "anonymous" if session.user is None else row_link(session.user)

    @admin.display(description="user", ordering="user", empty_value="-")
    def short_user(self, session: Session) -> SafeString | None:
        return None if session.user is None else clipped(str(session.user))

    @admin.display(description="state", ordering="closed_at")
    def state(self, session: Session) -> str:
        if session.is_connected:
            return "connected"
        return f"ended: {close_reason(session.close_code, session.closed_by)}"

    @admin.display(description="closed by")
    def ender(self, session: Session) -> str:
        """Nobody closes a connection that is open, nor was it lost."""
        return NOTHING if session.is_connected else session.get_closed_by_display()

    def page(self, request: HttpRequest, row: Session) -> dict[str, Any]:
        told = row.vector_clock  # a client's own, but rows can be written by hand
        clock = sorted(told.items()) if isinstance(told, dict) else [(UNREADABLE, brief(told))]
        return {
            "clock": clock[:CLOCK_ENTRIES_SHOWN_MAX],
            "clock_hidden_count": max(0, len(clock) - CLOCK_ENTRIES_SHOWN_MAX),
            "may_close": row.is_connected and bool(_moderated(request, Session.objects.filter(pk=row.pk))),
            "other_sessions_url": list_url("vuer_rooms_session", client=row.client),
            "operations_url": list_url("vuer_journal_operation", client=row.client, document=row.document_id),
            "forget_command": forget_command(row.document, row.client, row.user_id, row.user),
        }


def _moderated(request: HttpRequest, sessions: QuerySet[Session]) -> list[Any]:
    """Keys of those sessions whose documents the user may moderate."""
    documents = {session.document_id: session.document for session in sessions.select_related("document")}
    ask = policy().rights
    moderated = {key for key, document in documents.items() if Right.MODERATE in ask(request.user, document)}
    return [session.pk for session in sessions if session.document_id in moderated]


def close_reason(code: int | None, closed_by: str = Session.ClosedBy.SERVER) -> str:
    """A close code for people: its name where it is one of ours, and comes from us."""
    if code is None:
        return NOTHING
    if closed_by == Session.ClosedBy.CLIENT:
        return f"{CLIENTS_REASONS.get(code, 'the client closed it')} ({code})"
    names = {CLOSED_ABNORMALLY: "connection lost"} | {int(known): known.reason for known in CloseCode}
    return f"{names.get(code, 'closed')} ({code})"
