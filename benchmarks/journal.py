"""The journal beside raw inserts: `python -m benchmarks.journal [--database postgresql] [--messages 100000] [--json]`.

    commit N      messages/s through the committer when N wait, beside rows/s of bare inserts, N a commit: a statement
                  for each row (`raw`), and one for all (`one_statement`)
    recovery      seconds to hydrate the whole journal, and from the snapshot that compaction leaves
    compaction    messages/s folded and deleted, proof included
    bytes         payload bytes of a message on disk
    week          payload and snapshot bytes after each day of a room edited at a steady rate, compacted every hour

A new database in a temporary folder, with an fsync in each commit.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import uvloop

SECONDS = 1.0
ROUNDS = 5
"""Each figure of a commit is the median of so many, taken in turn with those it is compared with."""
BATCH = 100
HOURS = 7 * 24
MESSAGES_PER_HOUR = 100
NODES = 200


def prepare(database_url: str) -> str:
    """Afterwards Django works on an empty database, SQLite's in a new folder; the folder."""
    folder = tempfile.mkdtemp(prefix="vuer-rtc-bench-")
    os.environ |= {
        "VUER_RTC_DATA_DIR": folder,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "vuer_rtc.settings",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    return folder


def entries(first: int, count: int) -> list[Any]:
    """So many messages of one client: a vector of one of the nodes is set."""
    from journal.entry import Entry
    from vuer_rtc.crdt.message import Message, Op

    made = []
    for lt in range(first, first + count):
        key = f"node-{lt % NODES}"
        op = Op(ot="vector3.set", key=key, path="position", value=[lt * 0.1, 1.5, -lt * 0.25])
        if lt <= NODES:
            op = Op(ot="node.insert", path="children", value={"key": key, "tag": "mesh"})
        message = Message(id=f"ann:{lt}", client="ann", clock={"ann": lt}, lt=lt, ts=1.75e9 + lt, ops=[op])
        made.append(Entry(message, session="3f0c9a", received_at=1.75e9 + lt))
    return made


def fill(document_id: UUID, first: int, count: int) -> None:
    """Appends messages `first` to `first + count - 1`, so many a commit."""
    from journal.position import read_heads
    from journal.writer import Appended, Draft, append_batches

    head_seq = read_heads([document_id])[document_id]
    for start in range(first, first + count, BATCH):
        batch = entries(start, min(BATCH, first + count - start))
        [outcome] = append_batches([Draft(document_id, head_seq + 1, batch)], "bench")
        assert isinstance(outcome, Appended)
        head_seq = outcome.last_seq


class Busy:
    """A room in which always the same number of messages waits."""

    def __init__(self, document_id: UUID, waiting: int, committer: Any) -> None:
        from rooms.batch import Batch

        self.document_id, self.waiting, self.committer = document_id, waiting, committer
        self.batch_type = Batch
        self.conflicts_in_a_row, self.rival_until, self.turns_wanted = 0, 0.0, None
        self.is_closed = False
        self.head_seq = 0
        self.entries = entries(1, waiting)
        self.until = time.perf_counter() + SECONDS

    @property
    def has_waiting(self) -> bool:
        return time.perf_counter() < self.until

    def next_batch(self) -> Any:
        return self.batch_type(self.head_seq + 1)

    def draft(self, batch: Any) -> Any:
        from journal.writer import Draft

        return Draft(self.document_id, batch.first_seq, self.entries)

    def settle(self, batch: Any) -> None:
        self.head_seq += self.waiting


async def commit_rate(document_id: UUID, waiting: int) -> float:
    """Messages a second that the committer writes, on the event loop of the server; encoding is part of it."""
    from journal.writer import append_batches
    from rooms.committer import Committer
    from rooms.thread import Worker

    worker = Worker("bench")
    committer = Committer(lambda drafts: worker.run(append_batches, drafts, "bench"))
    room: Any = Busy(document_id, waiting, committer)
    task = asyncio.create_task(committer.run())
    begun_at = time.perf_counter()
    committer.notify(room)
    await committer.drained()
    seconds = time.perf_counter() - begun_at
    task.cancel()
    await worker.close()
    return float(room.head_seq / seconds)


def raw_rate(rows: int, *, is_one_statement: bool) -> float:
    """Rows a second of bare inserts of the same bytes into the same database, so many a commit."""
    import msgspec
    from django.db import connection

    payloads = [msgspec.msgpack.encode([entry]) for entry in entries(1, rows)]
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        kind = "INTEGER PRIMARY KEY" if is_sqlite else "BIGSERIAL PRIMARY KEY"
        cursor.execute("DROP TABLE IF EXISTS bench_raw")
        cursor.execute(f"CREATE TABLE bench_raw (seq {kind}, payload {'BLOB' if is_sqlite else 'BYTEA'})")
        statement = f"INSERT INTO bench_raw (payload) VALUES {', '.join(['(%s)'] * rows)}"
        begun_at, count = time.perf_counter(), 0
        while time.perf_counter() - begun_at < SECONDS:
            cursor.execute("BEGIN")
            if is_one_statement:
                cursor.execute(statement, payloads)
            else:
                cursor.executemany(
                    "INSERT INTO bench_raw (payload) VALUES (%s)", [(each,) for each in payloads]
                )
            cursor.execute("COMMIT")
            count += rows
        return count / (time.perf_counter() - begun_at)


def stored_bytes(document_id: UUID) -> dict[str, int]:
    """Bytes of the document's batches and snapshots, payloads alone."""
    from django.db.models import Sum
    from django.db.models.functions import Length

    from journal.models import JournalBatch, Snapshot

    return {
        name: model._default_manager.filter(document=document_id).aggregate(n=Sum(Length("payload")))["n"]
        or 0
        for name, model in (("batches", JournalBatch), ("snapshots", Snapshot))
    }


def commit_rates(waiting: int) -> dict[str, float]:
    """Medians, and the share of `raw` that the committer reaches in a round."""
    from journal.models import Document

    rounds = []
    for number in range(ROUNDS):
        document = Document.objects.create(slug=f"busy-{waiting}-{number}")
        raw = raw_rate(waiting, is_one_statement=False)
        best = raw_rate(waiting, is_one_statement=True)
        through = uvloop.run(commit_rate(document.pk, waiting))
        rounds.append({"per_s": through, "raw": raw, "one_statement": best, "x": through / raw})
    return {
        name: round(statistics.median(each[name] for each in rounds), 2 if name == "x" else None)
        for name in rounds[0]
    }


def measure(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Names and figures, one after the other."""
    from journal.compaction import KeepRules, compact_document
    from journal.models import Document
    from journal.reader import hydrate

    yield "database", options.database
    yield "load", os.getloadavg()[0]
    for waiting in (1, 10, 100):
        yield f"commit {waiting}", commit_rates(waiting)
    document = Document.objects.create(slug="long")
    fill(document.pk, 1, options.messages)
    yield "bytes a message", round(stored_bytes(document.pk)["batches"] / options.messages, 1)
    yield "recovery_s", timed(lambda: hydrate(document.pk))
    seconds = timed(lambda: compact_document(document, KeepRules(0, 0)))
    yield "compaction", {"s": seconds, "messages_per_s": round(options.messages / seconds)}
    yield "recovery_from_snapshot_s", timed(lambda: hydrate(document.pk))
    yield "week", simulate_week()


def timed(act: Any) -> float:
    begun_at = time.perf_counter()
    act()
    return round(time.perf_counter() - begun_at, 3)


def simulate_week() -> dict[str, Any]:
    """A room with a steady hand in it, compacted every hour, by a clock that is passed in."""
    from django.utils import timezone

    from journal.compaction import KeepRules, compact_document
    from journal.models import Document, JournalBatch

    document = Document.objects.create(slug="week")
    now, days = timezone.now(), {}
    for hour in range(1, HOURS + 1):
        before = JournalBatch.objects.filter(document=document).values_list("pk", flat=True)
        known = set(before)
        fill(document.pk, (hour - 1) * MESSAGES_PER_HOUR + 1, MESSAGES_PER_HOUR)
        now += timedelta(hours=1)
        fresh = JournalBatch.objects.filter(document=document).exclude(pk__in=known)
        fresh.update(created_at=now)
        compact_document(document, KeepRules(1000, 1), now=now)
        if hour % 24 == 0:
            days[hour // 24] = stored_bytes(document.pk)
    return {"messages": HOURS * MESSAGES_PER_HOUR, "bytes_after_day": days}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = ""
        if options.database == "postgresql":
            from tests.postgresql import PostgreSQL

            url = stack.enter_context(PostgreSQL()).url()
        folder = prepare(url)
        from journal.collector import calm_collector

        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found: dict[str, Any] = {}
        stack.enter_context(calm_collector())  # as the commands do
        for name, value in measure(options):
            found[name] = value
            if not options.json:
                print(f"{name:26} {value}", flush=True)
        from django.db import connection

        connection.close()
        if options.database == "postgresql":
            connection.close_pool()
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
