"""J15 for random histories: a compacted journal and one that only has the same cuts stay equal, whatever
comes later."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal.compaction import KeepRules, compact_document
from journal.models import Document, JournalBatch
from journal.reader import hydrate
from journal.reset import reset_document
from tests.journal.history import append, copy_records, insert, message, put, undo
from vuer_rtc.crdt.message import Message, Op, cut_record

KEYS = ["a", "b", "c"]
CLIENTS = ["ann", "bob"]
RESET = "reset"


@dataclass(frozen=True)
class LiveCut:
    """A live room folds all but the newest Lamport times (rule J21)."""

    open_lts: int


key = st.sampled_from(KEYS)
op = st.one_of(
    st.builds(insert, key, st.sampled_from(["", *KEYS]), x=st.integers(0, 9)),
    st.builds(put, key, st.just("x"), st.integers(0, 99)),
    st.builds(lambda k, v: Op(ot="number.add", key=k, path="x", value=v), key, st.integers(-5, 5)),
    st.builds(lambda k: Op(ot="node.remove", path="children", value=k), key),
    st.builds(
        lambda k, p: Op(ot="node.move", path="children", value={"nodeKey": k, "newParent": p}), key, key
    ),
    st.builds(lambda k, v: Op(ot="array.push", key=k, path="list", value=v), key, st.integers(0, 9)),
    st.builds(lambda k, v: Op(ot="text.init", key=k, path="note", value=v), key, st.text("ab", max_size=3)),
    st.builds(lambda k, v: Op(ot="string.set", key=k, path="note", value=v), key, st.text("ab", max_size=3)),
)
compaction = st.builds(KeepRules, st.integers(0, 4), st.just(0))
step = st.one_of(
    st.tuples(st.sampled_from(CLIENTS), st.integers(1, 12), st.lists(op, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(CLIENTS), st.just(0), st.integers(0, 30)),
    compaction,
    st.just(RESET),
)
live_cut = st.builds(LiveCut, st.integers(0, 6))


class Histories(TestCase):
    """Steps are messages with any Lamport time, undo messages, compactions, cuts of live rooms, and resets."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(steps=st.lists(st.one_of(step, live_cut), min_size=2, max_size=24))
    def test_j15_compaction_changes_nothing_now_or_later(self, steps: list[Any]) -> None:
        compacted, whole = (Document.objects.create(slug=slug) for slug in ("compacted", "whole"))
        written: list[Message] = []
        counters = dict.fromkeys(CLIENTS, 0)
        for given_step in steps:
            if isinstance(given_step, KeepRules):
                compact_document(compacted, given_step)
                copy_records(compacted, whole)
            elif isinstance(given_step, LiveCut):
                at = hydrate(whole.pk).graph.lt - given_step.open_lts
                for document in (compacted, whole):
                    append(document, cut_record(f"=server:{len(written)}", max(0, at), 0))
            elif given_step == RESET:
                reset_document(compacted.pk)
                copy_records(compacted, whole)
            else:
                item = message_of(given_step, counters, written, hydrate(whole.pk).graph.epoch.lt)
                written.append(item)
                append(compacted, item)
                append(whole, item)
            left, right = hydrate(compacted.pk), hydrate(whole.pk)
            assert left.head_seq == right.head_seq
            assert left.graph.digest() == right.graph.digest()
            assert left.graph.full_digest() == right.graph.full_digest()
        assert JournalBatch.objects.filter(document=whole).count() >= len(written)


def message_of(
    given_step: Any, counters: dict[str, int], written: list[Message], epoch_lt: int = 0
) -> Message:
    """The message of a step: its client's next one, with its ops or, of a number, an undo of what was written; its
    Lamport time is one of the epoch that began at `epoch_lt`."""
    client, lt, what = given_step
    counters[client] += 1
    id = f"{client}:{counters[client]}"
    if isinstance(what, int):
        target = written[what % len(written)].id if written else "nobody:1"
        made = message(epoch_lt + 13 + what, undo(target), client=client, id=id)
    else:
        made = message(epoch_lt + lt, *what, client=client, id=id)
    made.clock[client] = counters[client]
    return made
