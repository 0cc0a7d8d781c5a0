"""What can go wrong with a journal.

    JournalError
    ├── JournalUnavailable   the database did not answer or could not write: never acknowledge, try again
    later
    ├── JournalTruncated     what was asked for has been folded into a snapshot: hydrate instead
    │   └── JournalPutBack   what was read before is not there any more: an older state of the database
    ├── OutOfReach           a point in time travel that cannot be told, or not exactly
    ├── BadLabel             a name that cannot be one
    ├── LabelTaken           the document has a label of that name
    ├── JournalGap           batches read are not contiguous: overtaken by a compaction, or rows are missing
    ├── JournalBusy          another process holds the document's lease: try again later
    ├── UnknownDocument      there is no such document
    ├── BatchTooLarge        the caller gathered more than one row may hold: split it
    │   └── RestoreTooLarge  so much has changed that one message cannot take it back
    ├── SnapshotTooLarge     the document outgrew one snapshot row: see the setting
    ├── TransferRefused      a file is not, or not wholly, the export, dump or archive it should be
    ├── ArchiveFailed        the storage of archives failed, or does not give back what it was given
    ├── PurgeRefused         a document cannot be deleted: people are in it, or rows of the site protect it
    ├── OpenTransaction      inside an `atomic` block, or with autocommit off: nothing would be durable
    └── CorruptJournal       rows are missing or damaged: stop this document, tell the operator

A conflict with another writer is not an error but an outcome; see `journal.writer`.
"""

from uuid import UUID


class JournalError(Exception):
    """Root of the tree."""


class JournalUnavailable(JournalError):
    """The database did not answer or could not write; whether the last commit happened may be unknown."""


class JournalTruncated(JournalError):
    """The messages asked for are no longer retained."""


class JournalPutBack(JournalTruncated):
    """A batch that was there, and is not folded away, is not there any more: the database is an older state of itself
    (rule J66)."""


class OutOfReach(JournalError):
    """That point of the document cannot be told.  `code`: `folded-away`, it is too old; `ahead`, it has not come
    yet; `no-such-label`; `before-first`, a restore to a time before the first message."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class BadLabel(JournalError):
    """That cannot be the name of a state."""


class LabelTaken(JournalError):
    """The document has a label of that name already."""


class JournalGap(JournalError):
    """The batches read are not contiguous: a compaction has overtaken the read, or rows are missing."""

    def __init__(self, expected_seq: int, found_seq: int | None) -> None:
        super().__init__(f"the batch that begins at seq {expected_seq} is missing")
        self.expected_seq = expected_seq
        self.found_seq = found_seq


class JournalBusy(JournalError):
    """Another process is at work on this document."""


class UnknownDocument(JournalError):
    """There is no document of that slug or key."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such document: {name}")


class BatchTooLarge(JournalError):
    """One batch would exceed `JOURNAL_BATCH_BYTES_MAX`."""


class RestoreTooLarge(BatchTooLarge):
    """The message of a restore would not fit one batch."""

    code = "restore-too-large"


class SnapshotTooLarge(JournalError):
    """One snapshot would exceed `JOURNAL_SNAPSHOT_BYTES_MAX`."""


class OpenTransaction(JournalError):
    """Nothing can be made durable inside an `atomic` block, or with autocommit off; a mistake of the calling code."""


class TransferRefused(JournalError):
    """A file that was to be read is not as it should be, or does not fit what is there (rule J44)."""

    def __init__(self, code: str, line: int, detail: str, name: str = "") -> None:
        place = ", ".join(filter(None, (name, f"line {line}" if line else "")))
        super().__init__(": ".join(filter(None, (code, place, detail))))
        self.code = code
        self.line = line
        """From 1; 0: no line in particular."""
        self.detail = detail


class ArchiveFailed(JournalError):
    """What was to be archived is not safely there; nothing was truncated."""


class PurgeRefused(JournalError):
    """A document cannot be deleted as things are; nothing was."""


class CorruptJournal(JournalError):
    """Rows of a document are missing or damaged.  Names the document, the place and what to do."""

    def __init__(self, document_id: UUID, seq: int, problem: str, hint: str) -> None:
        super().__init__(f"document {document_id}, seq {seq}: {problem}. {hint}")
        self.document_id = document_id
        self.seq = seq
        self.problem = problem
        self.hint = hint
