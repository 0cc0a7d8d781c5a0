"""What one action of a client costs as its history grows: this package and the published one, in one run.

    python benchmarks/client.py [--published FOLDER] [--nodes 1000] [--journal 10 1000 100000] [--json FILE]

Prints microseconds per call: the median of single calls of `receive`, `edit`, `commit` and `ack` at a journal of that
length (half the client's own commits, half another's), and of `read`, one node's property through `getState()` after a
`receive`.  The published client runs in a process of its own (it has our import name) up to a journal of 1,000, where
building one takes minutes already.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ("receive", "edit", "commit", "ack", "read")
PUBLISHED_JOURNAL_MAX = 1_000


def insert(key: str, parent: str) -> dict[str, Any]:
    value = {"key": key, "tag": "Mesh", "position": [0, 0, 0], "opacity": 1.0}
    return {"ot": "node.insert", "key": parent, "path": "children", "value": value}


def move(number: int, nodes: int) -> dict[str, Any]:
    return {"ot": "vector3.set", "key": f"n{number % nodes}", "path": "position", "value": [number, 1, 2]}


def remote(number: int, lt: int, nodes: int) -> Any:
    """The commit of the other client with that number."""
    from vuer_rtc import CRDTMessage

    return CRDTMessage(
        f"bob:{lt}", "bob", {"alice": number, "bob": number}, lt, 1.0 + number, [move(number, nodes)]
    )


def store_with(nodes: int, journal: int) -> Any:
    """A client with that many nodes and commits; for a long journal without asking it between."""
    from vuer_rtc import CRDTMessage, GraphStore, Snapshot, createEmptyGraph

    ops = [insert("root", ""), *(insert(f"n{number}", "root") for number in range(nodes))]
    messages = [CRDTMessage("bob:1", "bob", {"bob": 1}, 1, 1.0, ops)]
    for number in range(2, journal + 1):
        author = ("alice", "bob")[number % 2]
        clock = {"alice": number // 2, "bob": number - number // 2}
        messages.append(
            CRDTMessage(f"{author}:{number}", author, clock, number, 1.0 + number, [move(number, nodes)])
        )
    store = GraphStore.fromServer("alice", Snapshot(createEmptyGraph(), {}), messages)
    store.getState().graph.nodes["n0"].getProperty("position")
    return store


def timed(action: Callable[[], Any], times: list[float]) -> Any:
    began = time.perf_counter()
    result = action()
    times.append((time.perf_counter() - began) * 1e6)
    return result


def measure(nodes: int, journal: int, rounds: int) -> dict[str, float]:
    """Median microseconds of each action."""
    store = store_with(nodes, journal)
    times: dict[str, list[float]] = {action: [] for action in ACTIONS}
    gc.collect()
    gc.freeze()
    for number in range(journal + 1, journal + rounds + 1):
        op = move(number, nodes)
        timed(lambda: store.edit(op), times["edit"])  # noqa: B023
        message = timed(store.commit, times["commit"])
        timed(lambda: store.ack(message.id), times["ack"])  # noqa: B023
        received = remote(number, message.lt + 1, nodes)
        timed(lambda: store.receive(received), times["receive"])  # noqa: B023
        key = received.ops[0]["key"]
        timed(lambda: store.getState().graph.nodes[key].getProperty("position"), times["read"])  # noqa: B023
    return {action: round(statistics.median(values), 1) for action, values in times.items()}


def run(package: Path, nodes: int, journal: int, rounds: int) -> dict[str, float]:
    """`measure` in a process that finds `vuer_rtc` in the folder `package`."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, __file__, "--measure", str(nodes), str(journal), str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published", type=Path, default=ROOT / ".venv" / "published")
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--journal", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    rows = []
    print(
        f"{'package':10} {'nodes':>6} {'journal':>8}  "
        + " ".join(f"{action:>10}" for action in ACTIONS)
        + "   us"
    )
    for journal in options.journal:
        packages = [("ours", ROOT, options.rounds)]
        if journal <= PUBLISHED_JOURNAL_MAX and (options.published / "vuer_rtc").is_dir():
            packages.append(("published", options.published, 5))
        for name, package, rounds in packages:
            found = run(package, options.nodes, journal, rounds)
            rows.append({"package": name, "nodes": options.nodes, "journal": journal, **found})
            shown = " ".join(f"{found[action]:>10,.1f}" for action in ACTIONS)
            print(f"{name:10} {options.nodes:>6,} {journal:>8,}  {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
