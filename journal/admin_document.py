"""Documents in the admin: the only rows that can be edited there, and only what does not touch the journal."""

from json import JSONDecodeError, JSONDecoder
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Field, JSONField
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from journal.admin_care import DocumentCare
from journal.admin_filter import ArchivedFilter, DamagedFilter
from journal.admin_link import LinkingAdmin, link, list_url
from journal.admin_list import ReadableAdmin
from journal.admin_purge import DocumentPurge
from journal.admin_text import clipped
from journal.damage import is_stopped
from journal.durability import Connection, journal_connection, read_durability
from journal.models import Document
from vuer_rtc.crdt.plain import plain

LISTED = "<code>manage.py verify_journals --document SLUG</code> lists everything that is wrong."
STOPPED = (
    "Rows of this document's journal are missing or damaged. People can look at what is readable; nobody can edit "
    f"until it is repaired. Restore the rows named here from a backup: open rooms notice within seconds. {LISTED}"
)
"""What to do, above the finding."""
OPENS = (
    "Rows of this document are missing or damaged, but none that it needs to open: people edit on. States that need "
    f"these rows cannot be looked back to, and compaction may wait for them. Do what stands here. {LISTED}"
)
"""The same where nobody is stopped."""


class PlainDecoder(JSONDecoder):
    """Of a form's field: what is nested too deep, or no database takes, is no valid JSON either."""

    def decode(self, s: str, *args: Any) -> Any:
        try:
            return plain(super().decode(s, *args))
        except (ValueError, RecursionError) as error:
            raise JSONDecodeError(str(error), "", 0) from error


class DocumentAdmin(LinkingAdmin, ReadableAdmin, DocumentCare, DocumentPurge):
    """Documents: the only rows that can be edited here, and only what does not touch the journal."""

    change_form_template = "admin/vuer_journal/document/change_form.html"
    list_display = (
        "short_slug",
        "short_title",
        "visibility",
        "state",
        "short_owner",
        "head_seq",
        "is_intact",
        "contents",
        "updated_at",
    )
    list_select_related = ("owner",)
    list_filter = (
        "visibility",
        "is_read_only",
        ArchivedFilter,
        DamagedFilter,
        "condition",
    )
    list_per_page = 50
    search_fields = ("slug", "title")
    raw_id_fields = ("owner",)
    actions = None
    formfield_overrides: ClassVar[Any] = {JSONField: {"decoder": PlainDecoder}}
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
    settings_fieldsets: ClassVar[Any] = (
        ("Access", {"fields": ("owner", "visibility", "is_read_only", "archived_at")}),
        (
            "Limits and retention",
            {"fields": ("limits", "keep_messages", "keep_days"), "classes": ["collapse"]},
        ),
    )
    add_fieldsets: ClassVar[Any] = ((None, {"fields": ("slug", "title")}), *settings_fieldsets)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("slug", "title", "contents")}),
        *settings_fieldsets,
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
        """Damage stands before everything else; of a document that is yet to be there is nothing to tell."""
        if obj is None:
            return self.add_fieldsets
        fieldsets = list(super().get_fieldsets(request, obj))
        if obj.damage:
            told = STOPPED if is_stopped(obj) else OPENS
            fieldsets.insert(0, ("Damaged", {"fields": ("damage", "damaged_at"), "description": told}))
        return fieldsets

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        """The form tells what it showed, so that what was changed is known; each half of a time says what it is."""
        if db_field.name == "keep_days":
            kwargs["min_value"] = 0  # -1 would not keep for ever, but nothing
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.show_hidden_initial = True
            for half, widget in zip(("date", "time"), getattr(field.widget, "widgets", ()), strict=False):
                widget.attrs["aria-label"] = f"{field.label}: {half}"
        return field

    def save_model(
        self, request: HttpRequest, obj: Document, form: "ModelForm[Document]", change: bool
    ) -> None:
        """What was changed in the form is saved: the rest may be old, somebody else may have changed it meanwhile."""
        shown = [name for name in form.fields if f"initial-{name}" in request.POST]
        if change and shown:
            obj.save(update_fields={*form.changed_data, "updated_at"})
        else:
            super().save_model(request, obj, form, change)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list says what an acknowledgement means on this database."""
        promise = {"promise": promise_of(journal_connection())}
        return super().changelist_view(request, promise | (extra_context or {}))

    def has_delete_permission(self, request: HttpRequest, obj: Document | None = None) -> bool:
        return False

    @admin.display(description="slug", ordering="slug")
    def short_slug(self, document: Document) -> SafeString:
        return clipped(document.slug)

    @admin.display(description="title", ordering="title")
    def short_title(self, document: Document) -> SafeString:
        return clipped(document.title)

    @admin.display(description="owner", ordering="owner", empty_value="-")
    def short_owner(self, document: Document) -> SafeString | None:
        return None if document.owner is None else clipped(str(document.owner))

    @admin.display(description="state")
    def state(self, document: Document) -> str:
        """Whether people can work in it, damage apart."""
        if document.condition:
            return document.get_condition_display()
        if document.archived_at is not None:
            return "archived"
        return "read-only" if document.is_read_only else "open"

    @admin.display(description="intact", boolean=True)
    def is_intact(self, document: Document) -> bool:
        """As found when its journal was last read."""
        return not document.damage

    @admin.display(description="contents")
    def contents(self, document: Document) -> SafeString | str:
        """Links to what belongs to the document."""
        key = document.pk
        urls = {
            "objects": list_url("vuer_journal_sceneobject", document=key),
            "operations": list_url("vuer_journal_operation", document=key),
            "batches": list_url("vuer_journal_journalbatch", document=key),
            "snapshots": list_url("vuer_journal_snapshot", document=key),
            "sessions": list_url("vuer_rooms_session", document=key),
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
