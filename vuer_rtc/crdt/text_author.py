"""What one agent has claimed in a text: a row for each claim, and where its characters are.

Columns instead of an object for each claim: typing makes a claim for each character.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .text_tree import Span

Order = Any
Number = int | float

PAGE_LENGTH_MAX = 512
"""Spans of a page of an index: bounds what an insertion moves."""


def order_key(order: Order) -> tuple[int, Order]:
    """What orders compare by: claims that were given none have counted them, and are earlier."""
    return (0, order) if type(order) is int else (1, order)


class SpanIndex:
    """Spans by number, without overlap: a sorted list cut into pages."""

    __slots__ = ("_firsts", "_numbers", "_spans", "author")

    def __init__(self, author: "Author") -> None:
        self.author = author
        self._firsts = array("q")
        """First number of each page but the first one."""
        self._numbers = [array("q")]
        self._spans: list[list[Span]] = [[]]

    def add(self, span: "Span") -> None:
        number = span.number
        page = bisect_right(self._firsts, number)
        numbers, spans = self._numbers[page], self._spans[page]
        at = bisect_right(numbers, number)
        numbers.insert(at, number)
        spans.insert(at, span)
        if len(spans) > PAGE_LENGTH_MAX:
            self._halve(page)

    def _halve(self, page: int) -> None:
        half = PAGE_LENGTH_MAX // 2
        numbers, spans = self._numbers[page], self._spans[page]
        self._numbers.insert(page + 1, numbers[half:])
        self._spans.insert(page + 1, spans[half:])
        self._firsts.insert(page, numbers[half])
        del numbers[half:], spans[half:]

    def find(self, number: int) -> "Span | None":
        """The span that holds `number`; None when none does."""
        page = bisect_right(self._firsts, number)
        at = bisect_right(self._numbers[page], number) - 1
        if at < 0:
            return None
        span = self._spans[page][at]
        return span if number - span.number < len(span.content) else None

    def overlapping(self, first: int, end: int) -> "Iterator[Span]":
        """Spans that hold numbers from `first` to before `end`, ascending.  The index must not change meanwhile."""
        page = bisect_right(self._firsts, first)
        at = max(bisect_right(self._numbers[page], first) - 1, 0)
        while page < len(self._spans):
            for span in self._spans[page][at:]:
                if span.number >= end:
                    return
                if span.number + len(span.content) > first:
                    yield span
            page, at = page + 1, 0


class Intervals:
    """A growing set of integers, as intervals."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, end: int) -> None:
        """Add `first` to before `end`; joins what touches."""
        low, high = bisect_left(self._ends, first), bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high] = [first]
        self._ends[low:high] = [end]

    def overlaps(self, first: int, end: int) -> bool:
        at = bisect_right(self._ends, first)
        return at < len(self._firsts) and self._firsts[at] < end


class Author:
    """One agent's claims, in the order they were placed."""

    __slots__ = ("counted", "counted_total", "end", "index", "lengths", "name", "numbers", "orders", "reused",
                 "reused_numbers", "seqs", "times")  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers = array("q")
        self.lengths: list[int] = []
        self.seqs: list[Number] = []
        self.times: list[Number] = []
        self.orders: list[Order] = []
        self.counted = bytearray()
        self.counted_total = 0
        self.end = 0
        """One more than the highest number claimed."""
        self.index = SpanIndex(self)
        """Where the ids are that were claimed when they were free."""
        self.reused: dict[int, list[tuple[Order, SpanIndex]]] = {}
        """Numbers claimed more than once: all their claims by order, with the index that knows the span."""
        self.reused_numbers: list[int] = []
        """The keys of `reused`, sorted."""

    def add(self, number: int, length: int, seq: Number, ts: Number, order: Order, is_counted: bool) -> int:
        """A row for a claim; returns its number."""
        self.numbers.append(number)
        self.lengths.append(length)
        self.seqs.append(seq)
        self.times.append(ts)
        self.orders.append(order)
        self.counted.append(is_counted)
        self.counted_total += is_counted
        if number + length > self.end:
            self.end = number + length
        return len(self.orders) - 1

    def claim_between(self, number: int, first: int, last: int) -> int:
        """The row that holds `number`, of rows `first` to `last` that follow each other without a gap."""
        return bisect_right(self.numbers, number, first, last + 1) - 1

    def is_free(self, number: int, length: int) -> bool:
        """True when none of these ids is claimed."""
        if number >= self.end:
            return True
        return next(
            self.index.overlapping(number, number + length), None
        ) is None and not self.reused_between(number, number + length)

    def reused_between(self, first: int, end: int) -> list[int]:
        numbers = self.reused_numbers
        return numbers[bisect_left(numbers, first) : bisect_left(numbers, end)]

    def reuse(self, number: int, length: int, order: Order) -> SpanIndex:
        """Register another claim of ids that are taken; returns the index its spans belong in."""
        index = SpanIndex(self)
        for taken in range(number, number + length):
            if taken not in self.reused:
                span = self.index.find(taken)
                self.reused[taken] = [] if span is None else [(self.orders[span.claim_at(taken)], self.index)]
                insort(self.reused_numbers, taken)
            insort(self.reused[taken], (order, index), key=lambda claim: order_key(claim[0]))
        return index

    def latest(self, number: int, before: Order) -> "Span | None":
        """The span of the latest claim of a number before `before` (None: of all)."""
        if number in self.reused:
            claims = self.reused[number]
            at = (
                len(claims)
                if before is None
                else bisect_left(claims, order_key(before), key=lambda c: order_key(c[0]))
            )
            return claims[at - 1][1].find(number) if at else None
        span = self.index.find(number)
        if span is None or before is None:
            return span
        return span if order_key(self.orders[span.claim_at(number)]) < order_key(before) else None

    def count(self, claim: int) -> tuple[SpanIndex, int, int]:
        """Count a claim; the index that knows its characters, the first number and the end."""
        self.counted[claim] = True
        self.counted_total += 1
        number, order = self.numbers[claim], self.orders[claim]
        reused = (index for placed, index in self.reused.get(number, ()) if placed == order)
        return next(reused, self.index), number, number + self.lengths[claim]

    def layer(self, number: int, order: Order) -> tuple[int, bool]:
        """How many claims of this id are before the one of `order`, and whether that is the latest."""
        claims = self.reused.get(number)
        if claims is None:
            return 0, True
        place = bisect_left(claims, order_key(order), key=lambda claim: order_key(claim[0]))
        return place, place == len(claims) - 1
