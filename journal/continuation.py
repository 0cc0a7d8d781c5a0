"""What follows in a document that is there already (rule J46)."""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from uuid import uuid4

import msgspec

from journal.entry import Entry
from journal.error import TransferRefused
from journal.export import entries_of, state_not_after, unbroken
from journal.failpoint import reach
from journal.imported import Imported, Keys, Tell
from journal.lease import Lease, lease
from journal.models import Document
from journal.position import truncated_seq_of
from journal.projection import note_epoch
from journal.reader import hydrate, read_batches
from journal.transfer_line import BatchLine, End, Header, Line, Names
from journal.writer import Appended, Draft, append_batches
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, numbered

_encoder = msgspec.msgpack.Encoder()


def continue_document(
    lines: Iterable[tuple[int, Line]], header: Header, slug: str, keys: Keys, tell: Tell | None
) -> Imported:
    """Afterwards the document has what follows `from_seq` as well; what it has already is only compared.

    Raises: TransferRefused, before anything is written where the document is another one; JournalBusy; CorruptJournal;
    JournalUnavailable.
    """
    document = Document.objects.filter(slug=slug, condition=Document.Condition.WHOLE).first()
    if document is None:
        raise TransferRefused("no-base", 1, f"it continues a document, and there is no {slug!r}")
    with lease(document.pk) as held:
        return Continuation(held, slug, header, keys, tell).run(lines)


class Continuation:
    """One import of what follows in a document that is there."""

    def __init__(self, held: Lease, slug: str, header: Header, keys: Keys, tell: Tell | None) -> None:
        self._held = held
        self._header = header
        self._keys = keys
        self._tell = tell
        self.report = Imported(slug, "continued", str(held.document_id))
        self._graph = hydrate(held.document_id).graph
        self._writer = f"import/{uuid4().hex[:8]}"
        self._there = self._messages_behind(header.from_seq)
        self._reached = header.from_seq

    def run(self, lines: Iterable[tuple[int, Line]]) -> Imported:
        self._check_base()
        for number, line in lines:
            match line:
                case Names():
                    self._keys.learn(line)
                case BatchLine():
                    self._take(line, number)
                case End():
                    self._check(line)
        return self.report

    def _check_base(self) -> None:
        """Returns when the document is, or was, the one that the lines follow.  Raises: TransferRefused."""
        header, head_seq = self._header, self._graph.head_seq
        if not header.from_seq <= head_seq <= header.to_seq:
            detail = f"the document is at seq {head_seq}; this is what follows {header.from_seq}"
            raise TransferRefused("other-base", 1, detail)
        base = self._graph if head_seq == header.from_seq else self._state_at(header.from_seq)
        if base.full_digest() != header.base_digest:
            raise TransferRefused("other-base", 1, f"the document is another one at seq {header.from_seq}")

    def _state_at(self, seq: int) -> Graph:
        document_id = self._held.document_id
        if seq < (truncated_seq := truncated_seq_of(document_id)):
            detail = (
                f"the document holds what follows {truncated_seq}; export what follows {self._graph.head_seq}"
            )
            raise TransferRefused("other-base", 1, detail)
        graph = state_not_after(document_id, seq)
        retained = self._messages_behind(truncated_seq)
        graph.apply_all(takewhile(lambda message: message.server_seq <= seq, retained))
        return graph

    def _messages_behind(self, seq: int) -> Iterator[Message]:
        document_id = self._held.document_id
        for batch in unbroken(document_id, read_batches(document_id, seq)):
            yield from (message for message in batch.messages if message.server_seq > seq)

    def _take(self, line: BatchLine, number: int) -> None:
        if line.first_seq != self._reached + 1:
            detail = f"seq {self._reached + 1} is missing, {line.first_seq} follows"
            raise TransferRefused("gap", number, detail)
        entries = [self._keys.entry(entry) for entry in entries_of(line, number)]
        self._reached = line.last_seq
        known = max(0, self._graph.head_seq + 1 - line.first_seq)
        self._compare(entries[:known], line.first_seq, number)
        if fresh := entries[known:]:
            self._append(fresh, number)
        if self._tell is not None:
            self._tell(line.last_seq - self._header.from_seq, self._header.to_seq - self._header.from_seq)

    def _compare(self, entries: list[Entry], first_seq: int, number: int) -> None:
        """Returns when these are the journal's own.  Raises: TransferRefused."""
        for seq, entry in enumerate(entries, first_seq):
            given = numbered(entry.message, seq)
            if _encoder.encode(given) != _encoder.encode(next(self._there, None)):
                raise TransferRefused("other-base", number, f"the document has another message at seq {seq}")

    def _append(self, fresh: list[Entry], number: int) -> None:
        graph, report = self._graph, self.report
        draft = Draft(self._held.document_id, graph.head_seq + 1, fresh)
        [outcome] = append_batches([draft], self._writer)
        if not isinstance(outcome, Appended):
            detail = f"somebody else writes to the document, behind seq {graph.head_seq}"
            raise TransferRefused("other-base", number, detail)
        for seq, entry in enumerate(fresh, outcome.first_seq):
            graph.apply(numbered(entry.message, seq))
        report.batches += 1
        report.messages += len(fresh)
        self._held.renew()
        reach("import.writing")

    def _check(self, end: End) -> None:
        report, graph = self.report, self._graph
        report.head_seq, report.digest, report.full_digest = (
            graph.head_seq,
            graph.digest(),
            graph.full_digest(),
        )
        note_epoch(self._held.document_id, graph.epoch.number)
        if (end.digest, end.full_digest) != (report.digest, report.full_digest):
            raise TransferRefused("wrong-digest", end.lines, "the document is not the one that was exported")
