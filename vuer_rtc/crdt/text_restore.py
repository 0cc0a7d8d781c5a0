"""From the rows of a snapshot to the parts of a text, without placing a single claim."""

from bisect import insort
from dataclasses import dataclass, field

from .text_author import Author, Number, SpanIndex
from .text_run import Json, Run, decode_rows
from .text_tree import SPAN_LENGTH_MAX, Span, Tree


@dataclass(slots=True)
class Restored:
    """What rows say."""

    authors: dict[str, Author] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    highest_seq: Number = 0
    layers: dict[tuple[str, int], SpanIndex] = field(default_factory=dict)
    """Where the ids are that a later claim took over, or took over from an earlier one: by agent and layer."""

    @property
    def count(self) -> int:
        """More than every order; a claim's layer is its order."""
        return 1 + max([0, *(layer for _, layer in self.layers)])

    def tree(self) -> Tree:
        return Tree(self.spans)


def restore_rows(data: Json) -> Restored:
    """Raises: ValueError, TypeError, KeyError or IndexError for what are no rows."""
    restored = Restored()
    for run, times, deleted in decode_rows(data):
        author = restored.authors.setdefault(run.agent, Author(run.agent))
        index = author.index
        if run.layer:
            index = restored.layers.setdefault((run.agent, run.layer), SpanIndex(author))
            _reuse(author, index, run)
        claim = _add_claims(restored, author, run, times)
        _add_spans(restored.spans, index, run, claim, times is not None)
        _add_covers(restored.spans, run, deleted)
    for span in restored.spans:
        span.index.add(span)
    return restored


def _reuse(author: Author, index: SpanIndex, run: Run) -> None:
    for number in range(run.number, run.number + len(run.content)):
        if number not in author.reused:
            author.reused[number] = [(0, author.index)]
            insort(author.reused_numbers, number)
        insort(author.reused[number], (run.layer, index), key=lambda claim: claim[0])


def _add_claims(restored: Restored, author: Author, run: Run, times: list[Number] | None) -> int:
    """Rows for the claims of a row: one, or one for each character typed; returns the first."""
    first = len(author.orders)
    if times is None:
        author.add(run.number, len(run.content), run.seq, run.ts, run.layer, run.is_counted)
        restored.highest_seq = max(restored.highest_seq, run.seq)
        return first
    for offset, ts in enumerate(times):
        author.add(run.number + offset, 1, run.seq + offset, ts, run.layer, run.is_counted)
    restored.highest_seq = max(restored.highest_seq, run.seq + len(times) - 1)
    return first


def _add_spans(spans: list[Span], index: SpanIndex, run: Run, claim: int, is_typed: bool) -> None:
    start, end = 0, len(run.content)
    last = spans[-1] if spans else None
    if last is not None and last.index is index and not run.layer and _continues(last, run, claim):
        start = min(end, SPAN_LENGTH_MAX - len(last.content))
        if start > 0:
            last.extend(run.content[:start], claim + start - 1 if is_typed else claim)
    for at in range(start, end, SPAN_LENGTH_MAX):
        content = run.content[at : at + SPAN_LENGTH_MAX]
        span = Span(index, run.number + at, content, run.depth + at, claim + at if is_typed else claim)
        span.last = span.claim + len(content) - 1 if is_typed else claim
        spans.append(span)


def _continues(span: Span, run: Run, claim: int) -> bool:
    length = len(span.content)
    return span.number + length == run.number and span.depth + length == run.depth and span.last + 1 == claim


def _add_covers(spans: list[Span], run: Run, deleted: list[list[int]]) -> None:
    if run.is_counted and not deleted:
        return
    covers = [0 if run.is_counted else 1] * len(run.content)
    for first, length in deleted:
        for offset in range(first, first + length):
            covers[offset] += 1
    at = len(spans)
    while covers:
        at -= 1
        span = spans[at]
        taken = min(len(covers), len(span.content))
        span.covers = (span.covers or [0] * len(span.content))[: len(span.content) - taken] + covers[-taken:]
        span.shown = span.covers.count(0)
        del covers[-taken:]
