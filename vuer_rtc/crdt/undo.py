"""Which messages are undone: by the last counting meta op on each, in total order (rules U1 to U3)."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .dtype import META_OPS
from .message import Message
from .place import Placed, Spot


class Meta(msgspec.Struct, gc=False, array_like=True):
    """One undo or redo of a target."""

    stamp: tuple[int, str, str]
    """Of the message that carries it."""
    index: int
    is_undo: bool
    client: str
    auth: bool
    server_seq: int

    @property
    def order(self) -> Spot:
        return (self.stamp, self.index)

    def counts_on(self, target: Message, cut: int) -> bool:
        """Author or authority; on a message below the cut only what was journalled before it (rules U2, U3)."""
        if target.lt <= cut and not (
            self.server_seq and (not target.server_seq or self.server_seq < target.server_seq)
        ):
            return False
        return self.auth or self.client == target.client


def targets_of(message: Message) -> list[str]:
    """Ids of the messages that it undoes or redoes."""
    return [op.target for op in message.ops if op.ot in META_OPS and type(op.target) is str]


class Undo:
    """Meta ops by the id of their target."""

    def __init__(
        self, metas: dict[str, list[Meta]] | None = None, spent: dict[str, int] | None = None
    ) -> None:
        self.metas: dict[str, list[Meta]] = {} if metas is None else metas
        self.spent: dict[str, int] = {} if spent is None else spent
        """Folded targets of retained, journalled meta ops, by the highest Lamport time of those.

        Nothing that is said of them is kept.
        """

    def add(self, message: Message) -> list[str]:
        """Note the meta ops of a message; their targets."""
        targets = []
        for index, op in enumerate(message.ops):
            if op.ot not in META_OPS or type(op.target) is not str:
                continue
            if op.target in self.spent:
                if message.server_seq:
                    self.spent[op.target] = max(self.spent[op.target], message.lt)
            else:
                meta = Meta(
                    message.stamp,
                    index,
                    op.ot == "meta.undo",
                    message.client,
                    message.auth,
                    message.server_seq,
                )
                self.metas.setdefault(op.target, []).append(meta)
                targets.append(op.target)
        return targets

    def drop(self, message: Message) -> list[str]:
        """Forget the meta ops of a message; their targets."""
        targets = targets_of(message)
        for target in targets:
            self.metas[target] = [meta for meta in self.metas.get(target, []) if meta.stamp[2] != message.id]
        return targets

    def forget(self, targets: Iterable[Placed], cut: int) -> None:
        """Forget what was said of targets that are folded away."""
        if not self.metas:
            return
        for target in targets:
            said = [meta.stamp[0] for meta in self.metas.pop(target.message.id, ()) if meta.server_seq]
            if said and max(said) > cut:
                self.spent[target.message.id] = max(said)

    def fold_away(self, cut: int) -> None:
        """Forget which targets are spent by messages that are folded away now."""
        self.spent = {target: lt for target, lt in self.spent.items() if lt > cut}

    def keep_journalled(self, targets: Iterable[Placed]) -> None:
        """Forget what was said of these by messages that are not journalled yet (rule U3)."""
        if self.metas:
            for target in targets:
                if target.message.id in self.metas:
                    kept = [meta for meta in self.metas[target.message.id] if meta.server_seq]
                    self.metas[target.message.id] = kept

    def is_undone(self, message: Message, cut: int) -> bool:
        """True while the last counting meta op on it is an undo."""
        counting = [meta for meta in self.metas.get(message.id, ()) if meta.counts_on(message, cut)]
        return bool(counting) and max(counting, key=lambda meta: meta.order).is_undo

    def counting_targets(self, message: Message, known: Any, cut: int) -> set[str]:
        """Targets of the message's meta ops that are in `known` (messages by id) and on which they count."""
        return {
            name
            for name in set(targets_of(message))  # once each: a message may name one a thousand times
            if (target := known.get(name)) is not None
            and any(m.stamp[2] == message.id and m.counts_on(target, cut) for m in self.metas.get(name, ()))
        }

    def items(self) -> Iterator[tuple[str, list[Meta]]]:
        """Targets and what was said of them, in total order."""
        return (
            (target, sorted(metas, key=lambda meta: meta.order))
            for target, metas in self.metas.items()
            if metas
        )
