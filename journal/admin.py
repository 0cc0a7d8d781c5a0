"""The journal in the admin: who changed this object, when, from what.  Read-only but for a document's own
settings."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin import DateFieldListFilter, EmptyFieldListFilter
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from journal.admin_filter import ClientFilter, DocumentFilter, KeyFilter, OtypeFilter, UserFilter
from journal.admin_page import batch_page, operation_page
from journal.admin_text import brief, link, list_url, pretty, row_url, who
from journal.durability import journal_connection, read_durability
from journal.entry import checksum_of
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Rows to look at; with tables of millions in mind."""

    show_full_result_count = False
    list_per_page = 50
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Document)
class DocumentAdmin(ModelAdmin):
    """Documents: the only rows that can be edited here, and only what does not touch the journal."""

    list_display = (
        "slug",
        "title",
        "visibility",
        "is_read_only",
        "owner",
        "head_seq",
        "contents",
        "updated_at",
    )
    list_select_related = ("owner",)
    list_filter = ("visibility", "is_read_only", ("archived_at", EmptyFieldListFilter))
    list_per_page = 50
    search_fields = ("slug", "title")
    raw_id_fields = ("owner",)
    actions = None
    readonly_fields = (
        "contents",
        "promise",
        "head_seq",
        "truncated_seq",
        "cut",
        "epoch",
        "lease_holder",
        "created_at",
        "updated_at",
    )
    fieldsets = (
        (None, {"fields": ("slug", "title", "contents")}),
        ("Access", {"fields": ("owner", "visibility", "is_read_only", "archived_at")}),
        (
            "Limits and retention",
            {"fields": ("limits", "keep_messages", "keep_days"), "classes": ["collapse"]},
        ),
        (
            "Journal",
            {
                "fields": (
                    "head_seq",
                    "truncated_seq",
                    "cut",
                    "epoch",
                    "lease_holder",
                    "promise",
                    "created_at",
                    "updated_at",
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Document | None = None) -> tuple[str, ...]:
        """Clients know a document by its slug: it is chosen once."""
        return (*self.readonly_fields, "slug") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Document | None = None) -> bool:
        return False

    @admin.display(description="contents")
    def contents(self, document: Document) -> SafeString | str:
        """Links to what belongs to the document."""
        if document._state.adding:
            return ""
        key = document.pk
        urls = {
            "objects": list_url("vuer_journal_sceneobject", document=key),
            "operations": list_url("vuer_journal_operation", document=key),
            "batches": list_url("vuer_journal_journalbatch", document=key),
            "snapshots": list_url("vuer_journal_snapshot", document=key),
            "sessions": list_url("vuer_rooms_session", document__id__exact=key),
        }
        return format_html_join(" · ", "{}", ((link(url, text),) for text, url in urls.items() if url))

    @admin.display(description="durability")
    def promise(self, document: Document) -> str:
        """What an acknowledgement means on this database."""
        promise = read_durability(journal_connection())
        meaning = (
            "acknowledged is on disk" if promise.is_full else "the last acknowledged messages may be lost"
        )
        return f"{meaning} ({promise.detail})"


@admin.register(SceneObject)
class SceneObjectAdmin(ReadOnlyAdmin):
    """Nodes as they are now."""

    list_display = (
        "key",
        "name",
        "tag",
        "parent",
        "document",
        "is_tombstone",
        "is_hidden",
        "updated_at",
        "operations",
    )
    list_select_related = ("document",)
    list_filter = (DocumentFilter, "is_tombstone", "is_hidden")
    search_fields = ("key__startswith", "name__startswith", "tag__exact")
    search_help_text = "Beginning of a key or name, or a whole tag."
    fields = (
        "document",
        "key",
        "name",
        "tag",
        "parent",
        "operations",
        "pretty_properties",
        "is_tombstone",
        "is_hidden",
        "lt",
        "updated_at",
        "seq",
    )
    readonly_fields = ("operations", "pretty_properties")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document")

    @admin.display(description="history")
    def operations(self, row: SceneObject) -> SafeString | str:
        """Everything retained that was done to it."""
        return link(list_url("vuer_journal_operation", document=row.document_id, key=row.key), "operations")

    @admin.display(description="properties")
    def pretty_properties(self, row: SceneObject) -> SafeString:
        return pretty(row.properties)


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """Who did what, when; each page shows what was there before."""

    change_form_template = "admin/vuer_journal/operation/change_form.html"
    list_display = (
        "place",
        "received_at",
        "document",
        "author",
        "client",
        "otype",
        "node",
        "path",
        "operand",
        "undone",
    )
    list_filter = (
        DocumentFilter,
        OtypeFilter,
        "undone",
        KeyFilter,
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
        "document",
        "batch_link",
        "server_seq",
        "op_index",
        "message_id",
        "author",
        "client",
        "session",
        "received_at",
        "otype",
        "node",
        "path",
        "pretty_value",
        "pretty_extra",
        "target_message_id",
        "undone",
        "lt",
        "ts",
    )
    readonly_fields = ("batch_link", "author", "node", "pretty_value", "pretty_extra")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document", "user")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, along an index: inside a document by sequence, over all by time."""
        if DocumentFilter.parameter_name in request.GET:
            return ("-server_seq", "op_index")
        return ("-received_at", "-server_seq", "op_index")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        page = operation_page(row) if isinstance(row, Operation) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **page})

    @admin.display(description="seq", ordering="server_seq")
    def place(self, row: Operation) -> str:
        return f"{row.server_seq}/{row.op_index}"

    @admin.display(description="user")
    def author(self, row: Operation) -> str:
        return who(row)

    @admin.display(description="object", ordering="key")
    def node(self, row: Operation) -> SafeString | str:
        """Its key, leading to everything done to it."""
        if row.key.startswith("_"):
            return row.key
        return link(list_url("vuer_journal_operation", document=row.document_id, key=row.key), row.key)

    @admin.display(description="value")
    def operand(self, row: Operation) -> str:
        return brief(row.value) or row.target_message_id

    @admin.display(description="batch")
    def batch_link(self, row: Operation) -> SafeString | str:
        return link(row_url("vuer_journal_journalbatch", row.batch_id), "the batch that holds it")

    @admin.display(description="value")
    def pretty_value(self, row: Operation) -> SafeString:
        return pretty(row.value)

    @admin.display(description="more fields")
    def pretty_extra(self, row: Operation) -> SafeString:
        return pretty(row.extra)


@admin.register(JournalBatch)
class JournalBatchAdmin(ReadOnlyAdmin):
    """The journal itself; a batch's page shows its messages."""

    change_form_template = "admin/vuer_journal/journalbatch/change_form.html"
    list_display = ("range", "document", "message_count", "created_at", "writer")
    list_filter = (DocumentFilter, ("created_at", DateFieldListFilter))
    search_fields = ("=writer",)
    search_help_text = "The whole name of a writer."
    fields = ("document", "first_seq", "last_seq", "message_count", "created_at", "writer", "checksum")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document").defer("payload")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-last_seq",) if DocumentFilter.parameter_name in request.GET else ("-created_at",)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        page = batch_page(row) if isinstance(row, JournalBatch) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **page})

    @admin.display(description="seq", ordering="last_seq")
    def range(self, row: JournalBatch) -> str:
        return str(row)


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    """States recovery may begin from."""

    list_display = ("seq", "document", "cut", "covered_seq", "reason", "label", "author", "created_at")
    list_filter = (DocumentFilter, "reason", ("created_at", DateFieldListFilter))
    search_fields = ("label",)
    fields = (
        "document",
        "seq",
        "cut",
        "covered_seq",
        "reason",
        "label",
        "author",
        "created_at",
        "size",
        "condition",
        "digest",
        "full_digest",
        "checksum",
    )
    readonly_fields = ("size", "condition")
    ordering = ("-created_at",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document", "author").defer("payload")

    @admin.display(description="bytes")
    def size(self, row: Snapshot) -> int:
        return len(row.payload)

    @admin.display(description="condition")
    def condition(self, row: Snapshot) -> str:
        found = checksum_of(bytes(row.payload), row.document_id, row.seq, row.cut, row.covered_seq)
        return "checksum holds" if found == row.checksum else "DAMAGED: the checksum does not hold"
