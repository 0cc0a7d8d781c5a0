"""`label_document`; what a label keeps is tested in test_label.py."""

import io
import json

import pytest
from django.core.management import CommandError

from journal.label import graph_of_label
from journal.models import Document
from tests.journal.history import append_each
from tests.journal.test_commands import Terminal, run, run_json
from tests.journal.test_history import STEPS


@pytest.fixture
def room(document: Document) -> Document:
    append_each(document, STEPS)
    return document


def label(*arguments: str) -> str:
    return run("label_document", "--document", "room", *arguments)


def test_a_state_is_kept_listed_and_dropped(room: Document) -> None:
    assert label("--label", "v1", "--seq", "3") == ""
    assert label("--label", "now") == ""
    assert graph_of_label(room.pk, "v1").nodes()["a"].properties == {"x": 30}
    assert label().splitlines() == ["room: now at sequence 8", "room: v1 at sequence 3"]
    [listed] = run_json("label_document", "--document", "room")
    assert [(one["label"], one["seq"], one["user"]) for one in listed["labels"]] == [
        ("now", 8, None),
        ("v1", 3, None),
    ]
    told = run("label_document", "--document=room", "--drop", "v1", out=Terminal())
    assert told.strip() == "room: dropped: v1"
    label("--drop", "now")
    assert label().strip() == "room: no labels"


def test_a_label_that_cannot_be_is_an_error(room: Document) -> None:
    label("--label=v1")
    for arguments in (["--label=v1"], [f"--label={'x' * 101}"], ["--label=late", "--seq=9"], ["--drop=v2"]):
        with pytest.raises(CommandError, match="not well: room") as caught:
            label(*arguments)
        assert caught.value.returncode == 1
    out = io.StringIO()
    with pytest.raises(CommandError):
        run("label_document", "--document", "room", "--label=late", "--seq=9", "--json", out=out)
    assert json.loads(out.getvalue())["code"] == "ahead"


def test_what_makes_no_sense_has_a_status_of_its_own(room: Document) -> None:
    with pytest.raises(CommandError) as caught:
        label("--seq", "3")
    assert caught.value.returncode == 2
    with pytest.raises(CommandError, match="not allowed with"):
        label("--label", "v1", "--drop", "v1")
    with pytest.raises(CommandError, match="no such document"):
        run("label_document", "--document", "nowhere")
