"""A live room alone: connections are fakes that record, the journal is a list, nothing waits."""

import base64
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from journal.entry import Entry
from journal.error import JournalPutBack, JournalTruncated
from journal.reader import Batch as JournalledBatch
from journal.reader import Hydrated
from rooms.batch import Batch
from rooms.foreign import Batches
from rooms.room import LiveRoom
from rooms.waiting import Budget
from rooms.whereabouts import Whereabouts
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, numbered
from vuer_rtc.protocol.codec import encode
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.wire import Dialect, Edition, Frame, Framing, Naming, Outbound, Promise, Welcome

JSON = Dialect(Framing.JSON)
NATIVE = Dialect(Framing.JSON, Naming.COMPRESSED, Edition.NATIVE)


class Peer:
    """A connection that takes everything."""

    def __init__(self, client: str, dialect: Dialect = JSON, *, is_batched: bool = False) -> None:
        self.client = client
        self.dialect = dialect
        self.is_batched = is_batched
        self.frames: list[Frame] = []
        self.closed: list[CloseCode] = []
        self.acked: list[int] = []
        self.work_s = 0.0
        self.rights_told = 0
        self.wants_presence = False
        self.shown_name: str | None = None
        self.is_behind = False
        self.arrived_at = time.time()
        self.heard_at = 0.0

    def push(self, frames: Sequence[Frame], size: int) -> None:
        assert size == sum(map(len, frames))
        self.frames += frames

    def push_document(self, frames: Sequence[Frame], size: int) -> None:
        self.push(frames, size)

    def welcome(self, server_seq: int, undoable: list[str], *, is_resumed: bool) -> None:
        promise = Promise(True, "a list")
        self.send(Welcome(2, "1", 0, server_seq, is_resumed, [], ["edit", "view"], {}, promise, undoable))

    def send(self, outbound: Outbound) -> None:
        self.frames.append(encode(outbound, *self.dialect))

    def close(self, code: CloseCode) -> None:
        self.closed.append(code)

    def tell_rights(self) -> None:
        self.rights_told += 1

    def note_ack(self, seq: int) -> None:
        self.acked.append(seq)

    def note_work(self, work_s: float) -> None:
        self.work_s += work_s

    @property
    def got(self) -> list[str]:
        """What it was sent, in short."""
        return [short(wire) for wire in self.wires]

    @property
    def wires(self) -> list[dict[str, Any]]:
        """What it was sent, decoded."""
        codec = msgspec.json if self.dialect.framing is Framing.JSON else msgspec.msgpack
        return [codec.decode(frame) for frame in self.frames]


def short(wire: dict[str, Any]) -> str:
    match wire["mtype"]:
        case "state":
            return f"state {wire['serverSeq']}"
        case "broadcast":
            return f"{wire['msg']['id']} at {wire['msg']['serverSeq']}"
        case "ack":
            return f"ack {wire['msgId']} {wire.get('serverSeq')}"
        case "error":
            return f"error {wire['msgId']} {wire['code']}"
        case "welcome":
            return f"welcome {wire['serverSeq']}{' resumed' if wire['resumed'] else ''}"
        case "batch":
            return f"[{', '.join(map(short, wire['messages']))}]"
    return str(wire["mtype"])


class Journal:
    """What other writers have put into the journal."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_truncated = False

    def add(self, *messages: Message, first_seq: int) -> None:
        self.messages += [numbered(item, seq) for seq, item in enumerate(messages, first_seq)]

    async def read_after(
        self, document_id: uuid.UUID, seq: int, last_batch: uuid.UUID | None
    ) -> AsyncIterator[Batches]:
        if self.is_truncated:
            raise JournalTruncated("gone")
        if last_batch is not None and seq not in {message.server_seq for message in self.messages}:
            raise JournalPutBack("gone")
        yield [batch_of(message) for message in self.messages if message.server_seq > seq]

    async def hydrate(self, document_id: uuid.UUID) -> Hydrated:
        graph = Graph()
        for item in self.messages:
            graph.apply(item)
        return Hydrated(graph, graph.head_seq)


def batch_of(message: Message) -> JournalledBatch:
    """A batch of one message."""
    seq = message.server_seq
    return JournalledBatch(uuid.UUID(int=seq), seq, seq, datetime.now(UTC), [Entry(message)])


class Room(LiveRoom):
    """With what it told the rest of the server."""

    def __init__(self, journal: Journal, limits: Limits | None = None, budget: int = 10_000) -> None:
        self.notified = 0
        self.readings = 0
        self.emptied = 0
        self.changes = 0
        self.put_back_to = 0
        self.budget = Budget(budget)
        document_id, limits = uuid.UUID(int=1), limits or Limits()
        super().__init__(
            document_id,
            Hydrated(Graph(), 0),
            limits=limits,
            presence=Whereabouts(document_id, "this", limits, lambda news: None),
            reader=journal,
            budget=self.budget,
            notify=self._count_notification,
            read_on=self._count_reading,
            on_change=self._count_change,
            on_empty=self._count_emptying,
            on_put_back=self._note_put_back,
        )

    def _count_change(self, room: LiveRoom) -> None:
        self.changes += 1

    def _note_put_back(self, room: LiveRoom, hydrated: Hydrated) -> None:
        self.put_back_to = hydrated.head_seq

    def _count_notification(self, room: LiveRoom) -> None:
        self.notified += 1

    def _count_reading(self, room: LiveRoom) -> None:
        self.readings += 1

    def _count_emptying(self, room: LiveRoom) -> None:
        self.emptied += 1

    def enter(
        self, client: str, dialect: Dialect = JSON, *, since: int | None = None, is_batched: bool = False
    ) -> Peer:
        peer = Peer(client, dialect, is_batched=is_batched)
        self.join(peer, since)
        return peer

    def commit(self) -> Batch:
        """What the committer does when all goes well."""
        batch = self.next_batch()
        assert batch is not None
        self.settle(batch)
        return batch


class NativeReplica:
    """What a native client makes of what it is sent: the engine, and nothing else (rules N3 to N8)."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.graph = Graph()
        self.seq = 0
        self.welcomes: list[dict[str, Any]] = []
        self.sent: dict[str, Message] = {}
        """Own messages on the way."""

    def take(self, wire: dict[str, Any]) -> None:
        match wire["mtype"]:
            case "batch":
                for inner in wire["messages"]:
                    self.take(inner)
            case "welcome":
                self.welcomes.append(wire)
            case "state":
                native = wire["native"]
                snapshot = base64.b64decode(native) if isinstance(native, str) else native
                self.graph = Graph.restore(snapshot)
                for raw in wire["journal"]:
                    self.graph.apply(msgspec.convert(raw, Message))
                self.seq = wire["serverSeq"]
            case "broadcast":
                self._apply(msgspec.convert(wire["msg"], Message))
            case "ack" if wire.get("serverSeq", 0) > self.seq:
                own = self.sent[wire["msgId"]]
                auth = wire.get("auth", False)
                self._apply(msgspec.structs.replace(own, server_seq=wire["serverSeq"], auth=auth))

    def _apply(self, message: Message) -> None:
        assert message.server_seq == self.seq + 1, f"{message.id} leaves a gap after {self.seq}"
        self.seq += 1
        self.graph.apply(message)
