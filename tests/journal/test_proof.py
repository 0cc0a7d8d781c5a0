"""J15, step 3: what is written is read back, and nothing is deleted that it does not stand for."""

from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings

from journal import compaction, folding, origin
from journal.compaction import KeepRules
from journal.error import SnapshotTooLarge
from journal.history import reach_of
from journal.models import Document, Snapshot
from journal.proof import ProofFailed
from journal.reader import hydrate
from journal.snapshot import SnapshotDraft, draft_snapshot, prune_snapshots, take_snapshot, write_snapshot
from tests.journal.history import HISTORY, append, append_each, compact, message, put, ranges, state
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record, numbered


def refused(document: Document, before: tuple[int, str]) -> None:
    """Nothing was deleted and recovery does not use the snapshot."""
    document.refresh_from_db()
    assert (document.truncated_seq, document.lease_holder) == (0, "")
    assert ranges(document.pk)[: len(HISTORY)] == [(n, n) for n in range(1, 9)]
    assert state(document)[1] == before[1]
    assert Snapshot.objects.count() == 0


@pytest.mark.parametrize(
    ("module", "field"),
    [
        *(
            (compaction, field)
            for field in ("payload", "checksum", "digest", "full_digest", "covered_seq", "cut")
        ),
        *((origin, field) for field in ("payload", "checksum", "covered_seq", "cut")),
    ],
)
def test_j15_a_new_snapshot_row_that_was_corrupted_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch, module: ModuleType, field: str
) -> None:
    append_each(document, HISTORY)
    before = state(document)
    write = write_snapshot

    def write_and_corrupt(*args: Any, **fields: Any) -> Snapshot:
        row = write(*args, **fields)
        value = getattr(row, field)
        match value:
            case int():
                value += 1
            case str():
                value = value[::-1]
            case _:
                value = bytes(value)[:-1] + b"\x00"
        Snapshot.objects.filter(pk=row.pk).update(**{field: value})
        return row

    monkeypatch.setattr(module, "write_snapshot", write_and_corrupt)
    with pytest.raises(ProofFailed):
        compact(document)
    refused(document, before)


def test_j15_a_well_formed_snapshot_of_something_else_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    before = state(document)

    def forgetful(graph: Graph, **_: Any) -> SnapshotDraft:
        draft = draft_snapshot(graph, with_digests=True)
        wrong = Graph()
        for item in HISTORY[:-2]:
            wrong.apply(numbered(item, item.lt))
        wrong.apply(numbered(cut_record("=server:1", graph.cut, 0), draft.seq))
        return SnapshotDraft(draft.seq, draft.cut, wrong.snapshot(), draft.digest, draft.full_digest)

    monkeypatch.setattr(folding, "draft_snapshot", forgetful)
    with pytest.raises(ProofFailed, match="does not equal"):
        compact(document)
    refused(document, before)


def test_j15_a_live_room_may_take_a_snapshot_while_the_new_one_is_proved(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    prove = compaction.prove

    def prove_late(*args: Any) -> None:
        append(document, message(50))
        take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
        prove(*args)

    monkeypatch.setattr(compaction, "prove", prove_late)
    assert compact(document).outcome == "compacted"


def test_j15_a_live_room_prunes_nothing_of_a_compaction_that_is_not_proved_yet(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    prove = compaction.prove

    def prove_late(*args: Any) -> None:
        for lt in (50, 51, 52, 53):
            append(document, message(lt))
            take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
            prune_snapshots(document.pk)
        prove(*args)

    for keep in (4, 2):
        monkeypatch.setattr(compaction, "prove", prove_late if keep == 2 else prove)
        assert compact(document, KeepRules(keep, 0)).outcome == "compacted"
    assert reach_of(document.pk).oldest_seq == Document.objects.get().truncated_seq


def test_j35_an_origin_of_something_else_deletes_nothing(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    append(document, message(3, put("a", "x", 1), client="late"))  # so that the origin has a tail
    before = state(document)
    monkeypatch.setattr(Graph, "retained_messages", lambda graph: [])
    with pytest.raises(ProofFailed, match="origin of time travel"):
        compact(document, KeepRules(1, 0))
    refused(document, before)


def test_a_snapshot_too_large_for_a_row_deletes_nothing(document: Document) -> None:
    append_each(document, HISTORY)
    before = state(document)
    with (
        override_settings(VUER_RTC={"JOURNAL_SNAPSHOT_BYTES_MAX": 100}),
        pytest.raises(SnapshotTooLarge, match="raise"),
    ):
        compact(document)
    refused(document, before)
