"""Where a character stands among those with the same anchor (rule X3).

Right for any `seq` and `ts`, also for those that no client would make up: the order of siblings and the end of what
hangs below them decide, never a scan that trusts `seq` to rise.
"""

from bisect import bisect_left, insort

from .text_author import Author, Number, Order, SpanIndex, order_key
from .text_tree import Span, Tree

Handle = tuple[Span, int]
"""A character: its span and its offset there."""
Rank = tuple[Number, Number, str, tuple[int, Order]]
"""What siblings are sorted by: higher `seq`, earlier `ts`, smaller id, earlier claim."""

HOPS_MAX = 8
"""Siblings that are looked at one by one; where there were more, they are kept sorted from then on."""


def rank_in(author: Author, claim: int, number: int) -> Rank:
    """Rank of a character of a claim."""
    return (
        -author.seqs[claim],
        author.times[claim],
        f"{author.name}:{number}",
        order_key(author.orders[claim]),
    )


def rank_of(span: Span, number: int) -> Rank:
    """Rank of one of the characters of `span`."""
    return rank_in(span.index.author, span.claim_at(number), number)


class Siblings:
    """Finds the place of a new sibling; remembers the siblings below characters that have many."""

    __slots__ = ("_tree", "_wide")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._wide: dict[tuple[SpanIndex, int] | None, list[tuple[Rank, SpanIndex, int]]] = {}

    def following(self, anchor: Handle | None, rank: Rank) -> Span | None:
        """The span before which a new child of `anchor` stands; None: at the end.  May cut the span of `anchor`."""
        depth = 0 if anchor is None else anchor[0].depth + anchor[1] + 1
        siblings = self._wide.get(_key(anchor)) if self._wide else None
        if siblings is not None:
            return self._following_of_many(siblings, rank, depth)
        item = self._tree.first()
        if anchor is not None:
            span, offset = anchor
            if offset + 1 < len(span.content) and rank < rank_of(span, span.number + offset + 1):
                return self._tree.cut(span, offset + 1)
            item = self._tree.next_up_to(span, depth)
        hops = 0
        while item is not None and item.depth == depth and not rank < rank_of(item, item.number):
            item = self._tree.next_up_to(item, depth)
            hops += 1
        if hops > HOPS_MAX:
            self._wide[_key(anchor)] = self._all(anchor, depth)
        return item

    def add(self, anchor: Handle | None, author: Author, claim: int, index: SpanIndex) -> None:
        """Remember the first character of a claim, a new child of `anchor`, if those are remembered."""
        siblings = self._wide.get(_key(anchor))
        if siblings is not None:
            number = author.numbers[claim]
            sibling = (rank_in(author, claim, number), index, number)
            insort(siblings, sibling, key=lambda sibling: sibling[0])

    def discard_first(self, author: Author, claim: int) -> None:
        """Forget the first character of a claim, which has no anchor."""
        siblings = self._wide.get(None)
        if siblings is not None:
            rank = rank_in(author, claim, author.numbers[claim])
            del siblings[bisect_left(siblings, rank, key=lambda sibling: sibling[0])]

    @property
    def has_many(self) -> bool:
        """True while some siblings are remembered: then every new one has to be added."""
        return bool(self._wide)

    def _following_of_many(
        self, siblings: list[tuple[Rank, SpanIndex, int]], rank: Rank, depth: int
    ) -> Span | None:
        at = bisect_left(siblings, rank, key=lambda sibling: sibling[0])
        _, index, number = siblings[min(at, len(siblings) - 1)]
        span = index.find(number)
        assert span is not None
        if at == len(siblings):
            return self._tree.next_up_to(span, depth)
        return span if span.number == number else self._tree.cut(span, number - span.number)

    def _all(self, anchor: Handle | None, depth: int) -> list[tuple[Rank, SpanIndex, int]]:
        found: list[tuple[Rank, SpanIndex, int]] = []
        item = self._tree.first()
        if anchor is not None:
            span, offset = anchor
            if offset + 1 < len(span.content):
                number = span.number + offset + 1
                found.append((rank_of(span, number), span.index, number))
            item = self._tree.next_up_to(span, depth)
        while item is not None and item.depth == depth:
            found.append((rank_of(item, item.number), item.index, item.number))
            item = self._tree.next_up_to(item, depth)
        return found


def _key(anchor: Handle | None) -> tuple[SpanIndex, int] | None:
    return None if anchor is None else (anchor[0].index, anchor[0].number + anchor[1])
