"""What others have written into a document, as a live room takes it in: not all in one turn of the event loop."""

from collections.abc import Iterator, Sequence

from journal.entry import Entry

MESSAGES_PER_TURN = 500
"""Taken in before the rest of the server has a turn, about: some 10 ms."""

Batches = Sequence[tuple[int, list[Entry]]]
"""As they are read from the journal: the first sequence of each, and its entries."""


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
