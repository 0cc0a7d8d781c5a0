"""`look_back`: the past on a terminal, for journals of any length."""

import io
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.test import override_settings

from journal.label import label_state
from journal.models import Document, Operation
from journal.projection import catch_up
from tests.journal.history import append, append_each, insert, message, put
from tests.journal.test_commands import run, run_json
from tests.journal.test_difference import remove
from tests.journal.test_history import STEPS, compact
from vuer_rtc.crdt.message import Op


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


@override_settings(TIME_ZONE="America/Sao_Paulo")
@pytest.mark.parametrize("use_tz", [True, False])
def test_times_are_told_and_asked_for_in_the_zone_of_the_site(document: Document, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        append(document, message(1, insert("arm", x=0)))
        append(document, message(2, put("arm", "x", 41)))
        append(document, message(3, put("arm", "x", 42)))
        assert look_back("--key", "arm", "--seq", "2")[1] == "arm: x 0 → 41  [2 ann 2025-06-15 12:06:42]"
        for at in ("2025-06-15T12:06:42", "2025-06-15T15:06:42+00:00"):
            assert look_back("--at", at)[0].startswith("room at sequence 2;")
        catch_up(document.pk)
        assert int(Operation.objects.get(server_seq=2).received_at.timestamp()) == 1750000002


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-02-30T12:00"])
def test_a_time_that_no_calendar_has_is_a_senseless_argument(document: Document, at: str) -> None:
    with pytest.raises(CommandError, match="argument --at"):
        run("look_back", "--document", "room", "--at", at)
    assert look_back("--at", "9999-12-31T23:59:59")[0].startswith("room at sequence 0;")


def test_the_key_of_no_object_is_refused_and_an_object_that_stayed_as_it_was_is_not(scene: Document) -> None:
    for arguments in (["--key", "amr"], ["--key", "arm", "--seq", "0"]):
        with pytest.raises(CommandError, match="there was no object a") as refusal:
            look_back(*arguments)
        assert refusal.value.returncode == 2
    assert look_back("--key", "arm", "--since", "2")[1:] == ["nothing has changed it"]


def test_what_differs_names_who_did_it(scene: Document) -> None:
    assert look_back("--since", "1")[1:] == [
        "arm: x 0 → 41  [2 ann-the-editor 2025-06-15 15:06:42]",
        "hand: removed below arm  [3 bob 2025-06-15 15:06:43]",
    ]
    assert look_back("--since", "3")[1:] == ["nothing differs"]
    times = ("--since-at", "2025-06-15T15:06:41+00:00", "--at", "2025-06-15T15:06:42+00:00")
    assert look_back(*times)[1:] == ["arm: x 0 → 41  [2 ann-the-editor 2025-06-15 15:06:42]"]
    change = told("--since", "1", "--seq", "2")["changes"][0]
    assert (change["key"], change["properties"][0]["before"]) == ("arm", 0)
    assert change["properties"][0]["by"][0]["message"] == "ann:2"


def test_one_object_tells_who_changed_it_from_what_and_how_to_have_it_back(scene: Document) -> None:
    append(scene, message(4, remove("arm"), put("hand", "y", 3)))
    assert look_back("--key", "arm") == [
        "room from 0 to 4; states can be told from 0 to 4",
        "arm: removed at root level  [4 ann 2025-06-15 15:06:44]",
        "arm: x 0 → 41  [2 ann-the-editor 2025-06-15 15:06:42]",
        "arm: added at root level  [1 ann 2025-06-15 15:06:41]",
        'arm: tag none → "mesh"  [1 ann 2025-06-15 15:06:41]',
        "arm: x none → 0  [1 ann 2025-06-15 15:06:41]",
        "to have it back: manage.py restore_document --document room --key arm --seq SEQ",
    ]
    assert [
        line.split("  ")[0] for line in look_back("--key", "arm", "--since", "1", "--seq", "3")[1:-1]
    ] == ["arm: x 0 → 41"]
    [change] = told("--key=arm", "--since=1", "--seq=3")["changes"]
    assert (change["seq"], change["message"], change["properties"]) == (
        2,
        "ann:2",
        [{"path": "x", "before": 0, "after": 41}],
    )


@override_settings(VUER_RTC={"JOURNAL_HISTORY_STEPS_MAX": 2})
def test_older_changes_of_an_object_are_told_from_where_the_list_ends(document: Document) -> None:
    append_each(document, STEPS)
    assert look_back("--key", "a")[-2] == "and 6 earlier changes: --seq 6"
    assert told("--key", "a", "--seq", "6")["changes"][0]["seq"] == 6
    with pytest.raises(CommandError, match="no --label"):
        look_back("--key", "a", "--label", "v1")


@pytest.fixture
def long_text(document: Document) -> str:
    text = "é" * 5000
    append(document, message(1, insert("arm", note=f"{text}old{text}")))
    append(document, message(2, Op("string.set", "arm", "note", f"{text}new{text}")))
    return text


def test_a_change_far_into_a_value_is_seen(long_text: str) -> None:
    for arguments in (["--since", "1"], ["--key", "arm", "--since", "1"]):
        line = look_back(*arguments)[1]
        assert re.match(r"arm: note …é+oldé+… → …é+newé+…  \[2 ann", line), line
        assert len(line) < 500
        [change] = told(*arguments)["changes"]
        [found] = change["properties"]
        assert (found["before"], found["after"]) == (
            f"{long_text}old{long_text}",
            f"{long_text}new{long_text}",
        )
        assert "is_cut" not in found


def test_a_value_too_large_to_be_told_whole_says_so(long_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journal.management.commands.look_back.VALUE_CHARS_MAX", 100)
    [found] = told("--since", "1")["changes"][0]["properties"]
    assert found["is_cut"]
    assert [name for name in ("before", "after") if len(found[name]) <= 100] == ["before", "after"]
    assert ("old" in found["before"], "new" in found["after"]) == (True, True)
    assert "(cut at 100 characters)" in look_back("--since", "1")[1]


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
    with pytest.raises(CommandError, match="--document"):
        run("look_back")


def test_what_clients_named_writes_no_lines_of_its_own_and_is_no_order_to_a_terminal(
    document: Document,
) -> None:
    evil = "a\x1b]52;c;cm0=\x07\nroom at sequence 9\r\u202e\x9b"
    append(document, message(1, insert(evil, name=evil, tag=evil), client="bob"))
    append(document, message(2, put(evil, evil, 1), client="bob"))
    append(document, message(3, put(evil, evil, 2), client="bob"))
    for arguments in (["--seq", "3"], ["--since", "1"], ["--key", evil]):
        lines = look_back(*arguments)
        assert all(line.isprintable() for line in lines)
        assert any(r"a\x1b]52;c;cm0=\x07\nroom at sequence 9\r\u202e\x9b" in line for line in lines)
    [change, *_] = told("--key", evil)["changes"]
    assert change["properties"][0]["path"] == evil
