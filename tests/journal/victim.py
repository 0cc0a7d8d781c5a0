"""What the crash tests kill: a process with the server's own rooms, committer and projector, one that compacts, or one
that writes for the site.

It reports in a file what its clients sent and what was acknowledged, a line each, written at once: what is there
when the process dies is what clients on the network may have seen.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import sys
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings as django_settings

from journal.authoring import Author
from journal.compaction import KeepRules, compact_document
from journal.error import JournalBusy, JournalUnavailable
from journal.models import Document, Snapshot
from journal.reader import hydrate
from journal.snapshot import draft_snapshot, take_snapshot
from rooms.connection import Connection
from rooms.hub import Hub
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import SITE_CLIENT, Message, Op

IN_FLIGHT = 8
"""Messages a client has sent and not seen acknowledged, at most."""
KEYS = 20
"""Nodes a client makes and removes again."""
KEEP_MESSAGES = 40
OFTEN = {
    "OPEN_MESSAGES": 30,
    "OPEN_MINUTES": 0,
    "FOLD_MESSAGES": 5,
    "SNAPSHOT_MESSAGES": 20,
    "SNAPSHOT_INTERVAL_S": 0.02,
}
"""Live rooms fold and write snapshots all the time."""
PR_SET_PDEATHSIG = 1
START = "import django; django.setup(); from tests.journal.victim import main; main()"
"""Program of a process that is not forked."""


class Task(msgspec.Struct):
    """What one process is to do until it is killed."""

    role: str
    """`write`, `compact`, `author` or `read`."""
    documents: list[UUID]
    clients: dict[str, "Backlog"] = {}
    """By `<document's index>/<client>`."""
    seed: int = 0
    messages: int = 0
    """Then each client stops after so many, and the process ends when all are acknowledged."""
    in_flight: int = IN_FLIGHT
    pause_s: float = 0
    """How long a client waits at most after an acknowledgement."""
    gate: str = ""
    """A file: the clients say `ready`, and begin when it is there."""


class Backlog(msgspec.Struct):
    """Where a client goes on: like one that has reconnected."""

    next_counter: int = 1
    unacked: list[int] = []


def message_of(client: str, counter: int) -> Message:
    """The client's message of that number: always the same.  Each counts one up on the client's own node."""
    key = f"{client}-{counter % KEYS}"
    ops = [Op(ot="number.add", key=client, path="count", value=1)]
    if counter == 1:
        ops.insert(0, Op(ot="node.insert", path="children", value={"key": client, "count": 0}))
    match counter % 5:
        case 0:
            ops.append(Op(ot="node.insert", key=client, path="children", value={"key": key, "x": counter}))
        case 1:
            ops.append(Op(ot="string.set", key="shared", path="by", value=client))
        case 2:
            ops.append(
                Op(ot="node.remove", key=client, path="children", value=f"{client}-{(counter + 8) % KEYS}")
            )
        case 3:
            key = f"{client}-{(counter + 2) % KEYS}"
            ops.append(Op(ot="node.move", path="children", value={"nodeKey": key, "newParent": "shared"}))
    return Message(
        id=f"{client}:{counter}",
        client=client,
        clock={client: counter},
        lt=counter,
        ts=1.75e9 + counter,
        ops=ops,
    )


class Person:
    """A client whose network is the report: it sees what the server hands to its socket."""

    def __init__(self, task: Task, client: str, backlog: Backlog, report: int, place: str) -> None:
        self.client, self.report, self.place = client, report, place
        self.in_flight_max, self.pause_s = task.in_flight, task.pause_s
        self.last_counter = task.messages or 10**9
        self.next_counter = backlog.next_counter
        self.to_resend = list(backlog.unacked)
        self.in_flight = 0
        self.has_finished = asyncio.Event()
        self.connection: Connection | None = None

    def tell(self, *words: object) -> None:
        os.write(self.report, (" ".join(map(str, words)) + "\n").encode())

    def work(self) -> None:
        while self.in_flight < self.in_flight_max and (
            self.to_resend or self.next_counter <= self.last_counter
        ):
            self.in_flight += 1
            if self.to_resend:
                self.submit(self.to_resend.pop(0))
            else:
                self.tell("sent", self.place, self.next_counter)
                self.submit(self.next_counter)
                self.next_counter += 1
        if not self.in_flight:
            self.has_finished.set()

    def submit(self, counter: int) -> None:
        assert self.connection is not None
        wire = {"mtype": "crdt", "msg": msgspec.to_builtins(message_of(self.client, counter))}
        self.connection.receive(json.dumps(wire))

    async def take(self, event: dict[str, Any]) -> None:
        """What the socket would get."""
        wire = json.loads(event["text"]) if "text" in event else {"mtype": event["type"], **event}
        match wire["mtype"]:
            case "ack":
                self.tell("acked", self.place, wire["msgId"].rpartition(":")[2], wire.get("serverSeq") or 0)
                self.in_flight -= 1
                asyncio.get_running_loop().call_later(random.uniform(0, self.pause_s), self.work)
            case "error" | "websocket.close":
                self.tell("refused", self.place, wire)


async def write(task: Task, report: int) -> None:
    """Lives until it is killed, or has done its messages."""
    if not task.messages:
        django_settings.VUER_RTC = {**getattr(django_settings, "VUER_RTC", {}), **OFTEN}
    hub = Hub()
    hub.start()
    slugs = await hub._aside.run(slugs_of, task)
    people = []
    for place, backlog in task.clients.items():
        index, _, client = place.partition("/")
        person = Person(task, client, backlog, report, place)
        route = {"kwargs": {"slug": slugs[int(index)]}}
        scope = {"query_string": f"client={client}&format=json".encode(), "url_route": route, "headers": []}
        person.connection = await hub.join(scope, person.take)
        people.append(person)
    rooms = list(hub.rooms.values())
    if task.gate:
        os.write(report, b"ready\n")
        while not os.path.exists(task.gate):  # noqa: ASYNC110, ASYNC240 - nothing else is to be done yet
            await asyncio.sleep(0.002)
    for person in people:
        person.work()
    if task.messages:
        for person in people:
            await person.has_finished.wait()
            assert person.connection is not None
            hub.leave(person.connection, 1000)
        await hub.stop()
        return
    rng = random.Random(task.seed)
    while True:
        await asyncio.sleep(rng.uniform(0.01, 0.1))
        room = rng.choice(rooms)
        draft = draft_snapshot(room.graph)
        await hub._aside.run(take_snapshot, room.document_id, draft, Snapshot.Reason.COUNT)


def slugs_of(task: Task) -> list[str]:
    """Names of the documents, in the task's order."""
    rows = dict(Document.objects.filter(pk__in=task.documents).values_list("pk", "slug"))
    return [rows[pk] for pk in task.documents]


def compact(task: Task, report: int) -> None:
    """Lives until it is killed: cron gone mad."""
    while True:
        for document in Document.objects.filter(pk__in=task.documents):
            with contextlib.suppress(JournalBusy, JournalUnavailable):
                outcome = compact_document(document, KeepRules(KEEP_MESSAGES, 0)).outcome
                os.write(report, f"{outcome}\n".encode())


def author(task: Task, report: int) -> None:
    """Lives until it is killed: the site's own code, as another process of a live room's journal."""
    while True:
        for index, document_id in enumerate(task.documents):
            with contextlib.suppress(JournalBusy, JournalUnavailable):
                authored = Author(document_id).write(count_up)
                assert authored is not None
                os.write(report, f"authored {index} {authored.seq} {authored.message.id}\n".encode())


def count_up(graph: Graph) -> list[Op]:
    """A node of the site's own that counts its messages."""
    ops = [Op(ot="number.add", key=SITE_CLIENT, path="count", value=1)]
    if SITE_CLIENT not in graph.clock:
        ops.insert(0, Op(ot="node.insert", path="children", value={"key": SITE_CLIENT, "count": 0}))
    return ops


def read(task: Task, report: int) -> None:
    """Lives until it is killed: hydrates without a pause, and looks whether it has got a whole document."""
    heads: dict[UUID, int] = {}
    while True:
        for document_id in task.documents:
            try:
                graph = hydrate(document_id).graph
            except JournalUnavailable:
                os.write(report, b"overtaken\n")
                continue
            assert graph.head_seq >= heads.get(document_id, 0), "it went back"
            heads[document_id] = graph.head_seq
            for key, view in graph.nodes().items():
                if key in graph.clock:
                    assert view.properties["count"] == graph.clock[key], f"{key} at {graph.head_seq}"
            os.write(report, f"read {graph.head_seq}\n".encode())


def run(task: Task, report: int) -> None:
    """Does `task` in this process, to its end if it has one; it does not outlive who started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    match task.role:
        case "write":
            asyncio.run(write(task, report))
        case "author":
            author(task, report)
        case "compact":
            compact(task, report)
        case "read":
            read(task, report)


def main() -> None:
    """A process of its own, its task on the standard input."""
    run(msgspec.json.decode(sys.stdin.buffer.read(), type=Task), sys.stdout.fileno())
