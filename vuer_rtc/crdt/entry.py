"""What an op is about: which keys, which properties' logs."""

from collections.abc import Iterable, Iterator, Sequence

from .dtype import CREATE_OPS, NODE_OPS, PROPERTY_OPS, TEXT_OPS
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
    return op.ot in NODE_OPS


def entries_of(placed: Placed) -> Iterator[Entry]:
    return ((placed.place, index, op, placed) for index, op in enumerate(placed.message.ops))


def paths_of(op: Op) -> list[str]:
    """The paths in whose logs the op is."""
    if op.ot in CREATE_OPS:
        return spread_paths(op)
    if op.ot in PROPERTY_OPS or op.ot in TEXT_OPS:
        return [op.path, *spread_paths(op)] if is_spread(op) else [op.path]
    return []


def keys_of(messages: Iterable[Placed]) -> set[str]:
    """Keys of the items that have entries of the messages."""
    keys = {
        named_key(op) if op.ot in NODE_OPS else op.key for placed in messages for op in placed.message.ops
    }
    keys.discard(None)
    return keys  # type: ignore[return-value]
