"""What others have written into a document, as a live room takes it in: not all in one turn of the event loop."""

from collections.abc import Iterator, Sequence

from journal.reader import Batch
from vuer_rtc.crdt.size import size_of

MESSAGES_PER_TURN = 500
"""Taken in before the rest of the server has a turn, about: some 10 ms."""

Batches = Sequence[Batch]
"""As they are read from the journal."""


def bytes_of(batches: Batches) -> int:
    """About how many bytes their operations take."""
    return sum(size_of(message) for batch in batches for message in batch.messages)


def in_steps(batches: Batches) -> Iterator[Batches]:
    """The batches, so many together as make `MESSAGES_PER_TURN`."""
    step: list[Batch] = []
    count = 0
    for batch in batches:
        step.append(batch)
        count += len(batch.entries)
        if count >= MESSAGES_PER_TURN:
            yield step
            step, count = [], 0
    if step:
        yield step
