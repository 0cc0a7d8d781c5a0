"""Damaged documents: what can be read of them, and the finding that stands in their row (rule J23)."""

import logging
from contextlib import suppress
from uuid import UUID

from django.utils import timezone

from journal.error import CorruptJournal, JournalGap
from journal.models import Document, Snapshot
from journal.position import truncated_seq_of
from journal.reader import Hydrated, hydrate, read_batches, restored
from journal.stored_row import answering, readable
from vuer_rtc.crdt.graph import Graph

logger = logging.getLogger(__name__)

TEXT_CHARS_MAX = 2000
"""Of a finding in a document's row: five, with what to do."""


def hydrate_readable(document_id: UUID) -> Hydrated:
    """What can be read of a damaged document: the newest good snapshot and the batches behind it, up to the
    first that is missing or damaged.  For looking only.

    Raises: UnknownDocument; JournalUnavailable.
    """
    truncated_seq = truncated_seq_of(document_id)
    graph, seq = Graph(), truncated_seq
    with suppress(CorruptJournal), answering(document_id, truncated_seq):
        graph, seq = _readable_start(document_id, truncated_seq)
    with suppress(CorruptJournal, JournalGap), answering(document_id, seq):
        for batch in read_batches(document_id, seq):
            graph.apply_all(batch.messages)
            seq = batch.last_seq
    graph.head_seq = seq
    return Hydrated(graph, seq, seq)


def _readable_start(document_id: UUID, truncated_seq: int) -> tuple[Graph, int]:
    """A state to begin from, and how far the journal is in it: the newest good snapshot, however old."""
    rows = Snapshot.objects.filter(document=document_id).values_list("seq", "cut", "created_at", "pk")
    for *_, pk in sorted(readable(rows, document_id, truncated_seq), reverse=True):
        if (found := restored(pk)) is not None:
            graph, row = found
            return graph, row.covered_seq
    return Graph(), truncated_seq


def what_stops(document_id: UUID) -> CorruptJournal | None:
    """Why the document does not open, so that nobody can edit it; None: it does.  Cost: a recovery.

    Raises: UnknownDocument; JournalUnavailable.
    """
    try:
        hydrate(document_id)
    except CorruptJournal as damage:
        return damage
    return None


def note_damage(document_id: UUID, finding: str) -> None:
    """The operators see it: afterwards the finding stands in the document's row, with the time of the first
    time."""
    text = finding[:TEXT_CHARS_MAX]
    rows = Document.objects.filter(pk=document_id).exclude(damage=text)
    if rows.filter(damage="").update(damage=text, damaged_at=timezone.now()):
        logger.error("document %s is damaged: %s", document_id, text)
    else:
        rows.update(damage=text)


def clear_damage(document_id: UUID) -> None:
    """Afterwards the document's row says that it is intact."""
    rows = Document.objects.filter(pk=document_id).exclude(damage="")
    if rows.exists() and rows.update(damage="", damaged_at=None):
        logger.warning("document %s is intact again", document_id)


def note_verdict(document_id: UUID, finding: str) -> None:
    """Afterwards the document's row says what a look at all of it has found; empty: that it is intact."""
    if finding:
        note_damage(document_id, finding)
    else:
        clear_damage(document_id)


def is_said_damaged(document_id: UUID) -> bool:
    """True when a finding stands in the document's row."""
    return Document.objects.filter(pk=document_id).exclude(damage="").exists()


def is_stopped(document: Document) -> bool:
    """True when nobody can edit it because of what is said of it.  Cost: a recovery, if anything is said."""
    return bool(document.damage) and (bool(document.condition) or what_stops(document.pk) is not None)


def finding_of(error: CorruptJournal) -> str:
    """What operators read."""
    return f"seq {error.seq}: {error.problem}. {error.hint}"
