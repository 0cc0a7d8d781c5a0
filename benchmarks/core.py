"""How fast the merge is: `python -m benchmarks.core [--published DIRECTORY] [--rounds N] [--quick]`.

Every figure is the median of interleaved rounds, in CPU time of this process, so that neighbours move it little.
Beside it stand, from the same rounds, the typed decode of the same messages and, when the directory of the published
client is given, its raw `applyMessageMut` in a process of its own: the ratios say more than the microseconds.  The
collector is set as the server sets it: start-up frozen, thresholds raised.
"""

import argparse
import gc
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Message, Op, cut_record

PUBLISHED = """
import gc, sys, json, time
import msgpack
from vuer_rtc.operations.dispatcher import applyMessageMut
from vuer_rtc.operations.types import CRDTMessage, SceneGraph
def main():
    raws = msgpack.unpackb(sys.stdin.buffer.read(), raw=False)
    first, rest = raws
    graph = SceneGraph(nodes={}, rootKey="")
    for raw in first:
        applyMessageMut(graph, CRDTMessage.fromDict(raw))
    messages = [CRDTMessage.fromDict(raw) for raw in rest]
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    started = time.process_time()
    for message in messages:
        applyMessageMut(graph, message)
    print(json.dumps(1e6 * (time.process_time() - started) / len(messages)))
main()
"""


def scene(count: int) -> list[Message]:
    """One node under a root for each message, with three properties of its own."""
    return [
        Message(f"al:{lt}", "al", {"al": lt}, lt, 1.7e9 + lt, [
            Op("node.insert", "" if lt == 1 else "n1", "children", {
                "key": f"n{lt}", "tag": "Mesh", "name": f"Node {lt}",
                "position": [1.0 * lt, 2.0, 3.0], "rotation": [0.1, 0.2, 0.3], "color": "#ff0000",
            })], server_seq=lt)
        for lt in range(1, count + 1)
    ]  # fmt: skip


def edits(nodes: int, count: int, first_lt: int, *, spread: int = 0) -> list[Message]:
    """Sets and adds on random nodes by two clients; with `spread`, that far out of order."""
    rng = random.Random(nodes)
    messages = []
    for number in range(count):
        seq = first_lt + number
        client, key = ("bo", "cy")[number & 1], f"n{rng.randint(1, nodes)}"
        op = (
            Op("vector3.set", key, "position", [1.0, 2.0, float(number)]),
            Op("number.add", key, "count", 1),
            Op("color.set", key, "color", "#00ff00"),
        )[number % 3]
        lt = seq + spread - (rng.randrange(spread) if spread else 0)
        messages.append(
            Message(
                f"{client}:{seq}",
                client,
                {"bo": seq // 2 + 1, "cy": seq // 2 + 1},
                lt,
                1.7e9 + seq,
                [op],
                server_seq=seq,
            )
        )
    return messages


def graph_of(messages: list[Message]) -> Graph:
    graph = Graph()
    for message in messages:
        graph.apply(message)
    return graph


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def apply_all(graph: Graph, messages: list[Message]) -> None:
    for message in messages:
        graph.apply(message)


def decode_all(encoded: list[bytes]) -> None:
    decoder = msgspec.msgpack.Decoder(Message)
    for data in encoded:
        decoder.decode(data)


def replay(graph: Graph, encoded: list[bytes]) -> None:
    decoder = msgspec.msgpack.Decoder(Message)
    for data in encoded:
        graph.apply(decoder.decode(data))


def published_us(directory: str, base: list[Message], messages: list[Message]) -> float:
    """Microseconds a message of the published client's raw apply.

    Its nodes are all at root level: it sorts the siblings at every insert, which takes minutes for 10,000.
    """
    raws = msgspec.to_builtins([base, messages])
    for raw in raws[0]:
        raw["ops"][0]["key"] = ""
    for raw in (*raws[0], *raws[1]):
        for op in raw["ops"]:
            op.setdefault("key", "")
    data = msgspec.msgpack.encode(raws)
    environment = {**os.environ, "PYTHONPATH": directory}
    command = [sys.executable, "-W", "ignore", "-c", PUBLISHED]
    done = subprocess.run(
        command, input=data, env=environment, cwd=directory, capture_output=True, check=True
    )
    return float(json.loads(done.stdout))


def measure_apply(
    nodes: int, rounds: int, count: int, published: str | None
) -> Iterator[tuple[str, float, float, float | None]]:
    """(what, µs an op, µs of its decode, µs of the published client) in and out of order.

    "again": the same properties, when each has been written before.
    """
    base = scene(nodes)
    again = edits(nodes, count, nodes + count + 1)
    for what, spread in (("in order", 0), ("out of order", 200)):
        messages = edits(nodes, count, nodes + 1, spread=spread)
        encoded = [msgspec.msgpack.encode(message) for message in messages]
        ours, second, decodes, theirs = [], [], [], []
        for _ in range(rounds):
            graph = graph_of(base)
            ours.append(timed(partial(apply_all, graph, messages)))
            decodes.append(timed(partial(decode_all, encoded)))
            if spread == 0:
                second.append(timed(partial(apply_all, graph, again)))
            if published and spread == 0:
                theirs.append(published_us(published, base, messages))
        scale = 1e6 / count
        decode = statistics.median(decodes) * scale
        yield (f"{what}, {nodes} nodes", statistics.median(ours) * scale, decode,
               statistics.median(theirs) if theirs else None)  # fmt: skip
        if second:
            yield f"{what}, {nodes} nodes, again", statistics.median(second) * scale, decode, None


def measure_whole(rounds: int) -> Iterator[tuple[str, float, str]]:
    """Figures of whole documents: (what, figure, unit)."""
    base, changes = scene(10_000), edits(10_000, 90_000, 10_001)
    cut = msgspec.structs.replace(cut_record("=cut", 200_000, 0), server_seq=100_001)
    encoded = [msgspec.msgpack.encode(message) for message in (*base, *changes)]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        graph = Graph()
        replays = found.setdefault("replay of 100,000 messages, decode included", [])
        replays.append(timed(partial(replay, graph, encoded)))
        found.setdefault("folding 100,000 messages away", []).append(timed(partial(graph.apply, cut)))
        small = graph_of([*base, msgspec.structs.replace(cut, server_seq=10_001)])
        for what, known in (("10,000 nodes as inserted", small), ("10,000 nodes after 90,000 edits", graph)):
            data = known.snapshot()
            found.setdefault(f"snapshot of {what}", []).append(timed(known.snapshot))
            found.setdefault(f"restore of {what}", []).append(timed(partial(Graph.restore, data)))
            found.setdefault(f"state(100) of {what}", []).append(timed(partial(known.state, 100)))
            found.setdefault(f"  the next state(100) of {what}", []).append(timed(partial(known.state, 100)))
            alike = Graph.restore(data)
            found.setdefault(f"  snapshot of {what}, from a restored graph", []).append(timed(alike.snapshot))
            found.setdefault(f"digest of {what}", []).append(timed(known.digest))
            found.setdefault(f"full digest of {what}", []).append(timed(known.full_digest))
    for what, times in found.items():
        yield what, statistics.median(times) * 1e3, "ms"


def measure_memory() -> Iterator[tuple[str, float, str]]:
    """KiB a node with three properties: restored, and with its insert still in the op log."""
    messages = scene(10_000)
    data = graph_of(
        [*messages, msgspec.structs.replace(cut_record("=cut", 10_000, 0), server_seq=10_001)]
    ).snapshot()
    encoded = [msgspec.msgpack.encode(message) for message in messages]
    decoder = msgspec.msgpack.Decoder(Message)
    makers: dict[str, Callable[[], Graph]] = {
        "memory a node, restored": lambda: Graph.restore(data),
        "memory a node, its message retained": lambda: graph_of([decoder.decode(one) for one in encoded]),
    }
    for what, make in makers.items():
        tracemalloc.start()
        graph = make()
        yield what, tracemalloc.get_traced_memory()[0] / 1024 / graph.node_count, "KiB"
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", help="directory of the published client, for its raw apply")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    count = 5_000 if arguments.quick else 30_000
    print(f"{'apply':34} {'us/op':>7} {'decode':>7} {'ratio':>6} {'published':>10}")
    for nodes in (100, 10_000) if arguments.quick else (100, 10_000, 100_000):
        for what, ours, decode, theirs in measure_apply(nodes, arguments.rounds, count, arguments.published):
            last = "" if theirs is None else f"{theirs:10.2f}"
            print(f"{what:34} {ours:7.2f} {decode:7.2f} {ours / decode:6.1f} {last}")
    for what, figure, unit in (*measure_whole(1 if arguments.quick else arguments.rounds), *measure_memory()):
        print(f"{what:66} {figure:9.2f} {unit}")
    print(f"peak resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
