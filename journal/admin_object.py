"""Scene objects in the admin: each page shows how the object came to be as it is."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from journal.admin_act import acting
from journal.admin_filter import DocumentFilter
from journal.admin_link import link, list_url
from journal.admin_list import NOT_READ
from journal.admin_page import object_page
from journal.admin_read_only import ReadOnlyAdmin
from journal.admin_text import UNREADABLE, clipped, pretty, seconds
from journal.models import SceneObject


class SceneObjectAdmin(ReadOnlyAdmin):
    """Nodes as they are now; each page shows how it came to be so."""

    change_form_template = "admin/vuer_journal/sceneobject/change_form.html"
    list_display = (
        "short_key",
        "short_name",
        "short_tag",
        "short_parent",
        "operations",
        "condition",
        "client_clock",
        "short_document",
    )
    list_select_related = ("document",)
    list_filter = (DocumentFilter, "is_tombstone", "is_hidden")
    search_fields = ("key__startswith", "name__startswith", "tag__exact")
    search_help_text = "Beginning of a key or name, or a whole tag."
    fields = (
        "document_link",
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
    readonly_fields = ("document_link", "operations", "pretty_properties", "condition")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("document").defer("properties")  # of no list

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return object_page(row) | acting(request, row.document)

    @admin.display(description="key", ordering="key")
    def short_key(self, row: SceneObject) -> SafeString:
        return clipped(row.key)

    @admin.display(description="name", ordering="name")
    def short_name(self, row: SceneObject) -> SafeString:
        return clipped(row.name)

    @admin.display(description="tag", ordering="tag")
    def short_tag(self, row: SceneObject) -> SafeString:
        return clipped(row.tag)

    @admin.display(description="parent", ordering="parent")
    def short_parent(self, row: SceneObject) -> SafeString:
        return clipped(row.parent)

    @admin.display(description="history")
    def operations(self, row: SceneObject) -> SafeString | str:
        """Everything retained that was done to it."""
        return link(list_url("vuer_journal_operation", document=row.document_id, key=row.key), "operations")

    @admin.display(description="condition")
    def condition(self, row: SceneObject) -> str:
        return "removed" if row.is_tombstone else "hidden by what is above it" if row.is_hidden else "shown"

    @admin.display(description="updated, by the client's clock", ordering="updated_at", empty_value="-")
    def client_clock(self, row: SceneObject) -> str | None:
        """Which may be hours off; when the server had it stands in the history on the object's page."""
        return None if row.updated_at is None else seconds(row.updated_at)

    @admin.display(description="properties")
    def pretty_properties(self, row: SceneObject) -> SafeString | str:
        try:
            return pretty(row.properties)
        except NOT_READ as error:  # they are read here
            return f"{UNREADABLE}: {error}"
