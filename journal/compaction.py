"""Folds old messages into a snapshot, proves it, and only then deletes their batches (rules J14, J15).

The steps, each of which may be the last one a process takes; running again goes on from there:

    plan      which batches the keep rules let go, and the cut that folds them: from rows alone
    cut       a server record in the journal, unless it is there already
    snapshot  a row, written and read back
    proof     old snapshot + every batch = new snapshot + the batches that stay, all read from the database
    spare     a second row of that snapshot: older ones do not reach the batches that stay
    archive   what is to go, as a file, read back and compared, when the site wants that
    truncate  `Document.truncated_seq`: from here on the old batches are nobody's
    delete    them and their operation rows, in bounded transactions
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from journal.archive import Archiving
from journal.cut import journal_cut
from journal.error import JournalBusy
from journal.failpoint import reach
from journal.folding import Folded, fold_history
from journal.lease import Lease, lease
from journal.models import Document, Snapshot
from journal.origin import write_origin
from journal.plan import KeepRules, Outline, Plan, may_let_go, plan_truncation, read_outline
from journal.position import truncated_seq_of
from journal.projection import project
from journal.proof import prove
from journal.settings import settings
from journal.snapshot import prune_snapshots, write_snapshot, write_spare
from journal.stored_row import answering
from journal.truncation import Tell, delete_truncated, has_truncated, truncate
from vuer_rtc.crdt.graph import Graph


@dataclass(slots=True)
class Report:
    """What one run did to one document."""

    slug: str
    document_id: str
    outcome: str = "nothing to do"
    """`nothing to do`, `planned` (a dry run), `compacted`, or `resumed`: an earlier run's deletions were
    finished."""
    truncated_seq: int = 0
    cut: int = 0
    batches: int = 0
    """Batches deleted (or planned to be)."""
    messages: int = 0
    snapshot_seq: int = 0
    snapshot_bytes: int = 0
    archives: list[str] = field(default_factory=list)
    """Names of the files that hold what was deleted."""
    leftover_batches: int = 0
    """Batches deleted that an earlier run had left."""
    seconds: float = 0.0


def compact_document(
    document: Document,
    keep: KeepRules,
    *,
    is_dry_run: bool = False,
    is_archiving: bool | None = None,
    now: datetime | None = None,
    tell: Tell | None = None,
) -> Report:
    """Afterwards the document holds what `keep` says, or nothing has changed.

    `is_archiving`: whether what goes is kept as files; None: as the settings say.  Safe beside live writers and
    readers, and resumable: killed anywhere, running it again finishes the work.

    Raises: CorruptJournal, ProofFailed or ArchiveFailed (nothing deleted), JournalBusy, JournalUnavailable,
    SnapshotTooLarge.
    """
    is_archiving = settings.archive if is_archiving is None else is_archiving
    began, now = time.monotonic(), now or timezone.now()
    truncated_seq = truncated_seq_of(document.pk)
    report = Report(document.slug, str(document.pk), truncated_seq=truncated_seq)
    has_leftovers = has_truncated(document.pk, truncated_seq)
    if has_leftovers or may_let_go(document.pk, truncated_seq, keep, now):
        outline = read_outline(document.pk)
        plan = plan_truncation(outline.spans, keep, now)
        if is_dry_run:
            _describe(report, plan, "planned")
        elif has_leftovers or plan is not None:
            with answering(), lease(document.pk) as held:
                _Run(held, report, outline, tell).compact(keep, now, is_archiving=is_archiving)
    report.seconds = round(time.monotonic() - began, 3)
    return report


def has_work(document: Document, keep: KeepRules) -> bool:
    """False when a compaction would find nothing to do, as rows tell without their payloads."""
    seq = truncated_seq_of(document.pk)
    return has_truncated(document.pk, seq) or may_let_go(document.pk, seq, keep, timezone.now())


class _Run:
    """One compaction of a document whose lease it holds."""

    def __init__(self, held: Lease, report: Report, outline: Outline, tell: Tell | None) -> None:
        self.held = held
        self.document_id = held.document_id
        self.report = report
        self.outline = outline
        self.tell = tell
        self._written: list[Snapshot] = []

    def compact(self, keep: KeepRules, now: datetime, *, is_archiving: bool) -> None:
        reach("compact.leased")
        self.report.leftover_batches = delete_truncated(self.held, self.tell)
        if self.report.leftover_batches:
            self.report.outcome = "resumed"
        if truncated_seq_of(self.document_id) != self.outline.truncated_seq:
            self.outline = read_outline(self.document_id)  # another run has ended before this one began
        self.held.confirm(self.outline.truncated_seq)
        prune_snapshots(self.document_id, is_compacting=True)  # of runs that were killed
        plan = plan_truncation(self.outline.spans, keep, now)
        if plan is None:
            return
        self.held.renew()
        if self.tell is not None:
            self.tell("messages to fold", plan.messages)
        self._cut(plan)
        folded = fold_history(self.held, self.outline, plan)
        with self._taken_back_on(BaseException):
            snapshot = self._keep(plan, folded)
            if is_archiving:
                archiving = Archiving(self.held, self.outline.truncated_seq, snapshot.pk)
                self.report.archives = archiving.run(plan.truncate_seq)
                self.held.renew()
        with self._taken_back_on(JournalBusy):  # after anything else it may be truncated all the same
            truncate(self.held, plan.truncate_seq, snapshot.cut)
        reach("compact.truncated")
        self._tidy(folded.head)
        _describe(self.report, plan, "compacted")
        self.report.snapshot_seq, self.report.snapshot_bytes = snapshot.seq, len(snapshot.payload)

    def _cut(self, plan: Plan) -> None:
        """Afterwards a cut in force folds all that is to go."""
        if self.outline.cut_seq(plan.cut) is None:
            journal_cut(self.document_id, self.outline.head_seq, plan.cut, self.outline.last_batch)
            self.outline.read_on()
        reach("compact.cut")
        self.held.renew()

    def _keep(self, plan: Plan, folded: Folded) -> Snapshot:
        """Writes the states that stand for what is to go, and proves them; the one that recovery begins from."""
        snapshot = write_snapshot(
            self.document_id, folded.snapshot, plan.truncate_seq, Snapshot.Reason.COMPACTION
        )
        reach("compact.snapshot")
        self._note(snapshot)
        origin = write_origin(self.document_id, plan.truncate_seq, folded.origin)
        reach("compact.origin")
        if origin is not None:
            self._note(origin)
        prove(self.held, snapshot.pk, origin.pk if origin is not None else None)
        reach("compact.proved")
        if (spare := write_spare(snapshot)) is not None:
            self._note(spare)
        reach("compact.spared")
        return snapshot

    def _note(self, row: Snapshot) -> None:
        """The row goes again if this run fails, and at once if a redaction came before it, which has not seen it."""
        self._written.append(row)
        self.held.confirm(self.outline.truncated_seq)

    @contextmanager
    def _taken_back_on(self, failure: type[BaseException]) -> Iterator[None]:
        """Such a failure of the block deletes what was written: recovery might begin from it."""
        try:
            yield
        except failure:
            Snapshot.objects.filter(pk__in=[row.pk for row in self._written]).delete()
            raise

    def _tidy(self, head: Graph) -> None:
        """Deletes what is nobody's now; projections follow."""
        delete_truncated(self.held, self.tell)
        reach("compact.deleted")
        prune_snapshots(self.document_id, is_compacting=True)
        reach("compact.pruned")
        undone, retained_ids = head.undone_ids(), head.retained_ids()
        project(self.document_id, head.head_seq, undone, head.nodes(), retained=retained_ids)
        reach("compact.projected")


def _describe(report: Report, plan: Plan | None, outcome: str) -> None:
    if plan is None:
        return
    report.outcome, report.truncated_seq, report.cut = outcome, plan.truncate_seq, plan.cut
    report.batches, report.messages = plan.batches, plan.messages


__all__ = ["KeepRules", "Report", "compact_document", "has_work"]
