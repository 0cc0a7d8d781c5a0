"""Whole states, so that recovery need not begin at the beginning (rules J5, J10, J11, J35)."""

import logging
from dataclasses import dataclass
from uuid import UUID

import msgspec
import zstandard
from django.db import Error, models
from django.db.models import Q
from django.utils import timezone

from journal.entry import PayloadError, checksum_of, decompress
from journal.error import CorruptJournal, SnapshotTooLarge, UnknownDocument
from journal.failpoint import reach
from journal.models import Document, JournalBatch, Snapshot
from journal.position import is_lost
from journal.settings import settings
from journal.stored_row import readable, tells_damage, told
from vuer_rtc.crdt.graph import Graph, SnapshotError
from vuer_rtc.crdt.message import Message

logger = logging.getLogger(__name__)


class SnapshotDamaged(ValueError):
    """A snapshot row does not hold what was written."""


@dataclass(frozen=True, slots=True)
class SnapshotDraft:
    """A state taken from a graph; cheap enough for a live room, and may be written by another thread."""

    seq: int
    """Head of the graph; it must hold every message up to here, and none that is not journalled."""
    cut: int
    """The cut in force."""
    state: bytes
    """`Graph.snapshot()`, not compressed."""
    digest: str = ""
    full_digest: str = ""
    """Of the whole graph at `seq`, messages above the cut included; empty when nobody computed them."""
    covered_seq: int = 0
    """`Graph.folded_seq`: every message up to here is in it."""
    last_batch: UUID | None = None
    """Key of the batch that ends at `seq`, if it is known."""


class Origin(msgspec.Struct, array_like=True):
    """The payload of an origin: a whole state, messages above its cut included (rule J35)."""

    state: bytes
    """`Graph.snapshot()`."""
    tail: list[Message]
    """The messages above its cut, by sequence."""


def draft_snapshot(graph: Graph, *, with_digests: bool = False) -> SnapshotDraft:
    """The state of `graph` at its cut."""
    return SnapshotDraft(
        seq=graph.head_seq,
        cut=graph.cut,
        state=graph.snapshot(),
        digest=graph.digest() if with_digests else "",
        full_digest=graph.full_digest() if with_digests else "",
        covered_seq=graph.folded_seq,
    )


def take_snapshot(document_id: UUID, draft: SnapshotDraft, reason: Snapshot.Reason) -> Snapshot | None:
    """Writes a live room's state; None, and nothing written, when a compaction has overtaken it, or the journal does
    not lead there (rule J66).

    Raises: UnknownDocument, SnapshotTooLarge.
    """
    document = _where_it_leads(document_id, draft)
    if document is None or draft.cut < document.cut:
        return None
    row = write_snapshot(document_id, draft, document.truncated_seq, reason)
    if _where_it_leads(document_id, draft) is None:
        row.delete()  # overtaken while it was written: it may hold what was redacted (rule J61), or what is no more
        return None
    return row


def _where_it_leads(document_id: UUID, draft: SnapshotDraft) -> Document | None:
    """The document; None when its journal does not lead to the draft.  Raises: UnknownDocument."""
    columns = "truncated_seq", "truncated_batch", "cut"
    document = Document.objects.filter(pk=document_id).only(*columns).first()
    if document is None:
        raise UnknownDocument(str(document_id))
    if draft.seq < document.truncated_seq:
        return None
    if draft.seq == document.truncated_seq:
        place = draft.last_batch, draft.seq, draft.seq, document.truncated_batch, ()
        return None if is_lost(*place) else document
    batches = JournalBatch.objects.filter(document=document_id)
    last = Q(last_seq__gte=draft.seq) if draft.last_batch is None else Q(pk=draft.last_batch)
    return document if batches.filter(last).exists() else None


def pack_snapshot(document_id: UUID, draft: SnapshotDraft) -> bytes:
    """The payload of its row.  Raises: SnapshotTooLarge."""
    payload: bytes = zstandard.ZstdCompressor(level=settings.snapshot_compress_level).compress(draft.state)
    if len(payload) > settings.snapshot_bytes_max:
        raise SnapshotTooLarge(
            f"the snapshot of document {document_id} has {len(payload)} bytes, {settings.snapshot_bytes_max} "
            f"allowed;"
            " raise VUER_RTC['JOURNAL_SNAPSHOT_BYTES_MAX'] (SQLite and PostgreSQL take up to 1 GB)"
        )
    return payload


def write_snapshot(
    document_id: UUID,
    draft: SnapshotDraft,
    covered_seq: int,
    reason: Snapshot.Reason,
    label: str = "",
    author_id: int | str | None = None,
    payload: bytes | None = None,
) -> Snapshot:
    """Writes a snapshot; the caller knows that it holds every message up to `covered_seq`, the draft perhaps
    that it holds more.  `payload`: the draft as `pack_snapshot` packs it, where that was done before.

    Raises: SnapshotTooLarge.
    """
    covered_seq = max(covered_seq, draft.covered_seq)
    if payload is None:
        payload = pack_snapshot(document_id, draft)
    reach("snapshot.begun")
    row = Snapshot.objects.create(
        document_id=document_id,
        seq=draft.seq,
        cut=draft.cut,
        covered_seq=covered_seq,
        payload=payload,
        checksum=checksum_of(payload, document_id, draft.seq, draft.cut, covered_seq),
        digest=draft.digest,
        full_digest=draft.full_digest,
        label=label,
        reason=reason,
        author_id=author_id,
        created_at=timezone.now(),
    )
    reach("snapshot.written")
    return row


def write_spare(proved: Snapshot) -> Snapshot | None:
    """Another row that holds what a proved one does, byte for byte: recovery begins there when that one is damaged
    (rule J10).  None, and nothing is written, where the site keeps only one.

    Raises: CorruptJournal when it does not read back.
    """
    if settings.keep_snapshots < 2:
        return None
    fields = [field.attname for field in Snapshot._meta.concrete_fields if not field.primary_key]
    spare = Snapshot.objects.create(**{name: getattr(proved, name) for name in fields} | {"label": ""})
    found = Snapshot.objects.get(pk=spare.pk)
    if not (_has_checksum(found) and found.checksum == proved.checksum):
        spare.delete()
        problem = f"the second copy of snapshot {proved.pk} does not read back as it was written"
        raise CorruptJournal(proved.document_id, proved.seq, problem, "Nothing was deleted: test the disk.")
    return spare


def recovery_snapshots(document_id: UUID) -> models.QuerySet[Snapshot]:
    """All that recovery may start from: neither labels nor origins, whose cuts no journal has (rules J32, J35)."""
    rows = Snapshot.objects.filter(document=document_id)
    return rows.exclude(reason__in=[Snapshot.Reason.LABEL, Snapshot.Reason.ORIGIN])


def covered_seq_of(document_id: UUID) -> int:
    """How far the newest snapshots cover the journal; 0 without any."""
    rows = recovery_snapshots(document_id).values_list("covered_seq", flat=True)
    return max(readable(rows, document_id), default=0)


def restore_snapshot(row: Snapshot) -> Graph:
    """The graph of a snapshot row, without the messages above its cut; of an origin, with them.

    Raises: SnapshotDamaged.
    """
    if not _has_checksum(row):
        raise SnapshotDamaged("the checksum does not hold")
    try:
        state = decompress(bytes(row.payload))
        tail: list[Message] = []
        if row.reason == Snapshot.Reason.ORIGIN:
            origin = msgspec.msgpack.decode(state, type=Origin)
            state, tail = origin.state, origin.tail
        graph = Graph.restore(state)
    except (PayloadError, SnapshotError, msgspec.DecodeError) as error:
        raise SnapshotDamaged(str(error)) from error
    if (graph.head_seq, graph.cut) != (row.seq, row.cut):
        raise SnapshotDamaged(f"it holds seq {graph.head_seq}, cut {graph.cut}")
    graph.apply_all(tail)
    return graph


def _has_checksum(row: Snapshot) -> bool:
    found = checksum_of(bytes(row.payload), row.document_id, row.seq, row.cut, row.covered_seq)
    return found == row.checksum


def prune_snapshots(document_id: UUID, *, is_compacting: bool = False) -> int:
    """Deletes all unlabelled snapshots but the newest few; those recovery can start from count as newer.

    Returns how many.  The newest usable one always stays, and so does the oldest: it tells the oldest states
    (rule J30).  Of origins the oldest usable one stays.  What a compaction wrote is deleted by the next one alone,
    which holds the lease: it may not be proved yet.  One that cannot be read stays, for operators to look at.
    """
    truncated_seq = Document.objects.values_list("truncated_seq", flat=True).get(pk=document_id)
    rows = recovery_snapshots(document_id).filter(label="")
    newest = sorted(
        readable(
            rows.values_list("pk", "seq", "created_at", "covered_seq", "reason"), document_id, truncated_seq
        ),
        key=lambda row: (row[3] >= truncated_seq, row[1], row[2]),
        reverse=True,
    )
    usable = [row[0] for row in newest if row[3] >= truncated_seq]
    surplus = [
        row[0]
        for row in newest[max(1, settings.keep_snapshots) :]
        if row[0] not in usable[-1:] and (is_compacting or row[4] != Snapshot.Reason.COMPACTION)
    ]
    if is_compacting:
        surplus += _surplus_origins(document_id, truncated_seq)
    return sum(map(_delete, surplus))


def _delete(snapshot_id: UUID) -> int:
    """Afterwards the row is gone, unless the database cannot find all of it any more."""
    try:
        return Snapshot.objects.filter(pk=snapshot_id).delete()[0]
    except Error as error:
        if not tells_damage(error):
            raise
        logger.error("snapshot %s is damaged, and stays: %s", snapshot_id, told(error))
        return 0


def _surplus_origins(document_id: UUID, truncated_seq: int) -> list[UUID]:
    """All but the oldest that the retained batches reach."""
    rows = Snapshot.objects.filter(document=document_id, reason=Snapshot.Reason.ORIGIN)
    found = readable(rows.values_list("pk", "seq", "created_at"), document_id, truncated_seq)
    newest = sorted(found, key=lambda row: row[2], reverse=True)
    usable = sorted((row for row in newest if row[1] >= truncated_seq), key=lambda row: row[1])
    return [row[0] for row in found if row not in usable[:1]]
