"""A document out of the lines of an export (rules J43 to J46).

    begin    a document of that slug that nobody can enter, with the lease
    write    its rows, in bounded transactions
    prove    read back from the database, it has the digests that the export tells
    open     one update: from here on it is whole

Killed before the last step, what is there cannot be mistaken for a document, and the next import of that slug deletes
it and begins again.  An export that *continues* a document appends to one that is there instead: each batch is
whole by itself, and the next run goes on behind the last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Min
from django.utils import timezone

from journal.column import moment, user_key
from journal.continuation import continue_document
from journal.durability import journal_alias
from journal.entry import Entry, checksum_of
from journal.error import TransferRefused
from journal.export import DOCUMENT_FIELDS, entries_of
from journal.failpoint import reach
from journal.imported import Accounts, Imported, Keys, Tell
from journal.lease import Lease, lease, process_name
from journal.models import Document, JournalBatch, Snapshot
from journal.position import truncated_seq_of
from journal.purge import delete_document, mark_purged
from journal.reader import hydrate, usable_snapshots
from journal.settings import settings
from journal.snapshot import SnapshotDamaged, restore_snapshot, write_spare
from journal.transfer_line import BatchLine, End, Header, Line, Names, SnapshotLine
from journal.writer import Draft, build_row

Numbered = Iterator[tuple[int, Line]]

TRANSACTION_MESSAGES_MAX = 2000
TRANSACTION_BYTES_MAX = 4_194_304
"""What one transaction of an import writes: how long live writers of other documents wait behind it."""


def import_lines(
    lines: Numbered, slug: str | None = None, accounts: Accounts = Accounts.KEEP, tell: Tell | None = None
) -> Imported:
    """Afterwards the document of the lines is there, whole, under `slug` or its own name.

    Raises: TransferRefused; JournalBusy when another import of that slug is at work; PurgeRefused; JournalUnavailable.
    """
    _, header = next(lines)
    assert isinstance(header, Header)
    slug = slug or header.slug
    if header.base_digest:
        return continue_document(lines, header, slug, Keys(accounts), tell)
    with new_document(slug) as held:
        return Intake(held, slug, header, Keys(accounts), tell).run(lines)


@contextmanager
def new_document(slug: str) -> Iterator[Lease]:
    """A document under import, and its lease; what a dead import of that slug left is deleted first.

    Raises: TransferRefused `exists`; JournalBusy.
    """
    _discard_leftover(slug)
    holder, now = process_name(), timezone.now()
    document = Document(
        slug=slug,
        condition=Document.Condition.IMPORTING,
        archived_at=now,
        lease_holder=holder,
        lease_until=now + timedelta(seconds=settings.lease_s),
    )
    check_fields(document)
    try:
        with transaction.atomic(using=journal_alias()):
            document.save(force_insert=True)
    except IntegrityError:
        raise _exists(slug) from None
    held = Lease(document.pk, holder)
    try:
        yield held
    except Exception:
        mark_purged(held)
        delete_document(held)
        raise
    finally:
        held.held().update(lease_holder="", lease_until=None)


def check_fields(document: Document) -> None:
    """Returns when the document's own fields are what they may be.  Raises: TransferRefused."""
    try:
        document.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        detail = "; ".join(f"{name}: {' '.join(told)}" for name, told in error.message_dict.items())
        raise TransferRefused("bad-settings", 1, detail) from error


def _discard_leftover(slug: str) -> None:
    """Afterwards nothing is there of an import that has died, nor of a purge, that of such a leftover among them.

    Raises: TransferRefused `exists` when the document is whole; JournalBusy.
    """
    there = Document.objects.filter(slug=slug).first()
    if there is None:
        return
    if there.condition == Document.Condition.WHOLE:
        raise _exists(slug)
    with lease(there.pk) as held:
        if held.held().filter(condition=Document.Condition.WHOLE).exists():
            raise _exists(slug)  # the import was at work a moment ago, and has ended
        mark_purged(held)
        delete_document(held)


def _exists(slug: str) -> TransferRefused:
    return TransferRefused("exists", 0, f"there is a document {slug!r}; import under another slug")


class Intake:
    """One import of a whole document."""

    def __init__(self, held: Lease, slug: str, header: Header, keys: Keys, tell: Tell | None) -> None:
        self._held = held
        self._header = header
        self._keys = keys
        self._tell = tell
        self.report = Imported(slug, document_id=str(held.document_id), head_seq=header.from_seq)
        self._rows: list[JournalBatch] = []
        self._messages = self._bytes = 0
        self._epoch = 0

    def run(self, lines: Numbered) -> Imported:
        self.begin(self._header.from_seq, self._header.cut)
        reach("import.begun")
        end: End | None = None
        for number, line in lines:
            match line:
                case Names():
                    self._keys.learn(line)
                case SnapshotLine():
                    self._add_snapshot(line, number)
                case BatchLine():
                    self._add_batch(line, number)
                case End():
                    end = line
        self._flush()
        reach("import.written")
        assert end is not None  # or reading would have refused
        self._check_count(end)
        self._check_states(end)
        self.prove(end.digest, end.full_digest)
        return self.open()

    def begin(self, from_seq: int, cut: int) -> None:
        """Afterwards batches go behind `from_seq`; snapshots hold what is before."""
        self._held.held().update(truncated_seq=from_seq, cut=cut)
        self.report.head_seq = from_seq

    def _add_snapshot(self, line: SnapshotLine, number: int) -> None:
        document_id = self._held.document_id
        if len(line.payload) > settings.snapshot_bytes_max:
            detail = f"a snapshot has {len(line.payload)} bytes, {settings.snapshot_bytes_max} allowed"
            raise TransferRefused("too-large", number, detail)
        row = Snapshot(
            document_id=document_id,
            seq=line.seq,
            cut=line.cut,
            covered_seq=line.covered_seq,
            payload=line.payload,
            checksum=checksum_of(line.payload, document_id, line.seq, line.cut, line.covered_seq),
            digest=line.digest,
            full_digest=line.full_digest,
            label=line.label,
            reason=line.reason,
            author_id=self._author(line),
            created_at=moment(line.created_at) or timezone.now(),
        )
        try:
            restore_snapshot(row)
        except SnapshotDamaged as error:
            raise TransferRefused("bad-snapshot", number, str(error)) from error
        row.save(force_insert=True)
        self.report.snapshots += 1

    def _author(self, line: SnapshotLine) -> Any:
        key = user_key(self._keys.of(line.author))
        there = get_user_model()._default_manager.filter(pk=key)
        return key if key is not None and there.exists() else None

    def _add_batch(self, line: BatchLine, number: int) -> None:
        if line.first_seq != self.report.head_seq + 1:
            detail = f"seq {self.report.head_seq + 1} is missing, {line.first_seq} follows"
            raise TransferRefused("gap", number, detail)
        entries = [self._keys.entry(entry) for entry in entries_of(line, number)]
        try:
            self.add_entries(entries, moment(line.created_at) or timezone.now(), line.writer)
        except OverflowError as error:
            raise TransferRefused("damaged-line", number, f"it holds a number too large: {error}") from error

    def add_entries(self, entries: list[Entry], created_at: Any, writer: str) -> None:
        """One batch more, behind the last."""
        report = self.report
        row = build_row(Draft(self._held.document_id, report.head_seq + 1, entries), writer).as_model()
        row.created_at = created_at
        self._rows.append(row)
        self._messages += row.message_count
        self._bytes += len(row.payload)
        report.batches += 1
        report.messages += row.message_count
        report.head_seq = row.last_seq
        if self._messages >= TRANSACTION_MESSAGES_MAX or self._bytes >= TRANSACTION_BYTES_MAX:
            self._flush()
        if self._tell is not None:
            self._tell(report.messages, max(0, self._header.to_seq - self._header.from_seq))

    def _flush(self) -> None:
        with transaction.atomic(using=journal_alias()):
            JournalBatch.objects.bulk_create(self._rows, 100)
            reach("import.writing")
        self._rows, self._messages, self._bytes = [], 0, 0
        self._held.renew()

    def _check_count(self, end: End) -> None:
        report = self.report
        if (report.batches, report.messages) != (end.batches, end.messages):
            detail = f"{report.messages} messages in {report.batches} batches, {end.messages} in {end.batches} promised"
            raise TransferRefused("incomplete", end.lines, detail)

    def _check_states(self, end: End) -> None:
        """The first archive of a document that was compacted before brings a snapshot that knows more than itself."""
        states = Snapshot.objects.filter(document=self._held.document_id, label="")
        oldest, head_seq = states.aggregate(seq=Min("seq"))["seq"], self.report.head_seq
        if oldest is not None and oldest > head_seq:
            detail = f"its snapshot knows what came up to seq {oldest}: what is behind seq {head_seq} belongs to it"
            raise TransferRefused("gap", end.lines, detail)

    def prove(self, digest: str, full_digest: str) -> None:
        """Afterwards the rows, read back, are known to make a document: the one of these digests, if any are given."""
        self._flush()
        graph = hydrate(self._held.document_id).graph
        report = self.report
        report.digest, report.full_digest = graph.digest(), graph.full_digest()
        self._epoch = graph.epoch.number
        if digest and (digest, full_digest) != (report.digest, report.full_digest):
            detail = "read back, the document is not the one that was exported"
            raise TransferRefused("wrong-digest", 0, detail)
        self._keep_spare()
        reach("import.proved")

    def _keep_spare(self) -> None:
        """Where batches do not begin at 1, two snapshots reach them (rule J10)."""
        document_id = self._held.document_id
        if truncated_seq := truncated_seq_of(document_id):
            rows = list(usable_snapshots(document_id, truncated_seq)[:2])
            if len(rows) == 1:
                write_spare(rows[0])

    def open(self) -> Imported:
        """Afterwards it is a document like any other."""
        own = {name: value for name, value in self._header.settings.items() if name in DOCUMENT_FIELDS}
        check_fields(Document(**{"slug": self.report.slug} | own))
        whole = {"condition": Document.Condition.WHOLE, "archived_at": None, "epoch": self._epoch}
        if not self._held.held().update(**own, **whole, updated_at=timezone.now()):
            raise TransferRefused("lost", 0, "another process has taken the import over")
        reach("import.done")
        return self.report
