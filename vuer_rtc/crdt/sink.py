"""How ops sink below the cut: what stands before it becomes the base of each item (rules K1, K2, K5)."""

from bisect import bisect_left
from collections.abc import Iterable
from copy import copy

from msgspec.structs import replace

from .dtype import CREATE_OPS
from .item import END, Item
from .node import Register, is_reserved
from .place import Spot
from .property import Life
from .scene import Scene, rows_of


def fold_below(scene: Scene, end: Spot, keys: Iterable[str]) -> None:
    """Afterwards the base holds what stands before `end`; `keys` are those with entries there."""
    scene.tree.base_root = scene.tree.root_before(end)
    for key in keys:
        if (item := scene.live.get(key)) is not None:
            _fold_item(scene, item, end)
    scene.tree.forget_below(end)


def _fold_item(scene: Scene, item: Item, end: Spot) -> None:
    logs = (item.births, item.moves, *(prop.log for prop in item.properties.values()))
    is_all = all(not log or log[-1] < end for log in logs)
    life = item.life if is_all else item.life_at(end, scene.tree.blocked)
    item.births = item.births[bisect_left(item.births, end) :] or ()
    item.moves = item.moves[bisect_left(item.moves, end) :] or ()
    if life is None:
        _forget_creations(item, end)
        if item.is_idle:
            del scene.live[item.key]
        return
    registers = {} if life.since is not None else dict(life.node.registers or {})
    for path, prop in item.properties.items():
        if life.since is None and not prop.reaches_below(end):
            continue  # the base has it as it is: a text takes long to write
        register = prop.register if is_all else None if is_reserved(path) else prop.fold_until(life, end)
        if register is not None and (register.is_touched or register.text is not None):
            registers[path] = stored(register)
    node = scene.base[item.key] = item.base = copy(life.node)
    node.registers = registers or None
    for path, prop in list(item.properties.items()):
        prop.forget_below(end)
        if not prop.log and not (is_all and prop.register is not None and prop.register.text is not None):
            del item.properties[path]
    item.life = item.life_at(END, scene.tree.blocked) if item.births or item.moves else Life(node)
    if item.is_idle:
        del scene.live[item.key]


def _forget_creations(item: Item, end: Spot) -> None:
    """Keep what waits for a node that never came (rule P2); upserts of it are undone for good."""
    for path, prop in list(item.properties.items()):
        prop.log = [entry for entry in prop.log if entry >= end or entry[2].ot not in CREATE_OPS]
        if not prop.log:
            del item.properties[path]
        prop.checkpoints = None


def stored(register: Register) -> Register:
    """The register as a base keeps it: its characters as rows."""
    return register if register.text is None else replace(register, text=rows_of(register.text))
