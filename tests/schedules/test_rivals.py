"""Processes that write, compact and read the same documents as fast as they can (rules J6, J7, J10, J13)."""

import os
from contextlib import ExitStack

import psycopg

from tests.journal.victim import Backlog, Task
from tests.schedules.audit import assert_sound, audit
from tests.schedules.crew import Worker, acks_of, documents_of
from tests.schedules.place import SLUG, Site

MESSAGES = int(os.environ.get("VUER_RTC_TEST_RIVAL_MESSAGES", "2000"))
"""Of both together; CI takes fewer than the 20,000 of the full run."""
CLIENTS = ("ann", "bob")
IN_FLIGHT = 5
"""Few enough that they meet at every other commit."""


def write(site: Site, slugs: list[str], client: str, messages: int) -> Task:
    """So many messages in each of the rooms, by a process that opens them in that order."""
    keys = documents_of(site)
    clients = {f"{index}/{client}": Backlog() for index in range(len(slugs))}
    return Task(
        "write",
        [keys[slug] for slug in slugs],
        clients,
        messages=messages,
        in_flight=IN_FLIGHT,
        gate=str(site.data_dir / "gate"),
    )


def open_gate(site: Site, *workers: Worker) -> None:
    """They begin, all at once."""
    for worker in workers:
        worker.has_said("ready")
    (site.data_dir / "gate").touch()


def test_j7_two_processes_write_one_document_without_a_gap_a_repetition_or_a_loss(site: Site) -> None:
    each = MESSAGES // len(CLIENTS)
    tasks = [write(site, [SLUG], client, each) for client in CLIENTS]
    with Worker(site, tasks[0]) as one, Worker(site, tasks[1]) as other:
        open_gate(site, one, other)
        acks = [acks_of(one.finish())[0], acks_of(other.finish())[0]]
    assert [len(found) for found in acks] == [each, each]
    acked = acks[0] | acks[1]
    found = audit(site.shell, SLUG)
    assert_sound(found, acked)
    edits = {seq: id for seq, id in found.retained.items() if not id.startswith("=")}
    assert edits == {seq: id for id, seq in acked.items()}


def test_j6_two_processes_that_write_the_same_rooms_in_opposite_order_wait_for_none_of_each_other(
    site: Site,
) -> None:
    slugs = [f"room-{n}" for n in range(6)]
    site.shell.create_documents(slugs)
    with (
        Worker(site, write(site, slugs, "ann", 100)) as one,
        Worker(site, write(site, slugs[::-1], "bob", 100)) as other,
    ):
        open_gate(site, one, other)
        acks = acks_of(one.finish()), acks_of(other.finish())
    for index, slug in enumerate(slugs):
        acked = acks[0][index] | acks[1][len(slugs) - 1 - index]
        assert len(acked) == 200
        assert_sound(audit(site.shell, slug), acked)
    if site.database_url:
        with psycopg.connect(site.database_url) as server:
            query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert server.execute(query).fetchone() == (0,)


def test_j13_who_hydrates_while_others_write_and_a_compaction_deletes_gets_a_whole_document(
    site: Site,
) -> None:
    document_ids = [documents_of(site)[SLUG]]
    with ExitStack() as stack:
        cron = stack.enter_context(Worker(site, Task("compact", document_ids)))
        readers = [stack.enter_context(Worker(site, Task("read", document_ids))) for _ in range(2)]
        writers = [stack.enter_context(Worker(site, write(site, [SLUG], client, 600))) for client in CLIENTS]
        open_gate(site, *writers)
        acks = [acks_of(writer.finish())[0] for writer in writers]
        assert all(worker.process.poll() is None for worker in (*readers, cron)), "one has failed"
        reads = [line for reader in readers for line in reader.said()]
        compactions = cron.said()
    assert_sound(audit(site.shell, SLUG), acks[0] | acks[1])
    assert "compacted" in compactions
    assert sum(line.startswith("read") for line in reads) > 10
    assert len({line for line in reads if line.startswith("read")}) > 4, "at different heads"
