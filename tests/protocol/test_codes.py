"""Codes of errors and closes, rules E1 to E4."""

import ast
from enum import Enum
from itertools import pairwise
from pathlib import Path

import pytest

from vuer_rtc.crdt import canonical, plain
from vuer_rtc.protocol import codes
from vuer_rtc.protocol.codes import ClientFault, CloseCode, ErrorCode


def test_codes_are_what_they_say() -> None:
    for code in ErrorCode:
        assert code.value == code.name.lower().replace("_", "-")
    assert CloseCode.UNKNOWN_ROOM.reason == "unknown-room"


def test_close_codes_are_ours_or_of_the_standard() -> None:
    """E4: applications may use 4000 to 4999."""
    assert {code.value for code in CloseCode if code.value < 4000} == {1001, 1009, 1011}
    assert all(code.value < 5000 for code in CloseCode)


def test_every_code_the_canonical_form_gives_exists() -> None:
    """C rules name their codes as text; the merge core knows nothing of the protocol."""
    found = set()
    for module in (canonical, plain):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "refuse":
                found.update(a.value for a in node.args[:1] if isinstance(a, ast.Constant))
    assert {"not-finite", "bad-op", "missing-id"} < found <= set(ErrorCode)


@pytest.mark.parametrize("enum", [ErrorCode, CloseCode])
def test_every_code_is_documented(enum: type[Enum]) -> None:
    [body] = [
        node.body
        for node in ast.parse(Path(codes.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == enum.__name__
    ]
    documented = [
        member.targets[0].id
        for member, text in pairwise(body)
        if isinstance(member, ast.Assign)
        and isinstance(text, ast.Expr)
        and isinstance(member.targets[0], ast.Name)
    ]
    assert documented == [member.name for member in enum]


def test_a_fault_reads_as_on_the_wire() -> None:
    assert str(ClientFault(ErrorCode.BAD_OP, "no value")) == "bad-op: no value"
