"""`manage.py export_journal`: one document as JSON lines."""

import os
import stat
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from journal.archive import chain_up_to, files_of, read_archive
from journal.error import TransferRefused
from journal.export import Export
from journal.lease import lease
from journal.management.argument import Senseless
from journal.management.per_document import NamedDocumentCommand, Result
from journal.management.pipe import written_out
from journal.models import Document
from journal.packed import packing
from journal.position import truncated_seq_of
from journal.transfer_line import Line, joined

STANDARD_OUTPUT = "-"


class Command(NamedDocumentCommand):
    help = (
        "Write a document as JSON lines (journal/FORMAT.md, J40) that import_journal makes the same document of. "
        "Safe beside running servers: what is written is the document as it was at one sequence."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--output",
            default=STANDARD_OUTPUT,
            metavar="FILE",
            help="Where to; packed when it ends with .zst or .gz. Default: -, the standard output.",
        )
        parser.add_argument(
            "--from-seq",
            type=int,
            metavar="N",
            help="Only what follows sequence N, for a copy of the document that is at N.",
        )
        parser.add_argument(
            "--to-seq",
            type=int,
            metavar="N",
            help="The document as it was at sequence N; what is behind may be damaged.",
        )
        parser.add_argument(
            "--with-archives",
            action="store_true",
            help="The whole history: what compaction has archived goes before what the journal holds.",
        )

    def named_document(self, options: dict[str, Any]) -> Document:
        if options["json"] and options["output"] == STANDARD_OUTPUT:
            raise Senseless("--json needs --output FILE: the standard output has the export")
        if options["with_archives"] and options["from_seq"] is not None:
            raise Senseless("--with-archives is about the beginning, --from-seq leaves it out")
        if options["to_seq"] is not None and (options["with_archives"] or options["from_seq"] is not None):
            raise Senseless("--to-seq is for the document alone: no --from-seq, no --with-archives")
        return super().named_document(options)

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[Result, bool]:
        with lease(document.pk) as held, written(options["output"]) as out:
            document.refresh_from_db()
            export = Export(
                held, document, out, lambda done, total: self.progress.tell("messages", done, total)
            )
            archived = archived_lines(document) if options["with_archives"] else None
            return asdict(export.write(options["from_seq"], archived, options["to_seq"])), True

    def describe(self, result: Result) -> Iterator[str]:
        yield (
            f"{result['messages']} messages in {result['batches']} batches and {result['snapshots']} snapshots, "
            f"seq {result['from_seq'] + 1} to {result['to_seq']}"
        )

    def show(self, result: Result, is_well: bool, options: dict[str, Any]) -> None:
        if not (is_well and options["output"] == STANDARD_OUTPUT):
            super().show(result, is_well, options)


def archived_lines(document: Document) -> Iterator[tuple[int, Line]] | None:
    """The lines of the archive that ends where the journal begins; None when nothing was folded away.

    Raises: TransferRefused `no-archive` when what was folded away was not archived, `gap` when its beginning is gone.
    """
    truncated_seq = truncated_seq_of(document.pk)
    if not truncated_seq:
        return None
    chain = chain_up_to(files_of(document.pk), truncated_seq)
    if not chain:
        raise TransferRefused(
            "no-archive", 0, f"no archive ends at seq {truncated_seq}, where the journal begins"
        )
    return joined((file.name, read_archive(file)) for file in chain)


@contextmanager
def written(output: str) -> Iterator[IO[bytes]]:
    """What is written in the block is the file afterwards, on disk; after a failure or a kill the file is as it was.
    Into a pipe or a device, which must not be replaced by a file, it is written as it comes.  Nor is a link replaced,
    but what it leads to: `/dev/stdout` is one, and leads to a file where the standard output goes into one.

    Raises: Senseless where nothing can be written at all; TransferRefused `not-written` when that fails on the way.
    """
    if output == STANDARD_OUTPUT:
        with written_out():
            yield sys.stdout.buffer
        return
    path = Path(output)
    if path.is_dir():
        raise Senseless(f"{path}: a directory")
    suffix = path.suffix
    if is_file := path.is_file() or not path.exists():
        path = Path(os.path.realpath(path))
    draft = path.with_name(f"{path.name}.part") if is_file else path
    try:
        file = begun(draft, path) if is_file else draft.open("wb")
    except OSError as error:
        raise Senseless(str(error)) from error
    try:
        with file:
            with packing(file, suffix) as out:
                yield out
            file.flush()
            if is_file:
                os.fsync(file.fileno())
        if is_file:
            draft.replace(path)
    except OSError as error:
        raise TransferRefused("not-written", 0, f"{path}: {error}") from error
    finally:
        if is_file:
            draft.unlink(missing_ok=True)


def begun(draft: Path, path: Path) -> IO[bytes]:
    """The draft, empty, which may be read by whom the file may that it is going to replace.  Raises: OSError."""
    draft.unlink(missing_ok=True)  # of a run that was killed
    if not path.exists():
        return draft.open("xb")
    draft.touch(0o600, exist_ok=False)
    file = draft.open("wb")
    draft.chmod(stat.S_IMODE(path.stat().st_mode))
    return file
