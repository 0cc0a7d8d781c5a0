"""`manage.py restore_document`; what a restore does is tested in tests/journal/test_restore.py."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from journal.label import label_state
from journal.models import Document, Snapshot
from journal.reader import hydrate
from journal.snapshot import draft_snapshot, take_snapshot
from rooms import site
from tests.journal.history import append, head_of, insert, message, put


@pytest.fixture
def document(db: None) -> Document:
    made = Document.objects.create(slug="room")
    append(made, message(1, insert("n", x=1)))
    append(made, message(2, put("n", "x", 9)))
    append(made, message(3, insert("m")))
    return made


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """News for the server processes."""
    news: list[Any] = []
    monkeypatch.setattr(site, "announce", news.append)
    return news


def run(*options: str) -> dict[str, Any]:
    out = StringIO()
    call_command("restore_document", "--document", "room", "--json", *options, stdout=out, stderr=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_it_restores_tells_the_servers_and_undoes(document: Document, told: list[Any]) -> None:
    report = run("--seq", "1")
    assert (report["outcome"], report["to_seq"], report["seq"]) == ("restored", 1, 4)
    assert report["ops"] == {"node.remove": 1, "number.set": 1}
    assert [(news.document, news.seq) for news in told] == [(document.pk, 4)]
    assert run("--seq", "1")["outcome"] == "nothing to do"
    assert run("--undo", report["message"])["outcome"] == "undone"
    assert hydrate(document.pk).graph.nodes()["n"].properties == {"x": 9}
    assert told[-1].seq == 5
    assert run("--redo", report["message"])["outcome"] == "redone"
    assert hydrate(document.pk).graph.nodes()["n"].properties == {"x": 1}


def test_it_tells_people_in_lines_also_into_a_pipe(document: Document) -> None:
    out = StringIO()
    call_command("restore_document", "--document", "room", "--seq", "1", stdout=out)
    said = out.getvalue()
    assert "room: restored to sequence 1: 1 node.remove, 1 number.set" in said
    assert "to undo it: --undo =restore:" in said


def test_a_dry_run_writes_nothing(document: Document, told: list[Any]) -> None:
    report = run("--seq", "1", "--dry-run")
    assert (report["outcome"], report["ops"]) == ("planned", {"node.remove": 1, "number.set": 1})
    assert (head_of(document), told) == (3, [])


def test_only_the_nodes_that_are_named(document: Document) -> None:
    assert run("--seq", "1", "--key", "n")["ops"] == {"number.set": 1}
    with pytest.raises(CommandError, match="no such node, then or now: stranger"):
        run("--seq", "1", "--key", "stranger")


def test_to_a_time_a_label_or_a_snapshot(document: Document) -> None:
    assert run("--at", "2025-06-15T17:06:41+02:00")["to_seq"] == 1
    draft = draft_snapshot(hydrate(document.pk).graph, with_digests=True)
    row = take_snapshot(document.pk, draft, Snapshot.Reason.COUNT)
    assert row is not None
    label_state(document.pk, row.seq, "friday")
    append(document, message(9, insert("late")))
    assert run("--label", "friday", "--dry-run")["ops"] == {"node.remove": 1}
    assert run("--snapshot", str(row.pk))["to_seq"] == row.seq
    with pytest.raises(CommandError, match="not well"):
        run("--label", "monday")
    with pytest.raises(CommandError, match="no snapshot"):
        run("--snapshot", str(document.pk))


def test_a_time_before_the_first_message_empties_nothing(document: Document) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="not well: room"):
        call_command("restore_document", "--document=room", "--json", "--at=2020-01-01T00:00", stdout=out)
    assert (json.loads(out.getvalue())["code"], head_of(document)) == ("before-first", 3)
    assert run("--seq", "0")["ops"] == {"node.remove": 2}


def test_what_cannot_be_told_is_an_error(document: Document) -> None:
    with pytest.raises(CommandError, match="not well: room"):
        run("--seq", "99")
    with pytest.raises(CommandError, match="not well: room"):
        run("--undo", "ann:99")
    with pytest.raises(CommandError, match="no time like"):
        run("--at", "yesterday")
    with pytest.raises(CommandError, match="--document"):
        call_command("restore_document", "--seq", "1")
