"""Which documents are there, and how far each is: from where on it is kept, and up to where.

What is asked for all the time, and of many at once; no batch is read for it.
"""

import logging
from collections.abc import Collection, Container, Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from django.db import Error, models
from django.db.models import OuterRef, Subquery

from journal.chunk import chunks
from journal.error import JournalUnavailable, UnknownDocument
from journal.models import Document, JournalBatch
from journal.stored_row import answering, tells_damage

logger = logging.getLogger(__name__)

TRUNCATED = UUID(int=0)
"""Stands for the batch that ended at the truncation point where the document's row does not tell which that was: nobody
finds one of that key, and nobody has to as long as the truncation point is there (rule J66)."""


def is_lost(
    batch: UUID | None, seq: int, truncated_seq: int, truncated_batch: UUID | None, there: Container[UUID]
) -> bool:
    """True when a journal does not hold the batch that ended at `seq` for whoever has read it (rule J66); false, too,
    when he does not know which that was, or the journal does not.

    `truncated_batch`: the one that ended at the truncation point, None: not known; `there`: keys of those there.
    """
    if batch is None or batch in there or seq < truncated_seq:
        return False
    return seq > truncated_seq or (batch != TRUNCATED and truncated_batch not in (None, batch))


def load_document(slug: str) -> Document:
    """The document of that slug.

    Raises: UnknownDocument, JournalUnavailable.
    """
    with answering():
        document = Document.objects.filter(slug=slug, condition=Document.Condition.WHOLE).first()
    if document is None:
        raise UnknownDocument(slug)
    return document


class Position(NamedTuple):
    """How far a document is, which answers about its rights hold, and whether it is said to be damaged."""

    head_seq: int
    access_version: int
    is_damaged: bool = False
    truncated_seq: int = 0
    truncated_batch: UUID | None = None
    """Key of the batch that ended there; None: not known."""

    def lacks(self, head_seq: int, last_batch: UUID | None, there: Container[UUID]) -> bool:
        """True when the document does not hold the batch that ended at that head (`is_lost`).  `there`: by `look`."""
        return is_lost(last_batch, head_seq, self.truncated_seq, self.truncated_batch, there)


def still_there() -> models.QuerySet[Document]:
    """The documents but those that are being deleted: for all who read, they are gone already (rule J52)."""
    return Document.objects.exclude(condition=Document.Condition.PURGING)


def read_heads(document_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Server sequence of the newest message of each document, in one query; documents that are gone, or going
    (rule J52), are missing.

    Raises: JournalUnavailable.
    """
    positions = read_positions(document_ids)
    return {pk: position.head_seq for pk, position in positions.items() if position is not None}


def read_positions(document_ids: Iterable[UUID]) -> dict[UUID, Position | None]:
    """The same, with what else open rooms ask for all the time; None: of several, the row of this one cannot be read.

    Raises: JournalUnavailable.
    """
    wanted = list(document_ids)
    try:
        return dict(_positions(wanted))
    except (
        Error,
        TypeError,
        ValueError,
    ) as error:  # the latter over a column that holds no number, or no time
        if len(wanted) < 2 or (isinstance(error, Error) and not tells_damage(error)):
            raise JournalUnavailable(f"the journal could not be read: {error}") from error
    found: dict[UUID, Position | None] = {}
    for document_id in wanted:
        try:
            found |= read_positions([document_id])
        except JournalUnavailable as error:
            logger.error("nobody knows how far document %s is: %s", document_id, error)
            found[document_id] = None
    return found


def _positions(document_ids: list[UUID]) -> Iterator[tuple[UUID, Position]]:
    last = JournalBatch.objects.filter(document=OuterRef("pk")).order_by("-last_seq").values("last_seq")[:1]
    documents = still_there().filter(pk__in=document_ids).order_by()
    rows = documents.values_list(
        "pk", "truncated_seq", "truncated_batch", Subquery(last), "access_version", "damaged_at"
    )
    for pk, truncated_seq, truncated_batch, last_seq, version, damaged_at in rows:
        head_seq = max(truncated_seq, last_seq or 0)
        yield pk, Position(head_seq, version, damaged_at is not None, truncated_seq, truncated_batch)


def look(
    document_ids: Collection[UUID], batches: Iterable[UUID | None]
) -> tuple[dict[UUID, Position | None], set[UUID]]:
    """The positions, and which of these batches are there.  Raises: JournalUnavailable."""
    there = those_there(batches)  # first: what is folded away after that is not missed
    return read_positions(document_ids), there


def those_there(batches: Iterable[UUID | None]) -> set[UUID]:
    """Which of these batches are there, as far as that can be read: one whose row cannot is taken for one of them.

    What is asked for is in the index: a broken page of the table keeps nobody from knowing it.

    Raises: JournalUnavailable.
    """
    there: set[UUID] = set()
    for some in chunks([key for key in batches if key is not None]):
        try:
            there.update(JournalBatch.objects.filter(pk__in=some).order_by().values_list("pk", flat=True))
        except Error as error:
            if not tells_damage(error):
                raise JournalUnavailable(f"the journal could not be read: {error}") from error
            there.update(some)
    return there


def truncated_seq_of(document_id: UUID) -> int:
    """The document's truncation point.

    Raises: UnknownDocument, JournalUnavailable.
    """
    with answering():
        found = still_there().filter(pk=document_id).values_list("truncated_seq", flat=True).first()
    if found is None:
        raise UnknownDocument(str(document_id))
    return found


def standing_of(document_id: UUID, seq: int, batch: UUID | None) -> tuple[int, bool]:
    """The document's truncation point, and whether it has lost that batch, which ended at `seq`, if one is named; both
    at one moment.

    Raises: UnknownDocument, CorruptJournal, JournalUnavailable.
    """
    if batch is None:
        return truncated_seq_of(document_id), False
    there = JournalBatch.objects.filter(pk=batch).order_by().values("pk")  # which is in the index
    with answering(document_id):
        rows = still_there().filter(pk=document_id).order_by()
        found = rows.values_list("truncated_seq", "truncated_batch", Subquery(there)).first()
    if found is None:
        raise UnknownDocument(str(document_id))
    truncated_seq, truncated_batch, key = found
    return truncated_seq, is_lost(batch, seq, truncated_seq, truncated_batch, {key})


def newest_of(document_id: UUID, batches: Collection[UUID]) -> tuple[int, UUID] | None:
    """Where the newest of these batches that the document still has ends, and its key.

    Raises: JournalUnavailable.
    """
    rows = JournalBatch.objects.filter(document=document_id, pk__in=batches).order_by("-last_seq")
    with answering():
        return rows.values_list("last_seq", "pk").first()
