"""What a store knows of its history: the commits that it shows, and the checkpoint that stands for those before."""

from collections.abc import Collection

from vuer_rtc.crdt.message import Message

from .message import CRDTMessage
from .replica import Replica
from .state import JournalEntry, Snapshot


class Journal:
    """The entries of a replica's commits.  It reads the replica, and changes nothing in it."""

    def __init__(self, replica: Replica, began_with: Snapshot | None) -> None:
        self.entries: list[JournalEntry] = []
        """Those not compacted away, in the order of arrival."""
        self._replica = replica
        self._began_with = began_with
        self._by_id: dict[str, JournalEntry] = {}
        """Those compacted away, too."""
        self._compacted: list[str] = []
        self._checkpoint: tuple[int, Snapshot] | None = None
        """How many of the compacted it holds, and the document with them."""

    @property
    def began_with(self) -> Snapshot:
        """The document before every commit here, in the published form; made when somebody asks."""
        if self._began_with is None:
            self._began_with = Snapshot.of(self._replica.origin.graph())
        return self._began_with

    def get(self, message_id: str) -> JournalEntry | None:
        """The entry of a commit, also of one compacted away."""
        return self._by_id.get(message_id)

    def add(self, message: Message, msg: CRDTMessage | None, *, is_acked: bool) -> None:
        """Afterwards the commit has an entry, the last."""
        entry = self._by_id[message.id] = JournalEntry.of(message, msg, is_acked)
        self.entries.append(entry)

    def take_out(self, message_ids: Collection[str]) -> list[JournalEntry]:
        """Afterwards these commits have no entry; those that they had, in the order asked for."""
        taken = [self._by_id.pop(message_id) for message_id in message_ids if message_id in self._by_id]
        gone = set(map(id, taken))
        self.entries = [entry for entry in self.entries if id(entry) not in gone]
        return taken

    def forget_folded(self, message_ids: Collection[str]) -> None:
        """Afterwards these commits are part of what the journal began with, as they are of the replica's origin."""
        self.take_out(message_ids)
        self._began_with, self._checkpoint = None, None
        self._compacted = [message_id for message_id in self._compacted if message_id not in message_ids]

    def compact(self) -> None:
        """Take the acknowledged commits out of the entries, into the checkpoint."""
        self._compacted.extend(entry.message_id for entry in self.entries if entry.ack)
        self.entries = [entry for entry in self.entries if not entry.ack]

    def compact_like(self, other: "Journal") -> None:
        """Afterwards the same commits are compacted away as in the other, and those left stand in the same order."""
        self._compacted = list(other._compacted)
        self.entries = [self._by_id[entry.message_id] for entry in other.entries]

    def checkpoint(self) -> Snapshot:
        """The document as of the last `compact()`."""
        done, snapshot = self._checkpoint or (0, self.began_with)
        if done == len(self._compacted):
            return snapshot
        graph = self._replica.origin.graph()
        clock, lt = dict(self.began_with.vectorClock), self.began_with.lt
        for message_id in self._compacted:
            message = self._replica.log[message_id]
            graph.apply(message)
            lt = max(lt, message.lt)
            clock[message.client] = max(clock.get(message.client, 0), message.counter)
        folded = Snapshot.of(graph)
        index = self.began_with.journalIndex + len(self._compacted)
        snapshot = Snapshot(folded.graph, clock, lt, index, folded.textRopes)
        self._checkpoint = (len(self._compacted), snapshot)
        return snapshot


__all__ = ["Journal"]
