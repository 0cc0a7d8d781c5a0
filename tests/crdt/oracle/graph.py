"""One replica of a document: messages in, in any order; the scene graph, its digest and its snapshot out."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from vuer_rtc.crdt.digest import digest
from vuer_rtc.crdt.dtype import CREATE_OPS, META_OPS, PROPERTY_OPS, SET_OPS, TEXT_OPS
from vuer_rtc.crdt.graph import Applied, Identity, SnapshotError
from vuer_rtc.crdt.message import UNSET, Message, is_restore
from vuer_rtc.crdt.seen import Seen
from vuer_rtc.crdt.value import NO_EFFECT
from vuer_rtc.crdt.view import NodeView, PublishedState

from .fold import Placed, State, _apply, fold
from .snapshot import decode_state, digest_state, encode_state
from .view import flat_graph, node_views, published_nodes, text_ropes

FORMAT = 1
"""Version of the snapshot layout."""


@dataclass(frozen=True, slots=True)
class Meta:
    """One undo or redo of a target."""

    order: tuple[Any, ...]
    is_undo: bool
    client: str
    auth: bool
    server_seq: int


class OracleGraph:
    """All messages of one document at or above the cut, and the fold of those below it.

    Messages without a cut between them may be applied in any order.  With cuts, journalled messages are applied in the
    order of their `server_seq`, as the journal has them.
    """

    def __init__(self, *, is_terse: bool = False) -> None:
        self.is_terse = is_terse
        """True: `apply` only says whether the message is new, and costs next to nothing."""
        self._base = State()
        self._base_seq = 0
        self._base_lt = 0
        self._folded = Seen()
        self._messages: dict[str, Message] = {}
        self._counters: dict[tuple[str, int], str] = {}
        self._metas: dict[str, list[Meta]] = {}
        self._spent: dict[str, int] = {}
        """Folded targets of retained meta ops, by the highest Lamport time of those: nothing said of them is kept."""
        self._current: State | None = None
        self.clock: dict[str, int] = {}
        self.lt = 0
        self.cut = 0
        self.epoch = (0, 0)
        """Its number, and the Lamport time up to which messages are of older ones."""
        self.head_seq = 0

    # Applying

    def apply(self, message: Message) -> Applied:
        """Afterwards the replica holds `message`; idempotent by id."""
        self.head_seq = max(self.head_seq, message.server_seq)
        if message.is_server_record:
            return self._apply_record(message)
        known = self._messages.get(message.id)
        if known is not None:
            if message.server_seq and not known.server_seq:
                self._journalled(message)
            return Applied(is_new=False)
        other = self._counters.get((message.client, message.counter))
        if self._is_folded(message) or (other is not None and not message.server_seq):
            return Applied(is_new=False)
        if other is not None and not self._messages[other].server_seq:
            self._withdraw(self._messages[other])
        if self.is_terse:
            self._remember(message)
            if message.lt <= self.cut and message.server_seq:
                self._fold_late(message)
            return Applied(True, message.lt <= self.cut)
        before = self._state()
        self._remember(message)
        relay = self._relay(message, [self._fits(message, index) for index in range(len(message.ops))])
        is_late = message.lt <= self.cut
        if is_late and message.server_seq:
            self._fold_late(message)
        return Applied(True, is_late, _touched(before, self._state()), relay)

    def _apply_record(self, record: Message) -> Applied:
        for op in record.ops:
            if op.ot == "server.reset" and op.value["epoch"] > self.epoch[0]:
                self._begin(op.value["epoch"], op.value["lt"])
                return Applied(is_new=True)
        cuts = [op.value for op in record.ops if op.ot == "server.cut" and type(op.value) is int]
        if not cuts or max(cuts) <= self.cut:
            return Applied(is_new=False)
        cut = max(cuts)
        below = [m for m in self._messages.values() if m.lt <= cut and m.server_seq]
        for target, metas in self._metas.items():
            if target in {message.id for message in below}:
                self._metas[target] = [meta for meta in metas if meta.server_seq]
        placed = self._placed(below)
        self.cut = cut
        fold(self._base, placed)
        for message in below:
            self._forget(message)
        self._spent = {target: lt for target, lt in self._spent.items() if lt > cut}
        self._current = None
        return Applied(is_new=True)

    def _begin(self, epoch: int, lt: int) -> None:
        """Empty from here; identities, clocks and Lamport times stay (rules E1, E2)."""
        journalled = [message for message in self._messages.values() if message.server_seq]
        for message in journalled:
            self._folded.add(message.client, message.counter)
        self._base, self._current = State(), None
        self._messages, self._counters, self._metas, self._spent = {}, {}, {}, {}
        self.cut = max([self.cut, lt, *(message.lt for message in journalled)])
        self.lt = self._base_lt = self.cut
        self.clock = self._folded.highest()
        self.epoch = (epoch, self.cut)

    def _fold_late(self, message: Message) -> list[bool]:
        [effects] = fold(self._base, [Placed(message, message.id in self._undone(), is_late=True)])
        self._forget(message)
        self._current = None
        return effects

    def _withdraw(self, message: Message) -> None:
        """Afterwards it is as if the message, which is not journalled, had never been there."""
        self._drop(message)
        self._drop_metas(message.id)
        left = [m.counter for m in self._messages.values() if m.client == message.client]
        self.clock[message.client] = max([*left, self._folded.highest().get(message.client, 0)])
        if not self.clock[message.client]:
            del self.clock[message.client]
        self.lt = max([self._base_lt, *(m.lt for m in self._messages.values())])

    def _journalled(self, message: Message) -> None:
        """What was heard makes room for what is journalled under its id (rule I1)."""
        heard = self._messages[message.id]
        if heard.lt <= self.cut or heard != replace(message, server_seq=0, auth=heard.auth):
            self._withdraw(heard)
        else:
            self._drop_metas(message.id)
        self._remember(message)
        if message.lt <= self.cut:
            self._fold_late(message)
        self._current = None

    def _remember(self, message: Message) -> None:
        self._messages[message.id] = message
        self._counters[(message.client, message.counter)] = message.id
        self._remember_metas(message)
        self.clock[message.client] = max(self.clock.get(message.client, 0), message.counter)
        self.lt = max(self.lt, message.lt)
        self._current = None

    def _remember_metas(self, message: Message) -> None:
        for index, op in enumerate(message.ops):
            if op.ot in META_OPS and type(op.target) is str and op.target in self._spent:
                if message.server_seq:
                    self._spent[op.target] = max(self._spent[op.target], message.lt)
            elif op.ot in META_OPS and type(op.target) is str:
                meta = Meta(
                    (message.stamp, index),
                    op.ot == "meta.undo",
                    message.client,
                    message.auth,
                    message.server_seq,
                )
                self._metas.setdefault(op.target, []).append(meta)

    def _drop_metas(self, message_id: str) -> None:
        for target, metas in list(self._metas.items()):
            self._metas[target] = [meta for meta in metas if meta.order[0][2] != message_id]

    def _forget(self, message: Message) -> None:
        self._drop(message)
        self._base_lt = max(self._base_lt, message.lt)
        said = [meta.order[0][0] for meta in self._metas.pop(message.id, []) if meta.server_seq]
        if said and max(said) > self.cut:
            self._spent[message.id] = max(said)
        self._folded.add(message.client, message.counter)

    def _drop(self, message: Message) -> None:
        del self._messages[message.id]
        if self._counters.get((message.client, message.counter)) == message.id:
            del self._counters[message.client, message.counter]

    def _is_folded(self, message: Message) -> bool:
        if 0 < message.server_seq <= self._base_seq and message.lt <= self.cut:
            return True
        return (message.client, message.counter) in self._folded

    # Order

    def _place(self, message: Message) -> tuple[Any, ...]:
        """Total order; what is journalled below the cut stands right after it, by sequence (rule K2)."""
        if message.lt <= self.cut:
            return (self.cut, 1, message.server_seq or math.inf, message.client, message.id)
        return (message.lt, 0, 0, message.client, message.id)

    def _placed(self, messages: list[Message]) -> list[Placed]:
        undone = self._undone()
        return [Placed(m, m.id in undone, m.lt <= self.cut) for m in sorted(messages, key=self._place)]

    def _undone(self) -> frozenset[str]:
        """Ids of retained messages whose last counting meta op, in total order, is an undo (rule U1)."""
        undone = set()
        for target, metas in self._metas.items():
            message = self._messages.get(target)
            if message is None:
                continue
            counting = [meta for meta in metas if self._counts(meta, message)]
            if counting and max(counting, key=lambda meta: meta.order).is_undo:
                undone.add(target)
        return frozenset(undone)

    def _counts(self, meta: Meta, target: Message) -> bool:
        """Author or authority; for a message below the cut only what was journalled before it (rule U3)."""
        in_time = target.lt > self.cut or 0 < meta.server_seq < (target.server_seq or math.inf)
        return in_time and (meta.auth or meta.client == target.client)

    def _refold(self) -> dict[str, list[bool]]:
        state = decode_state(encode_state(self._base))
        placed = self._placed(list(self._messages.values()))
        effects = fold(state, placed)
        self._current = state
        return {item.message.id: effect for item, effect in zip(placed, effects, strict=True)}

    def _state(self) -> State:
        if self._current is None:
            self._refold()
        assert self._current is not None
        return self._current

    # Identity

    def identify(self, message: Message) -> Identity:
        """Whether `message` is new here, a duplicate, or a re-use of an id or counter (rule I1)."""
        known = self._messages.get(message.id)
        if known is not None:
            return Identity.DUPLICATE if _content(known) == _content(message) else Identity.REUSED
        if (message.client, message.counter) in self._counters:
            return Identity.REUSED
        return Identity.DUPLICATE if (message.client, message.counter) in self._folded else Identity.NEW

    def seq_of(self, message_id: str) -> int | None:
        """The server sequence of a retained, journalled message."""
        message = self._messages.get(message_id)
        return message.server_seq or None if message else None

    def refusal(self, message: Message) -> str | None:
        """The error code of a message of an older epoch, or whose meta ops cannot count; None when there is nothing
        against it (rules E3, U4)."""
        if self.epoch[0] and message.lt <= self.epoch[1]:
            return "stale-epoch"
        for op in message.ops:
            if op.ot not in META_OPS:
                continue
            target = self._messages.get(op.target) if type(op.target) is str else None
            if target is not None and target.lt <= self.cut:
                return "too-late"
            if target is None and self._was_folded(str(op.target)):
                return "too-late"
            if target is None and not message.auth and not str(op.target).startswith(f"{message.client}:"):
                return "unknown-target"
            if target is not None and not message.auth and target.client != message.client:
                return "foreign-undo"
        return None

    def _was_folded(self, message_id: str) -> bool:
        """Folded ids are forgotten; the usual `client:lt` tells its age itself."""
        client, _, lt = message_id.rpartition(":")
        return client in self.clock and lt.isascii() and lt.isdigit() and len(lt) < 17 and int(lt) <= self.cut

    # Reading

    @property
    def node_count(self) -> int:
        return len(self._state().nodes)

    def nodes(self) -> dict[str, NodeView]:
        """Every node, tombstones included, by key."""
        return node_views(self._state())

    def undone_ids(self) -> frozenset[str]:
        return self._undone()

    def messages_since(self, clock: Mapping[str, int]) -> list[Message] | None:
        """Journalled messages above `clock`, by sequence; None when one of them is folded away."""
        if self._folded.missing(clock):
            return None
        lacking = [m for m in self._messages.values() if m.counter > clock.get(m.client, 0) and m.server_seq]
        return sorted(lacking, key=lambda message: message.server_seq)

    def digest(self) -> str:
        """Digest of what everybody sees (rule D1)."""
        return digest(flat_graph(self._state()))

    def full_digest(self) -> str:
        """Digest of everything a later merge may depend on (rule D2)."""
        return hashlib.sha256(msgspec.json.encode(self.everything(), order="sorted")).hexdigest()

    def everything(self) -> dict[str, Any]:
        """What `full_digest` covers, as plain JSON."""
        return {
            **self._everything(self._state(), sorted(self._messages)),
            "state": digest_state(self._state()),
        }

    def snapshot(self, cut: int | None = None) -> bytes:
        """The fold of everything at or below the cut, as msgpack; `cut` must be the cut in force (rule K5)."""
        if cut is not None and cut != self.cut:
            raise ValueError(f"the cut in force is {self.cut}, not {cut}")
        data = {**self._everything(self._base, None), "format": FORMAT, "head": self.head_seq}
        return msgspec.msgpack.encode(data)

    def _everything(self, state: State, retained: list[str] | None) -> dict[str, Any]:
        metas = {
            target: sorted(items, key=lambda m: m.order) for target, items in self._metas.items() if items
        }
        if retained is None:
            below = {t: [m for m in items if m.order[0][0] <= self.cut] for t, items in metas.items()}
            metas = {target: items for target, items in below.items() if items}
        return {
            "state": encode_state(state),
            "seen": self._folded.intervals(),
            "clock": self.clock,
            "lt": self.lt,
            "cut": self.cut,
            "epoch": list(self.epoch),
            "metas": {
                target: [[[*m.order], m.is_undo, m.client, m.auth, m.server_seq] for m in items]
                for target, items in metas.items()
            },
            "spent": self._spent,
            "retained": retained,
        }  # fmt: skip

    @classmethod
    def restore(cls, data: bytes) -> "OracleGraph":
        """The replica a snapshot was taken of, without the messages above its cut."""
        try:
            content = msgspec.msgpack.decode(data)
            if content["format"] != FORMAT:
                raise SnapshotError(f"format {content['format']} is not {FORMAT}")
            graph = cls()
            graph._base = decode_state(content["state"])
            graph._base_seq = graph.head_seq = content["head"]
            graph._folded = Seen(content["seen"])
            graph.clock, graph.lt, graph.cut = content["clock"], content["lt"], content["cut"]
            graph._base_lt = graph.lt
            graph.epoch = tuple(content["epoch"])
            graph._spent = content["spent"]
            graph._metas = {t: [_meta(item) for item in items] for t, items in content["metas"].items()}
        except SnapshotError:
            raise
        except (
            msgspec.DecodeError,
            msgspec.ValidationError,
            KeyError,
            TypeError,
            ValueError,
            IndexError,
        ) as error:
            raise SnapshotError(f"not a snapshot: {error}") from error
        return graph

    # For published clients

    def state(self, tail: int) -> PublishedState:
        """The document for published clients: a total-order prefix folded, the last `tail` messages beside it."""
        placed = self._placed(list(self._messages.values()))
        restores = [index for index, item in enumerate(placed, 1) if is_restore(item.message.id)]
        split = max(0, len(placed) - tail, *restores)
        prefix = _copy(self._base)
        fold(prefix, placed[:split])
        nodes, ropes, root = published_nodes(prefix), text_ropes(prefix), prefix.root_key
        kept = {item.message.id for item in placed[split:]}
        fitting = {item.message.id: _as_if_counted(prefix, item) for item in placed[split:]}
        journal = []
        for item in placed[split:]:
            late = [(item.message.id, i) in prefix.late_effects for i in range(len(item.message.ops))]
            fits = [a or b for a, b in zip(fitting[item.message.id], late, strict=True)]
            if (safe := _safe(item.message, fits, self._targets(item.message) & kept)) is not None:
                journal.append(safe)
        return PublishedState(
            graph={"nodes": nodes, "rootKey": root},
            vector_clock=dict(self.clock),
            lt=self.lt,
            text_ropes=ropes,
            journal=journal,
            journal_index=self.head_seq,
        )

    def _relay(self, message: Message, fitting: list[bool]) -> Message | None:
        """Without the ops that have no effect at their place or do not fit what a published client has now."""
        return _safe(message, fitting, self._targets(message) & self._messages.keys())

    def _targets(self, message: Message) -> set[str]:
        """Retained targets of those of its meta ops that count."""
        return {
            target
            for target, metas in self._metas.items()
            if target in self._messages
            and any(m.order[0][2] == message.id and self._counts(m, self._messages[target]) for m in metas)
        }

    def _fits(self, message: Message, index: int) -> bool:
        """True when the op has an effect and fits what it meets on arrival, the message's earlier ops applied.

        Nothing fits a missing node, nor a later incarnation.
        """
        op = message.ops[index]
        if not self._has_effect(message, index):
            return False
        if op.ot not in PROPERTY_OPS and op.ot not in TEXT_OPS:
            return True
        state, _ = self._preview(message, index)
        node = state.nodes.get(op.key)
        if node is None:
            return False
        creator = self._messages.get(node.created[0][2])
        if node.floor and creator is not None and self._place(message) < self._place(creator):
            return False
        if op.ot in TEXT_OPS or op.ot in SET_OPS or op.path in ("", "."):
            return True
        register = node.registers.get(op.path)
        return PROPERTY_OPS[op.ot](register.visible if register else UNSET, op) is not NO_EFFECT

    def _has_effect(self, message: Message, index: int) -> bool:
        """At its place or when its node comes, without the ops after it."""
        state, effects = self._preview(message, index + 1)
        return effects[message.id][index] or (message.id, index) in state.late_effects

    def _preview(self, message: Message, count: int) -> tuple[State, dict[str, list[bool]]]:
        """The fold with the first `count` ops of the message only."""
        others = [m for m in self._messages.values() if m.id != message.id]
        placed = self._placed([*others, msgspec.structs.replace(message, ops=message.ops[:count])])
        state = _copy(self._base)
        effects = fold(state, placed)
        return state, {p.message.id: effect for p, effect in zip(placed, effects, strict=True)}


def _copy(state: State) -> State:
    return decode_state(encode_state(state))


def _as_if_counted(state: State, item: Placed) -> list[bool]:
    """Whether each op fits at its place, undone or not; afterwards `state` has the message folded in."""
    fits: list[bool] = []
    made: set[str] = set()
    for index, op in enumerate(item.message.ops):
        counted = Placed(item.message, False, item.is_late)
        fit = _apply(_copy(state), counted, index)
        if fit and op.ot in CREATE_OPS:
            made.add(op.value["key"])
        waits_for_own = (
            item.is_undone and (op.ot in PROPERTY_OPS or op.ot in TEXT_OPS) and op.key not in state.nodes
        )
        fits.append(fit or (waits_for_own and op.key in made))
        _apply(state, item, index)
    return fits


def _safe(message: Message, fitting: list[bool], targets: set[str]) -> Message | None:
    ops = [op for op, fits in zip(message.ops, fitting, strict=True)
           if fits or (op.ot in META_OPS and type(op.target) is str and op.target in targets)]  # fmt: skip
    return msgspec.structs.replace(message, ops=ops) if ops else None


def _touched(before: State, after: State) -> frozenset[str]:
    """Keys of the nodes that differ, save for `hidden`."""
    old, new = (
        {k: msgspec.structs.replace(v, hidden=False) for k, v in node_views(s).items()}
        for s in (before, after)
    )
    return frozenset(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _content(message: Message) -> Message:
    return msgspec.structs.replace(message, server_seq=0, auth=False)


def _meta(item: list[Any]) -> Meta:
    (stamp, index), is_undo, client, auth, server_seq = item
    return Meta((tuple(stamp), index), is_undo, client, auth, server_seq)
