"""J34, E1 to E4: documents emptied, journals kept."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.db import connections, transaction

from journal import reset as reset_module
from journal.authoring import Author
from journal.compaction import KeepRules, compact_document
from journal.difference import difference
from journal.entry import Entry
from journal.error import JournalBusy, OpenTransaction, OutOfReach
from journal.history import graph_at
from journal.label import graph_of_label, label_state
from journal.models import Document, Operation, SceneObject
from journal.projection import catch_up, project
from journal.reader import hydrate, read_after
from journal.reset import LAMPORT_STEP, StaleEpoch, reset_document
from journal.verification import verify_document
from journal.writer import Draft, Outcome, append_batches
from tests.journal.history import append, head_of, insert, message, put
from vuer_rtc.crdt.graph import Graph, Identity
from vuer_rtc.crdt.message import Epoch, reset_record
from vuer_rtc.crdt.message import epoch_of as begins


def written(document: Document) -> None:
    append(document, message(1, insert("n", x=1)), message(2, put("n", "x", 2)))


def epoch_of(document: Document) -> int:
    return Document.objects.values_list("epoch", flat=True).get(pk=document.pk)


def test_a_reset_empties_the_document_and_keeps_its_journal(document: Document) -> None:
    written(document)
    record = reset_document(document.pk, user="5")
    assert record.server_seq == 3
    graph = hydrate(document.pk).graph
    assert (graph.digest(), graph.head_seq) == (Graph().digest(), 3)
    assert graph.epoch == Epoch(1, 2 + LAMPORT_STEP)
    assert epoch_of(document) == 1
    [batch] = read_after(document.pk, 2)
    [entry] = batch.entries
    assert (batch.first_seq, entry.message, entry.user) == (3, record, "5")
    assert len(graph_at(document.pk, 2).nodes()) == 1


def test_a_reset_ends_the_epoch_that_was_meant_or_none(document: Document) -> None:
    reset_document(document.pk, epoch=0)
    with pytest.raises(StaleEpoch):
        reset_document(document.pk, epoch=0)
    reset_document(document.pk, epoch=1)
    assert (epoch_of(document), head_of(document)) == (2, 2)


def test_what_somebody_writes_meanwhile_comes_before_it(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(document)
    rivals = [message(50, insert("m")), message(60, insert("o"))]

    def beaten(drafts: list[Draft], writer: str) -> list[Outcome]:
        if rivals:
            append(document, rivals.pop(0))
        return append_batches(drafts, writer)

    monkeypatch.setattr(reset_module, "append_batches", beaten)
    record = reset_document(document.pk)
    assert record.server_seq == 5
    assert hydrate(document.pk).graph.epoch.lt == 60 + LAMPORT_STEP
    assert hydrate(document.pk).graph.node_count == 0


def test_writers_that_leave_no_room_are_told_of(
    document: Document, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.VUER_RTC = {"JOURNAL_AUTHOR_PATIENCE_S": 0.05}
    count = iter(range(1, 1000))

    def beaten(drafts: list[Draft], writer: str) -> list[Outcome]:
        append(document, message(next(count)))
        return append_batches(drafts, writer)

    monkeypatch.setattr(reset_module, "append_batches", beaten)
    with pytest.raises(JournalBusy):
        reset_document(document.pk)


def test_it_is_refused_where_it_could_be_rolled_back(transactional_db: None) -> None:
    document = Document.objects.create(slug="room")
    with transaction.atomic(), pytest.raises(OpenTransaction):
        reset_document(document.pk)


def test_nothing_is_used_twice_and_old_work_is_refused(document: Document) -> None:
    written(document)
    reset_document(document.pk)
    graph = hydrate(document.pk).graph
    assert graph.identify(message(2, put("n", "x", 2))) is Identity.DUPLICATE
    assert graph.refusal(message(3)) == "stale-epoch"
    assert graph.refusal(message(3 + LAMPORT_STEP)) is None


def test_projections_follow(document: Document) -> None:
    written(document)
    catch_up(document.pk)
    assert SceneObject.objects.count() == 1
    reset_document(document.pk)
    catch_up(document.pk)
    assert SceneObject.objects.count() == 0
    assert list(Operation.objects.values_list("server_seq", "otype")) == [
        (1, "node.insert"), (2, "number.set"), (3, "server.reset"),
    ]  # fmt: skip


def test_a_row_that_a_crash_left_behind_is_set_by_the_next_projection(document: Document) -> None:
    """J17, `reset.written`."""
    written(document)
    lost = msgspec.structs.replace(reset_record("=server:x", Epoch(4, 100), 0), server_seq=3)
    append_batches([Draft(document.pk, 3, [Entry(lost)])], "a process that died then")
    assert epoch_of(document) == 0
    graph = hydrate(document.pk).graph
    project(document.pk, graph.head_seq, graph.undone_ids(), graph.nodes())
    assert epoch_of(document) == 4


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_compaction_before_and_after_a_reset_changes_nothing(document: Document, keep: int) -> None:
    rules = KeepRules(messages=keep, days=0)
    written(document)
    compact_document(document, rules)
    reset_document(document.pk)
    lt = hydrate(document.pk).graph.lt
    append(document, message(lt + 1, insert("m")), message(lt + 2, put("m", "x", 1)))
    before = hydrate(document.pk).graph
    compact_document(document, rules)
    after = hydrate(document.pk).graph
    assert after.epoch == before.epoch
    assert after.digest() == before.digest()
    assert after.refusal(message(3)) == "stale-epoch"
    assert not [finding for finding in verify_document(document).findings if finding.is_damage]


def test_states_before_a_reset_are_told_exactly_as_long_as_they_are_there(document: Document) -> None:
    """J30."""
    append(document, message(1, insert("n")))
    append(document, message(2, insert("m")))
    label_state(document.pk, 2, "before")
    reset_document(document.pk)
    lt = hydrate(document.pk).graph.lt
    append(document, message(lt + 1, insert("o")))
    compact_document(document, KeepRules(messages=1, days=0))
    told = {seq: sorted(graph_at(document.pk, seq).nodes()) for seq in (3, 4)}
    assert told == {3: [], 4: ["o"]}
    assert sorted(graph_of_label(document.pk, "before").nodes()) == ["m", "n"]
    with pytest.raises(OutOfReach):
        graph_at(document.pk, 1)


def test_differences_across_a_reset_are_told_and_are_the_server_s(document: Document) -> None:
    """J31."""
    written(document)
    reset_document(document.pk)
    lt = hydrate(document.pk).graph.lt
    append(document, message(lt + 1, insert("m")), message(lt + 2, insert("n", x=7)))
    nodes = {node.change.key: node for node in difference(document.pk, 2, 5).nodes}
    assert sorted(nodes) == ["m", "n"]
    assert [node.change.key for node in difference(document.pk, 2, 3).nodes] == ["n"]
    assert [node.change.key for node in difference(document.pk, 3, 5).nodes] == ["m", "n"]


@pytest.mark.django_db(transaction=True)
def test_authors_and_resets_at_the_same_time_leave_epochs_that_nothing_crosses() -> None:
    """E3, J7: whoever loses a race reads on, and writes in the epoch that is then."""
    document = Document.objects.create(slug="rush")
    failures: list[BaseException] = []

    def run(work: Callable[[], object], times: int) -> None:
        try:
            for _ in range(times):
                work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    authors = [Author(document.pk) for _ in range(3)]
    works: list[tuple[Callable[[], object], int]] = [
        (lambda author=author: author.write([insert(uuid4().hex)]), 20) for author in authors
    ]
    works.append((lambda: reset_document(document.pk), 4))
    threads = [threading.Thread(target=run, args=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    written = [entry.message for batch in read_after(document.pk, 0) for entry in batch.entries]
    assert [item.server_seq for item in written] == list(range(1, 65))
    floor, resets = 0, 0
    for item in written:
        if (begun := begins(item)) is not None:
            assert begun.number == resets + 1
            floor, resets = begun.lt, begun.number
        else:
            assert item.lt > floor
    assert resets == epoch_of(document) == 4
    last = [item.server_seq for item in written if begins(item) is not None][-1]
    assert hydrate(document.pk).graph.node_count == len(written) - last
