"""Keeps what compaction is about to delete, in any storage that Django knows (rules J50, J51).

A file holds the batches of one range, in the format of exports, packed.  Its name tells document and range, so a run
that follows a killed one finds what that had written.
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO
from uuid import UUID

import msgspec
import zstandard
from django.core.files import File
from django.core.files.storage import InvalidStorageError, Storage, storages
from django.db import connections
from django.utils import timezone

from journal.durability import journal_alias
from journal.error import ArchiveFailed, JournalBusy, TransferRefused
from journal.export import batch_line, names_of_accounts, snapshot_line, unbroken
from journal.failpoint import reach
from journal.lease import Lease
from journal.models import Document, Snapshot
from journal.packed import opened
from journal.reader import Batch, read_batches, restored, usable_snapshots
from journal.settings import settings
from journal.stored_row import readable
from journal.transfer_line import BatchLine, End, Header, Line, LineWriter, Names, read_lines

NAME = re.compile(r"(\d{12,19})-(\d{12,19})\.jsonl\.zst")
COMPRESS_LEVEL = 9

_encoder = msgspec.msgpack.Encoder()


class Unlisted(ArchiveFailed):
    """The storage cannot say what it holds."""

    def __init__(self) -> None:
        super().__init__(
            "the storage of archives cannot list what it holds, so nobody knows what there is of this document. Put "
            f"a backend that has `listdir` into STORAGES[{settings.archive_storage!r}]; or take that out, if nothing "
            "was ever archived"
        )


@dataclass(frozen=True, slots=True, order=True)
class ArchiveFile:
    """One file of a document's archive."""

    first_seq: int
    last_seq: int
    name: str
    """In the storage."""


def archive_storage() -> Storage:
    """Where archives go.  Raises: ArchiveFailed when the site has not said it."""
    try:
        return storages[settings.archive_storage]
    except InvalidStorageError as error:
        detail = f"STORAGES has no alias {settings.archive_storage!r} (VUER_RTC['JOURNAL_ARCHIVE_STORAGE'])"
        raise ArchiveFailed(detail) from error


def has_storage() -> bool:
    """True when the site says where archives go."""
    return settings.archive_storage in storages.backends


def files_of(document_id: UUID) -> list[ArchiveFile]:
    """The files of a document, by range; drafts of interrupted runs among them.  Raises: ArchiveFailed."""
    found = [(match, name) for name in _names(document_id) if (match := NAME.fullmatch(name))]
    return sorted(
        ArchiveFile(int(match[1]), int(match[2]), f"{document_id.hex}/{name}") for match, name in found
    )


def _names(document_id: UUID) -> list[str]:
    """What is in the document's folder, whoever named it."""
    with storing():
        try:
            return archive_storage().listdir(document_id.hex)[1]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except NotImplementedError as error:
            raise Unlisted from error


def chain_up_to(files: Iterable[ArchiveFile], seq: int) -> list[ArchiveFile]:
    """The files that, one behind the other, end at `seq`, from as early as there are any."""
    by_end = {file.last_seq: file for file in files}
    chain: list[ArchiveFile] = []
    while (file := by_end.get(seq)) is not None:
        chain.insert(0, file)
        seq = file.first_seq - 1
    return chain


def read_archive(file: ArchiveFile) -> Iterator[tuple[int, Line]]:
    """The lines of a file.  Raises: TransferRefused; ArchiveFailed when the storage fails."""
    with storing(), archive_storage().open(file.name) as stored:
        yield from read_lines(opened(stored))


def may_have_archives(document_id: UUID) -> bool:
    """False while nothing of the document was ever folded away, which is all that archives keep."""
    return not Document.objects.filter(pk=document_id, cut=0).exists()


def delete_archives(document_id: UUID, upto: int | None = None, *, may_be_there: bool = True) -> int:
    """Afterwards nothing is in the document's folder, also of what the storage has given another name; with `upto`,
    nothing but files that begin behind it.  How many files went.

    `may_be_there`: False, and a storage that cannot list is let alone.  Raises: ArchiveFailed.
    """
    if not has_storage():
        return 0
    try:
        names = {f"{document_id.hex}/{name}" for name in _names(document_id)}
    except Unlisted:
        if may_be_there:
            raise
        return 0
    if upto is not None:
        names -= {file.name for file in files_of(document_id) if file.first_seq > upto}
    storage = archive_storage()
    with storing():
        for name in sorted(names):
            storage.delete(name)
        if names:
            _delete_folder(storage, document_id)
    return len(names)


def _delete_folder(storage: Storage, document_id: UUID) -> None:
    """Where folders are a thing: the name tells that there was a document."""
    try:
        os.rmdir(storage.path(document_id.hex))
    except (NotImplementedError, OSError):
        return


class Archiving:
    """What one compaction archives before it truncates."""

    def __init__(self, held: Lease, truncated_seq: int, new_snapshot_id: UUID) -> None:
        """`truncated_seq`: where the journal begins now; `new_snapshot_id`: of what stands for the batches that go."""
        self._held = held
        self._truncated_seq = truncated_seq
        self._new_snapshot_id = new_snapshot_id
        self._storage = archive_storage()

    def run(self, upto: int) -> list[str]:
        """Afterwards every batch up to `upto` is in the archive, read back and compared; names of the files.

        Raises: ArchiveFailed, JournalBusy, and nothing may be truncated.
        """
        reach("archive.begun")
        self._held.confirm(self._truncated_seq)
        files = files_of(self._held.document_id)
        chain = bool(chain_up_to(files, self._truncated_seq))
        names, reached = self._keep_drafts(files, upto)
        if reached < upto:
            name = self._name(reached + 1, upto)
            try:
                self._save(name, reached, upto, with_base=not chain and not names)
                reach("archive.saved")
                self._held.confirm(self._truncated_seq)
                self._prove(ArchiveFile(reached + 1, upto, name))
            except BaseException:
                self._take_back(name, upto)
                raise
            names.append(name)
        reach("archive.proved")
        return names

    def _name(self, first_seq: int, last_seq: int) -> str:
        return f"{self._held.document_id.hex}/{first_seq:012}-{last_seq:012}.jsonl.zst"

    def _keep_drafts(self, files: list[ArchiveFile], upto: int) -> tuple[list[str], int]:
        """What a killed run has written and is good counts; the rest of it goes.  All its rows are still there."""
        names, reached = [], self._truncated_seq
        for file in files:
            if file.first_seq <= self._truncated_seq:
                continue
            if file.first_seq == reached + 1 and file.last_seq <= upto and self._is_good(file):
                names.append(file.name)
                reached = file.last_seq
            else:
                self._held.confirm(self._truncated_seq)  # else it may be all that is left of its range
                with storing():
                    self._storage.delete(file.name)
        return names, reached

    def _take_back(self, name: str, upto: int) -> None:
        """A purge or a redaction that came meanwhile may have looked before the file was there: then it goes.  It
        stays while its rows do, and when a compaction that came meanwhile counts on it."""
        document_id = self._held.document_id
        document = Document.objects.filter(pk=document_id).first()
        if document is None or document.condition == Document.Condition.PURGING:
            delete_archives(document_id)
        elif document.truncated_seq >= upto:
            chain = chain_up_to(files_of(document_id), document.truncated_seq)
            if name not in {file.name for file in chain}:
                with storing():
                    self._storage.delete(name)

    def _is_good(self, file: ArchiveFile) -> bool:
        try:
            self._prove(file)
        except ArchiveFailed:
            return False
        return True

    def _save(self, name: str, after: int, upto: int, *, with_base: bool) -> None:
        with _drafted() as draft:
            with zstandard.ZstdCompressor(level=COMPRESS_LEVEL).stream_writer(draft, closefd=False) as packed:
                self._write(packed, after, upto, with_base=with_base)
            draft.seek(0)
            self._held.confirm(self._truncated_seq)  # the storage may overwrite
            with storing():
                saved = self._storage.save(name, _Renewing(draft, self._held))
                if saved != name:
                    self._storage.delete(saved)
                    raise ArchiveFailed(f"the storage has a file {name} that it does not list")
                _sync(self._storage, name)

    def _write(self, out: IO[bytes], after: int, upto: int, *, with_base: bool) -> None:
        lines = LineWriter(out)
        document = Document.objects.get(pk=self._held.document_id)
        header = Header(
            slug=document.slug,
            epoch=document.epoch,
            from_seq=after,
            to_seq=upto,
            cut=document.cut,
            written_at=timezone.now().timestamp(),
        )
        lines.write(header)
        if with_base and (base := self._base()) is not None:
            lines.write(snapshot_line(base))
        batches = messages = 0
        known: set[str] = set()
        for batch in self._rows(after, upto):
            fresh = {entry.user for entry in batch.entries if entry.user is not None} - known
            if fresh and (names := names_of_accounts(fresh)):
                lines.write(Names(names))
            known |= fresh
            lines.write(batch_line(batch))
            batches, messages = batches + 1, messages + len(batch.entries)
            if batches % 100 == 0:
                self._held.renew()
        lines.write(End(lines=lines.lines + 1, batches=batches, messages=messages))

    def _base(self) -> Snapshot | None:
        """The oldest snapshot that the batches here begin at: without archives of what is before, they need it."""
        if not self._truncated_seq:
            return None
        usable = usable_snapshots(self._held.document_id, self._truncated_seq).exclude(
            pk=self._new_snapshot_id
        )
        rows = usable.values_list("seq", "cut", "pk")
        for *_, pk in sorted(readable(rows, self._held.document_id, self._truncated_seq)):
            if (found := restored(pk)) is not None:
                return found[1]
        return None

    def _rows(self, after: int, upto: int) -> Iterator[Batch]:
        for batch in unbroken(self._held.document_id, read_batches(self._held.document_id, after)):
            if batch.first_seq > upto:
                return
            yield batch

    def _prove(self, file: ArchiveFile) -> None:
        """Returns when the file, read back, holds exactly the rows of its range.  Raises: ArchiveFailed."""
        rows = self._rows(file.first_seq - 1, file.last_seq)
        try:
            for number, line in read_archive(file):
                if isinstance(line, BatchLine):
                    row = next(rows, None)
                    if row is None or _content(batch_line(row)) != _content(line):
                        raise ArchiveFailed(
                            f"{file.name}, line {number}: not the batch that is in the journal"
                        )
                    self._held.keep()
        except TransferRefused as error:
            raise ArchiveFailed(f"{file.name}, as read back: {error}") from error
        if next(rows, None) is not None:
            raise ArchiveFailed(f"{file.name}, as read back, lacks batches")


class _Renewing(File):  # type: ignore[type-arg]  # Django's own takes none
    """A file that renews the lease while a storage reads it."""

    def __init__(self, file: IO[bytes], held: Lease) -> None:
        super().__init__(file)
        self._source = file
        self._held = held
        self._thread = threading.get_ident()

    def read(self, size: int = -1) -> bytes:
        try:
            self._held.renew()
        finally:
            if threading.get_ident() != self._thread:  # storages may upload with threads of their own
                connections[journal_alias()].close()
        return self._source.read(size)


@contextmanager
def _drafted() -> Iterator[IO[bytes]]:
    """A file for what is to be saved.  Raises: ArchiveFailed when there is no room for it."""
    try:
        with tempfile.TemporaryFile() as draft:
            yield draft
    except OSError as error:
        raise ArchiveFailed(
            f"no archive can be drafted in the folder for temporary files: {error}"
        ) from error


def _content(line: BatchLine) -> tuple[int, int, bytes]:
    return line.first_seq, line.last_seq, _encoder.encode(line.entries)


def _sync(storage: Storage, name: str) -> None:
    """Afterwards a file on this machine is on its disk; of other storages, saving says so."""
    try:
        path = storage.path(name)
    except NotImplementedError:
        return
    if not os.path.exists(path):
        return  # a path in another world; whether the file is there is seen when it is read back
    for each in (path, os.path.dirname(path)):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def storing() -> Iterator[None]:
    """Failures of the storage, whatever it raises, come out as ArchiveFailed."""
    try:
        yield
    except (ArchiveFailed, TransferRefused, JournalBusy, GeneratorExit):
        raise
    except Exception as error:
        raise ArchiveFailed(f"the storage of archives failed: {error!r}") from error
