"""Addresses of the admin's pages, on that one of the site's admins which is being asked.

Pages are put together by functions that Django calls with a row and nothing else, and in templates after the view has
returned: which admin answers is a variable of the request's context, set by each view of ours before anything else.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

_site: ContextVar[admin.AdminSite | None] = ContextVar("admin site that answers", default=None)


class LinkingAdmin(ModelAdmin):
    """Its pages lead to others of the same admin site; comes before all other classes that add views."""

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            url.callback = _on(self.admin_site, url.callback)
        return urls


def _on(site: admin.AdminSite, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        request.current_app = site.name  # for templates
        _site.set(site)
        return view(request, *args, **kwargs)

    return answer


def address(name: str, *args: Any) -> str:
    """Of a view of the admin.  Raises: NoReverseMatch."""
    site = _site.get()
    return reverse(f"admin:{name}", args=args, current_app=site.name if site else None)


def list_url(model: str, **query: Any) -> str | None:
    """Address of a list in the admin, filtered; None when that list is not part of this site."""
    try:
        return f"{address(f'{model}_changelist')}?{urlencode(query)}"
    except NoReverseMatch:
        return None


def row_url(model: str, key: Any) -> str | None:
    """Address of one row's page; None when there is none."""
    try:
        return address(f"{model}_change", key)
    except NoReverseMatch:
        return None


def link(url: str | None, text: str) -> SafeString | str:
    """A link; plain text without an address."""
    return format_html('<a href="{}">{}</a>', url, text) if url else text
