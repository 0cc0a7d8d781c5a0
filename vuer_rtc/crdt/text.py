"""The text of one property: characters that hang below their anchors, read depth first (rules X1 to X7).

Means what the plain rope of the oracle means, in any order of arrival.  What the caller has to know:

**Order.**  `order` is the place of an op in total order: any tuple that compares with the other orders given to this
text.  A claim placed without one is earlier than every claim placed with one, and later than those placed before it
without one; so give an order always, or never (a fold in total order).  Orders of one op may be equal: a `text.replace`
deletes first and places then, both with the order of the op, and "earlier" is always strictly earlier.

**Claims** may be placed in any order.  Where their characters stand does not depend on it.  What an op *names* does, and
that is settled when the op is applied: `latest(id, before=order)` and `delete(ranges, order=order)` see the claims known
now that are earlier than `order`.  A claim that arrives later but stands earlier can be the one that was meant; ask
`needs_refold(order, agent, number, length)` before placing.  When it is true, fold this text anew (into a new `Text`);
when it is false, these are exact in any order of arrival:

    insert    where = text.latest(anchor, before=order)       None, and anchor is not null: no effect at its place
              text.place(agent, number, content, where, seq, ts, order=order)
    delete    text.delete(ranges, order=order)                false: no effect at its place
    undo      text.undelete(ranges, order=order)              of a delete that counted
              text.set_counted(agent, number, False, order=order)    of an insert; True to redo

An op that found nothing leaves a note (`latest` and `delete` do that), and `needs_refold` then reports the claim it waits for.

**Left to the caller**, who re-folds when they stand after an op that arrives late or is undone: `text.init` (its seq is one
more than the highest at its place, and it does nothing when its client has counted characters there), the way of a plain
value into a text and back (X1, X2, X6), undoing a `hide_all`.  Placing something late *below* a `hide_all` is exact.

**Handles.**  `latest` returns a handle for `place`; it is good until the text changes.

**Numbers.**  Positions and lengths count code points (X7); `text_utf16` maps those of a client that counts UTF-16 units.

Cost: O(log n) per edit, n being the runs of characters; visible() is cached and costs what changed since, plus one join.
"""

from collections.abc import Iterator
from typing import Any

from .text_id import merged_ranges, parse_id

Order = Any
Handle = Any
Number = int | float


class _Char:
    __slots__ = ("agent", "anchor", "children", "claim", "content", "cover", "number", "rank")


class Text:
    """All characters of one text, hidden ones included."""

    def __init__(self) -> None:
        self._roots: list[_Char] = []
        self._claims: list[dict[str, Any]] = []
        self._hides: list[Any] = []
        self._notes: list[tuple[str, int, int]] = []
        self._latest: Any = (0,)

    # Changing

    def place(self, agent: str, number: int, content: str, anchor: Handle, seq: Number, ts: Number, *,
              is_counted: bool = True, order: Order = None) -> None:  # fmt: skip
        """Claim the ids `agent:number…` for the characters of `content`, the first below `anchor` (None: the start)."""
        key = (0, len(self._claims)) if order is None else (1, order)
        claim: dict[str, Any] = {"agent": agent, "number": number, "order": key, "counted": is_counted, "chars": []}
        cover = sum(1 for hide in self._hides if hide > key)
        for offset, character in enumerate(content):
            char = _Char()
            char.agent, char.number, char.content, char.cover = agent, number + offset, character, cover
            char.anchor, char.claim, char.children = anchor, claim, []
            char.rank = (-seq, ts, f"{agent}:{number + offset}", key)
            siblings = anchor.children if anchor else self._roots
            siblings.append(char)
            siblings.sort(key=lambda sibling: sibling.rank)
            claim["chars"].append(char)
            anchor = char
        if content:
            self._claims.append(claim)
            self._latest = max(self._latest, key)

    def unplace(self, agent: str) -> None:
        """Take back the last claim placed, the only one of `agent`, of seq 0, on which nothing hangs."""
        head = self._claims.pop()["chars"][0]
        (head.anchor.children if head.anchor else self._roots).remove(head)

    def delete(self, ranges: Any, *, order: Order = None, dry: bool = False) -> bool:
        """Cover, once more, the latest claims before `order` of the ids in `[[id, length], …]`; true when one is known.

        An id named twice counts once.  `dry` (a delete that is undone) only looks.
        """
        return self._cover(ranges, order, 0 if dry else 1)

    def undelete(self, ranges: Any, *, order: Order = None) -> bool:
        """Take one cover off what `delete` with the same arguments covered."""
        return self._cover(ranges, order, -1)

    def set_counted(self, agent: str, number: int, is_counted: bool, *, order: Order = None) -> bool:
        """Hide or show the claim of `agent` that begins at `number` and has `order` (None: the latest); true when found."""
        key = None if order is None else (1, order)
        for claim in sorted(self._claims, key=lambda claim: claim["order"], reverse=True):
            if claim["agent"] == agent and claim["number"] == number and key in (None, claim["order"]):
                claim["counted"] = is_counted
                return True
        return False

    def hide_all(self, *, order: Order = None) -> None:
        """Hide the characters of all claims before `order`, for good; also of those yet to come."""
        key = (0, len(self._claims)) if order is None else (1, order)
        self._hides.append(key)
        for char in self._document():
            char.cover += char.claim["order"] < key

    def count(self, agent: str) -> None:
        """Count all claims of `agent`."""
        for claim in self._claims:
            claim["counted"] = claim["counted"] or claim["agent"] == agent

    # Asking

    def latest(self, text_id: Any, before: Order = None) -> Handle | None:
        """Handle of the latest claim of an id before `before` (None: of all); None when there is none."""
        parsed = parse_id(text_id)
        found = self._named(*parsed, before) if parsed else None
        if parsed and found is None:
            self._notes.append((parsed[0], parsed[1], parsed[1] + 1))
        return found

    def needs_refold(self, order: Order, agent: str, number: int, length: int) -> bool:
        """True when placing a claim of these ids at `order` may change what another op of this text names."""
        if (1, order) > self._latest:
            return False
        end = number + length
        noted = any(a == agent and first < end and number < last for a, first, last in self._notes)
        return noted or any(self.has(agent, n) for n in range(number, end))

    def has(self, agent: str, number: int) -> bool:
        """True when the id `agent:number` is claimed, counted or not."""
        return self._named(agent, number, None) is not None

    def has_counted(self, agent: str) -> bool:
        """True when a claim of `agent` counts."""
        return any(claim["agent"] == agent and claim["counted"] for claim in self._claims)

    def highest_seq(self) -> Number:
        """The highest `seq` of all characters, hidden ones included; at least 0."""
        return max([0, *(-claim["chars"][0].rank[0] for claim in self._claims)])

    # Reading

    def visible(self) -> str:
        """The text that everybody sees."""
        return "".join(char.content for char in self._shown())

    @property
    def length(self) -> int:
        """Visible characters, in code points."""
        return len(self.visible())

    def anchor_at(self, position: int) -> str | None:
        """Id of the visible character before `position` (clamped), the anchor of an insert there; None at the start."""
        char = list(self._shown())[:position][-1:] if position > 0 else []
        return f"{char[0].agent}:{char[0].number}" if char else None

    def ranges_at(self, position: int, length: int) -> list[list[Any]]:
        """`[[id, length], …]` of the visible characters from `position` on, as a `text.delete` names them."""
        ranges: list[list[Any]] = []
        for char in list(self._shown())[max(position, 0) : max(position + length, 0)]:
            if ranges and parse_id(ranges[-1][0]) == (char.agent, char.number - ranges[-1][1]):
                ranges[-1][1] += 1
            else:
                ranges.append([f"{char.agent}:{char.number}", 1])
        return ranges

    def _shown(self) -> Iterator[_Char]:
        return (char for char in self._document() if not char.cover and char.claim["counted"])

    def _document(self) -> Iterator[_Char]:
        stack = list(reversed(self._roots))
        while stack:
            char = stack.pop()
            yield char
            stack.extend(reversed(char.children))

    def _named(self, agent: str, number: int, before: Order) -> _Char | None:
        found: _Char | None = None
        for claim in self._claims:
            offset = number - claim["number"]
            if claim["agent"] == agent and 0 <= offset < len(claim["chars"]) and (before is None or claim["order"] < (1, before)):
                char = claim["chars"][offset]
                found = char if found is None or char.claim["order"] > found.claim["order"] else found
        return found

    def _cover(self, ranges: Any, order: Order, by: int) -> bool:
        is_known = False
        if order is not None:
            self._latest = max(self._latest, (1, order))
        for agent, first, end in merged_ranges(ranges):
            numbers = {char.number for claim in self._claims if claim["agent"] == agent for char in claim["chars"]}
            for number in numbers:
                char = self._named(agent, number, order) if first <= number < end else None
                if char is not None:
                    char.cover += by
                    is_known = True
            self._notes.append((agent, first, end))
        return is_known
