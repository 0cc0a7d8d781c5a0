"""Several connections at work on one document at once, on the real database."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections

from journal.compaction import KeepRules, compact_document
from journal.entry import Entry
from journal.error import JournalBusy, JournalTruncated, JournalUnavailable
from journal.models import Document
from journal.position import read_heads
from journal.projection import catch_up
from journal.reader import hydrate, read_after
from journal.verification import verify_document
from journal.writer import Appended, Draft, Fenced, append_batches
from tests.journal.history import append, insert, message, put
from vuer_rtc.crdt.message import Message

MESSAGES_EACH = 60
SECONDS_MAX = 60

pytestmark = pytest.mark.django_db(transaction=True)


class Writer:
    """A process in small: knows a head, appends behind it, reads on after a conflict, hydrates when
    fenced."""

    def __init__(self, document: Document, client: str) -> None:
        self.document_id, self.client = document.pk, client
        self.head_seq = 0
        self.own: set[str] = set()
        self.acked: dict[str, int] = {}

    def run(self) -> None:
        lt = 1
        while len(self.acked) < MESSAGES_EACH:
            waiting = [
                message(lt + n, put("n", self.client, lt + n), client=self.client) for n in range(1, 4)
            ]
            while waiting := [item for item in waiting if item.id not in self.acked]:
                self.append(waiting)
            lt += 3

    def append(self, waiting: list[Message]) -> None:
        draft = Draft(self.document_id, self.head_seq + 1, [Entry(item) for item in waiting])
        match append_batches([draft], self.client)[0]:
            case Appended(first, last):
                self.acked |= {item.id: first + n for n, item in enumerate(waiting)}
                self.head_seq = last
            case Fenced():
                self.hydrate()
            case _:
                try:
                    batches = read_after(self.document_id, self.head_seq)
                except JournalTruncated:
                    self.hydrate()
                else:
                    self.head_seq += sum(len(batch.entries) for batch in batches)

    def hydrate(self) -> None:
        self.head_seq = hydrate(self.document_id).head_seq


def compactor(document: Document, is_over: threading.Event, outcomes: list[str]) -> Callable[[], None]:
    def run() -> None:
        while not is_over.is_set():
            try:
                outcomes.append(compact_document(document, KeepRules(5, 0)).outcome)
            except (JournalBusy, JournalUnavailable) as error:
                outcomes.append(type(error).__name__)
            time.sleep(0.01)

    return run


def in_threads(*runs: Callable[[], Any]) -> list[BaseException]:
    """Runs all of them at once to their ends; what they raised."""
    raised: list[BaseException] = []

    def guarded(run: Callable[[], Any]) -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guarded, args=[run], daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS_MAX)
        assert not thread.is_alive()
    return raised


def test_writers_and_a_compaction_at_once_lose_and_repeat_nothing() -> None:
    document = Document.objects.create(slug="room")
    first = append_batches([Draft(document.pk, 1, [Entry(message(1, insert("n")))])], "first")
    assert first == [Appended(1, 1)]
    writers = [Writer(document, client) for client in ("ann", "bob", "cat")]
    is_over, outcomes = threading.Event(), list[str]()

    def write_all() -> None:
        try:
            assert in_threads(*[writer.run for writer in writers]) == []
        finally:
            is_over.set()

    assert in_threads(write_all, compactor(document, is_over, outcomes)) == []
    assert "compacted" in outcomes
    seqs = [seq for writer in writers for seq in writer.acked.values()]
    assert len(set(seqs)) == len(seqs) == 3 * MESSAGES_EACH
    assert verify_document(document).is_damaged is False
    graph = hydrate(document.pk).graph
    assert graph.clock == {
        writer.client: max(int(i.partition(":")[2]) for i in writer.acked) for writer in writers
    }
    last = {writer.client: graph.clock[writer.client] for writer in writers}
    assert graph.nodes()["n"].properties == last
    assert read_heads([document.pk])[document.pk] >= max(seqs)


def test_two_processes_that_write_the_same_rooms_in_opposite_order_do_not_deadlock() -> None:
    rooms = [Document.objects.create(slug=f"room-{n}") for n in range(6)]
    acked: dict[str, int] = {"ann": 0, "bob": 0}

    def writer(client: str, order: list[Document]) -> Callable[[], None]:
        def run() -> None:
            for n in range(40):
                heads = read_heads([room.pk for room in order])
                drafts = [
                    Draft(
                        room.pk,
                        heads[room.pk] + 1,
                        [Entry(message(n + 1, client=client, id=f"{client}:{n}"))],
                    )
                    for room in order
                ]
                outcomes = append_batches(drafts, client)
                acked[client] += sum(isinstance(outcome, Appended) for outcome in outcomes)

        return run

    assert in_threads(writer("ann", rooms), writer("bob", rooms[::-1])) == []
    assert sum(acked.values()) == sum(read_heads([room.pk for room in rooms]).values()) > 0
    assert not any(verify_document(room).is_damaged for room in rooms)


def test_writers_wait_for_a_projection_only_where_one_can_write_at_a_time() -> None:
    is_alone = connection.vendor == "sqlite"
    document = Document.objects.create(slug="room")
    is_projecting, is_written = threading.Event(), threading.Event()
    written: list[bool] = []

    def hold(name: str) -> None:
        if name == "project.objects":
            is_projecting.set()
            written.append(is_written.wait(0.2 if is_alone else 5))

    def write() -> None:
        assert is_projecting.wait(SECONDS_MAX)
        append(document, message(2))
        is_written.set()

    append(document, message(1, insert("n")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("journal.projection.reach", hold)
        assert in_threads(lambda: catch_up(document.pk), write) == []
    assert written == [not is_alone]
