"""J31 for random histories: nothing differs that nobody did, and the last who did it left what is there."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal.change import NodeChange, values_of
from journal.difference import difference, step_at, steps_of
from journal.history import graph_at, reach_of
from tests.journal.test_history_property import live_step, pair_of
from vuer_rtc.crdt.message import UNSET


def told(change: NodeChange) -> Any:
    """What is told of a change."""
    kinds = change.is_added, change.is_removed, change.is_moved, change.is_shown, change.is_hidden
    return change.key, kinds, change.properties


class Histories(TestCase):
    """Messages in and out of order, undos, cuts, resets and compactions."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
    @given(steps=st.lists(live_step, min_size=2, max_size=20), where=st.randoms(use_true_random=False))
    def test_j31_every_difference_is_somebodys_work(self, steps: list[Any], where: Any) -> None:
        document = pair_of(steps).compacted
        reach = reach_of(document.pk)
        seq_a, seq_b = sorted(where.randint(reach.oldest_seq, reach.head_seq) for _ in range(2))
        found = difference(document.pk, seq_a, seq_b)
        before, after = graph_at(document.pk, seq_a).nodes(), graph_at(document.pk, seq_b).nodes()
        differing = {key for key in {*before, *after} if NodeChange(key, before.get(key), after.get(key))}
        assert {node.change.key for node in found.nodes} == differing
        for node in found.nodes:
            if node.change.is_structural or node.change.is_shown or node.change.is_hidden:
                assert node.by.count, node
                assert all(seq_a < touch.seq <= seq_b for touch in node.by.newest)
            for one in node.properties:
                then = values_of(graph_at(document.pk, one.by.newest[0].seq).nodes().get(node.change.key))
                assert then.get(one.change.path, UNSET) == one.change.after

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
    @given(steps=st.lists(live_step, min_size=2, max_size=16))
    def test_j31_what_a_message_changed_is_what_differs_behind_it(self, steps: list[Any]) -> None:
        document = pair_of(steps).compacted
        reach = reach_of(document.pk)
        for seq in range(reach.oldest_seq + 1, reach.head_seq + 1):
            before, after = (graph_at(document.pk, at).nodes() for at in (seq - 1, seq))
            changes = [NodeChange(key, before.get(key), after.get(key)) for key in sorted({*before, *after})]
            assert list(map(told, step_at(document.pk, seq).changes)) == list(
                map(told, filter(None, changes))
            )

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
    @given(steps=st.lists(live_step, min_size=2, max_size=16))
    def test_j31_the_steps_of_a_node_lead_from_what_it_was_to_what_it_is(self, steps: list[Any]) -> None:
        document = pair_of(steps).compacted
        reach = reach_of(document.pk)
        for key, view in graph_at(document.pk, reach.head_seq).nodes().items():
            told = steps_of(document.pk, key, reach.oldest_seq, reach.head_seq)
            states = [
                view,
                *(state for step in told.newest for state in (step.changes[0].after, step.changes[0].before)),
            ]
            states.append(graph_at(document.pk, reach.oldest_seq).nodes().get(key))
            for later, earlier in zip(states[::2], states[1::2], strict=True):
                assert not NodeChange(key, earlier, later)
            for step in told.newest:
                assert key in [change.key for change in step_at(document.pk, step.touch.seq).changes]
