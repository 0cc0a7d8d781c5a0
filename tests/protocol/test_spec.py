"""PROTOCOL.md says what the code does: its example is real, its tables are complete, its rules are tested."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.protocol import wire
from vuer_rtc.protocol.codec import encode, inbound_of
from vuer_rtc.protocol.codes import CloseCode, ErrorCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.session import Reply, Right, SyncSession

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "vuer_rtc" / "protocol" / "PROTOCOL.md").read_text()
EXCHANGE = re.search(r"```\n(.*?)```", SPEC, re.DOTALL)


def exchange(side: str) -> list[dict[str, Any]]:
    assert EXCHANGE is not None
    return [json.loads(line[2:]) for line in EXCHANGE[1].splitlines() if line.startswith(f"{side} ")]


def rows(head: str) -> list[list[str]]:
    """Cells of the table whose header begins with `head`, without back-quotes."""
    table = SPEC[SPEC.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table]


def section(letter: str) -> str:
    return SPEC[SPEC.index(f"\n## {letter}. ") :].split("\n## ")[1]


def test_the_client_of_the_example_is_understood() -> None:
    session = SyncSession("alice", frozenset(Right), Limits())
    effects = [effect for message in exchange("C") for effect in session.receive(json.dumps(message), 0)]
    assert [type(effect).__name__ for effect in effects] == ["Submit", "Reply", "SendStatus", "Heartbeat"]
    replies = [effect.outbound for effect in effects if isinstance(effect, Reply)]
    [error] = [message for message in exchange("S") if message["mtype"] == "error"]
    assert [json.loads(encode(reply, wire.Framing.JSON)) for reply in replies] == [error]


def test_the_server_of_the_example_says_what_ours_says() -> None:
    state, ack, broadcast, _, status = exchange("S")
    commit = canonical_message(broadcast["msg"])
    ours: list[wire.Outbound] = [
        wire.State(Graph().state(100), 0),
        wire.Ack("alice:1", 1),
        wire.Broadcast(msgspec.structs.replace(commit, server_seq=2)),
        wire.SyncStatus("r1", wire.Standing({"alice": 1, "bob": 1}, 2, status["status"]["digest"])),
    ]
    assert [json.loads(encode(each, wire.Framing.JSON)) for each in ours] == [state, ack, broadcast, status]


def test_every_message_has_its_line() -> None:
    described = {name: side for name, side, _ in rows("| `mtype` |")}
    assert [name for name, side in described.items() if side != "server"] == mtypes(wire.Inbound)
    sent = set(mtypes(wire.Outbound)) - {"presences"} | {"presence"}
    assert {name for name, side in described.items() if side != "client"} == sent


def mtypes(union: Any) -> list[str]:
    return [re.sub(r"(?<=.)([A-Z])", r"-\1", kind.__name__).lower() for kind in get_args(union)]


def test_the_fields_of_the_table_are_those_on_the_wire() -> None:
    described = {name: set(re.findall(r"\w+", cells)) for name, _, cells in rows("| `mtype` |")}
    for message in exchange("S"):
        assert set(message) - {"mtype"} <= described[message["mtype"]]


def test_the_code_tables_are_the_enums() -> None:
    errors = [(code, retry == "yes") for code, _, retry in rows("| error |")]
    assert errors == [(code.value, code.is_retryable) for code in ErrorCode]
    closes = [(int(code), name, again == "yes") for code, name, _, again in rows("| close |")]
    assert closes == [(code.value, code.reason, code.is_retryable) for code in CloseCode]


def test_the_limits_table_is_the_settings() -> None:
    defaults = Limits()
    described = [(name, float(default)) for name, default, _ in rows("| limit |")]
    assert described == [(field.name, float(getattr(defaults, field.name))) for field in fields(Limits)]


@pytest.mark.parametrize("letter", ["F", "S", "L"])
def test_every_rule_of_frames_sessions_and_limits_is_quoted_by_a_test(letter: str) -> None:
    rules = set(re.findall(rf"\*\*({letter}\d+)\*\*", section(letter)))
    paths = [*Path(__file__).parent.glob("test_*.py"), ROOT / "tests" / "test_websocket.py"]
    tests = "".join(path.read_text() for path in paths)
    quoted = set(re.findall(rf"\b({letter}\d+)\b", tests))
    assert len(rules) > 5
    assert rules == quoted & rules


@pytest.mark.parametrize("letter", ["N", "R", "W"])
def test_every_rule_of_the_live_side_is_quoted_by_a_test(letter: str) -> None:
    rules = set(re.findall(rf"\*\*({letter}\d+)\*\*", section(letter)))
    folders = (ROOT / "tests" / name for name in ("protocol", "rooms"))
    tests = "".join(path.read_text() for folder in folders for path in folder.glob("test_*.py"))
    assert len(rules) > 1
    assert rules == set(re.findall(rf"\b({letter}\d+)\b", tests)) & rules


def test_every_rule_has_one_id() -> None:
    ids = re.findall(r"\*\*([A-Z]\d+)\*\*", SPEC)
    assert len(ids) == len(set(ids))
    for letter in "FCSANRWLE":
        numbers = [int(rule[1:]) for rule in ids if rule[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1))


def test_the_bare_commit_of_the_example_is_read_too() -> None:
    commit = exchange("C")[0]
    assert inbound_of(commit["msg"]) == inbound_of(commit)
