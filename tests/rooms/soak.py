"""Rooms that open, are worked in and close, for hours in little: `python -m tests.rooms.soak [--openings 2000]`.

Every opening is a room of its own: two connections, a hundred messages, everything acknowledged and seen, both gone;
the room leaves memory.  It is quiet after each tenth: rooms that wait for their rows pile up under such a load, and
memory would show the largest pile.  What the server's memory is after the first tenth it has to be at the end.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rooms.disk import open_database
from tests.rooms.raw_socket import BINARY, CLOSE, TEXT, RawSocket, frame_of, resident_kib
from tests.server import ServerProcess

MESSAGES = 100
AT_ONCE = 8
SETTINGS = {"ROOM_IDLE_S": 0.1, "PROJECTION_INTERVAL_S": 0.2, "SESSION_FLUSH_S": 0.5, "MEMORY_RETURN_S": 0.5}
LACKING = """
    SELECT COUNT(*) FROM vuer_journal_document AS document WHERE head_seq <
    (SELECT MAX(last_seq) FROM vuer_journal_journalbatch AS batch WHERE batch.document_id = document._id)
"""
QUIET_S = 3
"""After the last connection: rooms leave, rows are written, memory goes back."""
GROWTH_MAX = 0.1


@dataclass(frozen=True)
class Report:
    messages: int
    first_kib: int
    """Memory after the first tenth."""
    last_kib: int

    @property
    def growth(self) -> float:
        return self.last_kib / self.first_kib - 1


async def soak(server: ServerProcess, openings: int) -> Report:
    assert server.process is not None
    pid = server.process.pid
    slugs = [f"soak-{number}" for number in range(openings)]
    await asyncio.to_thread(server.create_documents, slugs)
    tenth, after = openings // 10, []
    for start in range(0, openings, tenth):
        await work(server, slugs[start : start + tenth])
        after.append(resident_kib(pid))
    return Report(openings * MESSAGES, after[0], after[-1])


async def work(server: ServerProcess, slugs: list[str]) -> None:
    """Open all these, a few at a time; afterwards it is quiet."""
    left = iter(slugs)

    async def worker() -> None:
        for slug in left:
            await live(server, slug)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    while rows_lack(server) > 0:  # noqa: ASYNC110  rooms stay in memory until their rows are written
        await asyncio.sleep(0.5)
    await asyncio.sleep(QUIET_S)


def rows_lack(server: ServerProcess) -> int:
    """How many documents have messages that are not projected."""
    with closing(open_database(server.data_dir)) as database:
        [(count,)] = database.execute(LACKING).fetchall()
    return int(count)


async def live(server: ServerProcess, slug: str) -> None:
    """One opening."""
    ann, bob = RawSocket(server.port), RawSocket(server.port)
    await ann.open(f"/ws/rooms/{slug}/?client=ann&format=json")
    await bob.open(f"/ws/rooms/{slug}/?client=bob&format=msgpack&v=2&features=batch")
    while (await bob.receive_message())["mtype"] != "state":
        pass
    ann.write(b"".join(frame_of(message(number), TEXT) for number in range(1, MESSAGES + 1)))
    await asyncio.gather(count(ann, b'"ack"', MESSAGES), count(bob, b"\xa9broadcast", MESSAGES))
    ann.abort()
    bob.abort()


async def count(socket: RawSocket, mark: bytes, wanted: int) -> None:
    """Returns when so many have come."""
    while wanted > 0:
        kind, payload = await asyncio.wait_for(socket.receive(), 60)
        assert kind != CLOSE, payload
        if kind in (TEXT, BINARY):
            wanted -= payload.count(mark)


def message(number: int) -> bytes:
    key = f"n{number // 10}"
    op: dict[str, Any] = {"ot": "number.set", "key": key, "path": "x", "value": number}
    if number % 10 == 0:
        op = {"ot": "node.insert", "key": "", "path": "children", "value": {"key": key, "tag": "Mesh"}}
    commit = {
        "id": f"ann:{number}",
        "client": "ann",
        "clock": {"ann": number},
        "lt": number,
        "ts": 1,
        "ops": [op],
    }
    return json.dumps({"mtype": "crdt", "msg": commit}).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--openings", type=int, default=2000)
    openings = parser.parse_args().openings
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), settings=SETTINGS) as server:
        report = asyncio.run(soak(server, openings))
    mib = f"{report.first_kib / 1024:.1f} MiB after a tenth, {report.last_kib / 1024:.1f} MiB at the end"
    print(f"{report.messages:,} messages in {openings:,} rooms: {mib} ({report.growth:+.1%})")
    return int(report.growth > GROWTH_MAX)


if __name__ == "__main__":
    sys.exit(main())
