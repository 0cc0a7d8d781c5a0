"""Where an op stands in total order, and what is remembered of the message that it came in (rules O1, K2).

origin   (lt, client, id, ts)    of a message: its stamp and its raw wall clock
place    the origin itself; of a late message (cut + 1/2, serverSeq, client, id), so that it stands right after
         everything at the cut and before everything above it
entry    (place, op index, op, placed)    one op in a log; entries compare by place and op index
spot     (place, op index)    where an op stands; compares with entries
"""

import math
from fractions import Fraction
from typing import Any

import msgspec

from .message import Message, Op
from .size import size_of

Origin = tuple[int, str, str, int | float]
Place = tuple[Any, ...]
Spot = tuple[Any, ...]

BELOW: Spot = ((-1,), 0)
"""Before every entry."""
HALF = Fraction(1, 2)
"""Exact at any cut, where a float is not."""


class Placed(msgspec.Struct, gc=False):
    """A message at its place."""

    message: Message
    origin: Origin
    place: Place
    size: int
    """About how many bytes its ops take."""
    is_undone: bool = False
    is_late: bool = False
    is_folded: bool = False
    """True when it is folded away and only waits for nodes (rule P2)."""


Entry = tuple[Place, int, Op, Placed]


def placed_at(message: Message, cut: int) -> Placed:
    """The message at its place, given the cut in force."""
    origin = (message.lt, message.client, message.id, message.ts)
    if message.lt > cut:
        return Placed(message, origin, origin, size_of(message))
    place = (cut + HALF, message.server_seq or math.inf, message.client, message.id)
    return Placed(message, origin, place, size_of(message), is_late=True)


def end_of_cut(cut: int) -> Spot:
    """Above every entry at or below a cut that comes into force: so far nothing is late for it.  Below all others.

    An integer, for whatever is folded is compared with it, and fractions compare slowly.
    """
    return ((cut + 1,),)
