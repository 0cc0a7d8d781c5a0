"""The journal in the admin: who changed this object, when, from what.  Read-only but for a document's own
settings."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import DateFieldListFilter, EmptyFieldListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from journal.admin_act import acting
from journal.admin_care import DocumentCare
from journal.admin_filter import ClientFilter, DocumentFilter, KeyFilter, OtypeFilter, UserFilter
from journal.admin_page import object_page, operation_page
from journal.admin_purge import DocumentPurge
from journal.admin_read_only import ReadOnlyAdmin
from journal.admin_storage import JournalBatchAdmin, SnapshotAdmin
from journal.admin_text import brief, link, list_url, pretty, row_url, seconds, who
from journal.durability import Connection, journal_connection, read_durability
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot

DAMAGED = (
    "Rows of this document's journal are missing or damaged. People can look at what is readable; nobody can edit "
    "until it is repaired. Restore the rows named here from a backup: open rooms notice within seconds. "
    "<code>manage.py verify_journals --document SLUG</code> lists everything that is wrong."
)
"""What to do, above the finding."""


@admin.register(Document)
class DocumentAdmin(DocumentCare, DocumentPurge):
    """Documents: the only rows that can be edited here, and only what does not touch the journal."""

    change_form_template = "admin/vuer_journal/document/change_form.html"
    list_display = (
        "slug",
        "title",
        "visibility",
        "is_read_only",
        "owner",
        "head_seq",
        "is_intact",
        "contents",
        "updated_at",
    )
    list_select_related = ("owner",)
    list_filter = (
        "visibility",
        "is_read_only",
        ("archived_at", EmptyFieldListFilter),
        ("damage", EmptyFieldListFilter),
        "condition",
    )
    list_per_page = 50
    search_fields = ("slug", "title")
    raw_id_fields = ("owner",)
    actions = None
    readonly_fields = (
        "contents",
        "promise",
        "damage",
        "damaged_at",
        "head_seq",
        "truncated_seq",
        "cut",
        "epoch",
        "lease_holder",
        "condition",
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
                    "condition",
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

    def get_fieldsets(self, request: HttpRequest, obj: Document | None = None) -> Any:
        """Damage stands before everything else."""
        fieldsets = list(super().get_fieldsets(request, obj))
        if obj is not None and obj.damage:
            fieldsets.insert(0, ("Damaged", {"fields": ("damage", "damaged_at"), "description": DAMAGED}))
        return fieldsets

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list says what an acknowledgement means on this database."""
        promise = {"subtitle": promise_of(journal_connection())}
        return super().changelist_view(request, promise | (extra_context or {}))

    def has_delete_permission(self, request: HttpRequest, obj: Document | None = None) -> bool:
        return False

    @admin.display(description="intact", boolean=True)
    def is_intact(self, document: Document) -> bool:
        """As found when its journal was last read."""
        return not document.damage

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
        return promise_of(journal_connection())


def promise_of(connection: Connection) -> str:
    """What an acknowledgement means on a database, for people."""
    promise = read_durability(connection)
    meaning = "acknowledged is on disk" if promise.is_full else "the last acknowledged messages may be lost"
    return f"{meaning} ({promise.detail})"


@admin.register(SceneObject)
class SceneObjectAdmin(ReadOnlyAdmin):
    """Nodes as they are now; each page shows how it came to be so."""

    change_form_template = "admin/vuer_journal/sceneobject/change_form.html"
    list_display = (
        "key",
        "name",
        "tag",
        "parent",
        "operations",
        "condition",
        "updated_at",
        "document",
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
        "condition",
        "lt",
        "updated_at",
        "seq",
    )
    readonly_fields = ("operations", "pretty_properties", "condition")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document")

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return object_page(row) | acting(request, row.document)

    @admin.display(description="history")
    def operations(self, row: SceneObject) -> SafeString | str:
        """Everything retained that was done to it."""
        return link(list_url("vuer_journal_operation", document=row.document_id, key=row.key), "operations")

    @admin.display(description="condition")
    def condition(self, row: SceneObject) -> str:
        return "removed" if row.is_tombstone else "hidden by what is above it" if row.is_hidden else "shown"

    @admin.display(description="properties")
    def pretty_properties(self, row: SceneObject) -> SafeString:
        return pretty(row.properties)


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """Who did what, when; each page shows what was there before."""

    change_form_template = "admin/vuer_journal/operation/change_form.html"
    list_display = (
        "place",
        "received",
        "author",
        "otype",
        "node",
        "path",
        "operand",
        "mark",
        "client",
        "document",
    )
    ordering = ("-received_at", "-server_seq", "op_index")
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
    readonly_fields = ("batch_link", "author", "received", "node", "pretty_value", "pretty_extra", "mark")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document", "user")

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


admin.site.register(JournalBatch, JournalBatchAdmin)
admin.site.register(Snapshot, SnapshotAdmin)
