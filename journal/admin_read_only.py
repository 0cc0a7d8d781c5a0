"""Pages to look at, not to change."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from journal.admin_link import LinkingAdmin, link, row_url
from journal.admin_list import ReadableAdmin
from journal.admin_text import called, clipped


class ReadOnlyAdmin(LinkingAdmin, ReadableAdmin):
    """Rows to look at; with tables of millions in mind."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # a pass over the table for every choice of every filter
    list_per_page = 50
    actions: Sequence[str] | None = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description="document", ordering="document__slug")
    def document_link(self, row: Any) -> SafeString | str:
        document = row.document
        return link(row_url("vuer_journal_document", document.pk), clipped(str(document), called(document)))

    @admin.display(description="document", ordering="document__slug")
    def short_document(self, row: Any) -> SafeString:
        return clipped(str(row.document), called(row.document))

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of a row shows beside its fields."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        is_shown = row is not None and self.has_view_permission(request, row)
        page = self.page(request, row) if is_shown else {}  # it may take a replay
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **page})
