"""Starts victims, kills them, and checks what is left; see `tests.journal.crash`."""

import os
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections

from journal import archive
from journal.compaction import KeepRules, compact_document
from journal.durability import journal_connection
from journal.failpoint import AT_COMMANDS, POINTS, arm
from journal.models import Document, JournalBatch, SceneObject
from journal.projection import catch_up, rebuild
from journal.reader import hydrate, verified
from journal.scene_object import OBJECT_FIELDS
from journal.transfer_line import BatchLine
from journal.verification import COMPACT_HINT, verify_document
from tests.journal.victim import KEEP_MESSAGES, Backlog, Task, message_of, run
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.message import SITE_CLIENT

DEATH_MAX_S = 30
DEATHS_AT_POINTS = 0.25
"""Share of the rounds of a random run in which one of the processes dies at a failpoint."""
VICTIMS_POINTS = tuple(point for point in POINTS if point not in AT_COMMANDS)
PAUSE_S = 0.06
"""Of clients: what is written has to be read and rebuilt many times over after each death."""
ROUNDS_PER_DOCUMENT = 15
"""Then the documents are left as they are and new ones made, so that a long run does not slow down."""


VICTIM = "victim"
"""Name of the dead in PostgreSQL's list."""


@dataclass(slots=True)
class Summary:
    """What a run has done and seen."""

    kills: int = 0
    points: Counter[str] = field(default_factory=Counter)
    """Of them, at failpoints."""
    sent: int = 0
    acked: int = 0
    found_unacked: int = 0
    """Messages found journalled although the ack was lost."""
    reacked: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """What the compactions reported before they were killed."""
    began_at: float = field(default_factory=time.monotonic)

    def of_all(self) -> dict[str, Any]:
        numbers = {
            name: getattr(self, name) for name in ("kills", "sent", "acked", "found_unacked", "reacked")
        }
        seconds = round(time.monotonic() - self.began_at, 1)
        return {**numbers, "points": dict(self.points), "outcomes": dict(self.outcomes), "seconds": seconds}


@dataclass(slots=True)
class Ledger:
    """What the client at one place knows: a document and a name."""

    document_id: UUID
    client: str
    sent: int = 0
    acked: dict[int, int] = field(default_factory=dict)
    """Sequence by counter; 0: acknowledged when it had been folded away already."""

    def backlog(self) -> Backlog:
        return Backlog(
            self.sent + 1, [counter for counter in range(1, self.sent + 1) if counter not in self.acked]
        )


class Victim:
    """A process and the file it reports in."""

    def __init__(self, task: Task, armed: str = "") -> None:
        """A fork, for all is imported; a connection that is open would be shared by both."""
        self.report = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is buried
        disconnect()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.environ["PGAPPNAME"] = VICTIM
                if armed:
                    arm(armed)
                run(task, self.report.fileno())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)  # a victim lives until it is killed

    def kill(self) -> list[str]:
        os.kill(self.pid, signal.SIGKILL)
        return self.bury()

    def has_begun(self) -> None:
        """Returns when something was acknowledged, or done."""
        deadline = time.monotonic() + DEATH_MAX_S
        while b"acked" not in os.pread(self.report.fileno(), 10_000, 0):
            assert time.monotonic() < deadline, "it does nothing"
            time.sleep(0.005)

    def has_died(self) -> bool:
        """True when it killed itself; it is not buried yet."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert found is None or found.si_status == signal.SIGKILL, f"it ended by itself: {found}"
        return found is not None

    def bury(self) -> list[str]:
        """Waits for its end; the lines it wrote whole."""
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSIGNALED(status), f"it ended by itself: {status}"
        with self.report as report:
            report.seek(0)
            return report.read().decode().split("\n")[:-1]


class Torture:
    """Documents, their clients' ledgers, and deaths."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.summary = Summary()
        self.rounds = 0
        self.documents: list[Document] = []
        self.ledgers: dict[str, Ledger] = {}
        self.authored: dict[UUID, dict[int, str]] = {}
        """Messages of the site that were reported as durable: ids by sequence."""

    # Deaths

    def die(self) -> None:
        """A round of a random run."""
        if self.random.random() < DEATHS_AT_POINTS:
            self.die_at(self.random.choice(VICTIMS_POINTS))
        else:
            self.kill_at_random()

    def kill_at_random(self) -> None:
        """One or two writers of the same documents and a compaction at work; all die, in any order."""
        self._renew_documents()
        victims = [self._writer("ab"), *([self._writer("cd")] if self.random.random() < 0.5 else [])]
        victims += [Victim(self._task("compact"))] if self.random.random() < 0.8 else []
        victims += [Victim(self._task("author"))] if self.random.random() < 0.3 else []
        victims[0].has_begun()
        time.sleep(self.random.uniform(0, 0.4))
        self.random.shuffle(victims)
        for victim in victims:
            self._read(victim.kill())
            time.sleep(self.random.choice([0, 0, 0.02]))
        self._check()

    def die_at(self, point: str) -> None:
        """One process dies at a failpoint, with others at work; then those."""
        self._renew_documents()
        is_compaction = point.startswith(("compact.", "archive."))
        armed = f"{point}:{self.random.randint(1, 3)}"
        if is_compaction:
            others = [self._writer("ab")]
            victim = Victim(self._task("compact"), armed)
        elif point.startswith("author."):
            others = [self._writer("ab"), Victim(self._task("compact"))]
            victim = Victim(self._task("author"), armed)
        else:
            others = [Victim(self._task("compact"))]
            victim = self._writer("ab", armed)
        deadline = time.monotonic() + DEATH_MAX_S
        while not victim.has_died():
            assert time.monotonic() < deadline, f"{armed} was never reached"
            time.sleep(0.005)
        self._read(victim.bury())
        self.summary.points[point] += 1
        for other in others:
            self._read(other.kill())
        self._check(is_compacted=True)

    def _renew_documents(self) -> None:
        if self.rounds % ROUNDS_PER_DOCUMENT == 0:
            self.documents = [new_document(f"room-{self.rounds}-{n}") for n in range(2)]
            self.authored = {document.pk: {} for document in self.documents}
            self.ledgers = {
                f"{index}/{client}": Ledger(document.pk, client)
                for index, document in enumerate(self.documents)
                for client in "abcd"
            }
        self.rounds += 1

    def _task(self, role: str) -> Task:
        return Task(role, [document.pk for document in self.documents], seed=self.random.randint(0, 10**9))

    def _writer(self, clients: str, armed: str = "") -> Victim:
        task = self._task("write")
        task.pause_s = PAUSE_S
        task.clients = {
            place: ledger.backlog() for place, ledger in self.ledgers.items() if ledger.client in clients
        }
        return Victim(task, armed)

    # What they told

    def _read(self, lines: list[str]) -> None:
        self.summary.kills += 1
        for line in lines:
            match line.split(" "):
                case ["sent", place, counter]:
                    self.ledgers[place].sent = int(counter)
                    self.summary.sent += 1
                case ["acked", place, counter, seq]:
                    self._acked(self.ledgers[place], int(counter), int(seq))
                case ["authored", index, seq, message_id]:
                    self.authored[self.documents[int(index)].pk][int(seq)] = message_id
                    self.summary.acked += 1
                case ["refused", *_]:
                    assert "unavailable" in line, line
                case _:
                    self.summary.outcomes[line] += 1

    def _acked(self, ledger: Ledger, counter: int, seq: int) -> None:
        assert 1 <= counter <= ledger.sent
        assert seq == 0 or ledger.acked.get(counter) in (None, 0, seq), "two sequences for one message"
        self.summary.acked += counter not in ledger.acked
        self.summary.reacked += counter in ledger.acked
        ledger.acked[counter] = seq or ledger.acked.get(counter, 0)

    # What is left

    def _check(self, *, is_compacted: bool = False) -> None:
        wait_for_the_dead()
        for document in self.documents:
            ledgers = [ledger for ledger in self.ledgers.values() if ledger.document_id == document.pk]
            self._check_rows(document)
            self._check_messages(document, ledgers)
            catch_up(document.pk)
            findings = verify_document(document).findings
            assert {finding.hint for finding in findings} <= {COMPACT_HINT}, findings
            assert_rebuild_changes_nothing(document)
            if is_compacted or self.random.random() < 0.5:
                compact_document(document, KeepRules(KEEP_MESSAGES, 0))
                assert verify_document(document).findings == []

    def _check_rows(self, document: Document) -> None:
        verdict = verify_document(document)
        assert not verdict.is_damaged, verdict.findings

    def _check_messages(self, document: Document, ledgers: list[Ledger]) -> None:
        """Every acknowledged message is there once, at its sequence; and counted once, folded or not."""
        graph = hydrate(document.pk).graph
        document.refresh_from_db()
        retained = dict(retained_messages(document))
        views = graph.nodes()
        seqs = Counter(seq for ledger in ledgers for seq in ledger.acked.values() if seq)
        assert not seqs or max(seqs.values()) == 1, "two messages at one sequence"
        for ledger in ledgers:
            there = journalled(graph, ledger)
            assert set(ledger.acked) <= there, f"lost: {sorted(set(ledger.acked) - there)}"
            for counter, seq in ledger.acked.items():
                if seq > document.truncated_seq:
                    assert retained[seq] == f"{ledger.client}:{counter}"
            count = views[ledger.client].properties["count"] if there else 0
            assert count == len(there), f"{ledger.client} wrote {len(there)} messages; {count} had an effect"
            self.summary.found_unacked += len(there - set(ledger.acked))
        archived = dict(archived_messages(document))
        assert sorted(archived) == list(range(1, document.truncated_seq + 1)), "history is lost or doubled"
        for ledger in ledgers:
            for counter, seq in ledger.acked.items():
                if 0 < seq <= document.truncated_seq:
                    assert archived[seq] == f"{ledger.client}:{counter}"
        authored = self.authored[document.pk]
        for seq, message_id in authored.items():
            assert seq <= document.truncated_seq or retained[seq] == message_id
        written = graph.clock.get(SITE_CLIENT, 0)
        assert written >= len(authored)
        assert not written or views[SITE_CLIENT].properties["count"] == written, (
            "a message of the site counts twice"
        )


def disconnect() -> None:
    """Afterwards this process has neither a connection nor a pool of them."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.alias in getattr(connection, "_connection_pools", {}):
            connection.close_pool()


def wait_for_the_dead() -> None:
    """Returns when PostgreSQL has noticed that they are: until then a commit of theirs may still go through."""
    connection = journal_connection()
    if connection.vendor != "postgresql":
        return
    deadline = time.monotonic() + DEATH_MAX_S
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [VICTIM])
            if cursor.fetchone() == (0,):
                return
        assert time.monotonic() < deadline, "somebody is still connected"
        time.sleep(0.005)


def new_document(slug: str) -> Document:
    return Document.objects.create(slug=slug, visibility=Document.Visibility.PUBLIC_EDIT)


def journalled(graph: Graph, ledger: Ledger) -> set[int]:
    """Counters of the client's messages that the document holds."""
    return {
        counter
        for counter in range(1, ledger.sent + 1)
        if graph.identify(message_of(ledger.client, counter)) is Identity.DUPLICATE
    }


def retained_messages(document: Document) -> Iterator[tuple[int, str]]:
    """Sequence and id of each message whose batch is there."""
    rows = JournalBatch.objects.filter(document=document, last_seq__gt=document.truncated_seq)
    for row in rows.order_by("last_seq"):
        yield from ((entry.message.server_seq, entry.message.id) for entry in verified(row).entries)


def archived_messages(document: Document) -> Iterator[tuple[int, str]]:
    """Sequence and id of each message that was archived before its batch went."""
    files = archive.chain_up_to(archive.files_of(document.pk), document.truncated_seq)
    for file in files:
        for _, line in archive.read_archive(file):
            if isinstance(line, BatchLine):
                yield from ((entry.message.server_seq, entry.message.id) for entry in line.entries)


def assert_rebuild_changes_nothing(document: Document) -> None:
    """The object rows are those of the journal."""
    before = objects_of(document)
    rebuild(document.pk)
    assert objects_of(document) == before


def objects_of(document: Document) -> dict[str, Any]:
    fields = [name for name in OBJECT_FIELDS if name != "seq"]
    rows = SceneObject.objects.filter(document=document).values("key", *fields)
    return {row["key"]: row for row in rows}
