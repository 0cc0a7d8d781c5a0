"""Who is present, as far as it is known (W3, W8): newer connections count, silent processes are forgotten."""

import json
from typing import Any

import msgspec

from rooms.presence import Board, Entry, Source
from vuer_rtc.protocol.wire import Framing

HERE, THERE = "here", "there"


def entry(client: str, arrived_at: float, process: str = HERE, **data: Any) -> Entry:
    return Entry(Source(arrived_at, process), client, data)


def shown(board: Board) -> dict[str, Any]:
    found = [board.get(client) for client in board.clients()]
    return {e.present.client: e.present.data for e in found if e is not None}


def test_of_two_connections_of_one_client_the_newer_counts_whoever_tells_last() -> None:
    board = Board()
    assert board.show(entry("ann", 2, THERE, at="new"))
    assert not board.show(entry("ann", 1, HERE, at="old"))
    assert not board.withdraw("ann", Source(1, HERE))
    assert shown(board) == {"ann": {"at": "new"}}
    assert board.show(entry("ann", 3, HERE, at="newest"))
    assert not board.withdraw("ann", Source(2, THERE)), "it tells late that it is gone"
    assert shown(board) == {"ann": {"at": "newest"}}
    assert board.withdraw("ann", Source(3, HERE))
    assert shown(board) == {}


def test_the_whole_of_a_process_replaces_what_it_told_before_and_nothing_else() -> None:
    board = Board()
    for each in (entry("ann", 1), entry("bob", 1, THERE), entry("cy", 1, THERE)):
        board.show(each)
    assert board.keep_only(THERE, ["cy"]) == ["bob"]
    assert list(shown(board)) == ["ann", "cy"]
    assert [e.present.client for e in board.of(THERE)] == ["cy"]


def test_a_process_that_is_not_heard_of_is_forgotten_with_its_clients() -> None:
    board = Board()
    for process in ("one", "two"):
        board.show(entry(process, 1, process))
        board.hear(process, now=10)
    board.show(entry("ann", 1))
    board.hear("two", now=20)
    assert board.forget_silent(before=15) == ["one"]
    assert board.forget_silent(before=15) == []
    assert board.forget_silent(before=25) == ["two"]
    assert list(shown(board)) == ["ann"]


def test_an_entry_is_encoded_once_per_framing() -> None:
    made = Entry(Source(1, HERE), "ann", {"cursor": [1, 2, 3]}, "Ann Lee")
    as_json = made.frame(Framing.JSON)
    assert made.frame(Framing.JSON) is as_json
    expected = {"client": "ann", "user": "Ann Lee", "data": {"cursor": [1, 2, 3]}}
    assert json.loads(as_json) == msgspec.msgpack.decode(made.frame(Framing.MSGPACK)) == expected
