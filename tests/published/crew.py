"""The published stores that edit one document together."""

from typing import Any

from tests.server import ServerProcess

from .process import PublishedClient
from .scene import Turn

CLIENTS = ("alice", "bob", "carol")
SLUG = "stage"
Clients = dict[str, PublishedClient]


def connect(server: ServerProcess, clients: Clients) -> Clients:
    for name in CLIENTS:
        clients[name].call("connect", url=server.url(SLUG, name), client=name)
    return {name: clients[name] for name in CLIENTS}


def join(server: ServerProcess, joiner: PublishedClient) -> dict[str, Any]:
    """What a fresh published client sees."""
    joiner.call("connect", url=server.url(SLUG, "joiner"), client="joiner")
    joiner.call("read_on")
    graph: dict[str, Any] = joiner.call("graph")
    return graph


def play(editors: Clients, turn: Turn) -> None:
    """One client's move, acknowledged, then seen by the others before anybody moves again."""
    author = editors[turn.client]
    before = set(author.call("unacked"))
    author.call("edit", ops=turn.ops) if turn.do == "edit" else author.call(turn.do)
    sent = [message for message in author.call("unacked") if message not in before]
    author.call("pump", acked=sent)
    others = [client for client in editors.values() if client is not author]
    for client in others:
        client.start("pump", seen=sent)
    for client in others:
        assert client.answer()["errors"] == []
