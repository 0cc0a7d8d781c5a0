"""J15 for random histories: a compacted journal and one that only has the same cuts stay equal, whatever
comes later."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal.compaction import KeepRules
from journal.models import Document, JournalBatch, Snapshot
from journal.reader import hydrate
from journal.snapshot import recovery_snapshots
from tests.journal.document_pair import RESET, DocumentPair, step
from tests.journal.history import append
from vuer_rtc.crdt.message import cut_record


@dataclass(frozen=True)
class LiveCut:
    """A live room folds all but the newest Lamport times (rule J21)."""

    open_lts: int


live_cut = st.builds(LiveCut, st.integers(0, 6))


def damage_newest(document: Document) -> None:
    """Nothing more happens to a document in which it is damaged already."""
    newest = recovery_snapshots(document.pk).order_by("-seq", "-cut", "-created_at", "-pk")[:1]
    Snapshot.objects.filter(pk__in=[row.pk for row in newest]).update(checksum="no")


class Histories(TestCase):
    """Steps are messages with any Lamport time, undo messages, compactions, cuts of live rooms, and resets."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(steps=st.lists(st.one_of(step, live_cut), min_size=2, max_size=24))
    def test_j15_compaction_changes_nothing_now_or_later(self, steps: list[Any]) -> None:
        self.assert_equal_all_along(steps, lambda _: None)

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(steps=st.lists(st.one_of(step, live_cut), min_size=2, max_size=24))
    def test_j10_nor_do_damaged_snapshots_if_it_is_always_the_newest(self, steps: list[Any]) -> None:
        self.assert_equal_all_along(steps, damage_newest)

    def assert_equal_all_along(self, steps: list[Any], compacted: Callable[[Document], None]) -> None:
        pair = DocumentPair()
        for given_step in steps:
            if isinstance(given_step, KeepRules):
                pair.compact(given_step)
                compacted(pair.compacted)
            elif isinstance(given_step, LiveCut):
                at = hydrate(pair.whole.pk).graph.lt - given_step.open_lts
                for document in (pair.compacted, pair.whole):
                    append(document, cut_record(f"=server:{len(pair.written)}", max(0, at), 0))
            elif given_step == RESET:
                pair.reset()
            else:
                pair.write(given_step, hydrate(pair.whole.pk).graph.epoch.lt)
            left, right = hydrate(pair.compacted.pk), hydrate(pair.whole.pk)
            assert left.head_seq == right.head_seq
            assert left.graph.digest() == right.graph.digest()
            assert left.graph.full_digest() == right.graph.full_digest()
        assert JournalBatch.objects.filter(document=pair.whole).count() >= len(pair.written)
