"""Our text against the published client: its concurrent histories give the same text here (rules X3, X4)."""

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.published.process import published_directory
from vuer_rtc.crdt.message import Op
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.text_id import parse_insert

HISTORIES = int(os.environ.get("VUER_RTC_TEXT_HISTORIES", "300"))
"""The whole run of 5,000 takes some minutes."""
ANSWER_SECONDS_MAX = 60
VECTORS = Path(__file__).with_name("vectors") / "text.jsonl"

LATER = 2**40
"""A Lamport time after those of all histories."""

Change = tuple[Any, str, Op]
"""Order, client and op of a message."""


class Published:
    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(published_directory()), "PYTHONSAFEPATH": "1"}
        script = Path(__file__).with_name("text_published.py")
        pipe = subprocess.PIPE
        command = [sys.executable, str(script)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)

    def call(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        assert select.select([self._process.stdout], [], [], ANSWER_SECONDS_MAX)[0], (
            "the published client hangs"
        )
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait(timeout=10)


@pytest.fixture(scope="module")
def published() -> Iterator[Published]:
    client = Published()
    yield client
    client.stop()


def changes_of(messages: list[dict[str, Any]]) -> list[Change]:
    """The text ops of messages as they travel, in total order."""
    return sorted(
        (
            ((message["lt"], message["client"], message["id"]), index),
            message["client"],
            msgspec.convert(op, Op),
        )
        for message in messages
        for index, op in enumerate(message["ops"])
        if op["ot"] in ("text.insert", "text.delete", "text.replace")
    )


def apply(text: Text, change: Change) -> bool:
    """Apply one change; false when it needs another one first."""
    order, client, op = change
    claim = parse_insert(op, client) if op.ot != "text.delete" else None
    if claim is not None:
        number, anchor, content = claim
        if text.needs_refold(order, client, number, len(content)):
            return False
        where = None if anchor is None else text.latest(anchor, before=order)
        assert anchor is None or where is not None
    if op.ot != "text.insert":
        assert text.delete(op.rm, order=order)
    if claim is not None:
        where = None if anchor is None else text.latest(anchor, before=order)
        text.place(client, number, content, where, op.seq, op.ts, order=order)
    return True


def replayed(changes: list[Change]) -> Text:
    text = Text()
    for change in changes:
        assert apply(text, change)
    return text


def causal_order(messages: list[dict[str, Any]], randomness: random.Random) -> list[dict[str, Any]]:
    """The messages in another order in which nobody misses what an author had seen."""
    left, order, clock = list(messages), [], {"origin": 1}
    while left:
        ready = [
            message
            for message in left
            if all(
                count <= clock.get(c, 0) + (c == message["client"]) for c, count in message["clock"].items()
            )
        ]
        message = randomness.choice(ready)
        clock[message["client"]] = clock.get(message["client"], 0) + 1
        left.remove(message)
        order.append(message)
    return order


def test_concurrent_histories_of_the_published_client_give_its_text(published: Published) -> None:
    deletes = concurrent = agreed = 0
    for seed in range(HISTORIES):
        made = published.call("history", seed=seed)
        messages = made["messages"]
        changes = changes_of(messages)
        text = replayed(changes)
        assert [text.visible()] == made["texts"], seed
        other = [
            change
            for message in causal_order(messages, random.Random(seed))
            for change in changes_of([message])
        ]
        assert replayed(other).encode() == text.encode(), seed
        agreed += 1
        deletes += any(op.ot != "text.insert" for _, _, op in changes)
        concurrent += any(a["lt"] == b["lt"] and a is not b for a in messages for b in messages)
    assert agreed == HISTORIES
    assert deletes > HISTORIES // 2
    assert concurrent > HISTORIES // 2


def test_a_published_client_goes_on_from_our_rope(published: Published) -> None:
    for seed in range(HISTORIES // 4):
        text = replayed(changes_of(published.call("history", seed=seed)["messages"]))
        made = published.call("proceed", seed=seed, rope=text.published(), count=5)
        assert made["before"] == text.visible(), seed
        for place, (_, client, op) in enumerate(changes_of(made["messages"])):
            assert apply(text, (((LATER, client, ""), place), client, op))
        assert made["after"] == text.visible(), seed


def test_recorded_histories_give_their_text_in_every_order() -> None:
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        by_id = {message["id"]: message for message in vector["messages"]}
        for order in vector["orders"]:
            text = replayed([change for message_id in order for change in changes_of([by_id[message_id]])])
            assert text.visible() == vector["text"], vector["name"]
            assert Text.decode(text.encode()).visible() == vector["text"]
