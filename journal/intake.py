"""A document out of the lines of an export (rules J43 to J46).

    begin    a document of that slug that nobody can enter, with the lease
    write    its rows, in bounded transactions
    prove    read back from the database, it has the digests that the export tells
    open     one update: from here on it is whole

Killed before the last step, what is there cannot be mistaken for a document, and the next import of that slug deletes
it and begins again.  An export that *continues* a document appends to one that is there instead: each batch is
whole by itself, and the next run goes on behind the last.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from journal.column import moment, user_key
from journal.durability import journal_alias
from journal.entry import Entry, checksum_of
from journal.error import TransferRefused
from journal.export import DOCUMENT_FIELDS, entries_of
from journal.failpoint import reach
from journal.lease import Lease, lease, process_name
from journal.models import Document, JournalBatch, Snapshot
from journal.projection import note_epoch
from journal.purge import delete_document, mark_purged
from journal.reader import hydrate
from journal.settings import settings
from journal.transfer_line import BatchLine, End, Header, Line, Names, SnapshotLine
from journal.writer import Appended, Draft, append_batches, build_row

Tell = Callable[[int, int], None]
Numbered = Iterator[tuple[int, Line]]

TRANSACTION_MESSAGES_MAX = 2000
TRANSACTION_BYTES_MAX = 4_194_304


class Accounts(models.TextChoices):
    """What becomes of the account keys in entries."""

    KEEP = "keep", "the same keys: right for the same site"
    MATCH = "match", "the account of that user name here; nobody where there is none"
    DROP = "drop", "nobody"


@dataclass(slots=True)
class Imported:
    """What was written."""

    slug: str
    outcome: str = "imported"
    document_id: str = ""
    batches: int = 0
    messages: int = 0
    snapshots: int = 0
    head_seq: int = 0
    digest: str = ""
    full_digest: str = ""
    duplicates: int = 0
    """Messages of a dump that were there already."""
    refused_count: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What was left out of a dump, the first thousand: `{line, code, detail}`."""


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
        return _continue(lines, header, slug, Keys(accounts), tell)
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
        raise TransferRefused(
            "exists", 0, f"there is a document {slug!r}; import under another slug"
        ) from None
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
    there = Document.objects.filter(slug=slug).first()
    if there is None:
        return
    if there.condition != Document.Condition.IMPORTING:
        raise TransferRefused("exists", 0, f"there is a document {slug!r}; import under another slug")
    with lease(there.pk) as held:
        mark_purged(held)
        delete_document(held)


class Keys:
    """Account keys of a file, as the entries written here are to have them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._here: dict[str, str | None] = {}

    def learn(self, names: Names) -> None:
        if self._accounts is Accounts.MATCH:
            model: Any = get_user_model()
            field_name = model.USERNAME_FIELD
            found = model._default_manager.filter(**{f"{field_name}__in": list(names.names.values())})
            by_name = {account.get_username(): str(account.pk) for account in found}
            self._here.update({key: by_name.get(name) for key, name in names.names.items()})

    def of(self, key: str | None) -> str | None:
        if key is None or self._accounts is Accounts.KEEP:
            return key
        return self._here.get(key)

    def entry(self, entry: Entry) -> Entry:
        """The entry as it is written here; the session it came by is one of this site only if its account is."""
        user = self.of(entry.user)
        msgspec.structs.force_setattr(entry.message, "server_seq", 0)  # its place says it (rule J2)
        session = entry.session if self._accounts is Accounts.KEEP else None
        return Entry(entry.message, user, session, entry.received_at)


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
        Snapshot.objects.create(
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
        self.add_entries(entries, moment(line.created_at) or timezone.now(), line.writer)

    def add_entries(self, entries: list[Entry], created_at: Any, writer: str) -> None:
        """One batch more, behind the last."""
        report = self.report
        row = build_row(Draft(self._held.document_id, report.head_seq + 1, entries), writer)
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

    def prove(self, digest: str = "", full_digest: str = "") -> None:
        """Afterwards the rows, read back, are known to make a document: the one of these digests, if any are given."""
        self._flush()
        graph = hydrate(self._held.document_id).graph
        report = self.report
        report.digest, report.full_digest = graph.digest(), graph.full_digest()
        self._epoch = graph.epoch.number
        if digest and (digest, full_digest) != (report.digest, report.full_digest):
            detail = "read back, the document is not the one that was exported"
            raise TransferRefused("wrong-digest", 0, detail)
        reach("import.proved")

    def open(self) -> Imported:
        """Afterwards it is a document like any other."""
        own = {name: value for name, value in self._header.settings.items() if name in DOCUMENT_FIELDS}
        check_fields(Document(**{"slug": self.report.slug} | own))
        whole = {"condition": Document.Condition.WHOLE, "archived_at": None, "epoch": self._epoch}
        if not self._held.held().update(**own, **whole, updated_at=timezone.now()):
            raise TransferRefused("lost", 0, "another process has taken the import over")
        reach("import.done")
        return self.report


# Continuing a document


def _continue(
    lines: Iterable[tuple[int, Line]], header: Header, slug: str, keys: Keys, tell: Tell | None
) -> Imported:
    """Afterwards the document has what follows `from_seq` as well; what it has already is only compared."""
    document = Document.objects.filter(slug=slug, condition=Document.Condition.WHOLE).first()
    if document is None:
        raise TransferRefused("no-base", 1, f"it continues a document, and there is no {slug!r}")
    with lease(document.pk) as held:
        return Continuation(held, slug, header, keys, tell).run(lines)


class Continuation:
    """One import of what follows in a document that is there."""

    def __init__(self, held: Lease, slug: str, header: Header, keys: Keys, tell: Tell | None) -> None:
        self._held = held
        self._header = header
        self._keys = keys
        self._tell = tell
        self.report = Imported(slug, "continued", str(held.document_id))
        self._graph = hydrate(held.document_id).graph
        self._writer = f"import/{uuid4().hex[:8]}"

    def run(self, lines: Iterable[tuple[int, Line]]) -> Imported:
        header, graph = self._header, self._graph
        if graph.head_seq == header.from_seq and graph.full_digest() != header.base_digest:
            raise TransferRefused("other-base", 1, f"the document is another one at seq {header.from_seq}")
        if not header.from_seq <= graph.head_seq <= header.to_seq:
            detail = f"the document is at seq {graph.head_seq}; this is what follows {header.from_seq}"
            raise TransferRefused("other-base", 1, detail)
        for number, line in lines:
            match line:
                case Names():
                    self._keys.learn(line)
                case BatchLine():
                    self._append(line, number)
                case End():
                    self._check(line)
        return self.report

    def _append(self, line: BatchLine, number: int) -> None:
        entries = [self._keys.entry(entry) for entry in entries_of(line, number)]
        graph, report = self._graph, self.report
        known = graph.head_seq + 1 - line.first_seq
        if known < 0:
            raise TransferRefused("gap", number, f"seq {graph.head_seq + 1} is missing")
        if (fresh := entries[known:]) and known < len(entries):
            draft = Draft(self._held.document_id, graph.head_seq + 1, fresh)
            [outcome] = append_batches([draft], self._writer)
            if not isinstance(outcome, Appended):
                detail = f"somebody else writes to the document, behind seq {graph.head_seq}"
                raise TransferRefused("other-base", number, detail)
            for seq, entry in enumerate(fresh, outcome.first_seq):
                graph.apply(msgspec.structs.replace(entry.message, server_seq=seq))
            report.batches += 1
            report.messages += len(fresh)
            self._held.renew()
            reach("import.writing")
        if self._tell is not None:
            self._tell(line.last_seq - self._header.from_seq, self._header.to_seq - self._header.from_seq)

    def _check(self, end: End) -> None:
        report, graph = self.report, self._graph
        report.head_seq, report.digest, report.full_digest = (
            graph.head_seq,
            graph.digest(),
            graph.full_digest(),
        )
        note_epoch(self._held.document_id, graph.epoch.number)
        if (end.digest, end.full_digest) != (report.digest, report.full_digest):
            raise TransferRefused("wrong-digest", end.lines, "the document is not the one that was exported")
