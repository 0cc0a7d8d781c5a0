"""A document as lines of text that give the same document elsewhere (rules J40 to J43).

Memory: one batch, one snapshot, and the document itself with what it retains, to tell its digests.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone

from journal.column import user_key
from journal.entry import Entry
from journal.error import CorruptJournal, JournalGap, OutOfReach, TransferRefused
from journal.history import graph_at
from journal.lease import Lease
from journal.models import Document, Snapshot
from journal.position import read_heads, truncated_seq_of
from journal.reader import Batch, restored, retained, starting_point, usable_snapshots
from journal.snapshot import draft_snapshot, pack_snapshot
from journal.stored_row import backup_hint, readable
from journal.transfer_line import BatchLine, End, Header, Line, LineWriter, Names, SnapshotLine
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record

DOCUMENT_FIELDS = ("title", "visibility", "is_read_only", "limits", "keep_messages", "keep_days")
"""What people set of a document and an export takes along; its owner does not go, nor whether it is closed."""

Archived = Iterable[tuple[int, Line]]
Tell = Callable[[int, int], None]
"""Told of progress: how many messages so far, of how many."""


@dataclass(slots=True)
class Exported:
    """What was written."""

    slug: str
    outcome: str = "exported"
    from_seq: int = 0
    to_seq: int = 0
    batches: int = 0
    messages: int = 0
    snapshots: int = 0
    digest: str = ""
    full_digest: str = ""


class Export:
    """One export of one document; the lease keeps compactions away from it."""

    def __init__(self, held: Lease, document: Document, out: IO[bytes], tell: Tell | None = None) -> None:
        self._held = held
        self._document = document
        self._lines = LineWriter(out)
        self._tell = tell
        self._known: set[str] = set()
        self._report = Exported(document.slug)

    def write(
        self, from_seq: int | None = None, archived: Archived | None = None, to_seq: int | None = None
    ) -> Exported:
        """Afterwards the document, or what follows `from_seq`, is written, its end included.

        `archived`: the lines of its archive, which end where the journal begins; they go before it.  `to_seq`: the
        document as it was there; what is behind is not read.

        Raises: TransferRefused when `from_seq` or `to_seq` is not retained, or for an archive that is damaged;
        CorruptJournal; UnknownDocument; JournalBusy when the lease was lost; JournalUnavailable.
        """
        document_id = self._document.pk
        begin_seq = truncated_seq_of(document_id)
        start = starting_point(document_id, begin_seq)
        # Not before: a live room may be written as a snapshot at any time, and the state must not be beyond the head.
        head_seq = read_heads([document_id])[document_id]
        if any(seq is not None and not begin_seq <= seq <= head_seq for seq in (from_seq, to_seq)):
            detail = f"the journal holds what follows {begin_seq}, up to {head_seq}"
            raise TransferRefused("not-retained", 0, detail)
        graph = start.graph
        batches = unbroken(document_id, retained(document_id, begin_seq, start.snapshot))
        cut = self._document.cut
        if to_seq is not None:
            head_seq, batches = to_seq, _upto(batches, to_seq)
            if graph.head_seq > to_seq:
                try:
                    graph = state_not_after(self._document.pk, to_seq)
                except TransferRefused:
                    if from_seq is not None or archived is not None:
                        raise
                    return self._write_state(to_seq)
            cut = min(cut, graph.cut)
        if from_seq is not None:
            graph, batches = self._forward(graph, batches, from_seq)
            self._write_header(from_seq, head_seq, base=graph)
        elif archived is not None:
            self._write_archived(archived, head_seq)
        else:
            self._write_header(begin_seq, head_seq, cut)
            self._write_snapshots(Snapshot.objects.filter(seq__lte=head_seq))
        self._write_batches(batches, graph, head_seq)
        return self._finish(graph)

    def _write_state(self, seq: int) -> Exported:
        """The document as it was there, and nothing of how it came to be so.

        The origin tells it (rule J35), but no copy can be opened from that: it holds messages that are no batch.
        """
        try:
            graph = graph_at(self._document.pk, seq)
        except OutOfReach as error:
            raise TransferRefused("not-retained", 0, str(error)) from error
        graph.apply(cut_record("=server:export", graph.lt, 0))
        draft = draft_snapshot(graph, with_digests=True)
        self._write_header(seq, seq, draft.cut)
        self._write_snapshots(Snapshot.objects.filter(seq__lte=seq, reason=Snapshot.Reason.LABEL))
        self._lines.write(
            SnapshotLine(
                seq=seq,
                cut=draft.cut,
                covered_seq=seq,
                digest=draft.digest,
                full_digest=draft.full_digest,
                label="",
                reason=Snapshot.Reason.COMPACTION,
                author=None,
                created_at=timezone.now().timestamp(),
                payload=pack_snapshot(self._document.pk, draft),
            )
        )
        self._report.snapshots += 1
        return self._finish(graph)

    def _forward(
        self, graph: Graph, batches: Iterator[Batch], from_seq: int
    ) -> tuple[Graph, Iterator[Batch]]:
        """The document at `from_seq`, and the batches, or the rest of one, behind it."""
        if graph.head_seq > from_seq:
            graph = state_not_after(self._document.pk, from_seq)
        rest: list[Batch] = []
        if from_seq:
            for batch in batches:
                self._held.keep()
                for entry in batch.entries:
                    if entry.message.server_seq <= from_seq:
                        graph.apply(entry.message)
                if batch.last_seq > from_seq:
                    rest = [batch.behind(from_seq)]
                if batch.last_seq >= from_seq:
                    break
        return graph, chain(rest, batches)

    def _write_archived(self, archived: Archived, head_seq: int) -> None:
        """The header, the labels, and what the archive holds."""
        for number, line in archived:
            match line:
                case Header():
                    self._write_header(line.from_seq, head_seq, line.cut)
                    labels = Snapshot.objects.filter(seq__lte=head_seq, reason=Snapshot.Reason.LABEL)
                    self._write_snapshots(labels)
                case BatchLine():
                    entries_of(line, number)
                    self._lines.write(line)
                    self._count(len(line.entries))
                case Names():
                    self._known |= line.names.keys()
                    self._lines.write(line)
                case SnapshotLine():
                    self._lines.write(line)
                    self._report.snapshots += 1

    def _write_header(self, from_seq: int, to_seq: int, cut: int = 0, base: Graph | None = None) -> None:
        document = self._document
        self._report.from_seq, self._report.to_seq = from_seq, to_seq
        header = Header(
            slug=document.slug,
            settings={name: getattr(document, name) for name in DOCUMENT_FIELDS},
            epoch=document.epoch,
            from_seq=from_seq,
            to_seq=to_seq,
            cut=cut,
            base_digest="" if base is None else base.full_digest(),
            written_at=timezone.now().timestamp(),
        )
        self._lines.write(header)

    def _write_snapshots(self, rows: QuerySet[Snapshot]) -> None:
        """All of these that are good; a damaged one is logged where it is read."""
        chosen = rows.filter(document=self._document).values_list("seq", "created_at", "pk")
        for *_, pk in sorted(readable(chosen, self._document.pk)):
            if (found := restored(pk)) is not None:
                self._write_names([_text(found[1].author_id)])
                self._lines.write(snapshot_line(found[1]))
                self._report.snapshots += 1
            self._held.keep()

    def _write_batches(self, batches: Iterable[Batch], graph: Graph, head_seq: int) -> None:
        for batch in batches:
            if batch.first_seq > head_seq:
                break
            self._write_names(entry.user for entry in batch.entries)
            self._lines.write(batch_line(batch))
            graph.apply_all(batch.messages)
            self._count(len(batch.entries))

    def _count(self, messages: int) -> None:
        report = self._report
        report.batches += 1
        report.messages += messages
        self._held.keep()
        if self._tell is not None:
            self._tell(report.messages, report.to_seq - report.from_seq)

    def _write_names(self, users: Iterable[str | None]) -> None:
        if fresh := {user for user in users if user is not None} - self._known:
            self._known |= fresh
            if names := names_of_accounts(fresh):
                self._lines.write(Names(names))

    def _finish(self, graph: Graph) -> Exported:
        report = self._report
        report.digest, report.full_digest = graph.digest(), graph.full_digest()
        end = End(
            lines=self._lines.lines + 1,
            batches=report.batches,
            messages=report.messages,
            digest=report.digest,
            full_digest=report.full_digest,
        )
        self._held.renew()  # a lease that was lost does not vouch for what was read
        self._lines.write(end)
        return report


def state_not_after(document_id: UUID, seq: int) -> Graph:
    """The newest stored state that does not hold what follows `seq`.  Raises: TransferRefused `not-retained`."""
    truncated_seq = truncated_seq_of(document_id)
    usable = usable_snapshots(document_id, truncated_seq).filter(seq__lte=seq).values_list("seq", "pk")
    for _, pk in sorted(readable(usable, document_id, truncated_seq), reverse=True):
        if (found := restored(pk)) is not None:
            return found[0]
    if truncated_seq:
        detail = "the document cannot be told as it was then; take it whole"
        raise TransferRefused("not-retained", 0, detail)
    return Graph()


def unbroken(document_id: UUID, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; under the lease no compaction deletes one, so a missing one is damage.

    Raises: CorruptJournal.
    """
    try:
        yield from batches
    except JournalGap as gap:
        hint = backup_hint(document_id, gap.expected_seq)
        raise CorruptJournal(document_id, gap.expected_seq, str(gap), hint) from gap


def entries_of(line: BatchLine, number: int) -> list[Entry]:
    """The entries of a batch line, as many as its sequences say.  Raises: TransferRefused."""
    if len(line.entries) != line.last_seq - line.first_seq + 1 or not line.entries:
        detail = f"{len(line.entries)} messages for seq {line.first_seq} to {line.last_seq}"
        raise TransferRefused("damaged-line", number, detail)
    return line.entries


def batch_line(batch: Batch) -> BatchLine:
    return BatchLine(
        first_seq=batch.first_seq,
        last_seq=batch.last_seq,
        created_at=batch.created_at.timestamp(),
        writer=batch.writer,
        entries=batch.entries,
    )


def snapshot_line(row: Snapshot) -> SnapshotLine:
    return SnapshotLine(
        seq=row.seq,
        cut=row.cut,
        covered_seq=row.covered_seq,
        digest=row.digest,
        full_digest=row.full_digest,
        label=row.label,
        reason=row.reason,
        author=_text(row.author_id),
        created_at=row.created_at.timestamp(),
        payload=bytes(row.payload),
    )


def names_of_accounts(keys: Iterable[str]) -> dict[str, str]:
    """User names by primary key as text; accounts that are gone are missing."""
    wanted = [found for key in keys if (found := user_key(key)) is not None]
    accounts: Any = get_user_model()._default_manager.in_bulk(wanted)
    return {str(pk): account.get_username() for pk, account in accounts.items()}


def _upto(batches: Iterator[Batch], seq: int) -> Iterator[Batch]:
    """The batches up to a sequence, of the last one what is up to there."""
    for batch in batches:
        yield batch.upto(seq)
        if batch.last_seq >= seq:
            return


def _text(key: Any) -> str | None:
    return None if key is None else str(key)
