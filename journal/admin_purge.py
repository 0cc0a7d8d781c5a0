"""Deleting a document for good from the admin: for superusers, who type its name (rules J52, J53)."""

import logging
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from journal.admin_act import act_url, told_failure
from journal.admin_link import address
from journal.admin_reset import DocumentReset
from journal.durability import non_atomic
from journal.error import JournalBusy, JournalError
from journal.live_side import current_live_side
from journal.models import Document
from journal.purge import purge_document

logger = logging.getLogger(__name__)

NAME = "vuer_journal_document_purge"


def _stop_with_the_server(*_: object) -> None:
    """Returns unless the process is about to end.  Raises: JournalBusy."""
    if current_live_side().is_ending():
        raise JournalBusy("The server stops. What is left of it is deleted from this page, once it is back.")


def may_purge(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_active", False) and getattr(request.user, "is_superuser", False))


class DocumentPurge(DocumentReset):
    """The page that asks for the name, and the view that deletes."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.purge)
        return [path("<path:object_id>/purge/", view, name=NAME), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        return super().render_change_form(
            request, context | {"may_purge": may_purge(request)}, *args, **kwargs
        )

    @non_atomic
    def purge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask; on POST, delete the document whose slug was typed."""
        if not may_purge(request):
            raise PermissionDenied
        document = self.document_or_refuse(request, object_id)
        if document is None:
            return self.gone(request, object_id)
        if request.method != "POST":
            return self._ask(request, document)
        if request.POST.get("slug", "").strip() != document.slug:
            messages.error(request, "That is not its name. Nothing was deleted.")
            return HttpResponseRedirect(act_url("purge", document.pk))
        try:
            purge_document(document, is_forced="force" in request.POST, tell=_stop_with_the_server)
        except JournalError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(act_url("purge", document.pk))
        except Error as error:
            messages.error(request, told_failure(error))
            return HttpResponseRedirect(act_url("purge", document.pk))
        logger.info("document %s was purged", document.pk)
        messages.success(request, f"{document.slug} and all that belonged to it is deleted.")
        return HttpResponseRedirect(address("vuer_journal_document_changelist"))

    def _ask(self, request: HttpRequest, document: Document) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Delete {document} for good?",
            "document": document,
            "is_marked": document.condition == Document.Condition.PURGING,
            "present": current_live_side().connected(document.pk),
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/vuer_journal/document/purge.html", context)
