"""One replica of a document: messages in, in any order; the scene graph, its digest and its snapshot out."""

import enum
from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Any

import msgspec

from .digest import digest
from .dtype import META_OPS
from .layout import (
    FORMAT,
    Content,
    SnapshotError,
    decode_content,
    encode_content,
    scene_layout,
    waiting_records,
)
from .message import SERVER_CLIENT, Message
from .place import Placed, Spot, end_of_cut, placed_at
from .published import Prefix, Tail, published_graph, safe_message
from .scene import Scene, entries_of, keys_of
from .seen import Seen
from .undo import Undo
from .view import NodeView, PublishedState, Shown, flat_graph, node_view

INFINITY = float("inf")


class Identity(enum.Enum):
    """What a message is to a replica that has seen others (rule I1)."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    """Its id or its counter was used for another content."""


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What applying one message did."""

    is_new: bool
    is_late: bool = False
    changed: frozenset[str] = frozenset()
    """Keys of the nodes whose view may differ now, save for `hidden`, which follows from the nodes above."""
    relay: Message | None = None
    """The message as published clients may be sent it: without the ops that would break them; None: nothing."""


NOTHING = Applied(is_new=False)


class Graph:
    """All messages of one document above the cut, and the fold of those below it.

    Messages without a cut between them may be applied in any order.  With cuts, journalled messages are applied in the
    order of their `server_seq`, as the journal has them.
    """

    def __init__(self) -> None:
        self._scene = Scene()
        self._undo = Undo()
        self._base_seq = 0
        self._folded = Seen()
        self._retained: dict[str, Placed] = {}
        self._order: list[tuple[Any, Placed]] = []
        """Retained messages with their places, in total order."""
        self._counters: dict[tuple[str, int], str] = {}
        self._pending = 0
        """How many retained messages are not journalled."""
        self._changed_at: dict[str, int] = {}
        """Sequence at which each node last changed, the latest last."""
        self.clock: dict[str, int] = {}
        """Highest counter of each client."""
        self.lt = 0
        """Highest Lamport time."""
        self.cut = 0
        self.head_seq = 0
        """Highest `server_seq` applied."""

    # Applying

    def apply(self, message: Message) -> Applied:
        """Afterwards the replica holds `message`; idempotent by id."""
        if message.server_seq > self.head_seq:
            self.head_seq = message.server_seq
        client, message_id = message.client, message.id
        if client == SERVER_CLIENT:
            return self._apply_record(message)
        known = self._retained.get(message_id)
        if known is not None:
            if message.server_seq and not known.message.server_seq:
                self._journalled(known, message)
            return NOTHING
        counter = message.clock.get(client, 0)
        if (client, counter) in self._folded or (
            0 < message.server_seq <= self._base_seq and message.lt <= self.cut
        ):
            return NOTHING
        self._counters[client, counter] = message_id
        if counter > self.clock.get(client, -1):
            self.clock[client] = counter
        if message.lt > self.lt:
            self.lt = message.lt
        return self._apply_new(message)

    def _apply_new(self, message: Message) -> Applied:
        placed = self._retain(message)
        targets = self._add_metas(message)
        results = self._scene.attach(placed)
        relayed = [effect and fits for effect, fits in results]
        if targets:
            targets = self._undo.counting_targets(message, self._messages(targets), self.cut)
        relay = safe_message(message, relayed, targets)
        if placed.is_late and message.server_seq:
            self._sink(placed)
        return Applied(True, placed.is_late, self._take_changed(), relay)

    def _retain(self, message: Message) -> Placed:
        """The message at its place, known as retained, undone if it is; not in the scene yet."""
        placed = placed_at(message, self.cut)
        self._retained[message.id] = placed
        if not message.server_seq:
            self._pending += 1
        order = self._order
        if order and placed.place < order[-1][0]:
            insort(order, (placed.place, placed))
        else:
            order.append((placed.place, placed))
        if message.id in self._undo.metas:
            placed.is_undone = self._undo.is_undone(message, self.cut)
        return placed

    def _add_metas(self, message: Message) -> set[str]:
        """Note its meta ops; their targets, which are undone or redone now."""
        for op in message.ops:
            if op.ot in META_OPS:
                targets = set(self._undo.add(message))
                self._settle_targets(targets)
                return targets
        return set()

    def _settle_targets(self, targets: set[str]) -> None:
        for target in targets:
            placed = self._retained.get(target)
            if placed is not None:
                is_undone = self._undo.is_undone(placed.message, self.cut)
                if is_undone != placed.is_undone:
                    placed.is_undone = is_undone
                    self._scene.toggle(placed)

    def _take_changed(self) -> frozenset[str]:
        scene = self._scene
        changed, scene.changed = scene.changed, set()
        changed.discard("")
        seq, changed_at = self.head_seq, self._changed_at
        for key in changed:
            changed_at.pop(key, None)
            changed_at[key] = seq
        return frozenset(changed)

    def _journalled(self, known: Placed, message: Message) -> None:
        """A retained message has got its sequence, and perhaps `auth`."""
        old = known.message
        self._pending -= 1
        targets = set(self._undo.drop(old)) | set(self._undo.add(message))
        if known.is_late or message.lt <= self.cut or old.ops != message.ops or old.stamp != message.stamp:
            self._forget_place(known)
            self._scene.detach(known)
            self._pending += not message.server_seq
            placed = self._retain(message)
            self._settle_targets(targets)
            self._scene.attach(placed)
            if placed.is_late:
                self._sink(placed)
        else:
            known.message = message
            self._settle_targets(targets)
        self._take_changed()

    def _apply_record(self, record: Message) -> Applied:
        cuts = [op.value for op in record.ops if op.ot == "server.cut" and type(op.value) is int]
        if not cuts or max(cuts) <= self.cut:
            return NOTHING
        self._fold_away(max(cuts))
        return Applied(True, changed=self._take_changed())

    # The cut

    def _fold_away(self, cut: int) -> None:
        """Fold what is journalled at or below the cut; what is not becomes late."""
        end = end_of_cut(cut)
        below = [placed for _, placed in self._order[: bisect_left(self._order, end)]]
        pending = [placed for placed in below if not placed.message.server_seq] if self._pending else []
        for placed in pending:
            self._scene.detach(placed)
            self._forget_place(placed)
            self._pending -= 1
        folded = [placed for placed in below if placed.message.server_seq] if pending else below
        for placed in folded:
            self._undo.keep_journalled(placed.message.id)
        self._settle_targets(
            {placed.message.id for placed in folded if placed.message.id in self._undo.metas}
        )
        self._scene.fold_below(end, {key for placed in folded for key in keys_of(placed)})
        self.cut = cut
        for placed in folded:
            self._forget(placed)
        self._undo.fold_away(cut)
        del self._order[: bisect_left(self._order, end)]
        for placed in pending:
            self._scene.attach(self._retain(placed.message))

    def _sink(self, placed: Placed) -> None:
        """Fold a late message, which is journalled now, into the base."""
        self._scene.fold_below((placed.place, INFINITY), keys_of(placed))
        self._forget_place(placed)
        self._forget(placed)

    def _forget(self, placed: Placed) -> None:
        message = placed.message
        placed.is_folded = True
        self._retained.pop(message.id, None)
        self._counters.pop((message.client, message.counter), None)
        self._undo.forget(message.id, self.cut)
        self._folded.add(message.client, message.counter)

    def _forget_place(self, placed: Placed) -> None:
        self._retained.pop(placed.message.id, None)
        at = bisect_left(self._order, (placed.place,))
        while self._order[at][1] is not placed:
            at += 1
        del self._order[at]

    def _messages(self, ids: set[str]) -> dict[str, Message]:
        return {
            message_id: known.message
            for message_id in ids
            if (known := self._retained.get(message_id)) is not None
        }

    # Identity

    def identify(self, message: Message) -> Identity:
        """Whether `message` is new here, a duplicate, or a re-use of an id or counter (rule I1)."""
        known = self._retained.get(message.id)
        if known is not None:
            return Identity.DUPLICATE if _content(known.message) == _content(message) else Identity.REUSED
        if (message.client, message.counter) in self._counters:
            return Identity.REUSED
        return Identity.DUPLICATE if (message.client, message.counter) in self._folded else Identity.NEW

    def seq_of(self, message_id: str) -> int | None:
        """The server sequence of a retained, journalled message."""
        known = self._retained.get(message_id)
        return known.message.server_seq or None if known is not None else None

    def refusal(self, message: Message) -> str | None:
        """The error code of a message whose meta ops cannot count; None when there is nothing against it (rule U4)."""
        for op in message.ops:
            if op.ot not in META_OPS:
                continue
            known = self._retained.get(op.target) if type(op.target) is str else None
            if known is not None and known.message.lt <= self.cut:
                return "too-late"
            if known is None and self._was_folded(str(op.target)):
                return "too-late"
            if known is None and not message.auth and not str(op.target).startswith(f"{message.client}:"):
                return "unknown-target"
            if known is not None and not message.auth and known.message.client != message.client:
                return "foreign-undo"
        return None

    def _was_folded(self, message_id: str) -> bool:
        """Folded ids are forgotten; the usual `client:lt` tells its age itself."""
        client, _, lt = message_id.rpartition(":")
        return client in self.clock and lt.isascii() and lt.isdigit() and len(lt) < 17 and int(lt) <= self.cut

    # Reading

    @property
    def node_count(self) -> int:
        return self._scene.node_count

    def nodes(self) -> dict[str, NodeView]:
        """Every node, tombstones included, by key."""
        keys = [key for key, _ in self._scene.nodes()]
        return {key: view for key, view in self.views(keys).items() if view is not None}

    def views(self, keys: Any) -> dict[str, NodeView | None]:
        """The nodes of these keys; None for those that there are not.  Costs nothing for the others."""
        shown = Shown(self._scene)
        return {key: node_view(self._scene, key, shown) for key in keys}

    def changed_since(self, seq: int) -> frozenset[str] | None:
        """Keys of the nodes whose view may differ from when `head_seq` was `seq`; None when that is not known any more."""
        if seq < self._base_seq:
            return None
        changed = set()
        for key, at in reversed(self._changed_at.items()):
            if at <= seq:
                break
            changed.add(key)
        return frozenset(changed)

    def last_writer(self, key: str, path: str) -> str | None:
        """Id of the highest message that had an effect on a property; None when there is no such property."""
        register = self._scene.register(key, path)
        if register is None:
            return None
        origin = register.touched or register.writer
        return origin[2] if origin is not None else None

    def undone_ids(self) -> frozenset[str]:
        """Ids of the retained messages that are undone (rule U1)."""
        known = self._messages(set(self._undo.metas))
        return frozenset(message_id for message_id in known if self._retained[message_id].is_undone)

    def messages_since(self, clock: Mapping[str, int]) -> list[Message] | None:
        """Journalled messages above `clock`, by sequence; None when one of them is folded away."""
        if self._folded.missing(clock):
            return None
        messages = (placed.message for placed in self._retained.values())
        lacking = [m for m in messages if m.counter > clock.get(m.client, 0) and m.server_seq]
        return sorted(lacking, key=lambda message: message.server_seq)

    def digest(self) -> str:
        """Digest of what everybody sees (rule D1)."""
        return digest(flat_graph(self._scene))

    def full_digest(self) -> str:
        """Digest of everything a later merge may depend on (rule D2)."""
        return digest(self.everything())

    def everything(self) -> dict[str, Any]:
        """What `full_digest` covers, as plain JSON."""
        return {
            "state": scene_layout(self._scene),
            "seen": self._folded.intervals(),
            "clock": self.clock,
            "lt": self.lt,
            "cut": self.cut,
            "metas": {target: [[[list(m.stamp), m.index], m.is_undo, m.client, m.auth, m.server_seq] for m in metas]
                      for target, metas in self._undo.items()},
            "spent": self._undo.spent,
            "retained": sorted(self._retained),
        }  # fmt: skip

    def state(self, tail: int) -> PublishedState:
        """The document as published clients take it: a total-order prefix folded, the last `tail` messages beside it."""
        split = max(0, len(self._order) - tail)
        after = [placed for _, placed in self._order[split:]]
        end: Spot = (after[0].place,) if after else ((INFINITY,),)
        prefix = Prefix(self._scene, end, after)
        graph, ropes = published_graph(prefix)
        return PublishedState(
            graph=graph,
            vector_clock=dict(self.clock),
            lt=self.lt,
            text_ropes=ropes,
            journal=self._safe_tail(prefix, after),
            journal_index=self.head_seq,
        )

    def _safe_tail(self, prefix: Prefix, tail: list[Placed]) -> list[Message]:
        folded = Tail(prefix)
        for placed in tail:
            folded.fold(placed)
        kept = {placed.message.id: placed.message for placed in tail}
        journal = []
        for placed in tail:
            fits = [entry[:2] in folded.fitting for entry in entries_of(placed)]
            targets = self._undo.counting_targets(placed.message, kept, self.cut)
            if (safe := safe_message(placed.message, fits, targets)) is not None:
                journal.append(safe)
        return journal

    # Snapshots

    def snapshot(self, cut: int | None = None) -> bytes:
        """The fold of everything at or below the cut, as msgpack; `cut` must be the cut in force (rule K5)."""
        if cut is not None and cut != self.cut:
            raise ValueError(f"the cut in force is {self.cut}, not {cut}")
        below = {target: [m for m in metas if m.stamp[0] <= self.cut] for target, metas in self._undo.items()}
        return encode_content(
            Content(
                format=FORMAT,
                head=self.head_seq,
                cut=self.cut,
                lt=self.lt,
                clock=self.clock,
                seen=self._folded.intervals(),
                root=self._scene.tree.base_root,
                nodes=self._scene.base,
                waiting=waiting_records(self._scene),
                metas={target: metas for target, metas in below.items() if metas},
                spent=self._undo.spent,
            )
        )

    @classmethod
    def restore(cls, data: bytes) -> "Graph":
        """The replica a snapshot was taken of, without the messages above its cut.  Raises: SnapshotError."""
        content = decode_content(data)
        graph = cls()
        graph._scene = Scene(content.nodes, content.root)
        graph._base_seq = graph.head_seq = content.head
        graph._folded = Seen(content.seen)
        graph.clock, graph.lt, graph.cut = content.clock, content.lt, content.cut
        graph._undo = Undo(content.metas, content.spent)
        for record in content.waiting:
            graph._scene.attach_waiting(record.placed(), record.indices)
        graph._scene.changed.clear()
        return graph


def _content(message: Message) -> Message:
    return msgspec.structs.replace(message, server_seq=0, auth=False)


__all__ = ["Applied", "Graph", "Identity", "NodeView", "PublishedState", "SnapshotError"]
