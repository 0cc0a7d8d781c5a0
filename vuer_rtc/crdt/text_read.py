"""Reading the tree of a text: ids at visible positions, and all of it as runs."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from .text_run import Run
from .text_tree import Span, Tree


def id_before(tree: Tree, position: int) -> str | None:
    """Id of the visible character before `position` (clamped): the anchor of an insert there; None at the start."""
    position = min(position, tree.root.shown)
    if position <= 0:
        return None
    span, offset = tree.at(position - 1)
    return f"{span.index.author.name}:{span.number + offset}"


def ranges_of(tree: Tree, position: int, length: int) -> list[list[Any]]:
    """`[[id, length], …]` of the visible characters from `position` on, as a `text.delete` names them."""
    found: list[list[Any]] = []
    position = max(position, 0)
    end = min(position + length, tree.root.shown)
    agent, following = "", -1
    while position < end:
        span, offset = tree.at(position)
        taken = span.shown_from(offset, end - position)
        if (span.index.author.name, span.number + offset) == (agent, following):
            found[-1][1] += taken
        else:
            found.append([f"{span.index.author.name}:{span.number + offset}", taken])
        agent, following = span.index.author.name, span.number + offset + taken
        position += taken
    return found


def runs_of(tree: Tree) -> Iterator[Run]:
    """Every character in document order, hidden ones included; the text must not change meanwhile."""
    for span in tree.spans():
        yield from _runs_in(span)


def stretches_of(tree: Tree) -> Iterator[Run]:
    """As `runs_of`, but most of what was typed comes as one run with `times`: for snapshots, which keep it so."""
    for span in tree.spans():
        if not _is_typed(span):
            yield from _runs_in(span)
            continue
        start, end = span.number, span.number + len(span.content)
        times = span.index.author.times[span.claim + 1 : span.last]
        # The outer two may belong together with their neighbours.
        yield _run(span, span.claim, start, start + 1, (False, 0, True))
        yield _run(span, span.claim + 1, start + 1, end - 1, (False, 0, True))._replace(times=times)
        yield _run(span, span.last, end - 1, end, (False, 0, True))


def _is_typed(span: Span) -> bool:
    """True when each of its characters has a claim of its own, of one more `seq` than the last, and all are shown."""
    author, count = span.index.author, span.last - span.claim + 1
    if count < 3 or count != len(span.content) or span.covers is not None or author.reused:
        return False
    seqs = author.seqs[span.claim : span.last + 1]
    return type(seqs[0]) is int and seqs == list(range(seqs[0], seqs[0] + count))


def _runs_in(span: Span) -> Iterator[Run]:
    author, start, end = span.index.author, span.number, span.number + len(span.content)
    for claim in range(span.claim, span.last + 1):
        stop = min(end, author.numbers[claim] + author.lengths[claim])
        if span.covers is None and not author.reused:
            yield _run(span, claim, start, stop, (False, 0, True))
        else:
            yield from _alike(span, claim, start, stop)
        start = stop


def _alike(span: Span, claim: int, start: int, stop: int) -> Iterator[Run]:
    """Runs of the characters of one claim in a span."""
    author, covers = span.index.author, span.covers
    uncounted = not author.counted[claim]

    def kind(number: int) -> tuple[bool, int, bool]:
        is_deleted = covers is not None and covers[number - span.number] > uncounted
        return (is_deleted, *author.layer(number, author.orders[claim]))

    for alike, numbers in groupby(range(start, stop), kind):
        first, *others = numbers
        yield _run(span, claim, first, first + len(others) + 1, alike)


def _run(span: Span, claim: int, start: int, stop: int, kind: tuple[bool, int, bool]) -> Run:
    author, offset = span.index.author, start - span.number
    is_deleted, layer, is_latest = kind
    content = span.content[offset : stop - span.number]
    return Run(author.name, start, span.depth + offset, content, author.seqs[claim], author.times[claim], is_deleted,
               author.counted[claim] == 1, layer, is_latest)  # fmt: skip
