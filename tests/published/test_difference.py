"""Every listed difference from the published client, each through a real server with two published stores."""

from collections.abc import Iterator
from typing import Any

import pytest

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
    for client in pair.values():
        client.call("close")
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
