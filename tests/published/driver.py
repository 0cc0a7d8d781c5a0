"""One store of the published client over a real WebSocket, driven by JSON lines on standard input.

Runs in a process of its own: the published package has our import name.  Every command answers one line, `{"ok": …}` or
`{"failed": traceback}`.
"""

import json
import sys
import time
import traceback

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from vuer_rtc.client.graph_store import GraphStore, Snapshot, getUnackedMessages
from vuer_rtc.operations.types import CRDTEnvelope, CRDTMessage, SceneGraph, SceneNode
from vuer_rtc.serdes import deserialize, msg_to_wire, serialize, wire_to_msg

ENVELOPE = ("clock", "lamportTime", "createdAt", "updatedAt", "deletedAt", "lww")


class Driver:
    def __init__(self):
        self.store = None
        self.socket = None
        self.is_online = True
        self.is_whole = True
        self.held = []
        self.whole_clock = {}
        self.seqs = {}
        self.errors = []
        self.states = 0
        self.was_reset = False
        self.is_answered = False
        self.silent_s = 0.0
        """How long the server has said nothing while somebody was listening."""

    def connect(self, url, client, keep=False):
        """Join; the first frame is `state`.  With `keep` the store lives on and asks for what it lacks."""
        self.socket = connect(url, max_size=None, compression=None).__enter__()
        wire = deserialize(self.socket.recv(timeout=20))
        assert wire["mtype"] == "state", wire
        if keep and self.store is not None:
            self._send(
                {"mtype": "sync", "vectorClock": self.store.getState().vectorClock, "filter": b"", "count": 0}
            )
        else:
            self.client = client
            self._begin(wire)
            self.seqs, self.errors = {}, []
        return {"journal": len(wire["journal"]), "nodes": len(wire["snapshot"]["graph"]["nodes"])}

    def _begin(self, wire):
        """A store as the state has it."""
        journal = [CRDTMessage.fromDict(message) for message in wire["journal"]]
        snapshot = _snapshot(wire["snapshot"])
        self.store = GraphStore.fromServer(self.client, snapshot, journal, on_send=self._commit)

    def _begin_again(self, wire):
        """The same in the middle of a session: what the server may not have is kept, and sent once more (rule A8)."""
        unacked = [
            m for m in getUnackedMessages(self.store.getState()) if m.id not in self.seqs
        ]  # a redo is unacked again
        self._begin(wire)
        self.states += 1
        for message in unacked:
            self.store.receive(message)
            self._send(msg_to_wire(message))

    def edit(self, ops, commit=True):
        for op in ops:
            self.store.edit(op)
        message = self.store.commit() if commit else None
        return message and message.id

    def undo(self):
        message = self.store.undo()
        return message and message.id

    def redo(self):
        message = self.store.redo()
        return message and message.id

    def send_raw(self, wire):
        self._send(wire)

    def resend(self):
        messages = getUnackedMessages(self.store.getState())
        for message in messages:
            self._send(msg_to_wire(message))
        return [message.id for message in messages]

    def prepare(self, key, path, count):
        """Commit `count` messages while offline."""
        self.is_online = False
        sent = [self.edit([{"ot": "number.add", "key": key, "path": path, "value": 1}]) for _ in range(count)]
        self.is_online = True
        return sent

    def burst(self, timeout):
        """Send everything unacked as fast as the socket takes it, then read acks until the peer dies."""
        deadline = time.monotonic() + timeout
        try:
            self.resend()
            while time.monotonic() < deadline:
                self._drain(0.2)
        except (ConnectionClosed, OSError):
            pass
        return {"acked": sorted(self.seqs)}

    def pump(self, seen=(), acked=(), timeout=20):
        """Read frames until every id in `seen` is in the journal and every id in `acked` has its ack."""
        deadline = time.monotonic() + timeout
        while True:
            here = {entry.msg.id for entry in self.store.getState().journal}
            missing = [i for i in seen if i not in here] + [i for i in acked if i not in self.seqs]
            if not missing:
                return {"seqs": self.seqs, "errors": self.errors}
            if time.monotonic() > deadline:
                raise TimeoutError(f"still missing {missing}, errors {self.errors}")
            self._drain(0.5)

    def read_on(self, timeout=20):
        """Read until the server has nothing more to say: what follows the `state` of who joins, too (rule A4)."""
        deadline, self.is_answered = time.monotonic() + timeout, False
        self._send({"mtype": "sync-check", "requestId": "read-on"})
        while not self.is_answered:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer, errors {self.errors}")
            self._drain(0.5)

    def pump_states(self, count, timeout=20):
        """Read frames until so many states have come since the start of the session."""
        deadline = time.monotonic() + timeout
        while self.states < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.states} states, errors {self.errors}")
            self._drain(0.5)

    def persist(self, url, client, turns=(), seen=(), silence=60):
        """Make `turns` (`{"ops": …}` or `{"do": "undo"}`), and read until all own commits are acknowledged and every
        id in `seen` is here; connects again whenever the connection breaks, as every program of its own has to.

        Fails when the server is silent for so many seconds.  What the store takes to apply what came does not count:
        each message costs it as much as its journal is long.
        """
        self.silent_s = 0.0
        turns = list(turns)
        while True:
            try:
                if self.socket is None:
                    self._come_back(url, client)
                while turns:
                    turn = turns.pop(0)
                    self.edit(turn["ops"]) if "ops" in turn else getattr(self, turn["do"])()
                    self._drain(0.01)
                self._drain(0.2)
            except (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError):
                self._lose()
            here = {entry.msg.id for entry in self.store.getState().journal}
            # The store itself forgets the ack of a commit that was undone before it came.
            unacked = [message for message in self.unacked() if message not in self.seqs]
            if not turns and not unacked and here.issuperset(seen):
                return {"seqs": self.seqs, "errors": self.errors}
            if self.silent_s > silence:
                missing = sorted(set(seen) - here)
                raise TimeoutError(f"missing {missing[:5]}, unacked {unacked[:5]}, errors {self.errors[-3:]}")

    def _come_back(self, url, client):
        """What came while something was still missing does not count as seen: the answer to `sync` may break off."""
        began = time.monotonic()
        try:
            self.socket = connect(url, max_size=None, compression=None).__enter__()
            deserialize(self.socket.recv(timeout=20))
        finally:
            self.silent_s += time.monotonic() - began
        self.is_whole = False
        self._send({"mtype": "sync", "vectorClock": self.whole_clock, "filter": b"", "count": 0})
        self._send({"mtype": "sync-check", "requestId": "whole"})
        self.is_online = True
        self.resend()

    def _lose(self):
        if self.is_whole:
            self.whole_clock = dict(self.store.getState().vectorClock)
        self.is_online = self.is_whole = False
        self.held = []  # it comes again: the clock does not count it
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        time.sleep(0.05)
        self.silent_s += 0.05

    def drain(self, seconds=0.3):
        self._drain(seconds)
        return {"errors": self.errors}

    def forget_errors(self):
        self.errors.clear()

    def graph(self):
        graph = self.store.getState().graph
        nodes = {}
        for key, node in graph.nodes.items():
            properties = {k: v for k, v in node.properties.items() if not k.startswith("_textCrdt.")}
            nodes[key] = {
                "tag": node.tag,
                "name": node.name,
                "children": list(node.children),
                "properties": properties,
                "deleted": node._crdt.deletedAt is not None,
            }
        return {"root": graph.rootKey, "nodes": nodes}

    def unacked(self):
        return [message.id for message in getUnackedMessages(self.store.getState())]

    def close(self):
        if self.socket is not None:  # or it is lost already
            self.socket.close()

    def offline(self, is_offline):
        """While offline, commits stay in the store's journal, unacked."""
        self.is_online = not is_offline

    def _commit(self, message):
        if self.is_online:
            try:
                self._send(msg_to_wire(message))
            except ConnectionClosed:
                self.is_online = False  # it stays in the journal, unacknowledged

    def _send(self, wire):
        self.socket.send(serialize(wire))

    def _drain(self, timeout):
        """Handle every frame that is there, waiting at most `timeout` seconds for the first."""
        while True:
            try:
                wire = deserialize(self.socket.recv(timeout=timeout))
            except TimeoutError:
                self.silent_s += timeout
                return
            self.silent_s = 0.0
            self._handle(wire)
            timeout = 0

    def _handle(self, wire):
        match wire["mtype"]:
            case "broadcast" | "crdt":
                self.held.append(wire)
                if self.is_whole:
                    self._release()
            case "ack":
                self.seqs[wire["msgId"]] = wire.get("serverSeq")
                self.store.ack(wire["msgId"])
            case "error":
                self.errors.append(wire)
            case "sync-status":
                self.is_whole = self.is_answered = True
                self._release()
            case "state" if self.was_reset:
                self.was_reset = False
                self._begin(wire)  # what was not acknowledged is of no use any more (rule R5)
                self.states += 1
            case "state":
                self._begin_again(wire)
            case "room-reset":
                self.was_reset = True

    def _release(self):
        """In sequence: the store takes no undo before what it undoes, and no text before its anchor."""
        for wire in sorted(self.held, key=lambda wire: wire["msg"].get("serverSeq", 0)):
            self.store.receive(wire_to_msg(wire))
        self.held = []


def _snapshot(wire):
    nodes = {key: _node(key, node) for key, node in wire["graph"]["nodes"].items()}
    graph = SceneGraph(nodes=nodes, rootKey=wire["graph"]["rootKey"])
    return Snapshot(graph, wire["vectorClock"], wire["lt"], wire["journalIndex"], wire.get("textRopes") or {})


def _node(key, node):
    flat = {k: v for k, v in node.items() if k not in ("key", "tag", "name", "children", "_crdt")}
    envelope = CRDTEnvelope(**{k: v for k, v in node["_crdt"].items() if k in ENVELOPE})
    return SceneNode(
        key=key,
        tag=node["tag"],
        name=node["name"],
        children=list(node["children"]),
        properties=flat,
        _crdt=envelope,
    )


def main():
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = getattr(driver, command.pop("do"))(**command)
            print(json.dumps({"ok": result}), flush=True)
        except Exception:
            print(json.dumps({"failed": traceback.format_exc()}), flush=True)


main()
