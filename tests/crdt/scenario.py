"""A vocabulary for tests about merges: short messages, every order of arrival, one outcome."""

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

from tests.crdt.history import everything
from tests.crdt.oracle.graph import OracleGraph
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import SERVER_CLIENT, Message, Op, cut_record
from vuer_rtc.crdt.view import NodeView

ORDERS_MAX = 24
"""Orders of arrival that `converged` tries: all of four messages, so many of more."""


class Author:
    """Makes the messages of one client."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.counter = 0

    def __call__(
        self, lt: int, *ops: Op, ts: float = 1.0, auth: bool = False, message_id: str | None = None
    ) -> Message:
        self.counter += 1
        return Message(
            message_id or f"{self.client}:{lt}",
            self.client,
            {self.client: self.counter},
            lt,
            ts,
            list(ops),
            auth,
        )


def insert(key: str, parent: str = "", **properties: Any) -> Op:
    return Op("node.insert", parent, "children", {"key": key, **properties})


def upsert(key: str, parent: str = "", **properties: Any) -> Op:
    return Op("node.upsert", parent, "children", {"key": key, **properties})


def remove(key: str, parent: str = "") -> Op:
    return Op("node.remove", parent, "children", key)


def move(key: str, parent: str, old: str = "") -> Op:
    return Op("node.move", old, "children", {"nodeKey": key, "newParent": parent})


def undo(target: str) -> Op:
    return Op("meta.undo", "_meta", "_meta", target=target)


def redo(target: str) -> Op:
    return Op("meta.redo", "_meta", "_meta", target=target)


def prop(ot: str, path: str, value: Any, key: str = "n", **extra: Any) -> Op:
    return Op(ot, key, path, value, **extra)


def typed(
    text_id: str, anchor: str | None, content: str, seq: int = 1, ts: float = 1.0, path: str = "t"
) -> Op:
    return Op("text.insert", "n", path, [anchor, content], id=text_id, seq=seq, ts=ts)


def erased(*ranges: tuple[str, int], path: str = "t") -> Op:
    return Op("text.delete", "n", path, rm=[list(wanted) for wanted in ranges])


def journalled(messages: Iterable[Message | int], *, first_seq: int = 1) -> Iterator[Message]:
    """The messages by server sequence; a number stands for a cut there."""
    for seq, item in enumerate(messages, first_seq):
        record = cut_record(f"{SERVER_CLIENT}/{seq}", item, 0) if isinstance(item, int) else item
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        yield Message(**{**fields, "server_seq": seq})


def graph_of(messages: Iterable[Message]) -> Graph:
    graph = Graph()
    for message in messages:
        graph.apply(message)
    return graph


def orders_of(messages: list[Message]) -> Iterator[list[Message]]:
    if len(messages) <= 4:
        yield from map(list, itertools.permutations(messages))
        return
    rng = random.Random(len(messages))
    yield messages
    yield messages[::-1]
    for _ in range(ORDERS_MAX - 2):
        yield rng.sample(messages, len(messages))


def converged(*messages: Message) -> Graph:
    """The graph that these messages make in every order of arrival, each arriving twice; as the oracle says."""
    oracle = OracleGraph(is_terse=True)
    for message in messages:
        oracle.apply(message)
    expected = everything(oracle)
    graph = Graph()
    for order in orders_of(list(messages)):
        graph = graph_of([*order, *order])
        assert everything(graph) == expected
    return graph


def node(graph: Graph, key: str = "n") -> NodeView:
    return graph.nodes()[key]


def value(graph: Graph, path: str, key: str = "n") -> Any:
    return node(graph, key).properties.get(path)
