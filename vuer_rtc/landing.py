"""The project's first page: what a visitor without an account can join, and where the rest is."""

from dataclasses import dataclass
from urllib.parse import quote

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix

from journal.models import Document

DOCUMENTS_PER_PAGE = 50
OPEN = (Document.Visibility.PUBLIC_VIEW, Document.Visibility.PUBLIC_EDIT)


@dataclass(frozen=True)
class Entry:
    """One document as the page shows it."""

    slug: str
    title: str
    is_editable: bool
    """Whether a visitor without an account may edit, not only look."""
    websocket_url: str
    """Without the `client` parameter, which everybody chooses for themselves."""


def entry_of(document: Document, request: HttpRequest) -> Entry:
    scheme = "wss" if request.is_secure() else "ws"
    return Entry(
        slug=document.slug,
        title=document.title or document.slug,
        is_editable=document.visibility == Document.Visibility.PUBLIC_EDIT and not document.is_read_only,
        websocket_url=f"{scheme}://{request.get_host()}{get_script_prefix()}ws/rooms/{quote(document.slug)}/",
    )


def index(request: HttpRequest) -> HttpResponse:
    """The documents that anonymous visitors may see, page by page; others are not even counted."""
    whole = Document.objects.filter(archived_at=None, condition=Document.Condition.WHOLE)
    visible = whole.filter(visibility__in=OPEN)
    page = Paginator(visible.order_by("slug"), DOCUMENTS_PER_PAGE).get_page(request.GET.get("page"))
    entries = [entry_of(document, request) for document in page]
    return render(request, "vuer_rtc/index.html", {"page": page, "entries": entries})
