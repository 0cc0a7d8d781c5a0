"""`look_back`: the past on a terminal, for journals of any length."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError

from journal.label import label_state
from journal.models import Document
from tests.journal.history import append, insert, message, put
from tests.journal.test_commands import run, run_json
from tests.journal.test_difference import remove
from tests.journal.test_history import compact


@pytest.fixture
def scene(document: Document) -> Document:
    ann = User.objects.create_user("ann-the-editor")
    append(document, message(1, insert("arm", x=0, tag="mesh"), insert("hand", "arm", y=None)))
    append(document, message(2, put("arm", "x", 41)), user=str(ann.pk))
    append(document, message(3, remove("hand"), client="bob"))
    return document


def look_back(*arguments: str) -> list[str]:
    return run("look_back", "--document", "room", *arguments).splitlines()


def told(*arguments: str) -> dict[str, Any]:
    [found] = run_json("look_back", "--document", "room", *arguments)
    return found


def test_the_state_at_a_point_is_told_also_into_a_pipe(scene: Document) -> None:
    assert look_back("--seq", "1") == [
        "room at sequence 1; states can be told from 0 to 3",
        "arm (mesh) x: 0",
        "  hand y: null",
    ]
    assert look_back()[1:] == ["arm (mesh) x: 41", "and 1 removed or hidden"]
    assert look_back("--at", "2025-06-15T15:06:42+00:00")[0].startswith("room at sequence 2;")
    assert told("--seq", "2")["nodes"]["arm"]["properties"] == {"x": 41}


def test_what_differs_names_who_did_it(scene: Document) -> None:
    assert look_back("--since", "1")[1:] == [
        "arm: x 0 → 41  [2 ann-the-editor 2025-06-15 15:06:42]",
        "hand: removed below arm  [3 bob 2025-06-15 15:06:43]",
    ]
    assert look_back("--since", "3")[1:] == ["nothing differs"]
    change = told("--since", "1", "--seq", "2")["changes"][0]
    assert (change["key"], change["properties"][0]["before"]) == ("arm", 0)
    assert change["properties"][0]["by"][0]["message"] == "ann:2"


def test_a_label_is_told_when_all_around_it_is_gone(scene: Document) -> None:
    label_state(scene.pk, 1, "v1")
    compact(scene, keep=0)
    assert look_back("--label", "v1")[1] == "arm (mesh) x: 0"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--seq", "1"], "folded-away"), (["--seq", "99"], "ahead"), (["--label", "no"], "no-such-label")],
)
def test_what_cannot_be_told_is_said_with_a_code(scene: Document, arguments: list[str], code: str) -> None:
    compact(scene, keep=1)
    out = io.StringIO()
    with pytest.raises(CommandError, match="not well: room"):
        run("look_back", "--document", "room", *arguments, "--json", out=out)
    assert json.loads(out.getvalue())["code"] == code


def test_one_document_is_named(scene: Document) -> None:
    with pytest.raises(CommandError, match="name one document"):
        run("look_back")
