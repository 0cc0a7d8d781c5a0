"""A server and a network that a test owns: what is sent waits to be delivered, connections break when the test says."""

import random
from typing import Any

from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.message import core_message, journalled
from vuer_rtc.client.outbox import Outbox
from vuer_rtc.client.syncer import Syncer
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.message import Epoch, Message, cut_record, epoch_of, reset_record
from vuer_rtc.protocol.codec import message_fields
from vuer_rtc.protocol.wire import Edition, Naming

Wire = dict[str, Any]

OLDEST = 15
"""Messages that may be behind a state that is sent."""


def native_fields(message: Message) -> Wire:
    return message_fields(message, Naming.COMPRESSED, Edition.NATIVE)


def broadcast(message: Message) -> Wire:
    return {"mtype": "broadcast", "msg": native_fields(message)}


class FakeServer:
    """The documented behaviour of a room towards native clients, without disk; it tells limits and keeps none."""

    def __init__(self, limits: dict[str, float] | None = None) -> None:
        self.limits = limits or {}
        self.graph = Graph()
        self.journal: list[Message] = []
        self.truncated_seq = 0
        self.lines: dict[str, Line] = {}
        self._kept = self._state()

    def welcome(self, *, resumed: bool) -> Wire:
        place = {"document": "one", "serverSeq": len(self.journal), "resumed": resumed}
        return {"mtype": "welcome", **place, "limits": self.limits}

    def _state(self) -> Wire:
        journal = [native_fields(message) for message in self.graph.retained_messages()]
        native = self.graph.snapshot()
        state = {"mtype": "state", "native": native, "journal": journal, "serverSeq": len(self.journal)}
        return {**state, "at": self.journal[-1].id} if self.journal else state

    def state(self, client: str) -> list[Wire]:
        """The document as it was a while ago, and what others have done since (rule A4)."""
        since = self.journal[self._kept["serverSeq"] :]
        if len(since) > OLDEST or any(m.client == client or epoch_of(m) for m in since):
            self._kept, since = self._state(), []
        return [self._kept, *(broadcast(message) for message in since)]

    def greeting(self, client: str, since: int | None, at: str = "") -> list[Wire]:
        """What who joins is sent."""
        assert not at or self.journal[(since or 0) - 1].id == at
        if since is None or since < self.truncated_seq:
            return [self.welcome(resumed=False), *self.state(client)]
        missed = [broadcast(message) for message in self.journal[since:]]
        batch = [{"mtype": "batch", "messages": missed}] if len(missed) > 1 else missed
        return [self.welcome(resumed=True), *batch]

    def receive(self, client: str, wire: Wire) -> list[Wire]:
        """Its answers; broadcasts go to the others' lines."""
        match wire["mtype"]:
            case "crdt":
                return [self._take(client, core_message(wire["msg"]))]
            case "sync":
                return self.state(client)
            case "sync-check":
                digest = self.graph.digest()
                status = {"serverSeq": len(self.journal), "vectorClock": self.graph.clock, "digest": digest}
                return [{"mtype": "sync-status", "requestId": wire["requestId"], "status": status}]
        return []

    def _take(self, client: str, message: Message) -> Wire:
        match self.graph.identify(message):
            case Identity.DUPLICATE:
                return {"mtype": "ack", "msgId": message.id, "serverSeq": self.graph.seq_of(message.id)}
            case Identity.REUSED:
                return {"mtype": "error", "msgId": message.id, "error": "id-reused: ", "code": "id-reused"}
        if code := self.graph.refusal(message):
            return {"mtype": "error", "msgId": message.id, "error": f"{code}: ", "code": code}
        return {"mtype": "ack", "msgId": message.id, "serverSeq": self.append(message, author=client)}

    def append(self, message: Message, author: str = "") -> int:
        """Journal a message and send it to all but its author; its sequence."""
        message = journalled(message, len(self.journal) + 1)
        self.journal.append(message)
        self.graph.apply(message)
        for other, line in self.lines.items():
            if other != author and line.is_up:
                line.down.append(broadcast(message))
        return message.server_seq

    def reset(self) -> None:
        """Begin a new epoch."""
        epoch = Epoch(self.graph.epoch.number + 1, self.graph.lt + 1_000_000)
        self.append(reset_record(f"=server:{len(self.journal)}", epoch, 1))

    def cut(self, rng: random.Random) -> None:
        """Fold some history away, and forget as much of the journal."""
        if self.graph.lt > self.graph.cut:
            record = cut_record(
                f"=server:{len(self.journal)}", rng.randint(self.graph.cut + 1, self.graph.lt), 1
            )
            self.append(record)
            self.truncated_seq = rng.randint(self.truncated_seq, len(self.journal))


class Line:
    """One client and its connection; both directions keep order, and lose everything when it breaks."""

    def __init__(self, server: FakeServer, client: str, outbox: Outbox | None = None) -> None:
        self.server = server
        self.store = GraphStore(client)
        self.syncer = Syncer(self.store, outbox)
        self.is_up = False
        self.up: list[Wire] = []
        self.down: list[Wire] = []
        server.lines[client] = self

    def connect(self) -> None:
        self.syncer.connected()
        self.is_up = True
        self.down.extend(self.server.greeting(self.store.client, self.syncer.since, self.syncer.at))

    def cut(self) -> None:
        """Break the connection; what was on the way is lost."""
        self.is_up = False
        self.up.clear()
        self.down.clear()
        self.syncer.lost()

    def send(self, wires: list[Wire]) -> None:
        if self.is_up:
            self.up.extend(wires)

    def commit(self) -> None:
        committed = self.store.inner.commit()
        if committed is not None:
            self.send(self.syncer.committed(committed[0]))

    def undo(self) -> None:
        undone = self.store.inner.undo()
        if undone is not None:
            self.send(self.syncer.committed(undone[0]))

    def step(self, rng: random.Random) -> bool:
        """Deliver one wire message in some direction; false when nothing is on the way."""
        ways = [way for way in (self.up, self.down) if way]
        if not ways:
            return False
        way = rng.choice(ways)
        wire = way.pop(0)
        if way is self.up:
            self.down.extend(self.server.receive(self.store.client, wire))
        else:
            self.send(self.syncer.receive(wire))
            if self.syncer.has_lost_track:
                self.cut()
                self.connect()
        return True
