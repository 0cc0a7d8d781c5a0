"""Moves a document over from another vuer-rtc server (rule J49).

A snapshot becomes a snapshot here, at its Lamport time: what it lacks is said where the client reads it
(`vuer_rtc.client.bootstrap`).  Messages go into the journal in the dump's order; the order they mean is their own.
"""

from collections.abc import Iterator
from typing import Any

from django.utils import timezone
from msgspec.structs import replace

from journal.entry import Entry
from journal.error import TransferRefused
from journal.failpoint import reach
from journal.imported import Accounts, Imported, Keys, Tell
from journal.intake import Intake, new_document
from journal.lease import Lease
from journal.models import Snapshot
from journal.snapshot import draft_snapshot, write_snapshot
from journal.transfer_line import Header
from rooms.dump import Found, FoundMessage, FoundSnapshot, Unknown
from vuer_rtc.client.state import Snapshot as PublishedSnapshot
from vuer_rtc.crdt.canonical import InvalidMessage, canonical_message
from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.layout import decode_content, encode_content
from vuer_rtc.crdt.message import cut_record, numbered
from vuer_rtc.crdt.plain import plain

BATCH_MESSAGES = 200
TOLD_MAX = 1000
"""Refused lines that a report names; it counts the others."""
MILLISECONDS_FROM = 1e11
"""A `ts` from here on is in milliseconds (rule T7)."""


def import_dump(
    found: Iterator[Found], slug: str, *, skip_bad: bool = False, tell: Tell | None = None
) -> Imported:
    """Afterwards a document of that slug holds what the dump does.

    Raises: TransferRefused, at the first thing that cannot be taken over unless `skip_bad`, or where there is nothing;
    JournalBusy; JournalUnavailable.
    """
    with new_document(slug) as held:
        return DumpIntake(held, slug, skip_bad=skip_bad, tell=tell).run(found)


class DumpIntake:
    """One import of a dump."""

    def __init__(self, held: Lease, slug: str, *, skip_bad: bool, tell: Tell | None) -> None:
        self._intake = Intake(held, slug, Header(slug=slug), Keys(Accounts.DROP), tell)
        self._held = held
        self._skip_bad = skip_bad
        self._graph = Graph()
        self._waiting: list[Entry] = []
        self._report = self._intake.report

    def run(self, found: Iterator[Found]) -> Imported:
        reach("import.begun")
        for each in found:
            match each:
                case FoundMessage():
                    self._add(each)
                case FoundSnapshot():
                    self._begin_with(each)
                case Unknown():
                    self._refuse("not-a-message", each.line, each.detail)
        self._write()
        self._check_content()
        reach("import.written")
        self._intake.prove(self._graph.digest(), self._graph.full_digest())
        return self._intake.open()

    def _add(self, found: FoundMessage) -> None:
        try:
            message = canonical_message(found.fields).with_own_clock()
        except InvalidMessage as error:
            self._refuse(error.code, found.line, str(error))
            return
        if any(op.ot in META_OPS for op in message.ops):
            message = replace(message, auth=True)  # there, anybody undid anything
        match self._graph.identify(message):
            case Identity.DUPLICATE:
                self._report.duplicates += 1
            case Identity.REUSED:
                self._refuse(
                    "id-reused", found.line, f"another message has the id {message.id!r}, or its counter"
                )
            case Identity.NEW:
                self._graph.apply(numbered(message, self._graph.head_seq + 1))
                self._waiting.append(Entry(message, received_at=_seconds(message.ts)))
                if len(self._waiting) >= BATCH_MESSAGES:
                    self._write()

    def _refuse(self, code: str, line: int, detail: str) -> None:
        if not self._skip_bad:
            raise TransferRefused(code, line, detail)
        self._report.refused_count += 1
        if len(self._report.refused) < TOLD_MAX:
            self._report.refused.append({"line": line, "code": code, "detail": detail})

    def _check_content(self) -> None:
        report = self._report
        if not (report.messages or report.snapshots):
            left_out = f": all {report.refused_count} were left out" if report.refused_count else ""
            raise TransferRefused("empty", 0, f"there is no message in it, and no snapshot{left_out}")

    def _write(self) -> None:
        if self._waiting:
            self._intake.add_entries(self._waiting, timezone.now(), "import")
            self._waiting = []

    def _begin_with(self, found: FoundSnapshot) -> None:
        if self._graph.head_seq:
            detail = "a snapshot after messages, or a second one; give the newest, and the messages after it"
            self._refuse("late-snapshot", found.line, detail)
            return
        try:
            self._graph = graph_of_published(plain(found.fields))
        except (InvalidMessage, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            self._refuse("bad-snapshot", found.line, f"it cannot be read: {error!r}")
            return
        draft = draft_snapshot(self._graph, with_digests=True)
        write_snapshot(self._held.document_id, draft, draft.seq, Snapshot.Reason.MANUAL)
        self._intake.begin(draft.seq, draft.cut)
        self._report.snapshots += 1


def graph_of_published(fields: dict[str, Any]) -> Graph:
    """The document of a published snapshot, folded at its Lamport time.

    Raises: ValueError, TypeError, KeyError, AttributeError or IndexError for what is none.
    """
    published = PublishedSnapshot.from_dict(fields)
    origin = published.origin()
    graph = Graph()
    for seq, message in enumerate(origin.messages, 1):
        graph.apply(numbered(message, seq))
    cut = max([origin.lt, graph.lt, 1])
    graph.apply(numbered(cut_record("=server:import", cut, 0.0), graph.head_seq + 1))
    content = decode_content(graph.snapshot())
    content.clock = dict(origin.clock)
    content.seen = {client: [[1, count]] for client, count in origin.clock.items() if count > 0}
    content.lt = cut
    content.head = published.journalIndex or sum(origin.clock.values()) or 1
    return Graph.restore(encode_content(content))


def _seconds(ts: float) -> float:
    return ts if ts < MILLISECONDS_FROM else ts / 1000


__all__ = ["import_dump"]
