"""Takes what one person wrote, and where it came from, out of a document that goes on (rules J60 to J64).

    empty     on request: what everybody still sees of it, by ordinary journalled edits
    replace   one transaction: a snapshot of everything, blanked, stands for the whole journal
    delete    archives, the snapshots before it, labels among them, and last the journal with its rows
    forget    address, program and account of the person's sessions

Killed between any two of them, running it again does what is left.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from time import time
from uuid import UUID, uuid4

from django.db import OperationalError, connections, transaction
from django.db.models import Q

from journal.archive import delete_archives, may_have_archives
from journal.authoring import Author
from journal.batch_sql import batch_table
from journal.batch_table import is_fenced
from journal.column import bounded
from journal.durability import journal_alias
from journal.entry import Entry, decompress
from journal.error import JournalBusy, JournalError
from journal.failpoint import reach
from journal.lease import Lease, lease, process_name
from journal.live_side import current_live_side
from journal.models import Document, Operation, Snapshot
from journal.position import truncated_seq_of
from journal.projection import catch_up, project
from journal.purge import relations
from journal.reader import hydrate
from journal.settings import settings
from journal.snapshot import SnapshotDraft, pack_snapshot, write_snapshot, write_spare
from journal.stored_row import answering
from journal.truncation import Tell, delete_truncated, truncate
from journal.writer import Draft, build_row
from vuer_rtc.crdt.blank import Authorship, Blanked, blanked, emptying_ops, left_count
from vuer_rtc.crdt.canonical import SERVER_PREFIX
from vuer_rtc.crdt.dtype import MODIFIERS
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import SITE_CLIENT, cut_record, numbered

OPS_MAX = 500
"""Operations of one message that empties content."""


class RedactionFailed(JournalError):
    """A blanked snapshot does not show what the document shows; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be forgotten: an account, a client, or both."""

    user: str | None = None
    """Primary key, as text."""
    client: str | None = None


@dataclass(slots=True)
class Redacted:
    """What was done to one document."""

    slug: str
    outcome: str = "redacted"
    """Or `planned`: nothing was done; or `partly redacted`: something is `left`."""
    clients: list[str] = field(default_factory=list)
    """Client ids that were the person's."""
    is_named: bool = True
    """False when no row tells that the person was there."""
    head_seq: int = 0
    emptied: int = 0
    """Operations that emptied what everybody saw."""
    left: int = 0
    """Properties that were not emptied and may be the person's (rule J63)."""
    blanked: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0
    labels: list[str] = field(default_factory=list)
    """Of the snapshots deleted, those that people had named."""
    archives: int = 0
    sessions: int = 0


def bring_rows_up_to_date() -> set[UUID]:
    """Afterwards the rows by which a person's documents are found are those of the journals; keys of the documents of
    which that cannot be said."""
    unread = set()
    for pk in list(Document.objects.filter(condition=Document.Condition.WHOLE).values_list("pk", flat=True)):
        try:
            catch_up(pk)
        except JournalError:
            unread.add(pk)
    return unread


def documents_of(person: Person) -> dict[UUID, set[str]]:
    """The documents in which rows tell of the person, and the client ids that were the person's there.

    The site's client is never one of them: it writes for everybody.
    """
    found: dict[UUID, set[str]] = {}
    rows = Operation.objects.order_by()
    mine = rows.none()
    if person.user is not None:
        mine = rows.filter(user_id=person.user)
    if person.client is not None:
        mine = mine | rows.filter(client=bounded(person.client))
    pairs = set(mine.values_list("document_id", "client").distinct())
    for document_id, client in pairs | current_live_side().clients_of(person.user, person.client):
        clients = found.setdefault(document_id, set())
        if not client.startswith(SERVER_PREFIX):
            clients.add(client)
    if person.client is not None:
        for clients in found.values():
            clients.add(person.client)
    return found


def redact_document(
    document: Document,
    person: Person,
    clients: Collection[str],
    *,
    empties_content: bool = False,
    tell: Tell | None = None,
) -> Redacted:
    """Afterwards nothing of the person is stored for this document but what everybody sees in it, and client ids.

    With `empties_content` neither is that.  Its history, labels and archives are gone for everybody.

    Raises: RedactionFailed; CorruptJournal, SnapshotTooLarge: nothing was changed, or content was emptied only.
    ArchiveFailed: run it again.  JournalBusy; JournalUnavailable.
    """
    report = Redacted(document.slug, clients=sorted(clients))
    catch_up(document.pk)
    with lease(document.pk) as held:
        authorship = _authorship(document.pk, person, clients)
        may_be_archives = may_have_archives(document.pk)
        if empties_content:
            report.emptied = _empty(document.pk, authorship)
        reach("redact.begun")
        snapshot, graph, told = _replace(held, authorship)
        reach("redact.replaced")
        if empties_content:
            report.left = left_count(graph.snapshot(), authorship)
            report.outcome = "partly redacted" if report.left else report.outcome
        report.head_seq, report.blanked = snapshot.seq, asdict(told)
        project(document.pk, graph.head_seq, graph.undone_ids(), graph.nodes())
        report.archives = delete_archives(document.pk, snapshot.seq, may_be_there=may_be_archives)
        _delete_snapshots(snapshot, report)
        held.renew()
        # The rows that tell of the person go last: the next run finds the document by them.
        delete_truncated(held, tell)
        reach("redact.deleted")
        report.sessions = current_live_side().forget(document.pk, person.user, clients)
    return report


def _authorship(document_id: UUID, person: Person, clients: Collection[str]) -> Authorship:
    """As far as retained messages tell: of the site's, for whom they were written; of the person's, what they added to
    values."""
    rows = Operation.objects.filter(document=document_id).order_by()
    of_person, site = Q(client__in=list(map(bounded, clients))), None
    if person.user is not None:
        of_person |= Q(user_id=person.user)
        pairs = rows.filter(client=SITE_CLIENT).values_list("message_id", "user_id").distinct()
        site = {message_id: str(user_id) == person.user for message_id, user_id in pairs}
    added = rows.filter(of_person, otype__in=MODIFIERS, undone=False).values_list("key", "path").distinct()
    truncated_seq, cut = Document.objects.values_list("truncated_seq", "cut").get(pk=document_id)
    return Authorship(clients, site, set(added), cut if truncated_seq else -1)


def _empty(document_id: UUID, authorship: Authorship) -> int:
    """Afterwards what the person wrote, as far as that is told, is seen by nobody; number of operations it took."""
    author = Author(document_id)
    ops = list(emptying_ops(_folded(hydrate(document_id).graph).snapshot(), authorship))
    for start in range(0, len(ops), OPS_MAX):
        author.write(ops[start : start + OPS_MAX])
    return len(ops)


def _folded(graph: Graph) -> Graph:
    """The same graph, everything in it folded away; at one sequence more."""
    record = cut_record(f"=server:{uuid4().hex}", max(graph.lt, graph.cut), time())
    graph.apply(numbered(record, graph.head_seq + 1))
    return graph


def _replace(held: Lease, authorship: Authorship) -> tuple[Snapshot, Graph, Blanked]:
    """The snapshot that stands for the journal from now on, and its graph.

    It takes a sequence of its own, which nobody can read, so every live room and every client that comes back begins
    from it (rule J61).
    """
    for _ in range(settings.cut_attempts_max):
        hydrated = hydrate(held.document_id)
        graph = _folded(hydrated.graph)
        data, told = blanked(graph.snapshot(), authorship)
        blank = Graph.restore(data)
        if (blank.digest(), blank.clock, blank.lt) != (graph.digest(), graph.clock, graph.lt):
            raise RedactionFailed(f"document {held.document_id}: blanked, it would show something else")
        draft = SnapshotDraft(
            graph.head_seq, graph.cut, data, blank.digest(), blank.full_digest(), graph.head_seq
        )
        payload = pack_snapshot(held.document_id, draft)
        _prove(payload, draft, held.document_id)
        held.renew()
        with answering():
            if (snapshot := _write(held, draft, payload, hydrated.last_batch)) is not None:
                return snapshot, blank, told
    raise JournalBusy(f"document {held.document_id}: its writers left no room; try again")


def _prove(payload: bytes, draft: SnapshotDraft, document_id: UUID) -> None:
    """Returns when the payload leads to the state.  Costs seconds of a large document, so it is done before `_write`:
    on SQLite nobody else writes during a transaction."""
    found = Graph.restore(decompress(payload))
    if (found.digest(), found.full_digest()) != (draft.digest, draft.full_digest):
        raise RedactionFailed(f"document {document_id}: packed, it is another state")


def _write(held: Lease, draft: SnapshotDraft, payload: bytes, last_batch: UUID | None) -> Snapshot | None:
    """The row, which reads back as written, and the journal truncated behind it, all at once; None when somebody
    wrote.  `last_batch`: what was read ended with it, if that is known."""
    alias, document_id = journal_alias(), held.document_id
    record = cut_record(f"=server:{uuid4().hex}", draft.cut, time())
    at_head = Draft(document_id, draft.seq, [Entry(record, received_at=time())], last_batch)
    place = build_row(at_head, process_name())
    with transaction.atomic(using=alias):
        marks = batch_table(connections[alias]).insert([place])
        if place.id not in marks:
            return None
        if truncated_seq_of(document_id) >= draft.seq or is_fenced(place, marks[place.id]):
            problem = "another command has overtaken this one, or the database has been put back"
            raise JournalBusy(f"document {document_id}: {problem}")
        reason = Snapshot.Reason.COMPACTION
        row = write_snapshot(document_id, draft, draft.seq, reason, payload=payload)
        _compare(row, Snapshot.objects.get(pk=row.pk))
        write_spare(row)
        truncate(held, draft.seq, draft.cut)
    return row


def _compare(written: Snapshot, found: Snapshot) -> None:
    for name in ("seq", "cut", "covered_seq", "payload", "checksum"):
        value = getattr(found, name)
        if (bytes(value) if name == "payload" else value) != getattr(written, name):
            raise RedactionFailed(f"document {written.document_id}: its {name} does not read back as written")


def _delete_snapshots(kept: Snapshot, report: Redacted) -> None:
    """Every older one holds what was to go; those at the burnt sequence were made of what is kept (rule J61)."""
    others = Snapshot.objects.filter(document=kept.document_id, seq__lt=kept.seq)
    report.labels = sorted(others.exclude(label="").values_list("label", flat=True))
    for pk in list(others.order_by().values_list("pk", flat=True)):
        report.snapshots += Snapshot.objects.filter(pk=pk).delete()[0]


# What the database itself keeps


def begin_secure_deletion() -> None:
    """From now on what this connection deletes is overwritten, where the database can (SQLite)."""
    connection = connections[journal_alias()]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete=ON")


def scrub(*, is_thorough: bool) -> bool:
    """Afterwards deleted bytes are out of SQLite's log, if nobody reads it just now; with `is_thorough` also out of
    free pages, where earlier deletions left them.  False: another process was in the way, or the database cannot.

    Of PostgreSQL, whose pages it cannot clean, only the statistics are made anew: they are no bytes that are left over,
    but values that anybody reads in `pg_stats`.
    """
    connection = connections[journal_alias()]
    if connection.vendor not in ("sqlite", "postgresql") or connection.in_atomic_block:
        return False
    try:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                for table in sorted({relation.related_model._meta.db_table for relation in relations()}):
                    cursor.execute(f"ANALYZE {connection.ops.quote_name(table)}")
                return False
            if is_thorough:
                cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found = cursor.fetchone()
    except OperationalError:
        return False
    return bool(found is not None and found[0] == 0)
