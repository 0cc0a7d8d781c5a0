"""One client's document with its journal and its pending edits: what every action does."""

import time
import warnings
from collections.abc import Iterable

from vuer_rtc.crdt.canonical import InvalidMessage
from vuer_rtc.crdt.dtype import META_OPS
from vuer_rtc.crdt.graph import Applied, Graph
from vuer_rtc.crdt.message import Message, Op

from .bootstrap import Origin
from .buffer import named_pending
from .journal import Journal
from .message import AnyMessage, CRDTMessage, Operation, core_message, published_message
from .node import SceneGraph
from .pending import PendingEdits
from .replica import Replica
from .state import Snapshot
from .undoable import Undoable
from .view import View


class Store:
    """All of it, changed in place.  No action costs much more with a longer history, save `compact` and `copy`."""

    def __init__(self, client: str, snapshot: Snapshot | None = None, *, head_seq: int = 0) -> None:
        self.client = client
        self.version = 0
        """Counts actions."""
        self._tells_others = True
        """Its clocks tell what it has seen of others, as those of published clients do.  They grow with everybody who
        ever edited the document, and nobody needs more than the client's own entry (rule C4)."""
        origin = snapshot.origin(head_seq) if snapshot is not None else Origin()
        self._begin(Replica(client, origin), snapshot)

    def _begin(self, replica: Replica, began_with: Snapshot | None = None) -> None:
        self.replica = replica
        self.journal = Journal(replica, began_with)
        self._view = View(replica.graph)
        self.pending = PendingEdits(replica, self._view)
        self.unacked: dict[str, Message] = {}
        """Own commits that the server has not acknowledged, in order."""
        self.changed: set[str] = set()
        """Keys of nodes that may differ since somebody cleared it."""
        self._undoable = Undoable()

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
        made._tells_others = False
        for message in retained:
            made._apply(message, None, is_acked=True, is_tail=True)
        return made

    # Reading

    def read(self) -> SceneGraph:
        """The scene graph with pending edits on top; the same object every time."""
        return self.pending.read()

    # Editing

    def edit(self, op: Operation) -> None:
        """Put one operation into the buffer.

        Raises: InvalidMessage, a ValueError, for what the server would refuse.
        """
        key = self.pending.add(op)
        if key is not None:
            self.changed.add(key)
        self.version += 1

    def commit(self) -> tuple[Message, CRDTMessage] | None:
        """The pending edits as a commit, journalled here; None when there are none."""
        if not self.pending.ops:
            return None
        message = self._message(self.pending.ops)
        self.changed |= self.pending.drop()
        return message, self._keep_own(message)

    def _message(self, ops: Iterable[Op]) -> Message:
        replica, client = self.replica, self.client
        lt = replica.lt + 1
        message_id = f"{client}:{lt}"
        own = {client: replica.clock.get(client, 0) + 1}
        clock = {**replica.clock, **own} if self._tells_others else own
        ts = self.pending.ts if self.pending.ops else time.time()
        return Message(message_id, client, clock, lt, ts, [named_pending(op, message_id) for op in ops])

    def _keep_own(self, message: Message) -> CRDTMessage:
        msg = published_message(message)
        self.unacked[message.id] = message
        self._apply(message, msg, is_acked=False, is_tail=True)
        return msg

    def cancel(self) -> None:
        """Drop the pending edits; what others did meanwhile stays."""
        self.changed |= self.pending.drop()
        self.version += 1

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
        self._note(applied)
        if not applied.is_new:
            if message.server_seq:
                self._note_authority(message.id)
            return False
        if message.is_server_record:
            self._forget_folded()
            return True
        self.journal.add(message, msg, is_acked=is_acked)
        self._note_meta(message)
        return True

    def _note(self, applied: Applied) -> None:
        self._view.changed(applied.changed)
        self.changed |= applied.changed

    def _note_meta(self, message: Message) -> None:
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
        entry = self.journal.get(message_id)
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
        self.journal.forget_folded(gone)
        for message_id in gone:
            self._undoable.discard(message_id)

    def ack(self, msg_id: str, server_seq: int = 0, *, auth: bool = False) -> None:
        """The server has the commit, at that sequence if it said so; with `auth` its undos count on anybody's."""
        self.version += 1
        self.unacked.pop(msg_id, None)
        entry = self.journal.get(msg_id)
        if entry is None or entry.ack:
            return
        entry.ack = True
        if server_seq:
            self._note(self.replica.acknowledge(msg_id, server_seq, auth=auth))
            self._note_authority(msg_id)
            self._forget_folded()

    def reject(self, *msg_ids: str) -> bool:
        """Take back commits that the server does not take; true when there were any."""
        self.version += 1
        known = [msg_id for msg_id in msg_ids if self.unacked.pop(msg_id, None) is not None]
        if not known:
            return False
        for msg_id in known:
            self._note(self.replica.take_back(msg_id))
        for entry in self.journal.take_out(known):
            self._undoable.discard(entry.message_id)
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

    def compact(self) -> None:
        """Take the acknowledged commits out of the journal, into the checkpoint."""
        self.journal.compact()
        self.version += 1

    def copy(self) -> "Store":
        """A store of its own that knows the same."""
        twin = Store(self.client)
        twin._begin(Replica(self.client, self.replica.origin), self.journal.began_with)
        # What is not journalled comes first: a cut finds it there.
        for message in sorted(self.replica.log.values(), key=lambda message: message.server_seq):
            entry = self.journal.get(message.id)
            twin._apply(message, None, is_acked=entry is None or entry.ack, is_tail=True)
        twin.unacked = dict(self.unacked)
        twin.journal.compact_like(self.journal)
        twin.pending.take(self.pending)
        return twin


__all__ = ["Store"]
