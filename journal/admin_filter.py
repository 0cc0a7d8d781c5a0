"""Filters for tables of millions of rows: none of them asks for the distinct values of a column."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from journal.admin_text import called, deleted_keys
from journal.column import bounded, storable
from journal.models import Document
from vuer_rtc.crdt.dtype import CLIENT_OPS

DOCUMENTS_MAX = 30
"""Documents offered by the filter; others are reached through their own page."""


class DocumentFilter(SimpleListFilter):
    """The documents that changed last, and the one chosen."""

    title = "document"
    parameter_name = "document"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        newest = Document.objects.order_by("-updated_at")
        offered = {str(row.pk): called(row) for row in newest.only("slug", "title")[:DOCUMENTS_MAX]}
        chosen = request.GET.get(self.parameter_name)
        if chosen and chosen not in offered and (key := _uuid(chosen)):
            offered |= {
                str(row.pk): called(row) for row in Document.objects.filter(pk=key).only("slug", "title")
            }
        return sorted(offered.items(), key=lambda item: item[1])

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if self.value() is None:
            return queryset
        key = _uuid(str(self.value()))
        if key is None:
            raise IncorrectLookupParameters("not the key of a document")
        return queryset.filter(document=key)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


class FilledFilter(SimpleListFilter):
    """Rows of which a column says something, or those of which it says nothing."""

    field: ClassVar[str]
    nothing: ClassVar[Any] = None

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        match self.value():
            case "yes":
                return queryset.exclude(**{self.field: self.nothing})
            case "no":
                return queryset.filter(**{self.field: self.nothing})
        return queryset


class ArchivedFilter(FilledFilter):
    """Documents that are closed for everybody."""

    title = "archived"
    parameter_name = "archived"
    field = "archived_at"


class DamagedFilter(FilledFilter):
    """Documents that are not intact."""

    title = "damaged"
    parameter_name = "damaged"
    field = "damage"
    nothing = ""


class OtypeFilter(SimpleListFilter):
    """One operation, or all of a data type."""

    title = "operation"
    parameter_name = "otype"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        dtypes = sorted({ot.partition(".")[0] for ot in CLIENT_OPS} | {"server"})
        chosen = request.GET.get(self.parameter_name, "").partition(".")[0]
        offered: list[tuple[str, str]] = []
        for dtype in dtypes:
            offered.append((f"{dtype}.", f"{dtype}.*"))
            if dtype == chosen:
                offered += [(ot, ot) for ot in sorted(CLIENT_OPS) if ot.startswith(f"{dtype}.")]
        return offered

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        otype = storable(self.value() or "")
        if otype.endswith("."):
            return queryset.filter(otype__startswith=otype)
        return queryset.filter(otype=otype) if otype else queryset


class TextFilter(SimpleListFilter):
    """A field to type into, in place of a list of every value there is."""

    template = "admin/vuer_journal/text_filter.html"
    field: ClassVar[str]
    """Column that must hold what was typed, as columns do."""

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The other filters, which the form has to keep."""
        kept = [
            (name, value)
            for name, values in changelist.get_filters_params().items()
            if name != self.parameter_name
            for value in values
        ]
        if changelist.query:
            kept.append((SEARCH_VAR, changelist.query))
        clear = changelist.get_query_string(remove=[str(self.parameter_name)])
        yield {"kept": kept, "clear": clear, "value": self.value() or ""}

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        wanted = self.value()
        return queryset.filter(**{self.field: bounded(wanted)}) if wanted else queryset


class KeyFilter(TextFilter):
    """Operations on one node."""

    title = "object key"
    parameter_name = "key"
    field = "key"


class MessageFilter(TextFilter):
    """Operations of one message: a search for its id finds all that begin so, and takes one with blanks apart."""

    title = "message id"
    parameter_name = "message"
    field = "message_id"


class ClientFilter(TextFilter):
    """Operations, or sessions, of one client."""

    title = "client"
    parameter_name = "client"
    field = "client"


class UserFilter(TextFilter):
    """Operations, or sessions, of the account of that name; where there is none, of those whose name begins so, and of
    the deleted account of that key."""

    title = "user"
    parameter_name = "user"
    accounts_max = 100

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if not self.value():
            return queryset
        model: type[Model] = get_user_model()
        name, wanted = getattr(model, "USERNAME_FIELD"), storable(self.value())  # noqa: B009
        keys = model._default_manager.values_list("pk", flat=True)
        found = list(keys.filter(**{name: wanted})) or [
            *deleted_keys(wanted),
            *keys.filter(**{f"{name}__istartswith": wanted}).order_by(name)[: self.accounts_max + 1],
        ]
        if len(found) > self.accounts_max:
            told = f"The names of more than {self.accounts_max} accounts begin so: these are the first. Type more."
            messages.warning(request, told)
        return queryset.filter(user__in=found[: self.accounts_max])
