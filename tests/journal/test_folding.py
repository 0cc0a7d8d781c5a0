"""J15, steps 2 and 2b, J25: one pass makes the snapshot and the origin of time travel."""

import pytest

from journal import folding
from journal.compaction import KeepRules
from journal.history import graph_at, reach_of
from journal.models import Document, Snapshot
from journal.reader import hydrate
from tests.journal.history import append, append_each, compact, head_of, insert, message, put, undo
from vuer_rtc.crdt.message import cut_record


def test_j15_what_live_rooms_have_folded_goes_and_the_states_behind_it_can_still_be_told(
    document: Document,
) -> None:
    """J18."""
    history = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 61)]]
    for lt, item in enumerate(history, 1):
        append(document, item)
        if lt > 20 and lt % 5 == 0:
            append(document, cut_record(f"=server:{lt}", lt - 10, 0))
    before, head_seq = hydrate(document.pk).graph, head_of(document)
    states = {seq: graph_at(document.pk, seq).digest() for seq in range(20, head_seq + 1)}
    report = compact(document, KeepRules(40, 0))
    assert (report.outcome, report.truncated_seq) == ("compacted", 20)
    assert (head_of(document), report.snapshot_seq) == (head_seq, 32)
    assert hydrate(document.pk).graph.full_digest() == before.full_digest()
    assert reach_of(document.pk).oldest_seq <= report.snapshot_seq
    for seq in range(report.snapshot_seq, head_seq + 1):
        assert graph_at(document.pk, seq).digest() == states[seq]
    again = compact(document, KeepRules(30, 0))
    assert (again.outcome, head_of(document)) == ("compacted", head_seq)
    assert hydrate(document.pk).graph.full_digest() == before.full_digest()
    assert compact(document, KeepRules(0, 0)).truncated_seq == head_seq
    assert hydrate(document.pk).graph.digest() == before.digest()


def test_j15_a_snapshot_is_never_older_than_the_one_that_proves_it(document: Document) -> None:
    """What goes now had been folded by the first cut already, the newest snapshot is of the second one."""
    first = [
        message(1, insert("a")),
        message(13, undo("ann:1"), id="ann:2"),
        message(1, put("a", "x", 1), client="bob"),
    ]
    append_each(
        document, [*first, message(1, client="cat"), message(14, undo("bob:1"), client="bob", id="bob:2")]
    )
    for keep in (4, 2):
        assert compact(document, KeepRules(keep, 0)).outcome == "compacted"
    append(document, message(1, client="dan"))
    report = compact(document, KeepRules(2, 0))
    assert (report.outcome, report.truncated_seq) == ("compacted", 4)
    assert Snapshot.objects.filter(reason="compaction").latest("created_at").seq == 7


def test_j15_undos_of_what_is_folded_take_a_second_graph(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted of them depends on the cuts: an origin folds earlier than those of the journal do."""
    append_each(document, [message(1, put("a", "x", 1)), message(13, undo("ann:1"), id="ann:2")])
    compact(document, KeepRules(1, 0))
    append_each(
        document,
        [message(1, insert("a"), client="bob"), message(40, undo("ann:1"), client="bob", id="bob:2")],
    )
    before = hydrate(document.pk).graph
    starts = []
    starting_point = folding.starting_point
    monkeypatch.setattr(folding, "starting_point", lambda *args: starts.append(args) or starting_point(*args))
    assert compact(document, KeepRules(1, 0)).outcome == "compacted"
    assert len(starts) == 1
    assert hydrate(document.pk).graph.digest() == before.digest()


def test_j15_other_undos_take_one_pass(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "starting_point", None)
    append_each(
        document, [message(1, insert("a", x=0)), *(message(lt, put("a", "x", lt)) for lt in range(2, 9))]
    )
    append_each(document, [message(9, undo("ann:8")), message(10, undo("ann:3"))])
    assert compact(document, KeepRules(4, 0)).outcome == "compacted"
    assert hydrate(document.pk).graph.nodes()["a"].properties["x"] == 7
    assert reach_of(document.pk).oldest_seq == 6
