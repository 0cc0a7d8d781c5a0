"""Names for states: a label keeps a whole state, whatever is compacted afterwards (rule J32)."""

import time
from uuid import UUID

from django.db import IntegrityError, transaction

from journal.durability import journal_alias
from journal.error import BadLabel, CorruptJournal, LabelTaken, OutOfReach
from journal.history import graph_at
from journal.models import Snapshot
from journal.position import truncated_seq_of
from journal.reader import restored
from journal.snapshot import SnapshotDraft, draft_snapshot, write_snapshot
from journal.stored_row import answering, backup_hint, readable
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record

LABEL_CHARS_MAX = 100


def label_state(document_id: UUID, seq: int, name: str, author_id: int | str | None = None) -> Snapshot:
    """Afterwards the state at `seq` has a name of its own in the document, and stays.

    Raises: BadLabel; LabelTaken; SnapshotTooLarge; and as `graph_at`.
    """
    name = name.strip()
    if not 0 < len(name) <= LABEL_CHARS_MAX or not name.isprintable():
        raise BadLabel(f"a label has 1 to {LABEL_CHARS_MAX} printable characters")
    if label_named(document_id, name) is not None:
        raise LabelTaken(f"the document has a label {name!r} already")
    draft = _whole(graph_at(document_id, seq))
    with answering():
        try:
            with transaction.atomic(using=journal_alias()):
                row = write_snapshot(document_id, draft, seq, Snapshot.Reason.LABEL, name, author_id)
        except IntegrityError as error:
            raise LabelTaken(f"the document has a label {name!r} already") from error
        if truncated_seq_of(document_id) > seq:  # overtaken meanwhile, perhaps by a redaction (rule J61)
            row.delete()
            raise OutOfReach("folded-away", f"sequence {seq} has just been folded away")
    return row


def graph_of_label(document_id: UUID, name: str) -> Graph:
    """The state of that name, for reading.

    Raises: OutOfReach (`no-such-label`); CorruptJournal when its row is damaged; JournalUnavailable.
    """
    row = label_named(document_id, name)
    if row is None:
        raise OutOfReach("no-such-label", f"the document has no label {name!r}")
    found = restored(row.pk)
    if found is None:
        hint = backup_hint(document_id, row.seq, Snapshot)
        raise CorruptJournal(document_id, row.seq, f"the state labelled {name!r} is damaged", hint)
    return found[0]


def label_named(document_id: UUID, name: str) -> Snapshot | None:
    """The row of a label, without its payload."""
    with answering(document_id, model=Snapshot):
        rows = Snapshot.objects.filter(document=document_id, reason=Snapshot.Reason.LABEL, label=name)
        return rows.defer("payload").first()


def label_rows(document_id: UUID, count: int | None = None) -> list[Snapshot]:
    """The rows of a document's labels that can be read, without their payloads, newest state first; with their authors.

    Raises: CorruptJournal; JournalUnavailable.
    """
    rows = Snapshot.objects.filter(document=document_id, reason=Snapshot.Reason.LABEL)
    ordered = rows.defer("payload").select_related("author").order_by("-seq", "-created_at")
    with answering():
        return readable(ordered, document_id, count=count)


def drop_label(document_id: UUID, name: str) -> bool:
    """Afterwards there is no such label; False: there was none.  The journal is not touched."""
    row = label_named(document_id, name)
    return row is not None and bool(row.delete()[0])


def _whole(graph: Graph) -> SnapshotDraft:
    """All of a state in one snapshot, everything that would be above a cut folded into it: the cut is the snapshot's
    own, it was never journalled."""
    graph.apply(cut_record("=server:label", graph.lt, time.time()))
    return draft_snapshot(graph, with_digests=True)
