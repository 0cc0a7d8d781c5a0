"""A live room in memory under fire: real connections, real batches; only the sockets and the disk are not there."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from journal.column import moment
from journal.entry import Entry, decode_entries, encode_entries
from journal.operation import operation_rows
from journal.scene_object import object_row
from rooms.address import Address
from rooms.admission import Admission
from rooms.connection import Connection
from rooms.credential import Credential
from rooms.debt import Debt
from tests.protocol.mutation import FrameWriter
from tests.rooms.fake_room import Journal, NativeReplica, Room
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import cut_record, numbered
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Right
from vuer_rtc.protocol.wire import Edition, Feature, Frame, Framing, Naming, Promise

EVERYTHING = frozenset(Right)
EDITOR = frozenset({Right.VIEW, Right.EDIT})
PLENTY = Limits(
    messages_per_second_max=1e12, message_burst_max=10**9, reads_per_second_max=1e12, read_burst_max=10**9,
    bytes_per_second_max=1e12, byte_burst_max=10**12,
    faults_per_second_max=1e12, fault_burst_max=10**9, ops_per_message_max=100, text_insert_chars_max=2000,
)  # fmt: skip
FEW = replace(
    PLENTY, messages_per_second_max=0, message_burst_max=60, faults_per_second_max=0, fault_burst_max=10
)
"""No time passes in an arena: what is used up stays so."""
SEATS = {
    "al": (Framing.JSON, Naming.COMPRESSED, Edition.PUBLISHED, EDITOR),
    "bo": (Framing.MSGPACK, Naming.LEGACY, Edition.PUBLISHED, EDITOR),
    "cy": (Framing.JSON, Naming.COMPRESSED, Edition.NATIVE, EVERYTHING),
    "looker": (Framing.MSGPACK, Naming.COMPRESSED, Edition.NATIVE, frozenset({Right.VIEW})),
}
"""How each client is spoken to; `looker` only looks, natively and batched."""
FRAMES_PER_LIFETIME = 200
UUID = uuid.UUID(int=1)


class Seat:
    """One connection and what its client makes of what it is sent."""

    def __init__(self, room: Room, client: str) -> None:
        framing, naming, edition, rights = SEATS[client]
        self.client = client
        self.is_native = edition is Edition.NATIVE
        self.codec = msgspec.json if framing is Framing.JSON else msgspec.msgpack
        self.replica = NativeReplica(client)
        self.got: Counter[str] = Counter()
        features = frozenset({Feature.BATCH}) if client == "looker" else frozenset[Feature]()
        address = Address("room", client, framing, naming, "", "", edition, features)
        admission = Admission(UUID, uuid.uuid4(), Credential(), rights, 0, room.limits)
        self.connection = Connection(
            address,
            admission,
            room,
            self._send,
            self._write,
            lambda _: None,
            Promise(True, ""),
            lambda *_: None,
            lambda _: None,
            arrived_at=0.0,
            debt=Debt(),
        )
        room.join(self.connection)

    def _write(self, frames: Iterable[Frame]) -> bool:
        for frame in frames:
            self._take(self.codec.decode(frame))
        return True

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            self._take(self.codec.decode(event.get("bytes", event.get("text"))))

    def _take(self, wire: dict[str, Any]) -> None:
        if wire["mtype"] == "batch":
            for inner in wire["messages"]:
                self._take(inner)
            return
        self.got[wire["mtype"]] += 1
        if self.is_native:
            self.replica.take(wire)
        elif wire["mtype"] == "broadcast":
            canonical_message(wire["msg"])


class Arena:
    """One lifetime of a room: frames go in, and what has to hold holds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.frames = FrameWriter(rng)
        self.limits = PLENTY if rng.random() < 0.9 else FEW
        self.journal = Journal()
        self.room = Room(self.journal, self.limits, budget=10**9)
        self.seats = {client: Seat(self.room, client) for client in SEATS}
        self.entries: list[Entry] = []
        self.met: Counter[str] = Counter()
        self.last: tuple[str, Frame] = ("", b"")

    async def live(self, frames: int = FRAMES_PER_LIFETIME) -> None:
        for number in range(frames):
            self.last = client, frame = self.frames.frame()
            if self.rng.random() < 0.02:
                client = self.rng.choice(list(SEATS))
            await self.receive(client, frame)
            if self.rng.random() < 0.2 or number == frames - 1:
                await self.commit()
            if self.rng.random() < 0.003:
                await self.cut()
        self.check()

    async def receive(self, client: str, frame: Frame) -> None:
        """The sender gets at most one answer, nobody else any."""
        seat = self.seats[client]
        waiting, head_seq = self.room.waiting_count, self.room.graph.head_seq
        before = {name: seat.got["error"] for name, seat in self.seats.items()}
        seat.connection.receive(frame)
        await asyncio.sleep(0)
        submitted = self.room.waiting_count - waiting
        refused = {name: seat.got["error"] - before[name] for name, seat in self.seats.items()}
        assert self.room.graph.head_seq == head_seq
        assert submitted + refused.pop(client) <= 1
        assert not any(refused.values()), "who did nothing was told of an error"
        assert client != "looker" or not submitted
        self.met["submitted" if submitted else "answered or refused"] += 1
        if seat.connection.close_code is not None:
            self.met[f"closed {seat.connection.close_code.name.lower()}"] += 1
            await self.take_anew(seat)

    async def take_anew(self, seat: Seat) -> None:
        await asyncio.sleep(0)
        seat.connection.ended(1006)
        kept = seat.replica.sent
        self.seats[seat.client] = Seat(self.room, seat.client)
        self.seats[seat.client].replica.sent = kept
        await asyncio.sleep(0)

    async def commit(self) -> None:
        """What the committer, the writer and the projector do, without a database."""
        while self.room.has_waiting:
            batch = self.room.next_batch()
            if batch is None:
                continue
            entries = list(self.room.draft(batch).entries)
            decoded = decode_entries(encode_entries(entries), batch.first_seq)
            assert [entry.message for entry in decoded] == [entry.message for entry in entries]
            self.entries += decoded
            self.journal.messages += [entry.message for entry in decoded]
            for submission in batch.accepted:
                seat = self.seats[submission.message.client]
                seat.replica.sent[submission.message.id] = submission.message
            self.room.last_batch = uuid.UUID(int=self.entries[-1].message.server_seq)
            self.room.settle(batch)
            for entry in decoded:
                for row in operation_rows(UUID, UUID, entry, ()):
                    msgspec.json.encode(row)
                moment(entry.message.ts)
            self.met["journalled"] += len(decoded)
        await asyncio.sleep(0)

    async def cut(self) -> None:
        """Another process folds away what is older than some of it."""
        graph = self.room.graph
        record = cut_record(
            f"=cut/{graph.head_seq}", self.rng.randint(graph.cut, max(graph.cut, graph.lt)), 0
        )
        record = numbered(record, graph.head_seq + 1)
        self.journal.messages.append(record)
        self.entries.append(Entry(record))
        await self.room.catch_up()
        await asyncio.sleep(0)
        self.met["cuts"] += 1

    def check(self) -> None:
        """The document is the fold of what was journalled, for whoever reads it in whatever way."""
        graph = self.room.graph
        digest = graph.digest()
        again = Graph()
        for entry in self.entries:
            again.apply(entry.message)
        assert again.digest() == digest
        again.apply(numbered(cut_record("=end", again.lt, 0), again.head_seq + 1))
        assert Graph.restore(again.snapshot()).digest() == again.digest() == digest
        for key, view in graph.nodes().items():
            object_row(UUID, key, view, graph.head_seq)
        for seat in self.seats.values():
            if seat.is_native:
                assert seat.replica.graph.digest() == digest, f"{seat.client} has another document"
        assert self.room.budget.bytes_left == 10**9


async def live_through(name: str, met: Counter[str], frames: int = FRAMES_PER_LIFETIME) -> Arena:
    """One lifetime, made of its name."""
    arena = Arena(random.Random(name))
    try:
        await arena.live(frames)
    except BaseException as error:
        error.add_note(f"lifetime {name}, last frame {arena.last}")
        raise
    met.update(arena.met)
    return arena
