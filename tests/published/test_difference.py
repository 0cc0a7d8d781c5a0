"""Every listed difference from the published client, each through a real server with two published stores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.server import ServerProcess

from .difference import BASE, DIFFERENCES, NODES, UNSET, Difference, Ops
from .process import PublishedClient, is_close
from .room import document_view


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("differences")) as running:
        running.create_documents([_slug(index) for index in range(len(DIFFERENCES))])
        yield running


@pytest.fixture(scope="module")
def pair() -> Iterator[dict[str, PublishedClient]]:
    clients = {name: PublishedClient(name) for name in ("alice", "bob")}
    yield clients
    for client in clients.values():
        client.stop()


@pytest.mark.parametrize("index", range(len(DIFFERENCES)), ids=[case.name for case in DIFFERENCES])
def test_listed_difference(index: int, server: ServerProcess, pair: dict[str, PublishedClient]) -> None:
    case = DIFFERENCES[index]
    for name, client in pair.items():
        client.call("connect", url=server.url(_slug(index), name), client=name)
    for ops in (BASE, *NODES):
        _turn(pair, "alice", ops)
    for name, turn in case.before:
        _turn(pair, name, turn)
    if case.together:
        _together(pair, case)
    for name, turn in case.after:
        _turn(pair, name, turn)
    shown = {name: _read(client.call("graph"), case.read) for name, client in pair.items()}
    ours = _read(document_view(server.data_dir, _slug(index)), case.read)
    pair["bob"].call("close")
    pair["bob"].call("connect", url=server.url(_slug(index), "bob"), client="bob")
    graph = pair["bob"].call("graph")
    after_state, wanted = _read(graph, case.read), case.ours
    if case.read.endswith(":parent"):  # a published graph names children alone
        wanted = [key for key in wanted if key in graph["nodes"]]
    for client in pair.values():
        client.call("close")
    assert is_close(after_state, wanted), f"{case.rule}, A8: {after_state}"
    assert is_close(shown, {"alice": case.alice, "bob": case.bob}), (
        f"{case.rule}: the published client changed: {shown}"
    )
    assert is_close(ours, case.ours), f"{case.rule}: {ours}"
    assert not (is_close(case.alice, case.ours) and is_close(case.bob, case.ours)), (
        "no difference left to list"
    )


def _turn(pair: dict[str, PublishedClient], name: str, turn: Ops | str) -> None:
    client = pair[name]
    sent = client.call(turn) if isinstance(turn, str) else client.call("edit", ops=turn)
    client.call("pump", acked=[sent])
    for other in pair.values():
        other.call("drain", seconds=0.15)


def _together(pair: dict[str, PublishedClient], case: Difference) -> None:
    assert case.together is not None
    sent = {}
    for (name, client), ops in zip(pair.items(), case.together, strict=True):
        client.call("offline", is_offline=True)
        sent[name] = client.call("edit", ops=ops)
    for name, client in pair.items():
        client.call("offline", is_offline=False)
        client.call("resend")
        client.call("pump", acked=[sent[name]])
    for client in pair.values():
        client.call("drain", seconds=0.3)


def _read(graph: dict[str, Any], what: str) -> Any:
    nodes = graph["nodes"]
    if ":" not in what:
        key, path = what.split(".")
        return UNSET if nodes[key]["deleted"] else nodes[key]["properties"].get(path, UNSET)
    key, what = what.split(":")
    if what == "parent":
        listing = sorted(parent for parent, node in nodes.items() if key in node["children"])
        return (
            listing
            if listing or nodes[key].get("parent") is None or nodes[key]["deleted"]
            else [nodes[key]["parent"]]
        )
    return nodes[key][what]


def _slug(index: int) -> str:
    return f"difference-{index}"


UNKNOWN_TO_PUBLISHED = {
    "node.upsert": ({"key": "root", "path": "children", "value": {"key": "u", "x": 5}}, "u.x", 5),
    "node.inset": ({"key": "root", "path": "children", "value": {"key": "u", "x": 5}}, "u.x", 5),
    "array.move": ({"key": "n", "path": "arr", "from": 0, "to": 1}, "n.arr", [2, 1]),
}


@pytest.mark.parametrize("ot", UNKNOWN_TO_PUBLISHED)
def test_who_joins_sees_what_published_clients_cannot_apply(
    ot: str, tmp_path: Path, pair: dict[str, PublishedClient]
) -> None:
    """A8: it is in the state, and not left to the store, which would ignore it."""
    fields, read, wanted = UNKNOWN_TO_PUBLISHED[ot]
    with ServerProcess(tmp_path) as server:
        server.create_documents(["stage"])
        alice = pair["alice"]
        alice.call("connect", url=server.url("stage", "alice"), client="alice")
        for ops in (BASE, *NODES, [{"ot": "array.set", "key": "n", "path": "arr", "value": [1, 2]}]):
            alice.call("pump", acked=[alice.call("edit", ops=ops)])
        with connect(server.url("stage", "tool", format="json")) as socket:
            socket.recv(timeout=20)
            message = {"id": "tool:1", "client": "tool", "clock": {"tool": 1}, "lt": 90, "ts": 1.0}
            socket.send(json.dumps({**message, "ops": [{"ot": ot, **fields}]}))
            assert json.loads(socket.recv(timeout=20))["mtype"] == "ack"
        alice.call("close")
        joined = alice.call("connect", url=server.url("stage", "alice"), client="alice")
        assert joined["journal"] == 0
        assert is_close(_read(alice.call("graph"), read), wanted)
        alice.call("close")
