"""Looks at every row of a document and says what is wrong with it; changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.db import Error

from journal.column import bounded, is_stored
from journal.error import CorruptJournal, UnknownDocument
from journal.models import Document, Operation, SceneObject, Snapshot
from journal.position import read_heads, still_there
from journal.reader import Batch, Hydrated, hydrate, verified, while_retained
from journal.scene_object import OBJECT_FIELDS, object_row
from journal.snapshot import SnapshotDamaged, restore_snapshot
from journal.stored_row import (
    LostRow,
    Unreadable,
    answering,
    backup_hint,
    batch_rows,
    readable,
    stored,
    tells_damage,
)
from vuer_rtc.crdt.seen import Seen

COMPACT_HINT = "Left by an interrupted compaction; the next compact_journals deletes it."
GO_ON_HINT = "rebuild_projections, after which the document goes on without them"
REBUILD_HINT = "Run rebuild_projections; the journal itself is not affected."
SPARE_HINTS: dict[str, str] = {
    Snapshot.Reason.LABEL: "The document opens without it. Delete this row: its label is lost.",
    Snapshot.Reason.ORIGIN: "The document opens without it. Delete this row: history begins later then.",
}
SPARE_HINT = "The document opens without it. Delete this row."
"""Said only when it has been seen to: a damaged row may be all that is left."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    is_damage: bool
    """False: harmless, and some command puts it right."""
    seq: int
    problem: str
    hint: str = ""


@dataclass(slots=True)
class Verdict:
    """What was found in one document."""

    slug: str
    document_id: str
    head_seq: int = 0
    batches: int = 0
    messages: int = 0
    snapshots: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(finding.is_damage for finding in self.findings)

    @property
    def damage(self) -> str:
        """What operators read in the document's row; empty when it is intact."""
        found = [finding for finding in self.findings if finding.is_damage]
        lines = [
            f"seq {finding.seq}: {finding.problem}. {finding.hint}".rstrip(" .") for finding in found[:5]
        ]
        more = [f"and {len(found) - 5} more findings"] if len(found) > 5 else []
        return "\n".join([*lines, *more])


def verify_document(document: Document) -> Verdict:
    """Everything that can be checked of one document: rows, order, identities, snapshots, recovery,
    projections.  A compaction that overtakes it is no damage (rule J13).

    Raises: UnknownDocument; JournalUnavailable.
    """
    return while_retained(document.pk, lambda truncated_seq: _verify(document, truncated_seq))


def _verify(document: Document, truncated_seq: int) -> Verdict:
    verdict = Verdict(document.slug, str(document.pk))
    try:
        verdict.findings += _verify_batches(document.pk, truncated_seq, verdict)
        hydrated = hydrate(document.pk)
    except CorruptJournal as error:
        if not verdict.is_damaged:
            verdict.findings.append(_found(error))
        verdict.findings += _verify_snapshots(document.pk, truncated_seq, verdict, opens=False)
        return verdict
    verdict.findings += _verify_snapshots(document.pk, truncated_seq, verdict, opens=True)
    if not verdict.is_damaged:
        verdict.head_seq = hydrated.head_seq
        with answering():
            verdict.findings += _verify_projections(document.pk, hydrated)
    return verdict


def _found(error: CorruptJournal) -> Finding:
    return Finding(True, error.seq, error.problem, error.hint)


def _verify_batches(document_id: UUID, truncated_seq: int, verdict: Verdict) -> Iterator[Finding]:
    head_seq = truncated_seq
    identities = Identities()
    for row in batch_rows(document_id, 0):
        if isinstance(row, LostRow):
            if row.last_seq > truncated_seq:
                seq = max(row.first_seq, head_seq + 1)
                yield Finding(True, seq, row.problem, backup_hint(document_id, seq))
                head_seq = row.last_seq
            continue
        if row.last_seq <= truncated_seq:
            yield Finding(
                False, row.first_seq, f"batch {row.pk} is at or below the truncation point", COMPACT_HINT
            )
            continue
        if row.first_seq != head_seq + 1:
            kind, hint = "overlaps the one before", ""
            if row.first_seq > head_seq:
                kind = f"follows a gap that begins at {head_seq + 1}"
                hint = backup_hint(document_id, head_seq + 1)
            yield Finding(True, row.first_seq, f"batch {row.pk} {kind}", hint)
        head_seq = row.last_seq
        verdict.batches, verdict.messages, verdict.head_seq = (
            verdict.batches + 1,
            verdict.messages + row.message_count,
            head_seq,
        )
        try:
            yield from _verify_identities(verified(row), identities)
        except CorruptJournal as error:
            yield _found(error)


class Identities:
    """Which ids and counters there were, as intervals where they can be: what follows in sequence takes no memory."""

    def __init__(self) -> None:
        self._counters, self._numbered = Seen(), Seen()
        self._ids: set[str] = set()

    def has_counter(self, client: str, counter: int) -> bool:
        """True when it was there before; it is now."""
        return _was_seen(self._counters, client, counter)

    def has_id(self, message_id: str) -> bool:
        """The same."""
        name, colon, number = message_id.rpartition(":")
        if (
            colon
            and len(number) < 17
            and number.isascii()
            and number.isdigit()
            and str(int(number)) == number
        ):
            return _was_seen(self._numbered, name, int(number))
        if message_id in self._ids:
            return True
        self._ids.add(message_id)
        return False


def _was_seen(seen: Seen, client: str, number: int) -> bool:
    if (client, number) in seen:
        return True
    seen.add(client, number)
    return False


def _verify_identities(batch: Batch, identities: Identities) -> Iterator[Finding]:
    """Nothing is journalled twice."""
    for message in batch.messages:
        names = []
        if identities.has_id(message.id):
            names.append(f"message {message.id!r}")
        if not message.is_server_record and identities.has_counter(message.client, message.counter):
            names.append(f"counter {message.counter} of client {message.client!r}")
        for name in names:
            yield Finding(True, message.server_seq, f"{name} is journalled twice")


def _verify_snapshots(
    document_id: UUID, truncated_seq: int, verdict: Verdict, *, opens: bool
) -> Iterator[Finding]:
    """`opens`: recovery has just worked; no damaged row had a part in that."""
    rows = Snapshot.objects.filter(document=document_id).order_by("seq")
    try:
        keys = readable(rows.values_list("pk", "seq"), document_id, truncated_seq)
    except CorruptJournal as error:
        if _found(error) not in verdict.findings:  # recovery may have met it
            yield _found(error)
        return
    for pk, seq in keys:
        verdict.snapshots += 1
        try:
            for row in stored(rows.filter(pk=pk)):
                restore_snapshot(row)
        except (SnapshotDamaged, Unreadable) as error:
            reason = _reason_of(pk)
            spare_hint = SPARE_HINTS.get(reason, SPARE_HINT)
            hint = spare_hint if opens else backup_hint(document_id, seq, Snapshot)
            yield Finding(True, seq, f"{reason} snapshot {pk}: {error}", hint)


def _reason_of(snapshot_id: UUID) -> str:
    """Why it was taken, if that can be read."""
    try:
        return Snapshot.objects.filter(pk=snapshot_id).values_list("reason", flat=True).first() or "lost"
    except Error as error:
        if not tells_damage(error):
            raise
        return "lost"


def _verify_projections(document_id: UUID, hydrated: Hydrated) -> Iterator[Finding]:
    position = still_there().filter(pk=document_id).values_list("head_seq", "truncated_seq").first()
    if position is None:
        raise UnknownDocument(str(document_id))
    reached, truncated_seq = position
    if reached > read_heads([document_id]).get(document_id, reached):  # rows follow batches: these were there
        problem = f"the newest batches are gone: the projections are at seq {reached}"
        seq = hydrated.head_seq + 1
        yield Finding(True, seq, problem, f"{backup_hint(document_id, seq)}, or {GO_ON_HINT}")
        return
    if reached != hydrated.head_seq:
        problem = f"the projections are at seq {reached}, the journal at {hydrated.head_seq}"
        yield Finding(
            False, reached, problem, "A live room catches up by itself; else run rebuild_projections."
        )
        return
    views = {bounded(key): view for key, view in hydrated.graph.nodes().items()}
    rows = {
        row.key: row for row in SceneObject.objects.filter(document=document_id).iterator(chunk_size=1000)
    }
    for key in sorted(views.keys() | rows.keys()):
        view, row = views.get(key), rows.get(key)
        fresh = object_row(document_id, key, view, reached) if view else None
        if fresh is None or row is None or not _is_said(row, fresh):
            yield Finding(
                False, reached, f"the row of object {key!r} is not what the journal says", REBUILD_HINT
            )
    stray = Operation.objects.filter(document=document_id, server_seq__lte=truncated_seq).count()
    if stray:
        yield Finding(False, truncated_seq, f"{stray} operation rows have no batch", COMPACT_HINT)


def _is_said(row: SceneObject, fresh: SceneObject) -> bool:
    """True when the row of an object is what the journal says.

    Of times to the millisecond: rows that nothing has changed for long may have the microseconds they once had.
    """
    was, now = row.updated_at, fresh.updated_at
    is_then = was == now or (
        was is not None and now is not None and abs(was - now) < timedelta(milliseconds=1)
    )
    others = (name for name in OBJECT_FIELDS if name not in ("seq", "updated_at"))
    return is_then and all(is_stored(getattr(row, name), getattr(fresh, name)) for name in others)
