"""One replica of a document: messages in, in any order; the scene graph, its digest and its snapshot out."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .digest import digest
from .dtype import META_OPS
from .entry import keys_of
from .layout import (
    FORMAT,
    Content,
    SnapshotError,
    decode_content,
    encode_content,
    encode_parts,
    scene_layout,
    waiting_entries,
    waiting_records,
)
from .message import SERVER_CLIENT, UNSET, Epoch, Message, cut_of, epoch_of, is_restore
from .oplog import Identity, OpLog
from .place import Placed, Spot, end_of_cut
from .published import PublishedNode, alike_from, published_state, safe_message
from .scene import Scene
from .seen import Seen
from .sink import fold_below
from .size import value_size
from .undo import Undo
from .view import NodeView, PublishedState, Shown, Standpoint, children_of, flat_graph, node_view

INFINITY = float("inf")
CHANGES_MAX = 10_000
"""Messages whose changed nodes are remembered, for `changed_since`."""


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What applying one message did."""

    is_new: bool
    is_late: bool = False
    changed: frozenset[str] = frozenset()
    """Keys of the nodes whose view may differ now, save for `hidden`, which follows from the nodes above."""
    relay: Message | None = None
    """The message as published clients may be sent it: without the ops that would break them; None: nothing."""
    size: int = 0
    """About how many bytes its ops take."""


NOTHING = Applied(is_new=False)


class SnapshotOvertaken(Exception):
    """What a snapshot was being taken of has changed."""


class Graph:
    """All messages of one document above the cut, and the fold of those below it.

    Messages without a cut between them may be applied in any order.  With cuts, journalled messages are applied in the
    order of their `server_seq`, as the journal has them.
    """

    def __init__(self) -> None:
        self._scene = Scene()
        self._undo = Undo()
        self._log = OpLog()
        self._base_seq = 0
        self._base_lt = 0
        """Highest Lamport time of what the base holds."""
        self._folds = 0
        """How often the base has changed."""
        self._base_bytes = 0
        """About what the base takes as a snapshot: what it took when it was last one, and all that was folded since."""
        self.folded_bytes = 0
        """What this replica has folded away itself."""
        self._changes: deque[tuple[int, tuple[str, ...]]] = deque(maxlen=CHANGES_MAX)
        """What the last messages changed, with the head then."""
        self._published: dict[str, PublishedNode] = {}
        """Nodes as `state` told them last, until they change: the next one who joins costs little."""
        self.clock: dict[str, int] = {}
        """Highest counter of each client."""
        self.lt = 0
        """Highest Lamport time."""
        self.cut = 0
        self.epoch = Epoch()
        """The one in force."""
        self.head_seq = 0
        """Highest `server_seq` applied."""

    # Applying

    def apply(self, message: Message) -> Applied:
        """Afterwards the replica holds `message`; idempotent by id."""
        if message.client == SERVER_CLIENT:
            return self._apply_record(message)
        placed = self._retain_new(message)
        if placed is None:
            changed = self._scene.changed  # by getting its place in the journal, if it was there without one
            return Applied(False, changed=self._take_changed(self.head_seq)) if changed else NOTHING
        fits, targets = self._attach(placed)
        relay: Message | None = message
        if False in fits:
            known = self._log.messages(targets) if targets else {}
            relay = safe_message(message, fits, self._undo.counting_targets(message, known, self.cut))
        self._sink_if_late(placed)
        return Applied(
            True,
            placed.is_late,
            self._take_changed(self.head_seq + (not message.server_seq)),
            relay,
            placed.size,
        )

    def take_back(self, message_id: str) -> Applied:
        """Afterwards it is as if a message that has no sequence had never been there; idempotent.  Costs as much as the
        histories of the properties that it wrote are long."""
        placed = self._log.by_id.get(message_id)
        if placed is None or placed.message.server_seq:
            return NOTHING
        self._withdraw(placed)
        return Applied(True, changed=self._take_changed(self.head_seq))

    def _withdraw(self, placed: Placed) -> None:
        client = placed.message.client
        self._scene.detach(placed)
        self._log.remove(placed)
        self._settle_targets(self._undo.drop(placed.message))
        self.lt = max(self._base_lt, self._log.highest_lt())
        self.clock[client] = self._log.highest_of(client)
        if not self.clock[client]:
            del self.clock[client]

    def apply_all(self, messages: Iterable[Message]) -> None:
        """`apply`, one after the other, at a lower price: nobody is told what each did."""
        for message in messages:
            if message.client == SERVER_CLIENT:
                self._apply_record(message)
            elif (placed := self._retain_new(message)) is not None:
                self._attach(placed)
                if placed.is_late:
                    self._sink_if_late(placed)
        self._take_changed(self.head_seq)

    def _retain_new(self, message: Message) -> Placed | None:
        """The message at its place, retained, not in the scene yet; None when there is nothing new in it."""
        seq, client = message.server_seq, message.client
        if seq > self.head_seq:
            self.head_seq = seq
        known = self._log.by_id.get(message.id)
        if known is not None:
            if seq and not known.message.server_seq:
                self._journalled(known, message)
            return None
        counter = message.clock.get(client, 0)
        if counter <= self.clock.get(client, -1):
            if self._log.is_folded(message):
                return None
            other = self._log.under(client, counter)
            if other is not None and not seq:
                return None
            if other is not None and not other.message.server_seq:
                self._withdraw(other)  # the journalled one counts (rule I1)
        if message.lt <= self.cut and 0 < seq <= self._base_seq:
            return None
        if counter > self.clock.get(client, -1):
            self.clock[client] = counter
        if message.lt > self.lt:
            self.lt = message.lt
        return self._retain(message)

    def _retain(self, message: Message) -> Placed:
        """The message at its place, retained, undone if it is; not in the scene yet."""
        placed = self._log.add(message, self.cut)
        if message.id in self._undo.metas:
            placed.is_undone = self._undo.is_undone(message, self.cut)
        return placed

    def _attach(self, placed: Placed) -> tuple[list[bool], set[str]]:
        """Afterwards a new message has its effect; for each op whether it fits, and the targets of its meta ops."""
        targets: set[str] = set()
        for op in placed.message.ops:
            if op.ot in META_OPS:
                targets = self._add_metas(placed.message)
                break
        is_next = self._log.order[-1] is placed and not (placed.is_undone or placed.is_late)
        return self._scene.attach(placed, is_next=is_next), targets

    def _sink_if_late(self, placed: Placed) -> None:
        if placed.is_late and placed.message.server_seq:
            self._sink(placed)

    def _add_metas(self, message: Message) -> set[str]:
        """Note its meta ops; their targets, which are undone or redone now."""
        targets = set(self._undo.add(message))
        self._settle_targets(targets)
        return targets

    def _settle_targets(self, targets: Iterable[str]) -> None:
        toggled = []
        for target in targets:
            placed = self._log.by_id.get(target)
            if placed is not None:
                is_undone = self._undo.is_undone(placed.message, self.cut)
                if is_undone != placed.is_undone:
                    placed.is_undone = is_undone
                    toggled.append(placed)
        if toggled:
            self._scene.toggle(toggled)

    def _take_changed(self, seq: int) -> frozenset[str]:
        keys = self._scene.changed
        changed = frozenset(keys)
        keys.clear()
        if self._published:
            for key in changed:
                self._published.pop(key, None)
        self._changes.append((seq, tuple(changed)))
        return changed

    def _journalled(self, known: Placed, message: Message) -> None:
        """A retained message has got its sequence, and perhaps `auth`."""
        old = known.message
        is_as_heard = (
            msgspec.structs.replace(old, server_seq=message.server_seq, auth=message.auth) == message
        )
        if known.is_late or not is_as_heard:
            self._withdraw(known)
            if (placed := self._retain_new(message)) is not None:
                self._attach(placed)
                self._sink_if_late(placed)
        else:
            targets = {*self._undo.drop(old), *self._undo.add(message)}
            known.message = message
            self._log.pending -= 1
            self._settle_targets(targets)

    def _apply_record(self, record: Message) -> Applied:
        self.head_seq = max(self.head_seq, record.server_seq)
        epoch = epoch_of(record)
        if epoch is not None and epoch.number > self.epoch.number:
            return self._begin(epoch)
        cut = cut_of(record)
        if cut <= self.cut:
            return NOTHING
        self._fold_away(cut)
        return Applied(True, changed=self._take_changed(self.head_seq))

    # Epochs and cuts

    def _begin(self, epoch: Epoch) -> Applied:
        """An empty document, which remembers only whom it has heard of, and when (rules E1, E2)."""
        gone = {key for key, _ in self._scene.nodes()}
        journalled = [placed.message for placed in self._log.order if placed.message.server_seq]
        for message in journalled:
            self._log.folded.add(message.client, message.counter)
        self._log = OpLog(self._log.folded)
        self._scene, self._undo = Scene(), Undo()
        self._folds += 1
        self._base_bytes = 0
        self.cut = max(self.cut, epoch.lt, *(message.lt for message in journalled), 0)
        self.lt = self._base_lt = self.cut
        self.clock = self._log.folded.highest()
        self.epoch = Epoch(epoch.number, self.cut)
        self._scene.changed.update(gone)
        return Applied(True, changed=self._take_changed(self.head_seq))

    def _fold_away(self, cut: int) -> None:
        """Fold what is journalled at or below the cut; what is not becomes late."""
        end = end_of_cut(cut)
        below = self._log.order[: self._log.count_before(end)]
        pending = [placed for placed in below if not placed.message.server_seq] if self._log.pending else []
        for placed in pending:
            self._scene.detach(placed)
            self._log.remove(placed)
        folded = [placed for placed in below if placed.message.server_seq] if pending else below
        self._undo.keep_journalled(folded)
        self._settle_targets([p.message.id for p in folded if p.message.id in self._undo.metas])
        fold_below(self._scene, end, keys_of(folded))
        self.cut = cut
        self._forget(folded, end)
        self._undo.fold_away(cut)
        for placed in pending:
            self._scene.attach(self._retain(placed.message))

    def _sink(self, placed: Placed) -> None:
        """Fold a late message, which is journalled now, into the base."""
        end = (placed.place, INFINITY)
        fold_below(self._scene, end, keys_of([placed]))
        self._forget([placed], ((*placed.place, ""),))

    def _forget(self, folded: list[Placed], end: Spot) -> None:
        self._folds += 1
        self._base_lt = max(self._base_lt, *(placed.message.lt for placed in folded), 0)
        size = sum(placed.size for placed in folded)
        self._base_bytes += size
        self.folded_bytes += size
        self._log.fold_away(folded, end)
        self._undo.forget(folded, self.cut)

    # Identity

    def identify(self, message: Message) -> Identity:
        """Whether `message` is new here, a duplicate, or a re-use of an id or counter (rule I1)."""
        return self._log.identify(message)

    def seq_of(self, message_id: str) -> int | None:
        """The server sequence of a retained, journalled message."""
        known = self._log.by_id.get(message_id)
        return known.message.server_seq or None if known is not None else None

    def message(self, message_id: str) -> Message | None:
        """A retained message, as it was applied."""
        known = self._log.by_id.get(message_id)
        return known.message if known is not None else None

    def messages_since(self, clock: Mapping[str, int]) -> list[Message] | None:
        """Journalled messages above `clock`, by sequence; None when one of them is folded away."""
        return self._log.messages_since(clock)

    def retained_messages(self) -> list[Message]:
        """The messages above the cut, by sequence; those without one first."""
        return sorted((placed.message for placed in self._log.order), key=lambda message: message.server_seq)

    def messages_of(self, client: str) -> Iterator[Message]:
        """The client's messages above the cut, the one that was applied last first; costs nothing for others'."""
        return self._log.messages_of(client)

    @property
    def pending_count(self) -> int:
        """How many messages have no sequence yet."""
        return self._log.pending

    def is_stale(self, message: Message) -> bool:
        """True for a message made before the last reset, by who had not seen it (rule E3)."""
        return self.epoch.number > 0 and message.lt <= self.epoch.lt

    def refusal(self, message: Message) -> str | None:
        """The error code of a message of an older epoch, or whose meta ops cannot count; None when there is nothing
        against it (rules E3, U4)."""
        if self.is_stale(message):
            return "stale-epoch"
        for op in message.ops:
            if op.ot not in META_OPS:
                continue
            known = self._log.by_id.get(op.target) if type(op.target) is str else None
            if known is None:
                if self._was_folded(str(op.target)):
                    return "too-late"
                if not message.auth and not str(op.target).startswith(f"{message.client}:"):
                    return "unknown-target"
            elif known.message.lt <= self.cut:
                return "too-late"
            elif not message.auth and known.message.client != message.client:
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

    @property
    def gap_count(self) -> int:
        """Gaps in the counters of what was folded away (rule I2)."""
        return self._log.folded.gap_count

    def has_counter(self, client: str, counter: int) -> bool:
        """True when a message of that counter has been seen (rule I2)."""
        return self._log.has_counter(client, counter)

    def has_node(self, key: str) -> bool:
        """True when there is such a node, be it a tombstone."""
        return self._scene.node(key) is not None

    def standpoint(self, key: str) -> Standpoint | None:
        """Where the node hangs, be it a tombstone; None: there is none."""
        node = self._scene.node(key)
        return None if node is None else Standpoint(node.parent, node.removed is not None)

    @property
    def waiting_count(self) -> int:
        """Property and text ops that wait for nodes that are not there (rule P2).  Costs a look at each."""
        missing = (item for item in self._scene.live.values() if item.life is None)
        return sum(len(waiting_entries(item)) for item in missing)

    def is_text(self, key: str, path: str) -> bool:
        register = self._scene.register(key, path)
        return register is not None and register.is_text

    def text_size(self, key: str, path: str) -> int:
        """Characters of a text, deleted ones included, or of a string; 0 for anything else."""
        register = self._scene.register(key, path)
        if register is None:
            return 0
        if register.text is not None:
            size: int = register.text.size
            return size
        return len(register.value) if type(register.value) is str else 0

    def member_count(self, key: str, path: str) -> int:
        """Members of a list or map; 0 for anything else."""
        register = self._scene.register(key, path)
        return len(register.value) if register is not None and type(register.value) in (list, dict) else 0

    def value_bytes(self, key: str, path: str) -> int | None:
        """Bytes of a property's plain value as msgpack; None: there is no such property, or it is a text."""
        register = self._scene.register(key, path)
        return None if register is None or register.value is UNSET else value_size(register.value)

    @property
    def retained_count(self) -> int:
        """Messages above the cut."""
        return len(self._log.order)

    @property
    def retained_bytes(self) -> int:
        """About how many bytes those take."""
        return self._log.size

    def retained_ids(self) -> frozenset[str]:
        """Ids of the messages above the cut."""
        return frozenset(self._log.by_id)

    def retained_lt(self, index: int) -> int:
        """Lamport time of a message above the cut, counted from the lowest."""
        return self._log.order[index].message.lt

    def retained_index(self, size: int) -> int:
        """Index of the message, from the lowest, with which so many bytes are reached.  Costs a look at each."""
        for index, placed in enumerate(self._log.order):
            size -= placed.size
            if size <= 0:
                return index
        return len(self._log.order) - 1

    @property
    def content_bytes(self) -> int:
        """About what the document takes as a snapshot and messages; what was overwritten since the last snapshot
        counts, too."""
        return self._base_bytes + self._log.size

    @property
    def folded_seq(self) -> int:
        """Every message up to this sequence is folded away.  Costs a look at each that is not."""
        retained = (placed.message.server_seq for placed in self._log.order)
        return min((seq - 1 for seq in retained if seq), default=self.head_seq)

    def nodes(self, *, with_children: bool = True) -> dict[str, NodeView]:
        """Every node, tombstones included, by key."""
        views = self.views([key for key, _ in self._scene.nodes()], with_children=with_children)
        return {key: view for key, view in views.items() if view is not None}

    def views(self, keys: Any, *, with_children: bool = True) -> dict[str, NodeView | None]:
        """The nodes of these keys; None for those that there are not.  Costs nothing for the others."""
        shown = Shown(self._scene)
        return {key: node_view(self._scene, key, shown, with_children=with_children) for key in keys}

    def hidden_keys(self) -> set[str]:
        """Keys of the nodes that are not shown."""
        shown = Shown(self._scene)
        return {key for key, _ in self._scene.nodes() if key not in shown}

    def children_of(self, key: str) -> list[str]:
        """Keys of the live nodes below a node, or (`""`) at root level, by (createdAt, key)."""
        return children_of(self._scene, key)

    def changed_since(self, seq: int) -> frozenset[str] | None:
        """Keys of the nodes whose view may differ from when `head_seq` was `seq`; None when that is not known."""
        changed: set[str] = set()
        for at, keys in reversed(self._changes):
            if at <= seq:
                return frozenset(changed)
            changed.update(keys)
        is_whole = len(self._changes) < CHANGES_MAX and seq >= self._base_seq
        return frozenset(changed) if is_whole else None

    def is_said_undone(self, message: Message) -> bool:
        """True while the last counting meta op on the message is an undo, be it retained or folded (rule U1)."""
        return self._undo.is_undone(message, self.cut)

    @property
    def scene(self) -> Scene:
        """What the engine works on, for readers that follow it node by node; never to be changed by them."""
        return self._scene

    def is_undone(self, message_id: str) -> bool:
        """True when the message is retained and undone (rule U1)."""
        placed = self._log.by_id.get(message_id)
        return placed is not None and placed.is_undone

    def undone_ids(self) -> frozenset[str]:
        """Ids of the retained messages that are undone (rule U1)."""
        by_id = self._log.by_id
        return frozenset(target for target in self._undo.metas if target in by_id and by_id[target].is_undone)

    def flat(self) -> dict[str, Any]:
        """`{root, nodes}`: what everybody sees, flat; values are shared and must not be changed (rule D1)."""
        return flat_graph(self._scene)

    def digest(self) -> str:
        """Digest of what everybody sees (rule D1)."""
        return digest(self.flat())

    def full_digest(self) -> str:
        """Digest of everything a later merge may depend on (rule D2)."""
        return hashlib.sha256(msgspec.json.encode(self.everything(), order="sorted")).hexdigest()

    def everything(self) -> dict[str, Any]:
        """What `full_digest` covers, as plain JSON."""
        return {
            "state": scene_layout(self._scene),
            "seen": self._log.folded.intervals(),
            "clock": self.clock,
            "lt": self.lt,
            "cut": self.cut,
            "epoch": self.epoch,
            "metas": {target: [[[list(m.stamp), m.index], m.is_undo, m.client, m.auth, m.server_seq] for m in metas]
                      for target, metas in self._undo.items()},
            "spent": self._undo.spent,
            "retained": sorted(self._log.by_id),
        }  # fmt: skip

    def state(self, tail: int) -> PublishedState:
        """The document for published clients: a total-order prefix folded, the last `tail` messages beside it.

        They are fewer when a restore is among them (rule R7), or another message that a published client would apply
        otherwise than we do.  Its nodes are shared with later states and must not be changed.
        """
        order = self._log.order
        after = order[len(order) - self.state_tail(tail) :]
        kept = {placed.message.id: placed.message for placed in after}
        targets = [self._undo.counting_targets(placed.message, kept, self.cut) for placed in after]
        graph, ropes, journal = published_state(self._scene, after, targets, self._published)
        return PublishedState(graph, dict(self.clock), self.lt, ropes, journal, self.head_seq)

    def state_tail(self, tail: int) -> int:
        """How many of the last `tail` messages a state carries: those behind what published clients apply otherwise."""
        after = self._log.order[max(0, len(self._log.order) - tail) :]
        restores = [index for index, placed in enumerate(after) if is_restore(placed.message.id)]
        after = after[restores[-1] + 1 :] if restores else after
        return len(after) - alike_from(self._scene, after)

    def is_read_alike(self, count: int, since: int) -> bool:
        """True when the `count` messages after the sequence `since` stand last, none of them an undo, and a published
        client that has the document as it was at `since` makes of them what we do."""
        after = self._log.order[max(0, len(self._log.order) - count) :]
        are_last = len(after) == count and all(placed.message.server_seq > since for placed in after)
        is_undo = any(op.ot in META_OPS for placed in after for op in placed.message.ops)
        return are_last and not is_undo and self.state_tail(count) == count

    # Snapshots

    def snapshot(self) -> bytes:
        """The fold of everything at or below the cut in force, as msgpack (rule K5)."""
        data = encode_content(self._content())
        self._base_bytes = len(data)
        return data

    def snapshot_parts(self, nodes_max: int) -> Iterator[bytes]:
        """A snapshot as of the first part, in parts of at most `nodes_max` nodes; messages may be applied between them.

        Raises: SnapshotOvertaken when one of those was folded away: the parts are of no use then.
        """
        folds, size = self._folds, 0
        for part in encode_parts(self._content(), nodes_max):
            if self._folds != folds:
                raise SnapshotOvertaken("the base has changed")
            size += len(part)
            yield part
        self._base_bytes = size

    def _content(self) -> Content:
        lt, clock = self._reached() if self._log.pending else (self.lt, self.clock)
        below = {target: [m for m in metas if m.stamp[0] <= self.cut] for target, metas in self._undo.items()}
        return Content(
            format=FORMAT,
            head=self.head_seq,
            cut=self.cut,
            epoch=self.epoch,
            lt=lt,
            clock=clock,
            seen=self._log.folded.intervals(),
            root=self._scene.tree.base_root,
            waiting=waiting_records(self._scene),
            metas={target: metas for target, metas in below.items() if metas},
            spent=self._undo.spent,
            nodes=self._scene.base,
        )

    def _reached(self) -> tuple[int, dict[str, int]]:
        """The highest Lamport time and counters of what is journalled.  Costs a look at each retained message."""
        messages = [placed.message for placed in self._log.order]
        unsettled = {message.client for message in messages if not message.server_seq}
        folded = self._log.folded.highest()
        lt = self._base_lt
        clock = {c: folded.get(c, 0) if c in unsettled else n for c, n in self.clock.items()}
        for message in messages:
            if message.server_seq:
                lt = max(lt, message.lt)
                clock[message.client] = max(clock[message.client], message.counter)
        return lt, {client: counter for client, counter in clock.items() if counter}

    @classmethod
    def restore(cls, data: bytes) -> "Graph":
        """The replica a snapshot was taken of, without the messages above its cut.  Raises: SnapshotError."""
        content = decode_content(data)
        graph = cls()
        graph._scene = Scene(content.nodes, content.root)
        graph._base_seq = graph.head_seq = content.head
        graph._base_lt = content.lt
        graph._base_bytes = len(data)
        graph._log = OpLog(Seen(content.seen))
        graph.clock, graph.lt, graph.cut = content.clock, content.lt, content.cut
        graph.epoch = content.epoch
        graph._undo = Undo(content.metas, content.spent)
        for record in content.waiting:
            graph._scene.attach_waiting(record.placed(), record.indices)
        graph._scene.changed.clear()
        return graph


__all__ = ["Applied", "Graph", "Identity", "NodeView", "PublishedState", "SnapshotError", "SnapshotOvertaken"]
