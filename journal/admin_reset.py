"""Emptying a document from the admin: asked first, then done and told (rule J34)."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from journal.admin_act import DocumentHistory, Refused, act_url, told_failure, why_frozen
from journal.durability import non_atomic
from journal.error import JournalBusy, JournalError
from journal.label import drop_label, label_state
from journal.models import Document
from journal.position import read_heads
from journal.reset import StaleEpoch, reset_document

MODERATE = "vuer_journal.moderate_document"
NAME = "vuer_journal_document_reset"
DIGITS_MAX = 20
"""Of the number of an epoch: Python reads none of thousands."""


def may_reset(request: HttpRequest, document: Document) -> bool:
    """True for moderators of the document, its owner among them."""
    user = request.user
    has_perm = getattr(user, "has_perm")  # noqa: B009 (of accounts and visitors alike)
    is_owner = document.owner_id is not None and document.owner_id == user.pk
    return is_owner or has_perm(MODERATE) or has_perm(MODERATE, document)


class DocumentReset(DocumentHistory):
    """The page that asks, and the view that does."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.reset)
        return [path("<path:object_id>/reset/", view, name=NAME), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        document = kwargs.get("obj")
        offered = {"may_reset": isinstance(document, Document) and may_reset(request, document)}
        return super().render_change_form(request, context | offered, *args, **kwargs)

    @non_atomic
    def reset(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask; on POST, empty the document, if it is in the epoch that was asked about still."""
        document = self.document_or_refuse(request, object_id)
        if document is None:
            return self.gone(request, object_id)
        if not may_reset(request, document):
            raise PermissionDenied
        if request.method != "POST":
            return self._page(request, document)
        try:
            self._empty(request, document)
        except (Refused, JournalError) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(act_url("reset", document.pk))
        except Error as error:
            messages.error(request, told_failure(error))
            return HttpResponseRedirect(act_url("reset", document.pk))
        return HttpResponseRedirect(act_url("change", document.pk))

    def _page(self, request: HttpRequest, document: Document) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Reset {document}?",
            "document": document,
            "frozen": why_frozen(document),
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/vuer_journal/document/reset.html", context)

    def _empty(self, request: HttpRequest, document: Document) -> None:
        if why := why_frozen(document):
            raise Refused(f"{why} Nothing was changed.")
        if not (asked := request.POST.get("epoch", "")).isdecimal() or len(asked) > DIGITS_MAX:
            raise Refused("It was not asked which epoch to end: open the page again. Nothing was changed.")
        epoch = int(asked)
        label, head_seq = request.POST.get("label", "").strip(), read_heads([document.pk]).get(document.pk, 0)
        if label:  # first, for it may be refused
            label_state(document.pk, head_seq, label, request.user.pk)
        try:
            record = reset_document(document.pk, user=str(request.user.pk), epoch=epoch)
        except (StaleEpoch, JournalBusy):  # nothing was written then: there is no state before it either
            drop_label(document.pk, label)
            raise
        done = f"Reset the document at sequence {record.server_seq}: epoch {epoch + 1}."
        self.conclude(request, document, done)
        messages.success(request, done)
        if label and head_seq < record.server_seq - 1:  # people went on editing meanwhile
            drop_label(document.pk, label)
            head_seq = label_state(document.pk, record.server_seq - 1, label, request.user.pk).seq
        if label:
            self.log_change(request, document, f"Labelled the state at sequence {head_seq} “{label}”.")
