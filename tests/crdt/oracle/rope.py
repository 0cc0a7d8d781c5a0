"""The text of one property as a tree of characters: a replicated growable array, plainly (rules X3 to X6).

Every character hangs below its anchor, the character it was typed after.  Siblings stand with the higher `seq` first,
then the earlier `ts`, then the smaller id as a string, then the earlier claim in total order.  Reading depth first
gives the document.  Hidden characters keep their places.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vuer_rtc.crdt.text_run import Run


def parse_id(text_id: Any) -> tuple[str, int] | None:
    """Agent and number of a character id `agent:number`."""
    if type(text_id) is not str:
        return None
    agent, colon, digits = text_id.rpartition(":")
    if (
        not colon
        or not digits.isascii()
        or not digits.isdigit()
        or (len(digits) > 1 and digits[0] == "0")
        or len(digits) > 16
    ):
        return None
    return agent, int(digits)


@dataclass(eq=False, slots=True)
class Char:
    """One character of one claim."""

    agent: str
    number: int
    content: str
    seq: int | float
    ts: int | float
    claim: int
    offset: int
    """Place in its claim."""
    anchor: "Char | None"
    is_counted: bool
    """False while the insert it belongs to is undone."""
    is_deleted: bool = False
    children: "list[Char]" = field(default_factory=list, repr=False)

    @property
    def rank(self) -> tuple[float, float, str, int]:
        return (-self.seq, self.ts, f"{self.agent}:{self.number}", self.claim)


@dataclass(eq=False, slots=True)
class PlainRope:
    """All characters; claims are numbered in the order they were placed, which is total order."""

    roots: list[Char] = field(default_factory=list)
    claims: list[list[Char]] = field(default_factory=list)
    by_agent: dict[str, dict[int, list[Char]]] = field(default_factory=dict)
    """Agent to number to the claims of that id, latest last."""

    def place(
        self,
        agent: str,
        number: int,
        content: str,
        anchor: Char | None,
        seq: int | float,
        ts: int | float,
        *,
        is_counted: bool = True,
    ) -> None:
        """Claim the ids `agent:number…` for the characters of `content`, each anchored at the one before."""
        claim: list[Char] = []
        for offset, character in enumerate(content):
            char = Char(
                agent, number + offset, character, seq, ts, len(self.claims), offset, anchor, is_counted
            )
            siblings = anchor.children if anchor else self.roots
            siblings.append(char)
            siblings.sort(key=lambda sibling: sibling.rank)
            self.by_agent.setdefault(agent, {}).setdefault(char.number, []).append(char)
            claim.append(char)
            anchor = char
        if claim:
            self.claims.append(claim)

    def latest(self, text_id: str) -> Char | None:
        """The latest claim of a character id."""
        parsed = parse_id(text_id)
        claims = self.by_agent.get(parsed[0], {}).get(parsed[1]) if parsed else None
        return claims[-1] if claims else None

    def delete(self, ranges: Any, *, dry: bool = False) -> bool:
        """Hide the latest claims of the ids in `[[id, length], …]`; true when one of them is known."""
        found = [char for wanted in (ranges if type(ranges) is list else []) for char in self._known(wanted)]
        for char in found:
            char.is_deleted = char.is_deleted or not dry
        return bool(found)

    def _known(self, wanted: Any) -> Iterator[Char]:
        if type(wanted) is not list or len(wanted) != 2 or type(wanted[1]) is not int:
            return
        parsed = parse_id(wanted[0])
        numbers = self.by_agent.get(parsed[0], {}) if parsed else {}
        for number, claims in list(numbers.items()):
            if parsed and parsed[1] <= number < parsed[1] + wanted[1]:
                yield claims[-1]

    def hide_all(self) -> None:
        for char in self._chars():
            char.is_deleted = True

    def has(self, agent: str, number: int) -> bool:
        return number in self.by_agent.get(agent, {})

    def has_counted(self, agent: str) -> bool:
        return any(char.is_counted for claims in self.by_agent.get(agent, {}).values() for char in claims)

    def count(self, agent: str) -> None:
        """Show the characters of `agent` that had only kept their places."""
        for claims in self.by_agent.get(agent, {}).values():
            for char in claims:
                char.is_counted = True

    def highest_seq(self) -> int | float:
        return max([0, *(char.seq for char in self._chars())])

    def document(self) -> Iterator[Char]:
        """Every character in document order, hidden ones included."""
        stack = list(reversed(self.roots))
        while stack:
            char = stack.pop()
            yield char
            stack.extend(reversed(char.children))

    def visible(self) -> str:
        return "".join(char.content for char in self.document() if char.is_counted and not char.is_deleted)

    def runs(self) -> Iterator[Run]:
        """Every character by itself, in document order."""
        depths: dict[int, int] = {}
        for char in self.document():
            depth = depths[id(char)] = depths[id(char.anchor)] + 1 if char.anchor else 0
            claims = self.by_agent[char.agent][char.number]
            yield Run(char.agent, char.number, depth, char.content, char.seq, char.ts, char.is_deleted,
                      char.is_counted, claims.index(char), claims[-1] is char)  # fmt: skip

    def unplace(self, agent: str) -> None:
        """Take back the last claim, the only one of `agent`, on which nothing hangs."""
        head = self.claims.pop()[0]
        (head.anchor.children if head.anchor else self.roots).remove(head)
        del self.by_agent[agent]

    def _chars(self) -> Iterator[Char]:
        return (char for claim in self.claims for char in claim)
