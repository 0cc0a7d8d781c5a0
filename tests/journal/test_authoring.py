"""J18 to J20: what the site's own code writes, beside others."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings

from journal import authoring
from journal.authoring import Author
from journal.compaction import KeepRules, compact_document
from journal.error import JournalBusy, JournalUnavailable, OpenTransaction
from journal.models import Document, JournalBatch
from journal.reader import hydrate, read_after
from journal.writer import Draft, Fenced, Outcome, append_batches
from tests.journal.history import append, head_of, insert, message, put, undo
from vuer_rtc.crdt.canonical import InvalidMessage
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op

SET: dict[str, Any] = {"ot": "number.set", "key": "n", "path": "x", "value": 7}


def value(document: Document) -> Any:
    return hydrate(document.pk).graph.nodes()["n"].properties["x"]


def ids(document: Document) -> list[str]:
    return [entry.message.id for batch in read_after(document.pk, 0) for entry in batch.entries]


def test_j18_a_message_of_the_site_stands_behind_all_there_is(document: Document) -> None:
    append(document, message(40, insert("n", x=1)), message(41))
    authored = Author(document.pk).write([SET], user="5")
    assert authored is not None
    assert (authored.seq, authored.message.client, authored.message.lt) == (3, "=site", 42)
    assert authored.message.clock == {"=site": 1}
    [batch] = read_after(document.pk, 2)
    [entry] = batch.entries
    assert (entry.message, entry.user, entry.session) == (authored.message, "5", None)
    assert value(document) == 7


def test_j18_two_authors_count_as_one_client(document: Document) -> None:
    first, second = Author(document.pk), Author(document.pk)
    for author in (first, second, first):
        author.write([insert("n")] if author.graph.node_count == 0 else [SET])
    found = [entry.message.clock for batch in read_after(document.pk, 0) for entry in batch.entries]
    assert found == [{"=site": 1}, {"=site": 2}, {"=site": 3}]


def test_j66_an_author_goes_back_with_the_database(document: Document) -> None:
    append(document, message(1, insert("n", x=1)))
    author = Author(document.pk)
    for _ in range(3):
        author.write([SET])
    for read_on in (author.read_on, lambda: None):
        JournalBatch.objects.filter(document=document, first_seq__gt=2).delete()
        read_on()
        authored = author.write([SET])
        assert authored is not None
        assert authored.seq == 3
        assert author.graph.clock == {"ann": 1, "=site": 2}
        append(document, message(9))


def test_operations_are_read_in_any_published_form_and_refused_like_a_clients(document: Document) -> None:
    author = Author(document.pk)
    author.write([{"otype": "node.insert", "key": "n", "value": {"x": 1}}])
    author.write([{"ot": "number", "key": "n", "path": "x", "value": 2}])
    assert value(document) == 2
    for code, op in (("unknown-op", {"ot": "UPDATE"}), ("reserved-path", {**SET, "path": "children"})):
        with pytest.raises(InvalidMessage) as caught:
            author.write([op])
        assert caught.value.code == code
    with pytest.raises(InvalidMessage):
        author.write([])
    assert head_of(document) == 2


def test_the_site_may_say_when_a_node_was_created(document: Document) -> None:
    dated = Op("node.insert", "", "children", {"key": "n"}, ts=5)
    authored = Author(document.pk).write([dated])
    assert authored is not None
    assert authored.message.ops == [dated]


def test_a_check_may_refuse_and_then_nothing_is_written(document: Document) -> None:
    def check(message: Message, graph: Graph) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        Author(document.pk).write([insert("n")], check=check)
    assert head_of(document) == 0


def test_j19_who_was_overtaken_reads_on_and_plans_again(document: Document) -> None:
    append(document, message(1, insert("n", x=1)))
    author = Author(document.pk)
    append(document, message(2, put("n", "x", 10)))

    def double(graph: Graph) -> list[Op]:
        return [put("n", "x", 2 * graph.nodes()["n"].properties["x"])]

    authored = author.write(double)
    assert authored is not None
    assert (authored.seq, authored.message.lt, value(document)) == (3, 3, 20)
    assert author.write(lambda graph: []) is None


def test_j19_what_is_read_after_a_conflict_is_what_is_built_on(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write while it steps back, too; it must not try again on what it read before."""
    author = Author(document.pk)
    append(document, message(1, insert("n", x=1)))
    monkeypatch.setattr("journal.authoring.time.sleep", lambda _: append(document, message(2)))
    tries: list[int] = []

    def plan(graph: Graph) -> list[dict[str, Any]]:
        tries.append(graph.head_seq)
        return [SET]

    assert author.write(plan) is not None
    assert tries == [0, 2]


def test_j19_who_slept_through_a_compaction_begins_again(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[list[Outcome]] = [[Fenced()]]
    monkeypatch.setattr(
        authoring, "append_batches", lambda *a: outcomes.pop() if outcomes else append_batches(*a)
    )
    author = Author(document.pk)
    before = author.graph
    assert author.write([insert("n")]) is not None
    assert author.graph is not before


@override_settings(VUER_RTC={"JOURNAL_AUTHOR_PATIENCE_S": 0.2})
def test_j19_it_gives_up_when_others_are_always_first(document: Document) -> None:
    author = Author(document.pk)

    def slow(graph: Graph) -> list[Op]:
        append(document, message(graph.head_seq + 1))
        return [put("n", "x", 1)]

    with pytest.raises(JournalBusy, match="nothing was written"):
        author.write(slow)
    assert len(ids(document)) > 1
    assert {id[:4] for id in ids(document)} == {"ann:"}


class FlakyDatabase:
    """Fails before or after the commit, as often as it is told."""

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = list(failures)

    def append(self, drafts: Sequence[Draft], writer: str) -> list[Outcome]:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            raise JournalUnavailable("gone")
        outcomes = append_batches(drafts, writer)
        if failure == "after":
            raise JournalUnavailable("gone")
        return outcomes


@pytest.mark.parametrize("failures", [["before"], ["after"], ["before", "before", "after"]])
def test_j20_after_an_unknown_outcome_it_is_written_once(
    document: Document, monkeypatch: pytest.MonkeyPatch, failures: list[str]
) -> None:
    monkeypatch.setattr(authoring, "append_batches", FlakyDatabase(failures).append)
    monkeypatch.setattr(authoring, "UNAVAILABLE_PAUSE_S", 0)
    authored = Author(document.pk).write([insert("n")])
    assert authored is not None
    assert (authored.seq, ids(document)) == (1, [authored.message.id])


def test_j20_what_was_folded_away_while_its_outcome_was_unknown_is_not_written_again(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction between the commit and the next look leaves no id to find it by, only its counter."""
    append(document, message(1, insert("n", x=1)))
    monkeypatch.setattr(authoring, "append_batches", FlakyDatabase(["after"]).append)
    monkeypatch.setattr(
        authoring.time, "sleep", lambda _: compact_document(document, KeepRules(messages=0, days=0))
    )
    with pytest.raises(JournalUnavailable, match="it may have been written"):
        Author(document.pk).write([{"ot": "number.add", "key": "n", "path": "x", "value": 1}])
    assert value(document) == 2


def test_j20_what_was_not_written_is_written_behind_a_compaction(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(document, message(1, insert("n", x=1)))
    monkeypatch.setattr(authoring, "append_batches", FlakyDatabase(["before"]).append)
    monkeypatch.setattr(
        authoring.time, "sleep", lambda _: compact_document(document, KeepRules(messages=0, days=0))
    )
    assert Author(document.pk).write([{"ot": "number.add", "key": "n", "path": "x", "value": 1}]) is not None
    assert value(document) == 2


def test_j20_it_says_whether_it_may_have_been_written_when_it_gives_up(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authoring, "append_batches", FlakyDatabase(["after", "before"]).append)
    author = Author(document.pk)
    with (
        override_settings(VUER_RTC={"JOURNAL_AUTHOR_PATIENCE_S": 0}),
        pytest.raises(JournalUnavailable, match="it may have been written"),
    ):
        author.write([insert("n")])


def test_nothing_is_written_inside_an_atomic_block(transactional_db: None) -> None:
    document = Document.objects.create(slug="room")
    author = Author(document.pk)
    with transaction.atomic(), pytest.raises(OpenTransaction):
        author.write([insert("n")])
    assert not JournalBatch.objects.exists()


@pytest.mark.sql
def test_nothing_is_written_where_the_caller_commits(transactional_db: None) -> None:
    document = Document.objects.create(slug="room")
    author = Author(document.pk)
    connection.set_autocommit(False)
    try:
        with pytest.raises(OpenTransaction):
            Author(document.pk)
        with pytest.raises(OpenTransaction):
            author.write([insert("n")])
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert not JournalBatch.objects.exists()


def test_the_site_undoes_and_redoes_anybodys_message(document: Document) -> None:
    append(document, message(1, insert("n", x=1)), message(2, put("n", "x", 5)))
    author = Author(document.pk)
    undone = author.undo("ann:2", user="5")
    assert (undone.seq, undone.message.auth, value(document)) == (3, True, 1)
    author.redo("ann:2")
    assert value(document) == 5
    with pytest.raises(InvalidMessage) as caught:
        author.undo("ann:9")
    assert caught.value.code == "unknown-target"
    with pytest.raises(InvalidMessage) as caught:
        author.write([undo("ann:2")])
    assert caught.value.code == "foreign-undo"
