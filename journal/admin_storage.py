"""The journal's own rows in the admin: batches with their messages, snapshots with their condition."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import DateFieldListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from journal.admin_filter import DocumentFilter
from journal.admin_link import row_link, view_url
from journal.admin_page import batch_page
from journal.admin_read_only import ReadOnlyAdmin
from journal.admin_text import clipped, seconds
from journal.entry import checksum_of
from journal.models import JournalBatch, Snapshot


class JournalBatchAdmin(ReadOnlyAdmin):
    """The journal itself; a batch's page shows its messages."""

    change_form_template = "admin/vuer_journal/journalbatch/change_form.html"
    list_display = ("range", "message_count", "created", "writer", "document")
    ordering = ("-pk",)  # as they were written; there is no index by time
    list_filter = (DocumentFilter, ("created_at", DateFieldListFilter))
    search_fields = ("=writer",)
    search_help_text = "The whole name of a writer."
    fields = ("document_link", "first_seq", "last_seq", "message_count", "created_at", "writer", "checksum")
    readonly_fields = ("document_link",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document").defer("payload")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-last_seq",) if DocumentFilter.parameter_name in request.GET else self.ordering

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return batch_page(row)

    @admin.display(description="created", ordering="pk")
    def created(self, row: JournalBatch) -> str:
        return seconds(row.created_at)

    @admin.display(description="seq", ordering="last_seq")
    def range(self, row: JournalBatch) -> str:
        return str(row)


class SnapshotAdmin(ReadOnlyAdmin):
    """States recovery may begin from, and labelled ones; the page of such a one leads to it."""

    change_form_template = "admin/vuer_journal/snapshot/change_form.html"
    list_display = (
        "seq",
        "short_document",
        "cut",
        "covered_seq",
        "reason",
        "short_label",
        "short_author",
        "created_at",
    )
    list_filter = (DocumentFilter, "reason", ("created_at", DateFieldListFilter))
    search_fields = ("label",)
    fields = (
        "document_link",
        "seq",
        "cut",
        "covered_seq",
        "reason",
        "label",
        "author_link",
        "created_at",
        "size",
        "condition",
        "digest",
        "full_digest",
        "checksum",
    )
    readonly_fields = ("document_link", "author_link", "size", "condition")
    ordering = ("-created_at",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document", "author").defer("payload")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, along an index: payloads are not read."""
        return ("-seq",) if DocumentFilter.parameter_name in request.GET else self.ordering

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        if row.reason != Snapshot.Reason.LABEL:
            return {}
        past_url = view_url("vuer_journal_document", "looking_back", row.document_id)
        return {"state_url": past_url and f"{past_url}?{urlencode({'label': row.label})}"}

    @admin.display(description="author")
    def author_link(self, row: Snapshot) -> SafeString | str:
        return "" if row.author is None else row_link(row.author)

    @admin.display(description="label", ordering="label")
    def short_label(self, row: Snapshot) -> SafeString:
        return clipped(row.label)

    @admin.display(description="author", ordering="author", empty_value="-")
    def short_author(self, row: Snapshot) -> SafeString | None:
        return None if row.author is None else clipped(str(row.author))

    @admin.display(description="bytes")
    def size(self, row: Snapshot) -> int:
        return len(row.payload)

    @admin.display(description="condition")
    def condition(self, row: Snapshot) -> str:
        if isinstance(row.payload, str):
            return "DAMAGED: the payload is a text"
        found = checksum_of(bytes(row.payload), row.document_id, row.seq, row.cut, row.covered_seq)
        return "checksum holds" if found == row.checksum else "DAMAGED: the checksum does not hold"
