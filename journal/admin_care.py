"""Looking after one journal from the admin: compact it, look for damage.  What takes long is left to the commands."""

from typing import Any

from django.http import HttpRequest
from django.urls import URLPattern

from journal.admin_act import DocumentHistory, Refused, act_path, action, may_act
from journal.admin_replay import refuse_long
from journal.compaction import KeepRules, Report, compact_document, has_work
from journal.damage import note_verdict
from journal.history import retained_length
from journal.models import Document
from journal.verification import Verdict, verify_document

FINDINGS_MAX = 5
"""Findings that the admin tells; the command tells all."""


class DocumentCare(DocumentHistory):
    """The views, and what the document's page needs to offer them."""

    def get_urls(self) -> list[URLPattern]:
        acts = (("compact", self.compact), ("verify", self.verify))
        return [*(act_path(self, name, view) for name, view in acts), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        document = kwargs.get("obj")
        may_care = isinstance(document, Document) and not document.condition and may_act(request, document)
        care = {"may_care": may_care, "here": request.get_full_path()}
        return super().render_change_form(request, context | care, *args, **kwargs)

    @action
    def compact(self, request: HttpRequest, document: Document) -> str:
        """By the document's own keep rules."""
        keep = KeepRules.of(document)
        if has_work(document, keep):
            refuse_long(retained_length(document.pk), "compact_journals", document)
        done = f"Compacted: {told_report(compact_document(document, keep))}"
        self.conclude(request, document, done)
        return done

    @action
    def verify(self, request: HttpRequest, document: Document) -> str:
        """Reads everything; changes nothing but what is said of its damage, as the command does."""
        refuse_long(retained_length(document.pk), "verify_journals", document)
        verdict = verify_document(document)
        note_verdict(document.pk, verdict.damage)
        self.log_change(request, document, f"Verified: {told_verdict(verdict)}")
        if verdict.is_damaged:
            raise Refused(told_verdict(verdict))
        return told_verdict(verdict)


def told_report(report: Report) -> str:
    """What a compaction did, in a line."""
    if report.outcome == "nothing to do":
        return "nothing to do, the keep rules let nothing go."
    if report.outcome != "compacted":
        return f"{report.outcome}."
    return (
        f"{report.messages} messages in {report.batches} batches are folded into a snapshot of {report.snapshot_bytes} "
        f"bytes; the journal begins at sequence {report.truncated_seq + 1}."
    )


def told_verdict(verdict: Verdict) -> str:
    """What was found, the first of it."""
    if not verdict.findings:
        return (
            f"Good: {verdict.messages} messages in {verdict.batches} batches, {verdict.snapshots} snapshots."
        )
    worst_first = sorted(verdict.findings, key=lambda finding: not finding.is_damage)
    told = " ".join(
        f"{'DAMAGE' if finding.is_damage else 'Note'}, sequence {finding.seq}: {finding.problem.rstrip('.')}. "
        f"{finding.hint}".rstrip()
        for finding in worst_first[:FINDINGS_MAX]
    )
    more = len(verdict.findings) - FINDINGS_MAX
    return f"{told} And {more} more: see manage.py verify_journals." if more > 0 else told
