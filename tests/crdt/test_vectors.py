"""Golden histories recorded from the published client come out the same in any order of arrival."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.crdt.oracle.graph import OracleGraph
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message

VECTORS = Path(__file__).parent / "vectors"
MAKERS: list[Callable[[], Any]] = [Graph, lambda: OracleGraph(is_terse=True)]


def vectors(name: str) -> list[Any]:
    lines = (VECTORS / f"{name}.jsonl").read_text().splitlines()
    return [pytest.param(vector, id=vector["name"]) for vector in map(json.loads, lines)]


def messages_of(vector: dict[str, Any]) -> list[Message]:
    return [msgspec.convert(message, Message) for message in vector["messages"]]


def orders(messages: list[Message]) -> list[list[Message]]:
    shuffled = messages.copy()
    random.Random(7).shuffle(shuffled)
    return [messages, messages[::-1], shuffled]


def close(value: Any) -> Any:
    """The value with numbers compared within 1e-9."""
    match value:
        case bool():
            return value
        case int() | float():
            return pytest.approx(value, abs=1e-9)
        case list():
            return [close(member) for member in value]
        case dict():
            return {key: close(member) for key, member in value.items()}
    return value


@pytest.mark.parametrize("make", MAKERS, ids=["engine", "oracle"])
@pytest.mark.parametrize("vector", vectors("sequential"))
def test_sequential_histories_end_as_the_published_client_ended(
    vector: dict[str, Any], make: Callable[[], Any]
) -> None:
    for order in orders(messages_of(vector)):
        graph = make()
        for message in order:
            graph.apply(message)
        nodes = graph.nodes()
        assert nodes.keys() == vector["nodes"].keys()
        for key, expected in vector["nodes"].items():
            node = nodes[key]
            assert (node.tag, node.name, node.deleted) == (
                expected["tag"],
                expected["name"],
                bool(expected["deleted"]),
            )
            assert node.deleted or node.children == expected["children"]
            assert node.properties == close(expected["props"])
        assert graph.state(0).graph["rootKey"] == vector["root"]


@pytest.mark.parametrize("make", MAKERS, ids=["engine", "oracle"])
@pytest.mark.parametrize("vector", vectors("text"))
def test_concurrent_texts_end_as_the_published_client_ended(
    vector: dict[str, Any], make: Callable[[], Any]
) -> None:
    by_id = {message.id: message for message in messages_of(vector)}
    recorded = [[by_id[message_id] for message_id in order] for order in vector["orders"]]
    for order in [*orders(list(by_id.values())), *recorded]:
        graph = make()
        for message in order:
            graph.apply(message)
        assert graph.nodes()["doc"].properties["body"] == vector["text"]
