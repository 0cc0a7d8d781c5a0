"""Folds old messages into a snapshot, proves it, and only then deletes their batches (rules J14, J15).

The steps, each of which may be the last one a process takes; running again goes on from there:

    plan      which batches the keep rules let go, and the cut that folds them: from rows alone
    cut       a server record in the journal, unless it is there already
    snapshot  a row, written and read back
    proof     old snapshot + every batch = new snapshot + the batches that stay, all read from the database
    archive   what is to go, as a file, read back and compared, when the site wants that
    truncate  `Document.truncated_seq`: from here on the old batches are nobody's
    delete    them and their operation rows, in bounded transactions
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
from django.utils import timezone

from journal.archive import Archiving
from journal.entry import Entry
from journal.error import JournalBusy
from journal.failpoint import reach
from journal.lease import Lease, lease, process_name
from journal.models import Document, JournalBatch, Operation, Snapshot
from journal.origin import write_origin
from journal.projection import project
from journal.proof import ProofFailed, prove
from journal.reader import (
    Batch,
    Start,
    answering,
    oldest_start,
    read_after,
    retained,
    truncated_seq_of,
    while_retained,
    with_history,
)
from journal.settings import settings
from journal.snapshot import (
    draft_snapshot,
    prune_snapshots,
    write_snapshot,
)
from journal.truncation import Tell, delete_truncated, truncate
from journal.writer import Appended, Conflict, Draft, append_batches
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, cut_record


@dataclass(frozen=True, slots=True)
class KeepRules:
    """What compaction leaves alone; both must let a message go."""

    messages: int
    """The newest so many messages of clients."""
    days: float
    """Everything younger than this."""

    @classmethod
    def of(cls, document: Document, messages: int | None = None, days: float | None = None) -> "KeepRules":
        """The rules given, else the document's, else the site's."""
        own = (document.keep_messages, document.keep_days)
        return cls(
            messages=next(n for n in (messages, own[0], settings.keep_messages) if n is not None),
            days=next(n for n in (days, own[1], settings.keep_days) if n is not None),
        )


@dataclass(frozen=True, slots=True)
class Span:
    """What planning needs to know of a retained batch."""

    first_seq: int
    last_seq: int
    created_at: datetime
    lt_max: int = 0
    """Highest Lamport time of its clients' messages."""
    edits: int = 0
    """Messages of clients in it.  Server records do not count: a cut must not push the next cut along for
    ever."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compaction is going to do."""

    truncate_seq: int
    """S: batches up to here go."""
    cut: int
    """F: highest Lamport time among their messages, or the cut in force."""
    batches: int
    messages: int
    is_folded: bool = False
    """The cuts of live rooms have folded them: the snapshot is taken of the first state that holds them all,
    and tells every state from there on."""


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


def plan_truncation(
    spans: Sequence[Span], cut: int, keep: KeepRules, now: datetime, folded_seq: int = 0
) -> Plan | None:
    """The longest run of batches, from the oldest on, that both rules let go; None when it holds no edit.  Cuts in
    force have folded what is up to `folded_seq`.  Pure."""
    oldest_to_keep = now - timedelta(days=keep.days)
    spare = sum(span.edits for span in spans) - keep.messages
    count = 0
    for span in spans:
        spare -= span.edits
        if spare < 0 or span.created_at > oldest_to_keep:
            break
        count += 1
    going = spans[:count]
    if not any(span.edits for span in going):
        return None
    return Plan(
        truncate_seq=going[-1].last_seq,
        cut=max(cut, *(span.lt_max for span in going)),
        batches=len(going),
        messages=going[-1].last_seq - going[0].first_seq + 1,
        is_folded=going[-1].last_seq <= folded_seq,
    )


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
    report = Report(document.slug, str(document.pk), truncated_seq=truncated_seq_of(document.pk))
    if is_dry_run:
        _, plan = measure(document.pk, keep, now)
        if plan is not None:
            _describe(report, plan, "planned")
    elif _may_have_work(document.pk, keep, now):
        with answering(), lease(document.pk) as held:
            _compact(held, keep, now, report, is_archiving=is_archiving, tell=tell)
    report.seconds = round(time.monotonic() - began, 3)
    return report


def _compact(
    held: Lease, keep: KeepRules, now: datetime, report: Report, *, is_archiving: bool, tell: Tell | None
) -> None:
    document_id = held.document_id
    reach("compact.leased")
    report.leftover_batches = delete_truncated(document_id, held, tell)
    if report.leftover_batches:
        report.outcome = "resumed"
    graph, plan = measure(document_id, keep, now)
    if plan is None:
        return
    held.renew()
    if tell is not None:
        tell("messages to fold", plan.messages)
    if not plan.is_folded:
        journal_cut(document_id, graph, plan.cut)
    reach("compact.cut")
    held.renew()
    folded = first_folded(document_id, plan.truncate_seq) if plan.is_folded else graph
    draft = draft_snapshot(folded, with_digests=True)
    snapshot = write_snapshot(document_id, draft, plan.truncate_seq, Snapshot.Reason.COMPACTION)
    reach("compact.snapshot")
    origin = write_origin(document_id, plan.truncate_seq, graph)
    reach("compact.origin")
    held.renew()
    try:
        prove(snapshot.pk, origin.pk if origin is not None else None)
    except ProofFailed:
        snapshot.delete()  # or recovery might begin from it
        if origin is not None:
            origin.delete()
        raise
    reach("compact.proved")
    if is_archiving:
        report.archives = Archiving(held, truncated_seq_of(document_id), snapshot.pk).run(plan.truncate_seq)
        held.renew()
    truncate(held, plan.truncate_seq, snapshot.cut)
    reach("compact.truncated")
    delete_truncated(document_id, held, tell)
    reach("compact.deleted")
    prune_snapshots(document_id, is_compacting=True)
    reach("compact.pruned")
    project(document_id, graph.head_seq, graph.undone_ids(), graph.nodes())
    reach("compact.projected")
    _describe(report, plan, "compacted")
    report.snapshot_seq, report.snapshot_bytes = snapshot.seq, len(snapshot.payload)


def _describe(report: Report, plan: Plan, outcome: str) -> None:
    report.outcome, report.truncated_seq, report.cut = outcome, plan.truncate_seq, plan.cut
    report.batches, report.messages = plan.batches, plan.messages


# Plan


def _may_have_work(document_id: UUID, keep: KeepRules, now: datetime) -> bool:
    """A cheap look that writes nothing: without payloads first, then without applying them."""
    truncated_seq = truncated_seq_of(document_id)
    batches = JournalBatch.objects.filter(document=document_id).order_by("last_seq")
    if batches.filter(last_seq__lte=truncated_seq).exists():
        return True
    if Operation.objects.filter(document=document_id, server_seq__lte=truncated_seq).exists():
        return True
    rows = batches.values_list("first_seq", "last_seq", "created_at", "message_count")
    guess = [Span(first, last, at, edits=count) for first, last, at, count in rows.iterator(chunk_size=2000)]
    if plan_truncation(guess, 0, keep, now) is None:
        return False
    spans = with_history(document_id, lambda start, found: [span_of(batch) for batch in found])
    return plan_truncation(spans, 0, keep, now) is not None


def measure(document_id: UUID, keep: KeepRules, now: datetime) -> tuple[Graph, Plan | None]:
    """The document at its head, and the plan for it."""

    def read(start: Start, batches: Iterator[Batch]) -> tuple[Graph, list[Span]]:
        spans = []
        for batch in batches:
            spans.append(span_of(batch))
            for entry in batch.entries:
                start.graph.apply(entry.message)
        return start.graph, spans

    graph, spans = with_history(document_id, read)
    return graph, plan_truncation(spans, graph.cut, keep, now, graph.folded_seq)


def span_of(batch: Batch) -> Span:
    """The measures of one batch."""
    edits = [entry.message.lt for entry in batch.entries if not entry.message.is_server_record]
    return Span(batch.first_seq, batch.last_seq, batch.created_at, max(edits, default=0), len(edits))


# Cut


def first_folded(document_id: UUID, seq: int) -> Graph:
    """The oldest state that can be had in which every message up to `seq` is folded away; it must be so at the
    head."""

    def find(truncated_seq: int) -> Graph:
        graph, seen_cut = oldest_start(document_id, truncated_seq), -1
        for batch in retained(document_id, truncated_seq):
            for entry in batch.entries:
                graph.apply(entry.message)
            if graph.cut > seen_cut and graph.head_seq == batch.last_seq:
                if graph.folded_seq >= seq:
                    break
                seen_cut = graph.cut
        return graph

    return while_retained(document_id, find)


def journal_cut(document_id: UUID, graph: Graph, cut: int) -> None:
    """Afterwards `cut` (or a higher one) is in force in the journal, and `graph` is at a head that holds it.

    Live writers may be appending: on a conflict what they wrote is read and applied, and the record goes
    behind it.

    Raises: JournalBusy when writers never leave a gap or another compaction has truncated behind the head.
    """
    record = cut_record(f"=server:{uuid4().hex}", cut, time.time())
    for _ in range(settings.cut_attempts_max):
        if graph.cut >= cut:
            return
        draft = Draft(document_id, graph.head_seq + 1, [Entry(record, received_at=time.time())])
        [outcome] = append_batches([draft], process_name())
        match outcome:
            case Appended(first_seq=seq):
                graph.apply(numbered(record, seq))
            case Conflict(was_locked=was_locked):
                for _, entries in read_after(document_id, graph.head_seq):
                    for entry in entries:
                        graph.apply(entry.message)
                if was_locked:
                    time.sleep(random.uniform(0.005, 0.05))
            case _:
                break
    else:
        raise JournalBusy(f"document {document_id}: its writers left no room for the cut; try again")
    raise JournalBusy(f"document {document_id}: another compaction has overtaken this one")


def numbered(message: Message, seq: int) -> Message:
    """The message as the journal has it."""
    return msgspec.structs.replace(message, server_seq=seq)
