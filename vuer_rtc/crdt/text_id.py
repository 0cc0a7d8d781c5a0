"""Names of characters: `agent:number`, numbers counting the characters of that agent in that text from 0 (rule X4)."""

from typing import Any

from .message import Op
from .value import is_number

NUMBER_DIGITS_MAX = 16
"""Longer numbers are no ids: what fits is exact in every client, with room to count on from it."""


def parse_id(text_id: Any) -> tuple[str, int] | None:
    """Agent and number of a character id; None for what is not one."""
    if type(text_id) is not str:
        return None
    agent, colon, digits = text_id.rpartition(":")
    if not colon or not digits.isdigit() or not digits.isascii() or len(digits) > NUMBER_DIGITS_MAX:
        return None
    if digits[0] == "0" and len(digits) > 1:
        return None
    return agent, int(digits)


def parse_insert(op: Op, client: str) -> tuple[int, str | None, str] | None:
    """First number, anchor id and content of a well-formed insert or replace by `client`; None otherwise."""
    parsed = parse_id(op.id)
    if parsed is None or parsed[0] != client or not is_number(op.seq) or not is_number(op.ts):
        return None
    value = op.value
    if type(value) is not list or len(value) != 2:
        return None
    anchor, content = value
    if type(content) is not str or not content or not (anchor is None or type(anchor) is str):
        return None
    return parsed[1], anchor, content


def merged_ranges(ranges: Any) -> list[tuple[str, int, int]]:
    """The well-formed ones of `[[id, length], …]` as (agent, first, end), sorted and without overlap."""
    found: list[tuple[str, int, int]] = []
    for wanted in ranges if type(ranges) is list else ():
        if type(wanted) is list and len(wanted) == 2 and type(wanted[1]) is int and wanted[1] > 0:
            parsed = parse_id(wanted[0])
            if parsed is not None:
                found.append((parsed[0], parsed[1], parsed[1] + wanted[1]))
    if len(found) < 2:
        return found
    found.sort()
    merged = found[:1]
    for agent, first, end in found[1:]:
        last_agent, last_first, last_end = merged[-1]
        if agent == last_agent and first <= last_end:
            merged[-1] = (agent, last_first, max(end, last_end))
        else:
            merged.append((agent, first, end))
    return merged
