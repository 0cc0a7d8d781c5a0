"""Addresses of the admin's pages, on that one of the site's admins which is being asked, for whoever asks.

Pages are put together by functions that Django calls with a row and nothing else, and in templates after the view has
returned: who asks which admin is a variable of the request's context, set by each view of ours before anything else.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class _Visit(NamedTuple):
    site: admin.AdminSite
    request: HttpRequest

    def may_see(self, model_name: str) -> bool:
        """True when the site has pages of that model, and shows them to whoever asks."""
        app_label, _, name = model_name.rpartition("_")
        try:
            model_admin = self.site.get_model_admin(apps.get_model(app_label, name))
        except (LookupError, NotRegistered):
            return False
        return model_admin.has_view_or_change_permission(self.request)


_visit: ContextVar[_Visit | None] = ContextVar("visit of an admin page", default=None)


class LinkingAdmin(ModelAdmin):
    """Its pages lead to others of the same admin site; comes before all other classes that add views."""

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            url.callback = _on(self.admin_site, url.callback)
        return urls

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Of a column nobody can ask for a NUL character: PostgreSQL takes none.  Filters of ours see to it."""
        own = {getattr(each, "parameter_name", None) for each in self.list_filter}
        return (lookup in own or "\x00" not in value) and super().lookup_allowed(lookup, value, request)


def _on(site: admin.AdminSite, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        request.current_app = site.name  # for templates
        _visit.set(_Visit(site, request))
        return view(request, *args, **kwargs)

    return answer


def address(name: str, *args: Any) -> str:
    """Of a view of the admin.  Raises: NoReverseMatch."""
    visit = _visit.get()
    return reverse(f"admin:{name}", args=args, current_app=visit.site.name if visit else None)


def view_url(model: str, view: str, *args: Any) -> str | None:
    """Address of a view of rows; None when that is not part of this site, or not for whoever asks."""
    visit = _visit.get()
    if visit is not None and not visit.may_see(model):
        return None
    try:
        return address(f"{model}_{view}", *args)
    except NoReverseMatch:
        return None


def list_url(model: str, **query: Any) -> str | None:
    """Address of a list in the admin, filtered; None as `view_url`."""
    url = view_url(model, "changelist")
    return url and f"{url}?{urlencode(query)}"


def row_url(model: str, key: Any) -> str | None:
    """Address of one row's page; None as `view_url`."""
    return view_url(model, "change", key)


def is_there(model: str, key: Any) -> bool:
    """True when this site has a row of that key."""
    app_label, _, name = model.rpartition("_")
    try:
        return bool(apps.get_model(app_label, name)._default_manager.filter(pk=key).exists())
    except (LookupError, ValueError, ValidationError):
        return False


def row_link(row: Model) -> SafeString | str:
    """A row by its name, leading to its page: what Django writes for a foreign key leads there whoever asks."""
    return link(row_url(row._meta.label_lower.replace(".", "_"), row.pk), str(row))


def link(url: str | None, text: str) -> SafeString | str:
    """A link; plain text without an address."""
    return format_html('<a href="{}">{}</a>', url, text) if url else text
