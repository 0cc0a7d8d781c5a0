"""J30 for random histories, compactions and snapshots: what time travel tells is what was, and it tells all it can."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal.compaction import KeepRules
from journal.error import OutOfReach
from journal.history import graph_at, reach_of
from journal.models import Document, Snapshot
from journal.reader import hydrate, read_after
from journal.snapshot import draft_snapshot, prune_snapshots, take_snapshot
from tests.journal.document_pair import CLIENTS, RESET, DocumentPair, op, step
from tests.journal.history import append, copy_records, head_of, undo
from tests.journal.history import message as numbered_by
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, cut_record

SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class LiveCut:
    """A live room folds all but its newest messages away."""

    kept: int


rising = st.tuples(
    st.sampled_from(CLIENTS),
    st.sampled_from(["next", "next", "next", "late"]),
    st.lists(op, min_size=1, max_size=3),
)
"""Messages whose Lamport time mostly follows the highest so far, as in a live room."""

any_step = st.one_of(step, st.just(SNAPSHOT))
live_step = st.one_of(
    rising,
    rising,
    st.tuples(st.sampled_from(CLIENTS), st.just(0), st.integers(0, 5)),
    st.builds(KeepRules, st.integers(0, 4), st.just(0)),
    st.just(SNAPSHOT),
    st.just(RESET),
    st.sampled_from([1, 3, 6]).map(LiveCut),
)


class Histories(TestCase):
    """`compacted` is compacted and snapshotted; `whole` has the same messages and cuts, and all of its batches."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
    @given(steps=st.lists(st.one_of(any_step, live_step), min_size=2, max_size=24))
    def test_j30_every_state_that_is_told_is_the_state_that_was(self, steps: list[Any]) -> None:
        pair = pair_of(steps)
        self.assert_told(pair.compacted, pair.whole)

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
    @given(steps=st.lists(live_step, min_size=4, max_size=24))
    def test_j30_also_in_the_life_of_a_room(self, steps: list[Any]) -> None:
        pair = pair_of(steps)
        self.assert_told(pair.compacted, pair.whole)

    def assert_told(self, compacted: Document, whole: Document) -> None:
        """Every state of the reach is that of the whole journal; those before are refused; the reach is all that is
        retained."""
        messages = [entry.message for batch in read_after(whole.pk, 0) for entry in batch.entries]
        compacted.refresh_from_db()
        reach = reach_of(compacted.pk)
        assert compacted.truncated_seq <= reach.oldest_seq <= reach.head_seq == len(messages)
        told = Graph()
        for message in messages[: reach.oldest_seq]:
            told.apply(message)
        for seq in range(reach.oldest_seq, len(messages) + 1):
            if seq > reach.oldest_seq:
                told.apply(messages[seq - 1])
            found = graph_at(compacted.pk, seq)
            assert (found.digest(), found.head_seq) == (told.digest(), seq)
        if reach.oldest_seq:
            with pytest.raises(OutOfReach, match="history begins at"):
                graph_at(compacted.pk, reach.oldest_seq - 1)
        assert reach.oldest_seq == compacted.truncated_seq


def pair_of(steps: list[Any]) -> DocumentPair:
    """Documents after these steps; only `compacted` has snapshots."""
    pair = DocumentPair()
    compacted = pair.compacted
    for given_step in steps:
        if isinstance(given_step, KeepRules):
            pair.compact(given_step)
        elif given_step == RESET:
            pair.reset()
            pair.written.append(
                numbered_by(hydrate(compacted.pk).graph.lt)
            )  # what follows is of the new epoch
        elif isinstance(given_step, LiveCut):
            cut = max(0, hydrate(compacted.pk).graph.lt - given_step.kept)
            append(compacted, cut_record(f"=server:{head_of(compacted)}", cut, 1))
            copy_records(compacted, pair.whole)
        elif given_step == SNAPSHOT:
            take_snapshot(compacted.pk, draft_snapshot(hydrate(compacted.pk).graph), Snapshot.Reason.COUNT)
            prune_snapshots(compacted.pk)
        else:
            pair.write(timed(given_step, pair.written))
    return pair


def timed(given_step: Any, written: list[Message]) -> Any:
    """The step with the Lamport time that it means."""
    client, lt, what = given_step
    highest = max((item.lt for item in written), default=0)
    match lt:
        case "next":
            return client, highest + 1, what
        case "late":
            return client, max(1, highest - 2), what
        case 0 if written and isinstance(what, int):
            return client, highest + 1, [undo(written[-1 - what % len(written)].id)]
    return given_step
