"""Operations in the admin: who did what, when; each page shows what was there before."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import DateFieldListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from journal.admin_act import acting
from journal.admin_filter import (
    ClientFilter,
    DocumentFilter,
    KeyFilter,
    MessageFilter,
    OtypeFilter,
    UserFilter,
)
from journal.admin_link import is_there, link, list_url, row_url
from journal.admin_page import operation_page
from journal.admin_read_only import ReadOnlyAdmin
from journal.admin_text import brief, clipped, pretty, seconds, who
from journal.models import Operation


class OperationAdmin(ReadOnlyAdmin):
    """Who did what, when; each page shows what was there before."""

    change_form_template = "admin/vuer_journal/operation/change_form.html"
    list_display = (
        "place",
        "received",
        "short_author",
        "otype",
        "node",
        "short_path",
        "short_operand",
        "mark",
        "short_client",
        "short_document",
    )
    ordering = ("-received_at", "-server_seq", "op_index")
    list_filter = (
        DocumentFilter,
        OtypeFilter,
        "undone",
        KeyFilter,
        MessageFilter,
        ClientFilter,
        UserFilter,
        ("received_at", DateFieldListFilter),
    )
    search_fields = (
        "key__startswith",
        "path__startswith",
        "message_id__startswith",
        "target_message_id__exact",
    )
    search_help_text = "Beginning of an object's key, a path or a message id."
    fields = (
        "document_link",
        "batch_link",
        "server_seq",
        "op_index",
        "message_id",
        "author",
        "client",
        "session_link",
        "received",
        "otype",
        "node",
        "path",
        "pretty_value",
        "pretty_extra",
        "target_message_id",
        "mark",
        "lt",
        "ts",
    )
    readonly_fields = (
        "document_link",
        "batch_link",
        "author",
        "session_link",
        "received",
        "node",
        "pretty_value",
        "pretty_extra",
        "mark",
    )

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        """Accounts by a query of their own: a filter by user turns a join with them into an inner one, and rows of
        deleted accounts would be counted and not shown."""
        return super().get_queryset(request).select_related("document").prefetch_related("user")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, along an index: inside a document by sequence, over all by time."""
        if DocumentFilter.parameter_name in request.GET:
            return ("-server_seq", "op_index")
        return self.ordering

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return operation_page(row) | acting(request, row.document)

    @admin.display(description="seq", ordering="server_seq")
    def place(self, row: Operation) -> str:
        return f"{row.server_seq}/{row.op_index}"

    @admin.display(description="received", ordering="received_at")
    def received(self, row: Operation) -> str:
        return seconds(row.received_at)

    @admin.display(description="undone", ordering="undone")
    def mark(self, row: Operation) -> str:
        return "undone" if row.undone else ""

    @admin.display(description="user")
    def author(self, row: Operation) -> str:
        return who(row)

    @admin.display(description="user")
    def short_author(self, row: Operation) -> SafeString:
        return clipped(who(row))

    @admin.display(description="object", ordering="key")
    def node(self, row: Operation) -> SafeString | str:
        """Its key, leading to everything done to it."""
        if not row.is_about_a_node:
            return ""
        url = list_url("vuer_journal_operation", document=row.document_id, key=row.key)
        return link(url, clipped(row.key))

    @admin.display(description="path", ordering="path")
    def short_path(self, row: Operation) -> SafeString:
        return clipped(row.path if row.is_about_a_node else "")

    @admin.display(description="client", ordering="client")
    def short_client(self, row: Operation) -> SafeString:
        return clipped(row.client)

    @admin.display(description="value")
    def short_operand(self, row: Operation) -> SafeString:
        return clipped(brief(row.value) or row.target_message_id)

    @admin.display(description="batch")
    def batch_link(self, row: Operation) -> SafeString | str:
        return link(row_url("vuer_journal_journalbatch", row.batch_id), "the batch that holds it")

    @admin.display(description="session")
    def session_link(self, row: Operation) -> SafeString | str:
        """The connection it came in by, with its address and program; rows of long ago may be forgotten."""
        if not row.session or is_there("vuer_rooms_session", row.session):
            return link(row_url("vuer_rooms_session", row.session), row.session) if row.session else ""
        return f"{row.session} (its row is gone)"

    @admin.display(description="value")
    def pretty_value(self, row: Operation) -> SafeString:
        return pretty(row.value)

    @admin.display(description="more fields")
    def pretty_extra(self, row: Operation) -> SafeString:
        return pretty(row.extra)
