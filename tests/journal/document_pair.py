"""Random histories, written into a document that is compacted on the way and into one that keeps all of its batches."""

from typing import Any

from hypothesis import strategies as st

from journal.compaction import KeepRules, compact_document
from journal.models import Document
from journal.reset import reset_document
from tests.journal.history import append, copy_records, insert, message, put, undo
from vuer_rtc.crdt.message import Message, Op

KEYS = ["a", "b", "c"]
CLIENTS = ["ann", "bob"]
RESET = "reset"

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
"""A message with any Lamport time, an undo message, a compaction, or a reset."""


class DocumentPair:
    """`compacted` is compacted on the way; `whole` has the same messages and cuts, and all of its batches."""

    def __init__(self) -> None:
        self.compacted, self.whole = (Document.objects.create(slug=slug) for slug in ("compacted", "whole"))
        self.written: list[Message] = []
        self._counters = dict.fromkeys(CLIENTS, 0)

    def compact(self, rules: KeepRules) -> None:
        compact_document(self.compacted, rules)
        copy_records(self.compacted, self.whole)

    def reset(self) -> None:
        reset_document(self.compacted.pk)
        copy_records(self.compacted, self.whole)

    def write(self, given_step: Any, epoch_lt: int = 0) -> None:
        """The message of a step, in both."""
        item = message_of(given_step, self._counters, self.written, epoch_lt)
        self.written.append(item)
        append(self.compacted, item)
        append(self.whole, item)


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
