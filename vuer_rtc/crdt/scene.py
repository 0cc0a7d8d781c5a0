"""The scene graph as the ops so far make it: ops go in, come to count, come to be undone and go out."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from copy import copy
from fractions import Fraction
from typing import Any

from .dtype import CREATE_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from .entry import added, entries_of, is_structural, keys_of, paths_of
from .item import END, Item, creates, named_key, new_node, removes, target_parent
from .message import UNSET, Op
from .node import ROOT, Node, Register, is_reserved, start_register
from .place import Entry, Placed, Spot
from .property import Life, Property, Run, new_property
from .register import spread_paths, step
from .text import Text
from .tree import Tree
from .value import NO_EFFECT

NOWHERE = (float("-inf"),)


class Scene:
    """Base and live items by key, and the tree that they make."""

    def __init__(self, base: dict[str, Node] | None = None, root: str = ROOT) -> None:
        self.base: dict[str, Node] = {} if base is None else base
        """Nodes as of the cut."""
        self.live: dict[str, Item] = {}
        """Items about which there is more to say than their base says."""
        self.tree = Tree(self.base, self.live)
        self.tree.base_root = root
        self.children: dict[str, set[str]] = {}
        """Keys of the live (not tombstoned) nodes by parent that has some."""
        self.node_count = len(self.base)
        self.changed: set[str] = set()
        """Keys whose view may differ since the caller cleared it."""
        self._structure_end: tuple[object, ...] = NOWHERE
        """Highest place of a structural op."""
        self._rechecks: list[tuple[Spot, Spot | None]] | None = None
        """While a message is attached: from where on, and as far as where, moves after it are to be checked again."""
        self._crowded: set[tuple[str, str]] = set()
        """While a message is attached: keys and paths of properties that several of its ops write."""
        self._runs: dict[tuple[str, str], Run] = {}
        """Of these, those into which some have come out of order and are not folded yet."""
        self._unfolded: set[str] | None = None
        """While a message is attached: keys of nodes that came or went, whose properties are not folded yet."""
        for key, node in self.base.items():
            if node.removed is None:
                self.children.setdefault(node.parent, set()).add(key)

    # Reading

    def node(self, key: str) -> Node | None:
        item = self.live.get(key)
        return self.base.get(key) if item is None else item.node

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """Every key that has a node, with it."""
        for key, node in self.base.items():
            yield key, node if (item := self.live.get(key)) is None or item.life is None else item.life.node
        for key, item in self.live.items():
            if item.base is None and item.life is not None:
                yield key, item.life.node

    def register(self, key: str, path: str) -> Register | None:
        """The register at `path` as it is now, to be read only; None for none."""
        item = self.live.get(key)
        prop = item.properties.get(path) if item is not None else None
        if prop is not None and prop.register is not None:
            return None if prop.register.is_blank else prop.register
        node = self.node(key)
        if node is None or is_reserved(path):
            return None
        register = node.registers.get(path) if node.registers is not None else None
        if register is None:
            register = start_register(node, path)
        elif register.text is not None:
            return self._with_text(key, path)
        return None if register.is_blank else register

    def registers(self, key: str) -> dict[str, Register]:
        """All registers of a node by path, to be read only."""
        node = self.node(key)
        if node is None:
            return {}
        paths = ["tag", "name", *node.initial, *(node.registers or ())]
        if (item := self.live.get(key)) is not None:
            paths.extend(item.properties)
        return {
            path: register
            for path in dict.fromkeys(paths)
            if (register := self.register(key, path)) is not None
        }

    def _with_text(self, key: str, path: str) -> Register | None:
        """The register of a text of the base, its characters kept ready for the next edit."""
        item = self._item(key)
        assert item.life is not None
        prop = item.properties[path] = new_property(path, item.life)
        return prop.register

    # Ops of a message

    def attach(self, placed: Placed, *, is_next: bool = False) -> list[bool]:
        """Afterwards the message's ops are in; for each whether it has an effect and fits what it met on arrival.

        `is_next`: the message counts, is not late, and stands after everything there is.
        """
        if is_next or len(placed.message.ops) == 1:
            return self._attach_ops(placed, is_next)
        rechecks = self._rechecks = []
        unfolded = self._unfolded = set()
        self._crowded = crowded_places(placed)
        results = self._attach_ops(placed, is_next)
        for place in list(self._runs):
            self._end_run(place)
        self._crowded.clear()
        self._rechecks = self._unfolded = None
        for key in unfolded:
            self._fold(self.live[key])
        if rechecks:
            # Once: what stands after the message depends on all of its ops, and nothing stands between them.
            untils = [until for _, until in rechecks if until is not None]
            self._recheck(rechecks[0][0], max(untils) if len(untils) == len(rechecks) else None)
        return results

    def _attach_ops(self, placed: Placed, is_next: bool) -> list[bool]:
        results = []
        place, live, changed = placed.place, self.live, self.changed
        for index, op in enumerate(placed.message.ops):
            entry = (place, index, op, placed)
            ot = op.ot
            if ot in PROPERTY_OPS:
                item = live.get(op.key)
                if item is not None and is_next:
                    prop = item.properties.get(op.path)
                    if prop is None and item.life is not None and not is_reserved(op.path):
                        prop = item.properties[op.path] = new_property(op.path, item.life)
                    if prop is not None and (register := prop.register) is not None and not prop.has_text:
                        changed.add(op.key)
                        results.append(prop.append_next(entry, register))
                        continue
                results.append(self._attach_property(entry))
            elif ot in TEXT_OPS:
                results.append(self._attach_property(entry))
            else:
                results.append(is_structural(op) and self._attach_structure(entry))
        return results

    def attach_waiting(self, placed: Placed, indices: list[int]) -> None:
        """Afterwards ops of a folded message wait for their nodes; `indices` are those they had in it."""
        for index, op in zip(indices, placed.message.ops, strict=True):
            self._attach_property((placed.place, index, op, placed))

    def toggle(self, toggled: list[Placed]) -> None:
        """Afterwards the scene is right again: `is_undone` of these has changed.

        Each property is folded once, however many ops of it that concerns: a message may undo a thousand others.
        """
        keys: set[str] = set()
        ops: dict[tuple[str, str], list[Entry]] = {}
        for placed in toggled:
            for entry in entries_of(placed):
                op = entry[2]
                if not is_structural(op):
                    for path in paths_of(op):
                        ops.setdefault((op.key, path), []).append(entry)
                elif (key := named_key(op)) is not None and key in self.live:
                    keys.add(key)
        for (key, path), entries in ops.items():
            self._toggle_property(key, path, entries)
        self._settle_from((min(placed.place for placed in toggled), -1), keys)

    def detach(self, placed: Placed) -> None:
        """Afterwards the scene is as if the message had never been there."""
        keys: set[str] = set()
        for entry in entries_of(placed):
            op = entry[2]
            key = named_key(op) if is_structural(op) else op.key
            item = self.live.get(key) if key is not None else None
            if key is None or item is None:
                continue
            if is_structural(op):
                item.births = [known for known in item.births if known[:2] != entry[:2]]
                item.moves = [known for known in item.moves if known[:2] != entry[:2]]
                self.tree.drop(key, entry)
                keys.add(key)
            for path in paths_of(op):
                if (prop := item.properties.get(path)) is not None:
                    prop.remove(entry)
                    prop.fold_all(item.life)
            self.changed.add(key)
        self._settle_from((placed.place, -1), keys)
        for key in keys_of([placed]):
            if (item := self.live.get(key)) is not None and item.base is None:
                self._drop_if_idle(item)

    def _drop_if_idle(self, item: Item) -> None:
        item.properties = {path: prop for path, prop in item.properties.items() if prop.log}
        if item.is_idle:
            del self.live[item.key]

    # Properties

    def _attach_property(self, entry: Entry) -> bool:
        op = entry[2]
        key = op.key
        item = self.live.get(key)
        if item is None:
            if key in ("", "."):
                return False
            item = self._item(key)
        self._catch_up(item)
        path = op.path
        if path in ("", "."):
            fits = self._put(item, path, entry)
            if op.ot == "object.merge":
                fits = any([self._put(item, member, entry) for member in spread_paths(op)])
        else:
            prop = item.properties.get(path)
            if prop is None:
                prop = item.properties[path] = Property(path, [])
            if not self._is_next(item, prop, entry):
                fitting = self._fits_now(key, op)
                fits = self._insert(item, prop, entry)
                self.changed.add(key)
                return fits and fitting and not entry[3].is_undone
            fits = prop.append(entry, item.life)  # type: ignore[arg-type]
        self.changed.add(key)
        return fits and not entry[3].is_undone

    def _put(self, item: Item, path: str, entry: Entry) -> bool:
        prop = item.properties.get(path)
        if prop is None:
            prop = item.properties[path] = Property(path, [])
        if self._is_next(item, prop, entry) and item.life.concerns(entry):  # type: ignore[union-attr]
            return prop.append(entry, item.life)  # type: ignore[arg-type]
        return self._insert(item, prop, entry)

    def _insert(self, item: Item, prop: Property, entry: Entry) -> bool:
        """An op among, or before, others of its property; true when it fits at its place."""
        place, life = (item.key, prop.path), item.life
        if life is None or place not in self._crowded:
            return prop.insert(entry, life)
        run = self._runs.get(place)
        if run is None:
            run = self._runs[place] = prop.begin_run(entry, life)
        return prop.insert_in(run, entry, life)

    def _end_run(self, place: tuple[str, str]) -> None:
        """Fold the property once, however many ops of the message are in its run."""
        if (run := self._runs.pop(place, None)) is not None:
            item = self.live[place[0]]
            item.properties[place[1]].end_run(run, item.life)

    def _leave_run(self, place: tuple[str, str]) -> None:
        """From here on the message's ops on this property are folded one by one."""
        self._crowded.discard(place)
        self._end_run(place)

    @staticmethod
    def _is_next(item: Item, prop: Property, entry: Entry) -> bool:
        """True when the entry stands after all others of a property that there is."""
        life, log = item.life, prop.log
        if life is None or (log and not log[-1] < entry):
            return False
        return life.since is None or life.is_first or life.since < entry

    def _fits_now(self, key: str, op: Op) -> bool:
        """True when the op would fit the value that is there now."""
        if op.ot in SET_OPS:
            return True
        place = key, op.path
        if (run := self._runs.get(place)) is not None and run.is_sure_to_fit(op):
            return True
        if run is not None or op.ot in TEXT_OPS:
            self._leave_run(place)
        if op.ot in TEXT_OPS:
            return True
        register = self.register(key, op.path)
        return PROPERTY_OPS[op.ot](UNSET if register is None else register.visible, op) is not NO_EFFECT

    def _toggle_property(self, key: str, path: str, entries: list[Entry]) -> None:
        item = self.live.get(key)
        if item is not None:
            if (prop := item.properties.get(path)) is not None:
                prop.toggle(entries, item.life)
            self.changed.add(key)

    def _item(self, key: str) -> Item:
        item = self.live.get(key)
        if item is None:
            base = self.base.get(key)
            item = self.live[key] = Item(key, base, properties={}, life=None if base is None else Life(base))
        return item

    # Structure

    def _attach_structure(self, entry: Entry) -> bool:
        op, placed = entry[2], entry[3]
        key = named_key(op)
        if key is None:
            return False
        item = self._item(key)
        if placed.place < self._structure_end or placed.is_undone or placed.is_late:
            return self._insert_structure(item, entry)
        self._structure_end = placed.place
        if op.ot == "node.move":
            return self._move(item, entry)
        if op.ot == "node.remove":
            return self._remove(item, entry)
        return self._create(item, entry)

    def _create(self, item: Item, entry: Entry) -> bool:
        """A creation after everything structural."""
        item.births = added(item.births, entry)
        self.tree.add(item.key, entry, is_next=True)
        life = item.life
        if life is not None and life.node.removed is None:
            if entry[2].ot == "node.insert":
                return False
            return self._upsert(item, entry, life)
        node = new_node(entry, life is not None, entry[:2] in self.tree.blocked)
        item.life = Life(node, entry[:2], is_first=life is None)
        self._index(item.key, None if life is None else life.node, node)
        self._refold(item)
        return True

    def _upsert(self, item: Item, entry: Entry, before: Life | None) -> bool:
        """An upsert that makes no incarnation; true when it sets something of the one at its place, `before`."""
        self.changed.add(item.key)
        is_folded = not (self._unfolded and item.key in self._unfolded)  # else it comes into the logs then
        fits = is_folded and any([self._put(item, path, entry) for path in spread_paths(entry[2])])
        if entry[3].is_undone or before is None or before.node.removed is not None:
            return False
        if is_folded and item.life is not None and item.life.since == before.since:
            return fits
        return any(self._assigns(item, path, entry, before) for path in spread_paths(entry[2]))

    def _remove(self, item: Item, entry: Entry) -> bool:
        """A removal after everything structural."""
        item.births = added(item.births, entry)
        life = item.life
        if life is None or not removes(life.node, entry):
            return False
        before = life.node
        life.node = copy(before)
        life.node.removed, life.removed_at = entry[3].origin, entry[:2]
        self._index(item.key, before, life.node)
        return True

    def _move(self, item: Item, entry: Entry) -> bool:
        """A move after everything structural."""
        item.moves = added(item.moves, entry)
        self.tree.add(item.key, entry, is_next=True)
        life = item.life
        if life is None or entry[:2] in self.tree.blocked:
            return False
        before = life.node
        life.node = copy(before)
        life.node.parent, life.node.placed = target_parent(entry[2]), entry[3].origin
        self._index(item.key, before, life.node)
        return True

    def _insert_structure(self, item: Item, entry: Entry) -> bool:
        """A structural op among, or before, others; true when it has an effect at its place."""
        op, placed, spot = entry[2], entry[3], entry[:2]
        if placed.place > self._structure_end:
            self._structure_end = placed.place
        is_move = op.ot == "node.move"
        entries = list(item.moves if is_move else item.births)
        insort(entries, entry)
        if is_move:
            item.moves = entries
        else:
            item.births = entries
        if op.ot != "node.remove":
            self.tree.add(item.key, entry)
        before = item.life_at(spot, self.tree.blocked)
        if is_move:
            self._settle_from(spot, {item.key}, item.next_move(spot, self.tree.blocked), True)
            return before is not None and not placed.is_undone and spot not in self.tree.blocked
        if not placed.is_undone and _alters(before, entry):
            self._settle_from(spot, {item.key})
            return True
        return op.ot in ("node.upsert", "node.inset") and self._upsert(item, entry, before)

    def _assigns(self, item: Item, path: str, entry: Entry, life: Life) -> bool:
        """True when an upsert sets `path` at its place."""
        prop = item.properties.get(path) or Property(path, [])
        register = prop.fold_until(life, entry[:2])
        return step(register, entry, path, life.floor)

    def _settle_from(
        self, spot: Spot, keys: set[str], until: Spot | None = None, are_moves: bool = False
    ) -> None:
        """Afterwards nodes, tree and properties are right again: structural ops of `keys` from `spot` on changed."""
        for key in keys:
            self._settle(self.live[key], not are_moves)
        if type(spot[0][0]) is Fraction or any(self.tree.is_named(key) for key in keys):
            if self._rechecks is None:
                self._recheck(spot, until)
            else:
                self._rechecks.append((spot, until))

    def _recheck(self, spot: Spot, until: Spot | None) -> None:
        for key in self.tree.recheck(spot, until):
            self._settle(self.live[key], False)

    def _settle(self, item: Item, has_new_births: bool) -> None:
        old = item.life
        item.life = item.life_at(END, self.tree.blocked)
        self._index(item.key, None if old is None else old.node, item.node)
        if not has_new_births:
            return
        self._refold(item)

    def _refold(self, item: Item) -> None:
        """Afterwards its properties are right again, or will be when they are needed or the message is in."""
        for place in [place for place in self._runs if place[0] == item.key]:
            self._end_run(place)
        if self._unfolded is None:
            self._fold(item)
        else:
            self._unfolded.add(item.key)

    def _catch_up(self, item: Item) -> None:
        """Afterwards its properties are right, whatever the message has done to it so far."""
        if self._unfolded and item.key in self._unfolded:
            self._unfolded.remove(item.key)
            self._fold(item)

    def _fold(self, item: Item) -> None:
        since = None if item.life is None else item.life.since
        for entry in item.births:
            if entry[2].ot in ("node.upsert", "node.inset") and entry[:2] != since:
                self._spread(item, entry)
        for prop in item.properties.values():
            prop.fold_all(item.life)

    def _spread(self, item: Item, entry: Entry) -> None:
        """Afterwards an upsert is in the log of each property that it sets; one that came to create was in none."""
        for path in spread_paths(entry[2]):
            prop = item.properties.setdefault(path, Property(path, []))
            at = bisect_left(prop.log, entry[:2])
            if at == len(prop.log) or prop.log[at][:2] != entry[:2]:
                prop.log.insert(at, entry)

    def _index(self, key: str, old: Node | None, new: Node | None) -> None:
        """Note what a node was and is, for the children of its parents and the count."""
        changed = self.changed
        changed.add(key)
        self.node_count += (new is not None) - (old is not None)
        was = old.parent if old is not None and old.removed is None else None
        now = new.parent if new is not None and new.removed is None else None
        if was is not None:
            if was:
                changed.add(was)
            if was != now:
                self.children[was].discard(key)
                if not self.children[was]:
                    del self.children[was]
        if now is not None:
            if now:
                changed.add(now)
            siblings = self.children.get(now)
            if siblings is None:
                self.children[now] = {key}
            else:
                siblings.add(key)


def _alters(life: Life | None, entry: Entry) -> bool:
    """True when the creation or removal makes an incarnation, or ends the one that there is."""
    if entry[2].ot == "node.remove":
        return life is not None and removes(life.node, entry)
    return creates(life, entry)


def crowded_places(placed: Placed) -> set[tuple[str, str]]:
    """Keys and paths that several ops of the message write, other than texts'."""
    seen: set[tuple[str, str]] = set()
    crowded: set[tuple[str, str]] = set()
    for op in placed.message.ops:
        key = named_key(op) if op.ot in CREATE_OPS else op.key
        if key is not None and (op.ot in PROPERTY_OPS or op.ot in CREATE_OPS):
            for path in paths_of(op):
                place = key, path
                if place in seen and not is_reserved(path):
                    crowded.add(place)
                seen.add(place)
    return crowded


def written_registers(scene: Scene, key: str, node: Node) -> dict[str, Register]:
    """Registers of a node that ops after its creation may have written, to be read only; texts perhaps as rows."""
    registers = dict(node.registers) if node.registers is not None else {}
    if (item := scene.live.get(key)) is not None:
        for path, prop in item.properties.items():
            if prop.register is not None and not prop.register.is_blank:
                registers[path] = prop.register
    return registers


def rows_of(text: Any) -> Any:
    """The rows of a text, whether it is ready for edits or rows already."""
    return text.encode() if isinstance(text, Text) else text
