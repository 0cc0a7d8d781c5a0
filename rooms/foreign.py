"""What others have written into a document, as a live room takes it in: not all in one turn of the event loop."""

from collections.abc import Iterator, Sequence

from journal.entry import Entry
from vuer_rtc.crdt.size import size_of

MESSAGES_PER_TURN = 500
"""Taken in before the rest of the server has a turn, about: some 10 ms."""

Batches = Sequence[tuple[int, list[Entry]]]
"""As they are read from the journal: the first sequence of each, and its entries."""


def bytes_of(batches: Batches) -> int:
    """About how many bytes their operations take."""
    return sum(size_of(entry.message) for _, entries in batches for entry in entries)


def in_steps(batches: Batches) -> Iterator[Batches]:
    """The batches, so many together as make `MESSAGES_PER_TURN`."""
    step: list[tuple[int, list[Entry]]] = []
    count = 0
    for batch in batches:
        step.append(batch)
        count += len(batch[1])
        if count >= MESSAGES_PER_TURN:
            yield step
            step, count = [], 0
    if step:
        yield step
