"""What follows in a document that is there already (rule J46)."""

from collections.abc import Iterable
from uuid import uuid4

import msgspec

from journal.error import TransferRefused
from journal.export import entries_of
from journal.failpoint import reach
from journal.imported import Imported, Keys, Tell
from journal.lease import Lease, lease
from journal.models import Document
from journal.projection import note_epoch
from journal.reader import hydrate
from journal.transfer_line import BatchLine, End, Header, Line, Names
from journal.writer import Appended, Draft, append_batches


def continue_document(
    lines: Iterable[tuple[int, Line]], header: Header, slug: str, keys: Keys, tell: Tell | None
) -> Imported:
    """Afterwards the document has what follows `from_seq` as well; what it has already is only compared."""
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

    def run(self, lines: Iterable[tuple[int, Line]]) -> Imported:
        header, graph = self._header, self._graph
        if graph.head_seq == header.from_seq and graph.full_digest() != header.base_digest:
            raise TransferRefused("other-base", 1, f"the document is another one at seq {header.from_seq}")
        if not header.from_seq <= graph.head_seq <= header.to_seq:
            detail = f"the document is at seq {graph.head_seq}; this is what follows {header.from_seq}"
            raise TransferRefused("other-base", 1, detail)
        for number, line in lines:
            match line:
                case Names():
                    self._keys.learn(line)
                case BatchLine():
                    self._append(line, number)
                case End():
                    self._check(line)
        return self.report

    def _append(self, line: BatchLine, number: int) -> None:
        entries = [self._keys.entry(entry) for entry in entries_of(line, number)]
        graph, report = self._graph, self.report
        known = graph.head_seq + 1 - line.first_seq
        if known < 0:
            raise TransferRefused("gap", number, f"seq {graph.head_seq + 1} is missing")
        if (fresh := entries[known:]) and known < len(entries):
            draft = Draft(self._held.document_id, graph.head_seq + 1, fresh)
            [outcome] = append_batches([draft], self._writer)
            if not isinstance(outcome, Appended):
                detail = f"somebody else writes to the document, behind seq {graph.head_seq}"
                raise TransferRefused("other-base", number, detail)
            for seq, entry in enumerate(fresh, outcome.first_seq):
                graph.apply(msgspec.structs.replace(entry.message, server_seq=seq))
            report.batches += 1
            report.messages += len(fresh)
            self._held.renew()
            reach("import.writing")
        if self._tell is not None:
            self._tell(line.last_seq - self._header.from_seq, self._header.to_seq - self._header.from_seq)

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
