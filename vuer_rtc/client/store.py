"""One client's document with its journal and its pending edits: what every action does."""

import time
import warnings
from collections.abc import Iterable

from vuer_rtc.crdt.canonical import InvalidMessage, canonical_message
from vuer_rtc.crdt.dtype import META_OPS, TEXT_OPS
from vuer_rtc.crdt.graph import Applied, Graph
from vuer_rtc.crdt.message import Message, Op

from .bootstrap import Origin
from .buffer import Buffer, named_pending
from .message import AnyMessage, CRDTMessage, Operation, OpMeta, core_message, published_message
from .node import SceneGraph
from .optimistic import draft_of, keep_draft
from .replica import Replica
from .state import JournalEntry, Snapshot
from .text_draft import TextDraft, is_positional
from .undoable import Undoable
from .view import View


class Store:
    """All of it, changed in place.  No action costs more with a longer history, save `reject`, `compact` and `copy`."""

    def __init__(self, client: str, snapshot: Snapshot | None = None, *, head_seq: int = 0) -> None:
        self.client = client
        self.version = 0
        """Counts actions."""
        self._began_with = snapshot
        origin = snapshot.origin(head_seq) if snapshot is not None else Origin()
        self._begin(Replica(client, origin))

    def _begin(self, replica: Replica) -> None:
        self.replica = replica
        self.pending = Buffer()
        self.journal: list[JournalEntry] = []
        self.unacked: dict[str, Message] = {}
        """Own commits that the server has not acknowledged, in order."""
        self.changed: set[str] = set()
        """Keys of nodes that may differ since somebody cleared it."""
        self._view = View(self.replica.graph)
        self._entries: dict[str, JournalEntry] = {}
        self._undoable = Undoable()
        self._pending_ts = 0.0
        self._numbers: dict[tuple[str, str], int] = {}
        """By text, one more than the highest character number ever given."""
        self._lone_drafts: dict[tuple[str, str], TextDraft] = {}
        """Of pending texts whose node is missing."""
        self._compacted: list[str] = []
        self._checkpoint: tuple[int, Snapshot] | None = None

    @classmethod
    def native(cls, client: str, snapshot: bytes, retained: Iterable[Message]) -> "Store":
        """A store that holds the very document of a server: what `Graph.snapshot` made there, and every retained
        message in sequence.

        Raises: SnapshotError.
        """
        made = cls(client)
        graph = Graph.restore(snapshot)
        origin = Origin(dict(graph.clock), graph.lt, graph.head_seq, native=snapshot)
        made._begin(Replica(client, origin))
        for message in retained:
            made._apply(message, None, is_acked=True, is_tail=True)
        return made

    @property
    def began_with(self) -> Snapshot:
        """The document before everything in the journal, in the published form; made when somebody asks."""
        if self._began_with is None:
            self._began_with = published_snapshot(self.replica.origin.graph())
        return self._began_with

    # Reading

    def read(self) -> SceneGraph:
        """The scene graph with pending edits on top; the same object every time."""
        return self._view.read(self.pending, self._meta())

    def _meta(self) -> OpMeta:
        return OpMeta(self.client, self.replica.clock, self.replica.lt + 1, self._pending_ts)

    # Editing

    def edit(self, op: Operation) -> None:
        """Put one operation into the buffer.

        Raises: InvalidMessage, a ValueError, for what the server would refuse.
        """
        if not self.pending.ops:
            self._pending_ts = time.time()
        if is_positional(op):
            self._edit_text(op)
        else:
            made = self._canonical(op)
            if made.ot == "text.init" and made.value:
                self._edit_text({**op, "ot": "text.init", "value": made.value})
            else:
                self._buffer(made)
        self.version += 1

    def _canonical(self, op: Operation) -> Op:
        envelope = {
            "id": "edit",
            "client": self.client,
            "clock": {self.client: 1},
            "lt": 0,
            "ts": 0,
            "ops": [op],
        }
        return canonical_message(envelope).ops[0]

    def _buffer(self, op: Op) -> None:
        if op.ot in TEXT_OPS and op.id:
            self._claim(op)
        merged_at = self.pending.add(op)
        if merged_at is not None:
            self._view.merged(op.key)
        self.changed.add(op.key)

    def _edit_text(self, op: Operation) -> None:
        """An edit by position, turned into what travels by the text as it is here and now.

        A `text.init` with a value becomes the insert that it means: its own ids would begin at 0 again.
        """
        target = self._canonical({"ot": "text.init", "key": op.get("key", ""), "path": op.get("path")})
        key, path = target.key, target.path
        node = self.read().nodes.get(key)
        if node is not None:
            draft = draft_of(node, path, self._view)
        else:
            draft = self._lone_drafts.setdefault((key, path), TextDraft())
        if draft is None:
            return
        ot = str(op.get("ot") or op.get("otype"))
        if ot == "text.init":
            if draft.has_characters_of(self.client):
                return
            ot, op = "text.insert", {"value": op["value"]}
        number = self._numbers.get((key, path), 0)
        made = draft.edit({**op, "ot": ot, "key": key, "path": path}, self.client, number, time.time())
        if made is None:
            return
        if node is None:
            self._buffer(made)
            return
        self._claim(made)
        keep_draft(node, path, draft)
        is_new = self.pending.add(made) is None
        self._view.applied(key, is_new)
        self.changed.add(key)

    def _claim(self, op: Op) -> None:
        if type(op.id) is str:
            end = int(op.id.rpartition(":")[2]) + len(op.value[1])
            self._numbers[op.key, op.path] = max(end, self._numbers.get((op.key, op.path), 0))

    def commit(self) -> tuple[Message, CRDTMessage] | None:
        """The pending edits as a commit, journalled here; None when there are none."""
        if not self.pending.ops:
            return None
        message = self._message(self.pending.ops)
        self._drop_pending()
        return message, self._keep_own(message)

    def _message(self, ops: Iterable[Op]) -> Message:
        replica, client = self.replica, self.client
        lt = replica.lt + 1
        message_id = f"{client}:{lt}"
        clock = {**replica.clock, client: replica.clock.get(client, 0) + 1}
        ts = self._pending_ts if self.pending.ops else time.time()
        return Message(message_id, client, clock, lt, ts, [named_pending(op, message_id) for op in ops])

    def _keep_own(self, message: Message) -> CRDTMessage:
        msg = published_message(message)
        self.unacked[message.id] = message
        self._apply(message, msg, is_acked=False, is_tail=True)
        return msg

    def cancel(self) -> None:
        """Drop the pending edits; what others did meanwhile stays."""
        self._drop_pending()
        self.version += 1

    def _drop_pending(self) -> None:
        if self.pending.ops:
            self.changed |= self.pending.keys()
            self.pending = Buffer()
            self._lone_drafts.clear()
            self._view.forget_edits()

    # Messages

    def receive(self, msg: AnyMessage) -> bool:
        """Apply a commit of whomever; true when it was new.  What is no message is ignored, with a warning."""
        try:
            message = core_message(msg)
        except InvalidMessage as refusal:
            warnings.warn(f"a message is ignored: {refusal}", stacklevel=3)
            return False
        if message.client == self.client and message.id in self.unacked:
            self.ack(message.id, message.server_seq, auth=message.auth)
            return False
        return self._apply(message, msg if isinstance(msg, CRDTMessage) else None, is_acked=True)

    def _apply(
        self, message: Message, msg: CRDTMessage | None, *, is_acked: bool, is_tail: bool = False
    ) -> bool:
        applied = self.replica.apply(message, is_tail=is_tail)
        self.version += 1
        self._view.look_at(self.replica.graph)
        if not applied.is_new:
            if message.server_seq:
                self._note_authority(message.id)
            return False
        self._note(applied)
        if message.is_server_record:
            self._forget_folded()
            return True
        entry = self._entries[message.id] = JournalEntry.of(message, msg, is_acked)
        self.journal.append(entry)
        self._note_meta(message, entry)
        return True

    def _note(self, applied: Applied) -> None:
        self._view.changed(applied.changed)
        self.changed |= applied.changed

    def _note_meta(self, message: Message, entry: JournalEntry) -> None:
        """Keep what undo and redo need, and tell the entries that the message undid or redid."""
        is_meta = False
        for op in message.ops:
            if op.ot in META_OPS:
                is_meta = True
                self._mark(op.target, message.ts)
        if message.client == self.client and not is_meta:
            self._undoable.add(message.id)
        if not is_meta and self.replica.is_undone(message.id):
            self._mark(message.id, message.ts)

    def _mark(self, message_id: str, ts: float) -> None:
        is_undone = self.replica.is_undone(message_id)
        self._undoable.mark(message_id, is_undone)
        entry = self._entries.get(message_id)
        if entry is not None:
            entry.deletedAt = ts if is_undone else None

    def _note_authority(self, message_id: str) -> None:
        """A commit that was known has got its sequence: if it undoes somebody else's, that counts from now on."""
        if self.replica.undoes_others(message_id):
            self._view.follow(self.replica.graph)
            message = self.replica.log[message_id]
            for op in message.ops:
                if op.ot in META_OPS:
                    self._mark(op.target, message.ts)

    def load(self, messages: Iterable[AnyMessage]) -> None:
        """Take in the journal that came with the snapshot."""
        taken: list[tuple[Message, CRDTMessage | None]] = []
        for raw in messages:
            try:
                taken.append((core_message(raw), raw if isinstance(raw, CRDTMessage) else None))
            except InvalidMessage as refusal:
                warnings.warn(f"a journal entry is ignored: {refusal}", stacklevel=3)
        self.replica.learn(message for message, _ in taken)
        for message, msg in taken:
            self._apply(message, msg, is_acked=True, is_tail=True)

    def restore(self, messages: Iterable[Message]) -> None:
        """Take in own commits of an earlier life that are not acknowledged."""
        for message in messages:
            self.unacked[message.id] = message
            self._apply(message, None, is_acked=False, is_tail=True)

    def _forget_folded(self) -> None:
        """A cut has folded history away: what went with it can be neither undone nor told apart any more."""
        gone = set(self.replica.forget_folded())
        if not gone:
            return
        self._began_with, self._checkpoint = None, None
        self._compacted = [message_id for message_id in self._compacted if message_id not in gone]
        self.journal = [entry for entry in self.journal if entry.message_id not in gone]
        for message_id in gone:
            self._entries.pop(message_id, None)
            self._undoable.discard(message_id)

    def ack(self, msg_id: str, server_seq: int = 0, *, auth: bool = False) -> None:
        """The server has the commit, at that sequence if it said so; with `auth` its undos count on anybody's."""
        self.version += 1
        self.unacked.pop(msg_id, None)
        entry = self._entries.get(msg_id)
        if entry is None or entry.ack:
            return
        entry.ack = True
        if server_seq:
            self._note(self.replica.acknowledge(msg_id, server_seq, auth=auth))
            self._note_authority(msg_id)
            self._forget_folded()

    def reject(self, *msg_ids: str) -> bool:
        """Take back commits that the server does not take; true when there were any.  Costs as much as history
        is long."""
        self.version += 1
        known = [msg_id for msg_id in msg_ids if self.unacked.pop(msg_id, None) is not None]
        if not known:
            return False
        self.replica.without(known)
        self._view.follow(self.replica.graph)
        entries = [self._entries.pop(msg_id) for msg_id in known]
        gone = set(map(id, entries))
        self.journal = [entry for entry in self.journal if id(entry) not in gone]
        for msg_id, entry in zip(known, entries, strict=True):
            self._undoable.discard(msg_id)
            for op in core_message(entry.msg).ops:
                if op.ot in META_OPS:
                    self._mark(op.target, entry.msg.ts)
                self.changed.add(op.key)
        return True

    # Undo

    def undo(self) -> tuple[Message, CRDTMessage] | None:
        """Undo one's newest commit in force; None when there is none."""
        return self._meta_commit("meta.undo", self._undoable.to_undo())

    def redo(self) -> tuple[Message, CRDTMessage] | None:
        """Redo what was undone last; None when there is nothing."""
        return self._meta_commit("meta.redo", self._undoable.to_redo())

    def _meta_commit(self, ot: str, target: str | None) -> tuple[Message, CRDTMessage] | None:
        if target is None:
            return None
        message = self._message([Op(ot, "_meta", "_meta", target=target)])
        return message, self._keep_own(message)

    # Keeping

    def take_pending(self, other: "Store") -> None:
        """Afterwards the edit buffer is the other store's."""
        self.pending, self._pending_ts = Buffer(other.pending.ops), other._pending_ts
        self._numbers = dict(other._numbers)

    def compact(self) -> None:
        """Take the acknowledged commits out of the journal, into the checkpoint."""
        acked = [entry for entry in self.journal if entry.ack]
        self._compacted.extend(entry.message_id for entry in acked)
        self.journal = [entry for entry in self.journal if not entry.ack]
        self.version += 1

    def checkpoint(self) -> Snapshot:
        """The document as of the last `compact()`."""
        done, snapshot = self._checkpoint or (0, self.began_with)
        if done == len(self._compacted):
            return snapshot
        graph = self.replica.origin.graph()
        clock, lt = dict(self.began_with.vectorClock), self.began_with.lt
        for message_id in self._compacted:
            message = self.replica.log[message_id]
            graph.apply(message)
            lt = max(lt, message.lt)
            clock[message.client] = max(clock.get(message.client, 0), message.counter)
        folded = published_snapshot(graph)
        index = self.began_with.journalIndex + len(self._compacted)
        snapshot = Snapshot(folded.graph, clock, lt, index, folded.textRopes)
        self._checkpoint = (len(self._compacted), snapshot)
        return snapshot

    def copy(self) -> "Store":
        """A store of its own that knows the same."""
        twin = Store(self.client)
        twin._began_with = self._began_with
        twin._begin(Replica(self.client, self.replica.origin))
        for message in self.replica.log.values():
            entry = self._entries.get(message.id)
            twin._apply(message, None, is_acked=entry is None or entry.ack, is_tail=True)
        twin.unacked = dict(self.unacked)
        compacted = set(self._compacted)
        twin._compacted = list(self._compacted)
        twin.journal = [entry for entry in twin.journal if entry.message_id not in compacted]
        twin.take_pending(self)
        return twin


def published_snapshot(graph: Graph) -> Snapshot:
    """The document of an engine, in the published form."""
    state = graph.state(0)
    nodes = SceneGraph.from_dict(state.graph)
    return Snapshot(nodes, dict(state.vector_clock), state.lt, state.journal_index, state.text_ropes)


__all__ = ["Store"]
