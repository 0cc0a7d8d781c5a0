"""How far down the total order the later messages of a journal reach (rule J30).  Pure.

A cut F folds what is below it; whoever wants to know the state *before* a later message must then be able to leave
that message out.  It can, unless the message is folded as well (its Lamport time is F or less) or has decided
whether a folded one counts (it undoes or redoes it).
"""

from collections.abc import Iterable

from vuer_rtc.crdt.message import Message, epoch_of
from vuer_rtc.crdt.undo import targets_of

GROUND = 0
"""As deep as can be: a message that undoes or redoes one that is not retained, or a reset, of which every snapshot of
the new epoch holds the effect."""


class Depths:
    """Messages in the order of their sequence, each with its depth."""

    def __init__(self) -> None:
        self._lt: dict[str, int] = {}
        self._messages: list[tuple[int, int, list[str]]] = []

    def add(self, message: Message) -> None:
        """Afterwards the message, which is journalled, is known.  Of server records a reset alone reaches anywhere: to
        the beginning."""
        if message.is_server_record and epoch_of(message) is None:
            return
        self._lt[message.id] = message.lt
        self._messages.append((message.server_seq, message.lt, targets_of(message)))

    def known(self) -> Iterable[tuple[int, int]]:
        """Sequence and depth of each message: the lowest Lamport time of itself and of those that it undoes or
        redoes."""
        for seq, lt, targets in self._messages:
            yield seq, min([lt, *(self._lt.get(target, GROUND) for target in targets)])


def last_at_or_below(depths: Iterable[tuple[int, int]], cut: int, upto: int) -> int:
    """Sequence of the last message up to `upto` that reaches below the cut; 0: none does."""
    return max((seq for seq, depth in depths if depth <= cut and seq <= upto), default=0)
