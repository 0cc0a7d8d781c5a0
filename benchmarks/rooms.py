"""Rooms under load, beside a bare relay: `python -m benchmarks.rooms [s1 … s6] [--seconds 10] [--runs 3] [--json]`.

s1  1 room x 20 clients x 20 messages/s                     latency
s2  1 room x 50 clients, 4 messages in flight each          throughput; with batch frames, and one frame a message
s3  50 rooms x 4 clients x 30 messages/s                    many small rooms
s4  join a room of 10,000 objects: fresh, after 100,000 updates, while it is edited, 300 at once
s5  memory of an idle connection, at 1,000
s6  200 rooms x 2 clients x 0.5 messages/s                  many quiet rooms

The server runs on core 0, the load on core 1.  `per_cpu_s`: messages journalled, acknowledged and sent to all others
for each second of the server's processor time (acc/CPU-s).  Delays go from sending to another client's receiving.

`--peers hocuspocus` puts Hocuspocus with its SQLite extension under the same load in s1, s2, s3, s6 (needs Node, npm).
Comparable: clients, rates, messages in flight and their size, the field of an object that is replaced (there a key of a
map), both figures, and frames: it too merges what a turn of its event loop has for a socket.  Not comparable, in its
favour: it acknowledges what is in its memory and stores the whole document 2 seconds after the last edit, 10 after the
first at most, which shorter runs never see; it looks at no rights and no limits.  Against it: everybody gets his own
edits too.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop

from benchmarks.crowd import Client, Room, connect, cpu_seconds, resident_kib
from benchmarks.joins import measure_joins
from benchmarks.targets import NATIVE, PEERS_BY_NAME, PLAIN, ROOMS, Target, our_server, pin, relay

IDLE_ROOMS = 50
WARM_UP_S = 3
"""The same load before anything is measured: a server compiles and fills its caches meanwhile."""


@dataclass
class Figures:
    """One run."""

    per_cpu_s: float
    p50_ms: float
    p99_ms: float
    per_s: float
    load_cpu: float
    """Share of its core that the load took: close to 1, it is what is measured."""


async def load(target: Target, rooms: int, clients: int, seconds: float, rate: float | None) -> Figures:
    """Everybody edits: at `rate` messages a second, or as fast as answers come, four in flight."""
    mark = os.urandom(3).hex()
    is_running = True

    def again(client: Client) -> None:
        if is_running and rate is None and client.acks > 1:
            client.edit()

    everybody: list[Client] = []
    for number in range(rooms):
        room = Room()
        for seat in range(clients):
            client = target.client(f"c{seat}-{mark}", room, is_observer=seat == 0, on_ack=again)
            everybody.append(await connect(target.port, target.path(f"bench-{number}", client.name), client))
    if not target.is_quiet:
        await asyncio.gather(*(client.joined for client in everybody))
    for client in everybody:
        client.insert()
    await until(lambda: all(client.acks for client in everybody))
    if rate is None:
        for client in everybody:
            for _ in range(4):
                client.edit()
    await go_on(everybody, rate, WARM_UP_S)
    for client in everybody:
        client.room.delays_s.clear()
    begun, cpu, own_cpu = time.perf_counter(), cpu_seconds(target.pid), time.process_time()
    before = sum(client.acks for client in everybody)
    await go_on(everybody, rate, seconds)
    is_running = False
    await until(lambda: all(client.acks == client.counter for client in everybody))
    sent = sum(client.counter for client in everybody)
    await until(
        lambda: sum(client.heard for client in everybody) >= sent * (clients - 1) - len(everybody) * clients
    )
    spent, elapsed = cpu_seconds(target.pid) - cpu, time.perf_counter() - begun
    load_cpu = (time.process_time() - own_cpu) / elapsed
    accepted = sum(client.acks for client in everybody) - before
    delays = sorted(delay for client in everybody if client.is_observer for delay in client.room.delays_s)
    for client in everybody:
        client.transport.abort()
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    return Figures(accepted / spent, p50 * 1000, p99 * 1000, accepted / elapsed, load_cpu)


async def go_on(everybody: list[Client], rate: float | None, seconds: float) -> None:
    """Without a rate the answers keep everybody going."""
    await (asyncio.sleep(seconds) if rate is None else pace(everybody, rate, seconds))


async def pace(everybody: list[Client], rate: float, seconds: float) -> None:
    """Open loop: each client's messages are evenly spread, the clients' moments too."""
    begun, sent, total = time.perf_counter(), 0, int(rate * seconds * len(everybody))
    while sent < total:
        due = int((time.perf_counter() - begun) * rate * len(everybody))
        while sent < min(due, total):
            everybody[sent % len(everybody)].edit()
            sent += 1
        await asyncio.sleep(0.001)


async def until(condition: Any, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not keep up")
        await asyncio.sleep(0.005)


SCENARIOS: dict[str, tuple[int, int, float | None]] = {
    "s1": (1, 20, 20),
    "s2": (1, 50, None),
    "s3": (50, 4, 30),
    "s6": (ROOMS, 2, 0.5),
}


def measure(scenario: str, seconds: float, runs: int, peers: list[str]) -> dict[str, dict[str, float]]:
    """Medians by target, the runs of the targets interleaved."""
    found: dict[str, list[Figures]] = {}
    for _ in range(runs):
        with our_server() as (server, pid):
            for name, query in (
                ("this server, batch frames", NATIVE),
                ("this server, one frame a message", PLAIN),
            ):
                run_one(scenario, Target(name, server.port, pid, query), seconds, found)
        for is_coalescing in (False, True):
            with relay(is_coalescing=is_coalescing) as target:
                run_one(scenario, target, seconds, found)
        for peer in peers:
            with PEERS_BY_NAME[peer]() as target:
                run_one(scenario, target, seconds, found)
    return {
        name: {field: statistics.median(getattr(figures, field) for figures in all_)
               for field in ("per_cpu_s", "p50_ms", "p99_ms", "per_s", "load_cpu")}
        for name, all_ in found.items()
    }  # fmt: skip


def run_one(scenario: str, target: Target, seconds: float, found: dict[str, list[Figures]]) -> None:
    rooms, clients, rate = SCENARIOS[scenario]
    figures = uvloop.run(load(target, rooms, clients, seconds, rate))
    print(f"{scenario} {target.name}: {figures}", file=sys.stderr, flush=True)
    found.setdefault(target.name, []).append(figures)


# Idling


def measure_idle(connections: int = 1000) -> dict[str, dict[str, float]]:
    found = {}
    with our_server() as (server, pid):
        found["this server"] = uvloop.run(idle(Target("this server", server.port, pid, NATIVE), connections))
    with relay(is_coalescing=False) as target:
        found["relay"] = uvloop.run(idle(target, connections))
    return found


async def idle(target: Target, connections: int) -> dict[str, float]:
    clients = []
    for number in range(-100, connections):  # the first hundred warm up what is needed once
        if number == 0:
            await asyncio.sleep(1)
            before = resident_kib(target.pid)
        client = Client(f"idle{number}", Room(), is_observer=False, on_ack=lambda _: None)
        clients.append(
            await connect(target.port, target.path(f"bench-{number % IDLE_ROOMS}", client.name), client)
        )
        if not target.is_quiet:
            await client.joined
    await asyncio.sleep(1)
    return {"kib_each": (resident_kib(target.pid) - before) / connections}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", default=["s1", "s2", "s3", "s4", "s5", "s6"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS_BY_NAME, help="in s1, s2, s3 and s6")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    pin(os.getpid(), 1)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for scenario in arguments.scenarios:
        match scenario:
            case "s4":
                with our_server() as (server, _):
                    results[scenario] = measure_joins(server)
            case "s5":
                results[scenario] = measure_idle()
            case _:
                results[scenario] = measure(scenario, arguments.seconds, arguments.runs, arguments.peers)
    if arguments.json:
        print(json.dumps(results))
        return
    for scenario, rows in results.items():
        for name, figures in rows.items():
            print(
                f"{scenario}  {name:<40}"
                + "  ".join(f"{field} {value:,.2f}" for field, value in figures.items())
            )


if __name__ == "__main__":
    main()
