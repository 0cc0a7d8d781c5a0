"""What an operator may do to a document's past: name a state, take a message back.

Each is a POST of its own, is asked of the document's permissions, and stands in the admin's log.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme

from journal.admin_link import ModelAdmin, address, link, list_url, view_url
from journal.admin_looking_back import looking_back_page
from journal.admin_replay import refuse_long_recovery, refuse_long_way, refuse_unfinished
from journal.admin_text import named
from journal.authoring import Author, Authored
from journal.column import bounded
from journal.damage import is_stopped
from journal.durability import non_atomic
from journal.error import JournalError
from journal.label import drop_label, label_state
from journal.models import Document
from journal.projection import catch_up
from journal.restore import Point, point_at, point_of_label, restore, unknown_keys
from vuer_rtc.crdt.canonical import InvalidMessage
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)

RESTORING = "restore_document"
PERMISSIONS = ("vuer_journal.moderate_document", "vuer_journal.change_document")
"""Either of them, for the app or for the document, lets an operator act."""


class Refused(Exception):
    """Not done, and why."""


def may_act(request: HttpRequest, document: Document) -> bool:
    """True when the user may restore, undo and label in this document."""
    has_perm = getattr(request.user, "has_perm")  # noqa: B009 (of accounts and visitors alike)
    return any(has_perm(name) or has_perm(name, document) for name in PERMISSIONS)


def why_frozen(document: Document) -> str:
    """Why nobody may edit the document now; empty: they may."""
    if document.condition:
        return f"The document is {document.get_condition_display()}."
    if is_stopped(document):
        return "The document is damaged."
    if document.archived_at is not None:
        return "The document is archived."
    return "The document is read-only." if document.is_read_only else ""


def acting(request: HttpRequest, document: Document) -> dict[str, Any]:
    """What a page needs to offer these acts, and the way to the document's past."""
    past_url = view_url("vuer_journal_document", "looking_back", document.pk)
    return {
        "past_url": past_url,
        "may_act": past_url is not None and may_act(request, document),
        "frozen": why_frozen(document),
        "here": request.get_full_path(),
        "document": document,
    }


Act = Callable[[Any, HttpRequest, Document], str]


def action(act: Act) -> Callable[[Any, HttpRequest, str], HttpResponse]:
    """A view for one act, which returns what to tell the operator; back to where they came from."""

    @wraps(act)
    def view(self: "DocumentHistory", request: HttpRequest, object_id: str) -> HttpResponse:
        document = self.document_or_refuse(request, object_id)
        if document is None:
            return self.gone(request, object_id)
        if request.method == "GET":  # from the login, where a session has ended before the button was pressed
            messages.warning(request, "Nothing was changed: you had to log in first.")
            return HttpResponseRedirect(looking_back_url(document))
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "POST"])
        if not may_act(request, document):
            raise PermissionDenied
        try:
            refuse_unfinished(document)
            messages.success(request, act(self, request, document))
        except (Refused, InvalidMessage, JournalError) as error:
            messages.error(request, str(error))
        except Error as error:
            messages.error(request, told_failure(error))
        return HttpResponseRedirect(_back(request, document))

    return non_atomic(view)


def told_failure(error: Error) -> str:
    """What an operator reads when the database failed under an act: perhaps behind it, at the line of the log."""
    logger.warning("the database failed under an act in the admin: %s", error)
    return f"The database failed, and whether this was done is not known: {error}"


def _back(request: HttpRequest, document: Document) -> str:
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else looking_back_url(document)


def looking_back_url(document: Document) -> str:
    return act_url("looking_back", document.pk)


def act_url(name: str, document_id: Any) -> str:
    """Address of one of these views."""
    return address(f"vuer_journal_document_{name}", document_id)


def act_path(admin: ModelAdmin, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
    """The route of a view about one document."""
    address = f"<path:object_id>/{name.replace('_', '-')}/"
    return path(address, admin.admin_site.admin_view(view), name=f"vuer_journal_document_{name}")


class DocumentHistory(ModelAdmin):
    """The views of a document's past."""

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Callable[..., HttpResponse]] = {
            "looking_back": self.looking_back,
            "restore": self.restore,
            "label": self.label,
            "drop_label": self.drop_label,
            "undo": self.undo,
            "redo": self.redo,
        }
        return [*(act_path(self, name, view) for name, view in views.items()), *super().get_urls()]

    def document_or_refuse(self, request: HttpRequest, object_id: str) -> Document | None:
        """The document of an address; None: there is none.  Raises: PermissionDenied."""
        document = self.get_object(request, object_id)
        if not self.has_view_or_change_permission(request, document):
            raise PermissionDenied
        return document if isinstance(document, Document) else None

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]

    # Looking

    def looking_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The page of a document's past."""
        document = self.document_or_refuse(request, object_id)
        if document is None:
            return self.gone(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **looking_back_page(document, request.GET),
            "title": f"Looking back: {document}",
            **acting(request, document),
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/vuer_journal/document/looking_back.html", context)

    # Acting

    @action
    def restore(self, request: HttpRequest, document: Document) -> str:
        key = _quoted(request, "key") if "key" in request.POST else None
        point = wanted_point(request, document, key)
        author = author_of(document, seq=point.seq, key=key)
        whole = "the document" if key is None else f"the object {named(key)}"
        if key is not None and unknown_keys(author, point, [key]):
            raise Refused(f"There is no object {named(key)}, now or then.")
        authored = restore(author, point, None if key is None else [key], user=str(request.user.pk))
        if authored is None:
            return f"Nothing to do: {whole} is as it was at sequence {point.seq}."
        done = f"Restored {whole} to sequence {point.seq}"
        self.conclude(request, document, f"{done} by message {authored.message.id}.")
        return told(done, authored, document)

    @action
    def label(self, request: HttpRequest, document: Document) -> str:
        name, seq = request.POST.get("name", ""), _number(request, "seq")
        refuse_long_way(document, seq, None, "label_document", label=name, seq=seq)
        row = label_state(document.pk, seq, name, request.user.pk)
        self.log_change(request, document, f"Labelled the state at sequence {seq} “{row.label}”.")
        return f"The state at sequence {seq} is kept as “{row.label}”."

    @action
    def drop_label(self, request: HttpRequest, document: Document) -> str:
        name = request.POST.get("name", "")
        if not drop_label(document.pk, name):
            raise Refused(f"There is no label “{name}”.")
        self.log_change(request, document, f"Dropped the label “{name}”.")
        return f"The label “{name}” is gone."

    @action
    def undo(self, request: HttpRequest, document: Document) -> str:
        author = author_of(document, undo=_quoted(request, "message_id"))
        return self._turn(request, document, author.undo, "Undid", "is undone", is_undone=True)

    @action
    def redo(self, request: HttpRequest, document: Document) -> str:
        author = author_of(document, redo=_quoted(request, "message_id"))
        return self._turn(request, document, author.redo, "Redid", "counts again", is_undone=False)

    def _turn(
        self,
        request: HttpRequest,
        document: Document,
        turn: Callable[..., Authored],
        did: str,
        now: str,
        *,
        is_undone: bool,
    ) -> str:
        """Undo or redo the message that was asked for: what the log says was done, and what it is now."""
        message_id = _quoted(request, "message_id")

        def refuse_again(_: Message, graph: Graph) -> None:
            if graph.is_undone(message_id) == is_undone:
                raise Refused(f"The message {named(message_id)} {now} already.")

        authored = turn(message_id, user=str(request.user.pk), check=refuse_again)
        self.conclude(request, document, f"{did} the message {named(message_id)} at sequence {authored.seq}.")
        return told(f"The message {named(message_id)} {now}", authored, document)

    def conclude(self, request: HttpRequest, document: Document, done: str) -> None:
        """Afterwards the admin's log says what is in the journal now, and rows show it; if these cannot be written, a
        room, or the next act, makes up for it."""
        self.log_change(request, document, done)
        try:
            catch_up(document.pk)
        except (Error, JournalError) as error:
            logger.warning("rows of document %s wait: %s", document.pk, error)


def told(what: str, authored: Authored, document: Document) -> str:
    """What was done, with a link to the message that did it: it can be undone in turn."""
    url = list_url("vuer_journal_operation", document=document.pk, message=bounded(authored.message.id))
    return format_html("{}, by {}.", what, link(url, f"the message at sequence {authored.seq}"))


def wanted_point(request: HttpRequest, document: Document, key: str | None) -> Point:
    """The state of the label, or at the sequence, that was posted.

    Raises: Refused, ReplayTooLong, OutOfReach; CorruptJournal, JournalUnavailable.
    """
    refuse_frozen(document)
    if name := request.POST.get("label"):
        refuse_long_recovery(document, RESTORING, label=name, key=key)
        return point_of_label(document.pk, name)
    seq = _number(request, "seq")
    refuse_long_way(document, seq, None, RESTORING, seq=seq, key=key)
    return point_at(document.pk, seq)


def author_of(document: Document, **options: Any) -> Author:
    """Who writes to a document that may be edited, unless reading it is left to the command, with these options.

    Raises: Refused, ReplayTooLong; and as Author.
    """
    refuse_frozen(document)
    refuse_long_recovery(document, RESTORING, **options)
    return Author(document.pk)


def refuse_frozen(document: Document) -> None:
    """Returns for a document that may be edited."""
    if why := why_frozen(document):
        raise Refused(f"{why} Nothing was changed.")


def _quoted(request: HttpRequest, name: str) -> str:
    """A key or an id, which forms hold as addresses do: browsers make other line breaks of those in a field."""
    return unquote(request.POST.get(name, ""))


def _number(request: HttpRequest, name: str) -> int:
    try:
        return int(request.POST[name])
    except (KeyError, ValueError):
        raise Refused("That is no sequence.") from None
