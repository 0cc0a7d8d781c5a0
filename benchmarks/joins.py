"""Joining a room of ten thousand objects: how long until the first byte, until everything, and who is held up."""

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from benchmarks.crowd import Client, Room, connect
from tests.server import ServerProcess

ROOM, OTHER_ROOM = "bench-0", "bench-1"
QUERIES = {"native": "&format=msgpack&v=2&features=batch", "published": "&format=msgpack"}
OBJECTS, UPDATES = 10_000, 100_000
JOINS = 8
STORM = 300
WINDOW = 500
"""Updates on their way at a time."""
UPDATES_PER_S = 200
"""While people join a room that is in use."""
SEQ = b"\xa9serverSeq"


def measure_joins(server: ServerProcess) -> dict[str, dict[str, float]]:
    """By what was joined; `others_max_ms`: the longest that somebody in another room waited for an ack meanwhile."""
    found: dict[str, dict[str, float]] = {}

    def measure(name: str, scenario: Callable[[], Coroutine[Any, Any, dict[str, float]]]) -> None:
        found[name] = uvloop.run(beside_a_bystander(server.port, scenario))

    def measure_both(state: str) -> None:
        for kind in QUERIES:
            measure(f"{state}, {kind}", lambda kind=kind: several(server.port, kind))  # type: ignore[misc]

    server.manage("shell", "--no-imports", "-c", f"from benchmarks.scene import *; fill({ROOM!r})")
    measure("fresh, native, first: reads the journal", lambda: several(server.port, "native", 1))
    measure_both("fresh")
    uvloop.run(move_everything(server.port))
    await_rows(server)
    measure_both("after 100,000 updates")
    measure("while it is edited, native", lambda: while_edited(server.port))
    measure(f"{STORM} at once, native", lambda: storm(server.port))
    return found


class Joiner(Client):
    """Notes when the first byte of the state, and the last of what belongs to it, came (rules A4, N2)."""

    def __init__(self, head_seq: int = 0) -> None:
        name = f"joiner-{os.urandom(4).hex()}"
        super().__init__(name, Room(), is_observer=False, on_ack=lambda _: None)
        self.head_seq = head_seq
        """How far the document is; a native client is told."""
        self.bytes = 0
        self.first = self.whole = 0.0
        self._has_state = False

    def data_received(self, data: bytes) -> None:
        if self._is_open and not self.first and len(data) > 10_000:
            self.first = time.perf_counter()
        super().data_received(data)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind >= 0x8 or self.joined.done():
            super()._take(kind, payload)
            return
        self.bytes += len(payload)
        if b"welcome" in payload[:20]:
            self.head_seq = last_seq(payload)
        self._has_state = self._has_state or b"state" in payload[:20]
        if self._has_state and last_seq(payload) >= self.head_seq:
            self.whole = time.perf_counter()
            self.joined.set_result(None)


def last_seq(payload: bytes) -> int:
    """The last sequence that a frame tells, be it its own or that of the last message in it."""
    at = payload.rfind(SEQ) + len(SEQ)
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4}.get(payload[at])
    return payload[at] if size is None else int.from_bytes(payload[at + 1 : at + 1 + size])


async def join(port: int, kind: str, head_seq: int = 0) -> dict[str, float]:
    """Milliseconds since the handshake began."""
    begun = time.perf_counter()
    joiner = Joiner(head_seq)
    await connect(port, f"/ws/rooms/{ROOM}/?client={joiner.name}{QUERIES[kind]}", joiner)
    await joiner.joined
    joiner.transport.abort()
    return {
        "first_ms": (joiner.first - begun) * 1000,
        "whole_ms": (joiner.whole - begun) * 1000,
        "mib": joiner.bytes / 2**20,
        "head_seq": joiner.head_seq,
    }


async def several(port: int, kind: str, joins: int = JOINS) -> dict[str, float]:
    """Medians of joins one after the other; the first of a published kind is asked for beside."""
    head_seq = int((await join(port, "native"))["head_seq"]) if kind == "published" else 0
    return medians([await join(port, kind, head_seq) for _ in range(joins)])


def medians(times: list[dict[str, float]]) -> dict[str, float]:
    found = {name: statistics.median(one[name] for one in times) for name in ("first_ms", "whole_ms", "mib")}
    return {**found, "whole_max_ms": max(one["whole_ms"] for one in times)}


class Mover(Client):
    """Moves one object after the other."""

    def edit(self) -> None:
        self.counter += 1
        self.room.lt += 1
        name, counter = self.name, self.counter
        op = {
            "ot": "vector3.set",
            "key": f"object-{counter % OBJECTS}",
            "path": "position",
            "value": [counter, 0.5, 1],
        }
        self.send({"mtype": "crdt", "msg": {"id": f"{name}:{counter}", "client": name, "clock": {name: counter},
                   "lt": self.room.lt, "ts": 1.75e9 + counter, "ops": [op]}})  # fmt: skip


async def mover(port: int, lt: int, on_ack: Callable[[Client], None]) -> Mover:
    client = Mover(f"mover-{os.urandom(4).hex()}", Room(), is_observer=False, on_ack=on_ack)
    client.room.lt = lt
    await connect(port, f"/ws/rooms/{ROOM}/?client={client.name}{QUERIES['native']}", client)
    await client.joined
    return client


async def move_everything(port: int) -> None:
    """As fast as the server takes it."""
    done = asyncio.Event()

    def go_on(client: Client) -> None:
        if client.counter < UPDATES:
            client.edit()
        elif client.acks == UPDATES:
            done.set()

    client = await mover(port, OBJECTS, go_on)
    for _ in range(WINDOW):
        client.edit()
    await done.wait()
    client.transport.abort()


def await_rows(server: ServerProcess) -> None:
    """Returns when the rows for search and audit are written: that takes the database's one writer for seconds."""
    code = f"from journal.models import Document; print(Document.objects.get(slug={ROOM!r}).head_seq)"
    while int(server.manage("shell", "--no-imports", "-c", code)) < OBJECTS + UPDATES:
        time.sleep(1)


async def while_edited(port: int) -> dict[str, float]:
    client = await mover(port, OBJECTS + UPDATES, lambda _: None)

    async def edit() -> None:
        begun, sent = time.perf_counter(), 0
        while True:
            while sent < (time.perf_counter() - begun) * UPDATES_PER_S:
                client.edit()
                sent += 1
            await asyncio.sleep(0.002)

    editing = asyncio.create_task(edit())
    times = []
    for _ in range(5 * JOINS):
        await asyncio.sleep(0.1)
        times.append(await join(port, "native"))
    editing.cancel()
    client.transport.abort()
    return medians(times)


async def storm(port: int) -> dict[str, float]:
    return medians(await asyncio.gather(*(join(port, "native") for _ in range(STORM))))


async def beside_a_bystander(
    port: int, scenario: Callable[[], Coroutine[Any, Any, dict[str, float]]]
) -> dict[str, float]:
    """What the scenario found, and how long at most somebody in another room waited for an ack."""
    sent_at, waited = 0.0, [0.0]

    def again(client: Client) -> None:
        nonlocal sent_at
        now = time.perf_counter()
        waited.append(now - sent_at)
        sent_at = now
        client.edit()

    bystander = Client(f"by-{os.urandom(4).hex()}", Room(), is_observer=False, on_ack=again)
    await connect(port, f"/ws/rooms/{OTHER_ROOM}/?client={bystander.name}{QUERIES['native']}", bystander)
    await bystander.joined
    bystander.insert()
    sent_at = time.perf_counter()
    await asyncio.sleep(0.2)
    waited.clear()
    found = await scenario()
    bystander.transport.abort()
    waited.append(time.perf_counter() - sent_at)
    waited.sort()
    return {**found, "others_p50_ms": waited[len(waited) // 2] * 1000, "others_max_ms": waited[-1] * 1000}
