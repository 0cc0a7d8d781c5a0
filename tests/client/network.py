"""A server and a network that a test owns: what is sent waits to be delivered, connections break when the test says."""

import random
from typing import Any

from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.message import core_message, journalled
from vuer_rtc.client.outbox import Outbox
from vuer_rtc.client.syncer import Syncer
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message
from vuer_rtc.protocol.codec import message_fields

Wire = dict[str, Any]


class FakeServer:
    """The documented behaviour of a room, without limits or disk.  It folds nothing."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.journal: list[Message] = []
        self.lines: dict[str, Line] = {}

    def state(self) -> Wire:
        state = self.graph.state(1000)
        snapshot = {
            "graph": state.graph,
            "vectorClock": state.vector_clock,
            "lt": state.lt,
            "journalIndex": len(self.journal),
            "textRopes": state.text_ropes,
        }
        journal = [message_fields(message) for message in state.journal]
        return {"mtype": "state", "snapshot": snapshot, "journal": journal, "serverSeq": len(self.journal)}

    def receive(self, client: str, wire: Wire) -> list[Wire]:
        """Its answers; broadcasts go to the others' lines."""
        match wire["mtype"]:
            case "crdt":
                return [self._journal(client, core_message(wire["msg"]))]
            case "sync":
                missing = self.graph.messages_since(wire["vectorClock"]) or []
                return [{"mtype": "broadcast", "msg": message_fields(message)} for message in missing]
            case "sync-check":
                status = {"serverSeq": len(self.journal), "vectorClock": self.graph.clock, "digest": ""}
                return [{"mtype": "sync-status", "requestId": wire["requestId"], "status": status}]
        return []

    def _journal(self, client: str, message: Message) -> Wire:
        seq = self.graph.seq_of(message.id)
        if seq is None:
            message = journalled(message, len(self.journal) + 1)
            self.journal.append(message)
            self.graph.apply(message)
            seq = message.server_seq
            for other, line in self.lines.items():
                if other != client and line.is_up:
                    line.down.append({"mtype": "broadcast", "msg": message_fields(message)})
        return {"mtype": "ack", "msgId": message.id, "serverSeq": seq}


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
        self.down.append(self.server.state())

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
        committed = self.store._store.commit()
        if committed is not None:
            self.send(self.syncer.committed(committed[0]))

    def undo(self) -> None:
        undone = self.store._store.undo()
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
        return True
