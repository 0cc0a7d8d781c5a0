"""Writers go on while a document is purged or redacted: nothing acknowledged is lost, nothing comes back."""

import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from journal import purge
from journal.authoring import Author
from journal.compaction import KeepRules, compact_document
from journal.entry import Entry, decompress
from journal.error import JournalBusy, JournalError, UnknownDocument
from journal.export import Export
from journal.intake import import_lines
from journal.lease import lease
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.position import read_heads
from journal.projection import catch_up
from journal.purge import purge_document
from journal.reader import hydrate
from journal.redaction import Person, redact_document
from journal.snapshot import draft_snapshot, take_snapshot
from journal.transfer_line import read_lines
from journal.verification import verify_document
from journal.writer import Appended, Draft, append_batches
from tests.journal.history import append, append_each, insert, message, put
from vuer_rtc.crdt.message import Op

PATIENCE_S = 60


@pytest.fixture
def scene(transactional_db: None) -> Document:
    document = Document.objects.create(slug="room")
    append(document, message(1, insert("n", x=0, note="s3cret")), message(2, put("n", "x", 0)))
    append(document, message(3, Op(ot="string.set", key="n", path="note", value="")))
    return document


class Crowd:
    """Threads that work until they are told to stop; what one of them raises is raised at the end."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._faults: list[BaseException] = []

    def start(self, work: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                while not self.is_over.is_set():
                    work()
            except BaseException as fault:
                self._faults.append(fault)
            finally:
                connections.close_all()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def end(self) -> None:
        self.is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if self._faults:
            raise self._faults[0]


def test_j52_no_writer_is_told_appended_after_the_mark_and_no_row_is_left(
    scene: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd, is_marked, late, written = Crowd(), threading.Event(), [], []

    def reach(point: str) -> None:
        if point == "purge.marked":
            is_marked.set()
            threading.Event().wait(0.2)  # the writers' turn

    def write() -> None:
        head_seq = read_heads([scene.pk]).get(scene.pk, 10**6)
        was_marked = is_marked.is_set()
        lt = head_seq + 100
        try:
            [outcome] = append_batches([Draft(scene.pk, head_seq + 1, [Entry(message(lt))])], "rival")
        except JournalError:
            return
        if isinstance(outcome, Appended):
            written.append(outcome.first_seq)
            if was_marked:
                late.append(outcome)

    monkeypatch.setattr(purge, "reach", reach)
    for _ in range(2):
        crowd.start(write)
    while len(written) < 10:
        crowd.is_over.wait(0.01)
    purge_document(scene)
    crowd.end()
    assert is_marked.is_set()
    assert late == []
    assert not Document.objects.exists()
    for model in (JournalBatch, Snapshot, Operation, SceneObject):
        assert not model._default_manager.exists(), model


def test_j61_nothing_acknowledged_is_lost_while_a_document_is_redacted_again_and_again(
    scene: Document,
) -> None:
    acknowledged = redact_beside_a_crowd(scene)
    assert len(acknowledged) == len(set(acknowledged)) > 10
    assert hydrate(scene.pk).graph.nodes()["n"].properties == {"x": len(acknowledged), "note": ""}
    catch_up(scene.pk)
    assert verify_document(scene).findings == []


@pytest.mark.sql  # elsewhere the servers are to be stopped for it (rule J65)
def test_j61_nothing_redacted_comes_back_by_whoever_writes_meanwhile(scene: Document) -> None:
    redact_beside_a_crowd(scene)
    rows = list(Snapshot.objects.filter(document=scene))
    assert rows
    for row in rows:
        assert b"s3cret" not in decompress(bytes(row.payload))
    assert b"s3cret" not in hydrate(scene.pk).graph.snapshot()


def redact_beside_a_crowd(scene: Document) -> list[int]:
    """Sequences of what two threads wrote, while another took snapshots and the document was redacted five times."""
    crowd, acknowledged, lock = Crowd(), [], threading.Lock()

    def write() -> None:
        authored = Author(scene.pk).write([Op(ot="number.add", key="n", path="x", value=1)])
        assert authored is not None
        with lock:
            acknowledged.append(authored.seq)

    def snapshot() -> None:
        take_snapshot(scene.pk, draft_snapshot(hydrate(scene.pk).graph), Snapshot.Reason.COUNT)
        crowd.is_over.wait(0.02)

    for work in (write, write, snapshot):
        crowd.start(work)
    for _ in range(5):
        while True:
            try:
                redact_document(scene, Person(None, "ann"), {"ann"})
                break
            except JournalBusy:
                continue
        crowd.is_over.wait(0.05)
    crowd.end()
    return acknowledged


def test_a_room_of_a_purged_document_reads_that_there_is_none(scene: Document) -> None:
    purge_document(scene)
    with pytest.raises(UnknownDocument):
        hydrate(scene.pk)


def test_j48_exports_beside_writers_and_compactions_are_whole_or_not_made(scene: Document) -> None:
    crowd = Crowd()
    append_each(scene, [message(lt, put("n", "x", lt)) for lt in range(4, 300)])

    def write() -> None:
        Author(scene.pk).write([Op(ot="number.add", key="n", path="y", value=1)])

    def compact() -> None:
        with contextlib.suppress(JournalBusy):
            compact_document(scene, KeepRules(150, 0))
        crowd.is_over.wait(0.02)

    for work in (write, compact):
        crowd.start(work)
    made = busy = 0
    while made < 8:
        out = io.BytesIO()
        try:
            with lease(scene.pk) as held:
                scene.refresh_from_db()
                Export(held, scene, out).write()
        except JournalBusy:
            busy += 1
            continue
        report = import_lines(read_lines(io.BytesIO(out.getvalue())), f"copy-{made}")
        assert report.head_seq >= 299
        made += 1
    crowd.end()
    assert hydrate(scene.pk).head_seq > 310
