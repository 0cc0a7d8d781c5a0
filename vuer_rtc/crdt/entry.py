"""What an op is about: which keys, which properties' logs."""

from collections.abc import Iterator, Sequence

from .dtype import CREATE_OPS, PROPERTY_OPS, TEXT_OPS
from .item import named_key
from .message import Op
from .place import Entry, Placed
from .register import is_spread, spread_paths


def added(entries: Sequence[Entry], entry: Entry) -> list[Entry]:
    """The entries with one more at the end; the same list where there is one."""
    if type(entries) is list:
        entries.append(entry)
        return entries
    return [entry]


def is_structural(op: Op) -> bool:
    return op.ot in CREATE_OPS or op.ot == "node.remove" or op.ot == "node.move"


def entries_of(placed: Placed) -> Iterator[Entry]:
    return ((placed.place, index, op, placed) for index, op in enumerate(placed.message.ops))


def paths_of(op: Op) -> list[str]:
    """The paths in whose logs the op is."""
    if op.ot in CREATE_OPS:
        return spread_paths(op)
    if op.ot in PROPERTY_OPS or op.ot in TEXT_OPS:
        return [op.path, *spread_paths(op)] if is_spread(op) else [op.path]
    return []


def keys_of(placed: Placed) -> set[str]:
    """Keys of the items that have entries of the message."""
    keys = {named_key(op) if is_structural(op) else op.key for op in placed.message.ops}
    return {key for key in keys if key is not None}
