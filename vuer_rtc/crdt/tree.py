"""Parents: which creations and moves are refused because of cycles, in any order of arrival (rules T1 to T5, T10).

Each item knows its own creations and moves; what one key cannot say alone is whether its parent hangs below it.  A
node that no earlier op has named as a parent has nothing below it, so most ops need no check.  The others are *hard*:
they are kept in total order, each is refused or not, and a change of the past checks those after it again, as far as
the tree differs from what it was (compare the undo and redo of Kleppmann et al., "A highly-available move operation
for replicated trees", 2021).
"""

from bisect import bisect_left, bisect_right, insort

from .item import END, Item, target_parent
from .node import ROOT, Node
from .place import BELOW, Entry, Spot

NAMED_MIN = 1000
"""Names of parents that are kept in any case."""


class Tree:
    """The parents of all items, at every place."""

    def __init__(self, base: dict[str, Node], live: dict[str, Item]) -> None:
        self._base, self._live = base, live
        self.blocked: set[Spot] = set()
        """Spots of hard ops that are refused: moves change nothing, creations attach at root level."""
        self._hard: list[Entry] = []
        self._named: dict[str, Spot] = dict.fromkeys({node.parent for node in base.values()}, BELOW)
        """Parents by the earliest op that named them, those of the past among them."""
        self._named_max = NAMED_MIN + 2 * len(self._named)
        """With more of them, those that are of the past are looked for."""
        self._rooted: list[Entry] = []
        """Creations that may have been at root level."""
        self.base_root = ROOT

    def parent_at(self, key: str, end: Spot) -> str | None:
        """Parent of a key before `end`; None while it is missing."""
        item = self._live.get(key)
        if item is None:
            node = self._base.get(key)
            return None if node is None else node.parent
        found = item.parent_at(end, self.blocked)
        return None if found is None else found[0]

    def creations(self, key: str) -> set[Spot | None]:
        """Where the incarnations of a key begin that is not at rest."""
        return self._live[key].creations()

    def is_named(self, key: str) -> bool:
        """True when an op, undone or not, has named `key` as a parent."""
        return key in self._named

    def add(self, key: str, entry: Entry, *, is_next: bool = False) -> None:
        """Afterwards the creation or move of `key`, already in its item, is refused or not.

        `is_next`: it counts, is not late, and stands after everything structural there is.
        """
        op = entry[2]
        parent = target_parent(op)
        if parent != ROOT:
            self._name(parent, entry[:2])
        if self._named.get(key, END) <= entry[:2] or entry[3].is_late:
            self._make_hard(entry)
            if not is_next:
                self._check(key, entry, Climb(self))
            elif self._is_below_now(parent, key):
                self.blocked.add(entry[:2])
        elif op.ot != "node.move" and parent == ROOT:
            insort(self._rooted, entry)

    def drop(self, key: str, entry: Entry) -> None:
        """Afterwards the creation or move is forgotten."""
        for entries in (self._hard, self._rooted):
            at = bisect_left(entries, entry[:2])
            if at < len(entries) and entries[at][:2] == entry[:2]:
                del entries[at]
        self.blocked.discard(entry[:2])

    def recheck(self, after: Spot, until: Spot | None) -> set[str]:
        """Check the hard ops after `after` again, up to where the tree is as it was; keys whose parent may differ now.

        `until`: the last spot at which the tree differs if no other op comes out differently; None: everywhere.
        """
        changed: set[str] = set()
        climb = Climb(self)
        at = bisect_right(self._hard, after)
        while at < len(self._hard):
            entry = self._hard[at]
            at += 1
            if until is not None and entry[:2] > until:
                break
            key = key_of(entry)
            is_changed = self._check(key, entry, climb)
            climb.pass_by(key, entry)
            if is_changed:
                changed.add(key)
                if until is not None and entry[2].ot == "node.move":
                    following = self._live[key].next_move(entry[:2], self.blocked)
                    until = None if following is None else max(until, following)
                else:
                    until = None
        return changed

    def root(self) -> str:
        """Key of the first op that created a node at root level; `""` for none (rule T10)."""
        if self.base_root:
            return self.base_root
        return self.root_before(END)

    def root_before(self, end: Spot) -> str:
        """What `root` is before `end`."""
        if self.base_root:
            return self.base_root
        creations: dict[str, set[Spot | None]] = {}
        for entry in self._rooted:
            if entry >= end:
                break
            spot, key = entry[:2], key_of(entry)
            if entry[3].is_undone or (target_parent(entry[2]) != ROOT and spot not in self.blocked):
                continue
            if key not in creations:
                creations[key] = self._live[key].creations()
            if spot in creations[key]:
                return key
        return ROOT

    def forget_below(self, end: Spot) -> None:
        """Drop what lies before `end`; the bases of the items have it already."""
        for entries in (self._hard, self._rooted):
            del entries[: bisect_left(entries, end)]
        if self.blocked:
            self.blocked = {spot for spot in self.blocked if spot >= end}
        if len(self._named) > self._named_max:
            self._forget_names()

    def _forget_names(self) -> None:
        """Drop the parents that no node and no op above the cut names: people make up any number of names."""
        self._named = dict.fromkeys({node.parent for node in self._base.values()}, BELOW)
        for item in self._live.values():
            for entry in (*item.births, *item.moves):
                if entry[2].ot != "node.remove" and (parent := target_parent(entry[2])) != ROOT:
                    self._named[parent] = min(self._named.get(parent, END), entry[:2])
        self._named_max = NAMED_MIN + 2 * len(self._named)

    def _name(self, parent: str, spot: Spot) -> None:
        """Remember that the op at `spot` names `parent`: ops on that one after it become hard."""
        known = self._named.get(parent, END)
        if spot >= known:
            return
        self._named[parent] = spot
        item = self._live.get(parent)
        if item is None:
            return
        for entries in (item.births, item.moves):
            for entry in entries[bisect_left(entries, spot) :]:
                if entry < known and entry[2].ot != "node.remove":
                    self._make_hard(entry)

    def _make_hard(self, entry: Entry) -> None:
        for entries in (self._hard, self._rooted):
            if entries is self._rooted and entry[2].ot == "node.move":
                continue
            at = bisect_left(entries, entry[:2])
            if at == len(entries) or entries[at][:2] != entry[:2]:
                entries.insert(at, entry)

    def _check(self, key: str, entry: Entry, climb: "Climb") -> bool:
        """Refuse the op or not; true when that is not as it was."""
        spot = entry[:2]
        is_blocked = climb.meets(target_parent(entry[2]), key, spot)
        if entry[3].is_late and entry[2].ot == "node.move" and not is_blocked:
            found = self._live[key].parent_at(spot, self.blocked)
            is_blocked = found is not None and found[1] > entry[3].origin
        if is_blocked == (spot in self.blocked):
            return False
        (self.blocked.add if is_blocked else self.blocked.discard)(spot)
        return True

    def _is_below_now(self, key: str, ancestor: str) -> bool:
        """True when `key` is `ancestor` or below it, after everything there is (rule T4)."""
        while key != ROOT:
            if key == ancestor:
                return True
            item = self._live.get(key)
            node = self._base.get(key) if item is None else item.node
            if node is None:
                return False
            key = node.parent
        return False


class Climb:
    """From nodes up to root level, as the tree is at spots that ascend: a parent is looked up once, then followed."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._parents: dict[str, str | None] = {}
        """Of the keys met so far; they have been named as parents, so what moves them later is hard."""
        self._creations: dict[str, set[Spot | None]] = {}

    def meets(self, key: str, ancestor: str, spot: Spot) -> bool:
        """True when `key` is `ancestor` or below it; passes through tombstones, ends at missing nodes (rule T4)."""
        parents = self._parents
        step: str | None = key
        while step:
            if step == ancestor:
                return True
            if step not in parents:
                parents[step] = self._tree.parent_at(step, spot)
            step = parents[step]
        return False

    def pass_by(self, key: str, entry: Entry) -> None:
        """From here on the hard op, refused or not, is in the past."""
        if key not in self._parents:
            return
        op, spot, is_blocked = entry[2], entry[:2], entry[:2] in self._tree.blocked
        if op.ot == "node.move":
            if self._parents[key] is not None and not (is_blocked or entry[3].is_undone):
                self._parents[key] = target_parent(op)
            return
        if key not in self._creations:
            self._creations[key] = self._tree.creations(key)
        if spot in self._creations[key]:
            self._parents[key] = ROOT if is_blocked else target_parent(op)


def key_of(entry: Entry) -> str:
    """Key of the node that a well-formed creation or move is about."""
    key: str = entry[2].value["nodeKey" if entry[2].ot == "node.move" else "key"]
    return key
