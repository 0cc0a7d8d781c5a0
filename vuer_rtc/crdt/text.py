"""The text of one property: characters that hang below their anchors, read depth first (rules X1 to X7).

Means what the plain rope of the oracle means, in any order of arrival.  What the caller has to know:

**Order.**  `order` is the place of an op in total order: any tuple that compares with the other orders given to this
text.  A claim placed without one is earlier than every claim placed with one, and later than those placed before it
without one; so give an order always, or never (a fold in total order).  Several calls may share the order of one op:
a `text.replace` deletes first and places then.  "Before" an order is always strictly before it.

**Claims** may be placed in any order.  Where their characters stand does not depend on it.  What an op *names* does,
and that is settled when it is applied: `latest(id, before=order)` and `delete(ranges, order=order)` see the claims
known now that are before `order`.  A claim that arrives later but stands earlier can be the one that was meant; ask
`needs_refold(order, agent, number, length)` before placing.  When it is true, fold this text anew (into a new `Text`);
when it is false, these are exact in any order of arrival:

    insert    where = text.latest(anchor, before=order)     None, though an anchor is named: no effect at its place
              text.place(agent, number, content, where, seq, ts, order=order)
    delete    text.delete(ranges, order=order)              false: no effect at its place

`latest` and `delete` note what they did not find, and `needs_refold` is true of a claim they would have found.

**Left to the caller**, who folds anew when an op is undone or redone, and when one of these stands after an op that
arrives late: `text.init` (its seq is one more than the highest at its place, and it does nothing where its client has
counted characters), and a plain value becoming a text and back (X1, X2, X6).  Placing late below a `hide_all` is exact.

**Handles.**  `latest` returns a handle for `place`; it is good until the text changes.

**Positions** and lengths count code points (X7).

**Cost** is O(log n) for each run of characters touched, n being all runs.  `visible()` is cached; after an edit it
costs what changed, and one join.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any

from .text_author import Author, Intervals, Number, Order, order_key
from .text_id import merged_ranges, parse_id
from .text_read import id_before, ranges_of, runs_of, stretches_of
from .text_restore import restore_rows
from .text_run import Json, Run, encode_runs, publish_runs
from .text_sibling import Handle, Siblings, rank_in
from .text_tree import ANY_DEPTH, SPAN_LENGTH_MAX, Span, Tree


class Text:
    """All characters of one text, hidden ones included."""

    __slots__ = ("_authors", "_count", "_hides", "_highest_seq", "_last_claim", "_last_op", "_notes", "_siblings",
                 "_tree", "_visible", "size")  # fmt: skip

    def __init__(self) -> None:
        self.size = 0
        """Characters, hidden ones included."""
        self._authors: dict[str, Author] = {}
        self._tree = Tree([])
        self._siblings = Siblings(self._tree)
        self._visible: str | None = None
        self._count = 0
        """Order of the next claim that is given none."""
        self._last_claim: Order = None
        """The latest order given of a claim; None: none was given."""
        self._last_op: Order = None
        """The latest order given of any op."""
        self._highest_seq: Number = 0
        self._notes: dict[str, Intervals] = {}
        """Ids that were unknown when an op named them, by agent."""
        self._hides: list[tuple[int, Order]] = []
        """Order keys of every `hide_all`, sorted."""

    # Placing

    def place(self, agent: str, number: int, content: str, anchor: Handle | None, seq: Number, ts: Number, *,
              is_counted: bool = True, order: Order = None) -> None:  # fmt: skip
        """Claim the ids `agent:number…` for `content`; its first character hangs below `anchor` (None: the start)."""
        if not content:
            return
        order = self._turn(order)
        author = self._authors.get(agent) or self._authors.setdefault(agent, Author(agent))
        index, length = author.index, len(content)
        self.size += length
        if number < author.end and not author.is_free(number, length):
            index = author.reuse(number, length, order)
        claim = author.add(number, length, seq, ts, order, is_counted)
        covers = (not is_counted) + (self._hides_after(order) if self._hides else 0)
        self._visible = None
        is_first, before = seq > self._highest_seq, None
        if is_first:
            self._highest_seq = seq
        else:
            before = self._siblings.following(anchor, rank_in(author, claim, number))
        if self._siblings.has_many:
            self._siblings.add(anchor, author, claim, index)
        if (
            not covers
            and anchor is not None
            and anchor[0].index is index
            and _is_next(anchor, number, claim, length)
            and (is_first or before is self._tree.next_up_to(anchor[0], ANY_DEPTH))
        ):
            self._tree.extend(anchor[0], content, claim)
            return
        depth = 0 if anchor is None else anchor[0].depth + anchor[1] + 1
        span = Span(index, number, content, depth, claim)
        if covers or length > SPAN_LENGTH_MAX or not is_first or anchor is None:
            self._insert_parts(self._after(anchor) if is_first else before, span, covers)
        else:
            index.add(span)
            self._tree.insert_below(anchor[0], anchor[1], span)

    def _turn(self, order: Order) -> Order:
        """The order of a claim that was given `order`."""
        if order is None:
            self._count += 1
            return self._count - 1
        if self._last_op is None or order > self._last_op:
            self._last_op = self._last_claim = order
        elif self._last_claim is None or order > self._last_claim:
            self._last_claim = order
        return order

    def _saw(self, order: Order) -> None:
        if order is not None and (self._last_op is None or order > self._last_op):
            self._last_op = order

    def _is_in_turn(self, order: Order) -> bool:
        """True when every claim is before `order`."""
        return order is None or self._last_claim is None or order > self._last_claim

    def _after(self, anchor: Handle | None) -> Span | None:
        """The span right after `anchor`, which is cut off if it hangs in the same."""
        if anchor is None:
            return self._tree.first()
        span, offset = anchor
        if offset + 1 < len(span.content):
            return self._tree.cut(span, offset + 1)
        return self._tree.next_up_to(span, ANY_DEPTH)

    def _insert_parts(self, before: Span | None, span: Span, covers: int) -> None:
        """Insert a new span before another, in parts of bounded length."""
        parts = [span]
        while len(parts[-1].content) > SPAN_LENGTH_MAX:
            parts.append(parts[-1].cut(SPAN_LENGTH_MAX))
        for part in parts:
            part.index.add(part)
            if covers:
                part.cover(0, len(part.content), covers)
            self._tree.insert_before(before, part)

    def unplace(self, agent: str) -> None:
        """Take back the only claim of `agent`, placed at the start with seq 0; nothing hangs below it."""
        author = self._authors.pop(agent)
        self.size -= sum(author.lengths)
        spans = list(author.index.overlapping(0, author.end))
        self._siblings.discard_first(author, 0)
        for span in spans:
            self._tree.remove(span)
        self._visible = None

    # Hiding and showing

    def delete(self, ranges: Any, *, order: Order = None, dry: bool = False) -> bool:
        """Cover once more the latest claims before `order` of the ids in `[[id, length], …]`; true when one is known.

        An id named twice counts once.  `dry` (for a delete that is undone) only looks.
        """
        self._saw(order)
        by, is_known, is_in_turn = 0 if dry else 1, False, self._is_in_turn(order)
        for agent, first, end in merged_ranges(ranges):
            author = self._authors.get(agent)
            if author is None:
                self._note(agent, first, end, order)
                continue
            cursor = first
            for span in author.index.overlapping(first, end):
                start, stop = max(first, span.number), min(end, span.number + len(span.content))
                if cursor < start:
                    self._note(agent, cursor, start, order)
                cursor = stop
                if is_in_turn and not author.reused:
                    self._cover_span(span, start, stop, by)
                    is_known = True
                    continue
                for part_start, part_stop in _nameable(span, start, stop, order):
                    self._cover_span(span, part_start, part_stop, by)
                    is_known = True
            self._note(agent, cursor, end, order)
            for number in author.reused_between(first, end):
                claimed = author.latest(number, order)
                if claimed is not None:
                    self._cover_span(claimed, number, number + 1, by)
                    is_known = True
        return is_known

    def _cover_span(self, span: Span, start: int, stop: int, by: int) -> None:
        if by:
            self._visible = None
            self._tree.grow(span, span.cover(start - span.number, stop - span.number, by))

    def count(self, agent: str) -> None:
        """Count all claims of `agent`."""
        author = self._authors.get(agent)
        for claim, is_counted in enumerate(author.counted if author else ()):
            if author and not is_counted:
                index, start, end = author.count(claim)
                for part in index.overlapping(start, end):
                    self._cover_span(
                        part, max(start, part.number), min(end, part.number + len(part.content)), -1
                    )

    def hide_all(self, *, order: Order = None) -> None:
        """Hide for good the characters of all claims before `order`, known and yet to come."""
        self._saw(order)
        self._visible = None
        if order is not None:
            insort(self._hides, order_key(order))
        if not self._is_in_turn(order):
            for span in self._tree.spans():
                for start, stop in self._placed_before(span, order):
                    self._cover_span(span, start, stop, 1)
            return
        for leaf in self._tree.leaves():
            if not leaf.is_hidden:
                for span in leaf.children:
                    self._cover_span(span, span.number, span.number + len(span.content), 1)
                leaf.is_hidden = True

    def _placed_before(self, span: Span, order: Order) -> Iterator[tuple[int, int]]:
        author, start, end = span.index.author, span.number, span.number + len(span.content)
        for claim in range(span.claim, span.last + 1):
            stop = min(end, author.numbers[claim] + author.lengths[claim])
            if order_key(author.orders[claim]) < order_key(order):
                yield start, stop
            start = stop

    def _hides_after(self, order: Order) -> int:
        return len(self._hides) - bisect_right(self._hides, order_key(order))

    # Asking

    def latest(self, text_id: Any, before: Order = None) -> Handle | None:
        """Handle of the latest claim of an id before `before` (None: of all); None when there is none."""
        parsed = parse_id(text_id)
        if parsed is None:
            return None
        agent, number = parsed
        author = self._authors.get(agent)
        span = author.latest(number, None if self._is_in_turn(before) else before) if author else None
        if span is None:
            self._saw(before)
            self._note(agent, number, number + 1, before)
            return None
        return span, number - span.number

    def needs_refold(self, order: Order, agent: str, number: int, length: int) -> bool:
        """True when placing a claim of these ids at `order` may change what another op of this text names."""
        if self._last_op is None or order > self._last_op:
            return False
        author, notes = self._authors.get(agent), self._notes.get(agent)
        is_free = author is None or author.is_free(number, length)
        return not is_free or (notes is not None and notes.overlaps(number, number + length))

    def _note(self, agent: str, first: int, end: int, order: Order) -> None:
        if first < end and order is not None:
            self._notes.setdefault(agent, Intervals()).add(first, end)

    def has(self, agent: str, number: int) -> bool:
        """True when the id `agent:number` is claimed, counted or not."""
        author = self._authors.get(agent)
        return author is not None and not author.is_free(number, 1)

    def has_counted(self, agent: str) -> bool:
        """True when a claim of `agent` counts."""
        author = self._authors.get(agent)
        return author is not None and author.counted_total > 0

    def highest_seq(self) -> Number:
        """The highest `seq` of all characters, hidden ones included; at least 0."""
        return self._highest_seq

    # Reading

    def visible(self) -> str:
        """The text that everybody sees."""
        if self._visible is None:
            self._visible = self._tree.visible()
        return self._visible

    @property
    def length(self) -> int:
        """Visible characters, in code points."""
        return self._tree.root.shown

    def anchor_at(self, position: int) -> str | None:
        """Id of the visible character before `position` (clamped): the anchor of an insert there; None at the start."""
        return id_before(self._tree, position)

    def ranges_at(self, position: int, length: int) -> list[list[Any]]:
        """`[[id, length], …]` of the visible characters from `position` on, as a `text.delete` names them."""
        return ranges_of(self._tree, position, length)

    def runs(self) -> Iterator[Run]:
        """Every character in document order, hidden ones included; the text must not change meanwhile."""
        return runs_of(self._tree)

    # Keeping

    def encode(self) -> Json:
        """Plain JSON values that `decode` reads (see `text_run`); equal for equal texts, however they came about."""
        return encode_runs(stretches_of(self._tree))

    def published(self) -> dict[str, Json]:
        """The text as published clients hydrate it; nothing is lost."""
        return publish_runs(self.runs(), self._highest_seq)

    @classmethod
    def decode(cls, data: Json) -> "Text":
        """The text that `encode` was called on, its claims being before all that are placed from now on.

        A character that several deletes had hidden is hidden once.
        """
        text, restored = cls(), restore_rows(data)
        text._authors, text._tree = restored.authors, restored.tree()
        text._siblings = Siblings(text._tree)
        text._count, text._highest_seq = restored.count, restored.highest_seq
        text.size = sum(sum(author.lengths) for author in restored.authors.values())
        return text


def _is_next(tail: Handle, number: int, claim: int, length: int) -> bool:
    """True when a claim continues the span that ends with `tail`."""
    span, offset = tail
    return (
        offset + 1 == len(span.content)
        and span.number + offset + 1 == number
        and span.last + 1 == claim
        and offset + 1 + length <= SPAN_LENGTH_MAX
    )


def _nameable(span: Span, start: int, stop: int, order: Order) -> Iterator[tuple[int, int]]:
    """The parts of a range of `span` that are claimed once, and before `order`."""
    author = span.index.author
    for cut in [*author.reused_between(start, stop), stop]:
        while start < cut:
            claim = span.claim_at(start)
            end = min(cut, author.numbers[claim] + author.lengths[claim])
            if order_key(author.orders[claim]) < order_key(order):
                yield start, end
            start = end
        start = cut + 1
