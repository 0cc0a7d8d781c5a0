"""All that is known of one key: its base below the cut, and its creations, removals, moves and properties above."""

from bisect import bisect_left
from collections import deque
from collections.abc import Container, Iterator, Sequence
from copy import copy
from typing import Any

import msgspec

from .dtype import CREATE_OPS
from .message import Op
from .node import ROOT, Node, initial_values, normal_parent
from .place import Entry, Origin, Spot
from .property import Life, Property
from .value import is_number

END: Spot = ((float("inf"),),)
"""Above every entry."""


class Item(msgspec.Struct, gc=False):
    """One key.  `births` and `moves` are in total order; undone entries stay in them."""

    key: str
    base: Node | None = None
    """The fold of what lies below the cut."""
    births: Sequence[Entry] = ()
    """Creating and removing ops."""
    moves: Sequence[Entry] = ()
    properties: dict[str, Property] = {}
    life: Life | None = None
    """Now; None while the node is missing."""

    @property
    def node(self) -> Node | None:
        return None if self.life is None else self.life.node

    @property
    def is_idle(self) -> bool:
        """True when nothing but the base says anything of this key."""
        return not (self.births or self.moves or self.properties)

    def life_at(self, end: Spot, blocked: Container[Spot]) -> Life | None:
        """The incarnation that the entries before `end` make, with its parent; a new object."""
        life = self._born_by(end, blocked)
        if life is not None:
            move = self._last_move(life.since, end, blocked)
            if move is not None:
                life.node.parent, life.node.placed = target_parent(move[2]), move[3].origin
        return life

    def parent_at(self, end: Spot, blocked: Container[Spot]) -> tuple[str, Origin] | None:
        """Its parent before `end` and who put it there; None while it is missing."""
        if not self.births:
            if self.base is None:
                return None
            since, parent, origin = None, self.base.parent, self.base.placed_by
        elif self.base is None and len(self.births) == 1:  # the usual one, without making a node of it
            [birth] = self.births
            if birth >= end or birth[3].is_undone or birth[2].ot == "node.remove":
                return None
            since, origin = birth[:2], birth[3].origin
            parent = ROOT if since in blocked else target_parent(birth[2])
        else:
            life = self._born_by(end, blocked)
            if life is None:
                return None
            since, parent, origin = life.since, life.node.parent, life.node.placed_by
        if self.moves and (move := self._last_move(since, end, blocked)) is not None:
            return target_parent(move[2]), move[3].origin
        return parent, origin

    def next_move(self, after: Spot, blocked: Container[Spot]) -> Spot | None:
        """The first move after `after` that counts and is not refused."""
        for entry in self.moves[bisect_left(self.moves, after) :]:
            if entry[:2] != after and not entry[3].is_undone and entry[:2] not in blocked:
                return entry[:2]
        return None

    def _last_move(self, since: Spot | None, end: Spot, blocked: Container[Spot]) -> Entry | None:
        for at in range(bisect_left(self.moves, end) - 1, -1, -1):
            entry = self.moves[at]
            if since is not None and entry < since:
                return None
            if not entry[3].is_undone and entry[:2] not in blocked:
                return entry
        return None

    def creations(self) -> set[Spot | None]:
        """Where its incarnations begin; costs what there are births."""
        return {life.since for life in self._lives(END, ())}

    def _born_by(self, end: Spot, blocked: Container[Spot]) -> Life | None:
        """The incarnation before `end`, where its creation put it."""
        lives = deque(self._lives(end, blocked), maxlen=1)
        return lives[0] if lives else None

    def _lives(self, end: Spot, blocked: Container[Spot]) -> Iterator[Life]:
        """The incarnations that begin before `end`; each may be removed when the next one is asked for."""
        life = None
        if self.base is not None:
            yield (life := Life(copy(self.base)))
        for entry in self.births:
            if entry >= end:
                break
            if entry[3].is_undone:
                continue
            if entry[2].ot == "node.remove":
                if life is not None and removes(life.node, entry):
                    life.node.removed, life.removed_at = entry[3].origin, entry[:2]
            elif creates(life, entry):
                node = new_node(entry, life is not None, entry[:2] in blocked)
                yield (life := Life(node, entry[:2], is_first=life is None))


def creates(old: Life | None, entry: Entry) -> bool:
    """True when the creating op makes an incarnation, `old` being the one before (rules T1, T8, K3)."""
    if old is None:
        return True
    placed, removed = entry[3], old.node.removed
    return removed is not None and not (placed.is_late and removed > placed.origin)


def removes(node: Node, entry: Entry) -> bool:
    """True when the removing op tombstones the node (rules T6, K3)."""
    placed = entry[3]
    return node.removed is None and not (placed.is_late and node.created > placed.origin)


def new_node(entry: Entry, is_again: bool, is_blocked: bool) -> Node:
    """The incarnation that a creating op makes; at root level when its parent would make a cycle (rule T4)."""
    _, index, op, placed = entry
    parent = ROOT if is_blocked else normal_parent(op.key) or ROOT
    node = Node(parent, placed.origin, index, initial_values(op.value), placed.message.clock, None, is_again)
    if is_number(op.ts):
        node.dated = op.ts
    return node


def named_key(op: Op) -> str | None:
    """Key of the node that a structural op is about; None when the op is malformed and never has an effect."""
    value: Any = op.value
    if op.ot == "node.remove":
        key = value
    elif type(value) is not dict:
        return None
    elif op.ot in CREATE_OPS:
        key = value.get("key")
    else:
        key = value.get("nodeKey") if type(value.get("newParent")) is str else None
    return key if type(key) is str and key not in ("", ".") else None


def target_parent(op: Op) -> str:
    """The parent that a well-formed creating or moving op names."""
    return normal_parent(op.value["newParent"] if op.ot == "node.move" else op.key) or ROOT
