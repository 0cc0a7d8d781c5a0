"""The characters of a text in document order: runs of them, in a balanced tree.

A span is a chain: each of its characters hangs below the one before, has the next number, and stands right after it.
Every character keeps its *depth*, the number of characters it hangs below.  Depth never changes, and because the
document is read depth first it replaces all pointers between characters: what follows a character with a greater depth
hangs below it, the first thing that follows with the same depth is its next sibling.  Each branch of the tree knows the
least depth in it, so that next sibling, and the end of everything below a character, are found in O(log n).
"""

from collections.abc import Iterator
from itertools import compress
from typing import Any

from .text_author import SpanIndex

FANOUT_MAX = 16
"""Children of a branch.  More makes the tree lower and each insertion into it slower."""
SPAN_LENGTH_MAX = 256
"""Characters of a span: bounds what it costs to append one to it, or to cut it in two."""
ANY_DEPTH = 2**62
"""Deeper than any character."""


class Span:
    """A chain of characters of one agent, from one or several claims that follow each other."""

    __slots__ = ("above", "claim", "content", "covers", "depth", "index", "last", "number", "shown")

    def __init__(self, index: SpanIndex, number: int, content: str, depth: int, claim: int) -> None:
        self.index = index
        """The index this span is found in; knows the author."""
        self.number = number
        self.content = content
        self.depth = depth
        """Of its first character; each further one is one deeper."""
        self.claim = claim
        """Row of its first character's claim with its author; the rows of the others follow without a gap."""
        self.last = claim
        """Row of its last character's claim."""
        self.covers: list[int] | None = None
        """How often each character is hidden: by deletes, once by an undone insert.  None: none is."""
        self.shown = len(content)
        """Characters that nothing hides."""
        self.above: Branch

    def claim_at(self, number: int) -> int:
        """Row of the claim of one of its characters."""
        return (
            self.claim
            if self.claim == self.last
            else self.index.author.claim_between(number, self.claim, self.last)
        )

    @property
    def visible(self) -> str:
        if self.covers is None:
            return self.content
        return "".join(compress(self.content, [not cover for cover in self.covers]))

    def cover(self, start: int, stop: int, by: int) -> int:
        """Add `by` to the covers of the characters from `start` to before `stop`; returns how many more are shown."""
        before, covers = self.shown, self.covers
        if covers is None:
            covers = self.covers = [0] * len(self.content)
        covers[start:stop] = [cover + by for cover in covers[start:stop]]
        self.shown = covers.count(0)
        if self.shown == len(covers):
            self.covers = None
        return self.shown - before

    def extend(self, content: str, claim: int) -> None:
        """Append the characters of the next claim; nothing hides them."""
        self.content += content
        self.last = claim
        self.shown += len(content)
        if self.covers is not None:
            self.covers += [0] * len(content)

    def cut(self, offset: int) -> "Span":
        """Keep the characters before `offset`; returns a new span of the others."""
        number = self.number + offset
        right = Span(self.index, number, self.content[offset:], self.depth + offset, self.claim)
        if self.claim != self.last:
            right.claim, right.last = self.claim_at(number), self.last
            self.last = self.claim_at(number - 1)
        self.content = self.content[:offset]
        self.shown = offset
        if self.covers is not None:
            right.covers, self.covers = self.covers[offset:], self.covers[:offset]
            right.shown, self.shown = right.covers.count(0), self.covers.count(0)
        return right

    def offset_of_shown(self, position: int) -> int:
        """Offset of its visible character number `position`."""
        if self.covers is None:
            return position
        for offset, cover in enumerate(self.covers):
            if not cover:
                if not position:
                    return offset
                position -= 1
        raise IndexError(position)

    def shown_from(self, offset: int, length_max: int) -> int:
        """How many characters from `offset` on are shown without a hidden one between them, up to `length_max`."""
        end = min(len(self.content), offset + length_max)
        if self.covers is None:
            return end - offset
        return next((at for at in range(offset, end) if self.covers[at]), end) - offset


class Branch:
    """A part of the document: spans (then it is a leaf) or branches."""

    __slots__ = ("above", "children", "depth", "is_hidden", "shown", "text")

    def __init__(self, children: list[Any], above: "Branch | None" = None, is_hidden: bool = False) -> None:
        self.children = children
        self.above = above
        """The branch this one is a child of; None for the root."""
        self.text: str | None = None
        """Its visible text; None when it has to be put together again, in all branches above too."""
        self.is_hidden = is_hidden
        """True for a leaf all of whose characters are hidden for good."""
        self.shown: int = sum([child.shown for child in children])
        self.depth: int = min([child.depth for child in children], default=ANY_DEPTH + 1)
        """The least one in it."""
        for child in children:
            child.above = self

    @property
    def visible(self) -> str:
        if self.text is None:
            self.text = "".join([child.visible for child in self.children if child.shown])
        return self.text


class Tree:
    """All spans of a text, in document order."""

    __slots__ = ("root",)

    def __init__(self, spans: list[Span]) -> None:
        width = FANOUT_MAX * 3 // 4
        level = [Branch(spans[at : at + width]) for at in range(0, len(spans), width)] or [Branch([])]
        while len(level) > 1:
            level = [Branch(level[at : at + width]) for at in range(0, len(level), width)]
        self.root = level[0]

    # Reading

    def leaves(self) -> Iterator[Branch]:
        level = [self.root]
        while level[0].children and type(level[0].children[0]) is Branch:
            level = [child for branch in level for child in branch.children]
        return iter(level)

    def spans(self) -> Iterator[Span]:
        return (span for leaf in self.leaves() for span in leaf.children)

    def visible(self) -> str:
        return self.root.visible

    def at(self, position: int) -> tuple[Span, int]:
        """The visible character number `position`, which must be one: its span and offset."""
        item: Any = self.root
        while type(item) is Branch:
            for item in item.children:  # noqa: B020  the descent goes on in the child it stops at
                shown = item.shown
                if position < shown:
                    break
                position -= shown
        return item, item.offset_of_shown(position)

    def first(self) -> Span | None:
        return self._first_in(self.root, ANY_DEPTH) if self.root.depth <= ANY_DEPTH else None

    def next_up_to(self, span: Span, depth: int) -> Span | None:
        """The first span after `span` that is no deeper than `depth`."""
        item: Any = span
        while (branch := item.above) is not None:
            children = branch.children
            for child in children[children.index(item) + 1 :]:
                if child.depth <= depth:
                    return self._first_in(child, depth)
            item = branch
        return None

    def _first_in(self, item: Any, depth: int) -> Span:
        while type(item) is Branch:
            item = next(child for child in item.children if child.depth <= depth)
        return item  # type: ignore[no-any-return]

    # Changing

    def extend(self, span: Span, content: str, claim: int) -> None:
        """Append the characters of the next claim to `span`."""
        span.extend(content, claim)
        span.above.is_hidden = False
        self.grow(span, len(content))

    def insert_below(self, span: Span, offset: int, new: Span) -> None:
        """Insert `new` right after the character at `offset` of `span`."""
        leaf = span.above
        children = leaf.children
        at = children.index(span) + 1
        if offset + 1 < len(span.content):
            right = span.cut(offset + 1)
            right.above = leaf
            span.index.add(right)
            children.insert(at, right)
        self._insert(leaf, at, new)

    def insert_before(self, span: Span | None, new: Span) -> None:
        """Insert `new` before `span`; at the end when that is None."""
        if span is not None:
            self._insert(span.above, span.above.children.index(span), new)
            return
        leaf = self.root
        while leaf.children and type(leaf.children[-1]) is Branch:
            leaf = leaf.children[-1]
        self._insert(leaf, len(leaf.children), new)

    def cut(self, span: Span, offset: int) -> Span:
        """Cut `span` in two; returns the new one, from `offset` on."""
        leaf = span.above
        right = span.cut(offset)
        span.index.add(right)
        leaf.children.insert(leaf.children.index(span) + 1, right)
        right.above = leaf
        self._halve(leaf)
        return right

    def grow(self, span: Span, by: int) -> None:
        """`by` more characters of `span` are shown than the tree knows."""
        branch: Branch | None = span.above
        while branch is not None:
            branch.text = None
            branch.shown += by
            branch = branch.above

    def remove(self, span: Span) -> None:
        """Take out a span.  A branch may be left empty."""
        self.grow(span, -span.shown)
        span.above.children.remove(span)
        branch: Branch | None = span.above
        while branch is not None:
            branch.depth = min([child.depth for child in branch.children], default=ANY_DEPTH + 1)
            branch = branch.above

    def _insert(self, leaf: Branch, at: int, new: Span) -> None:
        leaf.children.insert(at, new)
        leaf.is_hidden = False
        new.above = leaf
        shown, depth = new.shown, new.depth
        branch: Branch | None = leaf
        while branch is not None:
            branch.text = None
            branch.shown += shown
            if depth < branch.depth:
                branch.depth = depth
            branch = branch.above
        self._halve(leaf)

    def _halve(self, branch: Branch) -> None:
        """Move the second half of a branch that is too full into a new one, and so on upwards."""
        while len(branch.children) > FANOUT_MAX:
            above = branch.above
            if above is None:
                above = self.root = Branch([branch])
            half = len(branch.children) // 2
            right = Branch(branch.children[half:], above, branch.is_hidden)
            del branch.children[half:]
            branch.shown -= right.shown
            branch.depth = min([child.depth for child in branch.children])
            branch.text = None
            above.children.insert(above.children.index(branch) + 1, right)
            branch = above
