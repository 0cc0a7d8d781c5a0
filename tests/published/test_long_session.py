"""Published stores and room clients edit one document at random, through breaks: all of them end with one scene.

The published stores come late and do not stay long: a message costs them as much as their journal is long, 0.1 s
after 300 of them.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.server import HOST, ServerProcess
from vuer_rtc.client.room import Backoff, RoomClient

from .process import PublishedClient, assert_same_scene, live_nodes
from .room import document_graph, document_view, room_view

SEEDS = [int(seed) for seed in os.environ.get("VUER_RTC_LONG_SESSION_SEEDS", "1").split(",")]
ROUNDS_ALONE = 50
"""What each room client does before published stores come: more than a published state carries of it."""
ROUNDS_TOGETHER = 12
PUBLISHED_TURNS = 6
SILENCE_MAX_S = 20
"""What is neither acknowledged nor broadcast by then, to who listens, never will be."""
NATIVES = ("ann", "ben", "cleo")
PUBLISHED = ("pat", "quinn")
GROUPS = ["g0", "g1", "g2"]
SOON = Backoff(first_s=0.02, max_s=0.2)
SLUG = "stage"


def op(ot: str, key: str, path: str, value: Any = None, **extra: Any) -> dict[str, Any]:
    return {"ot": ot, "key": key, "path": path, **({} if value is None else {"value": value}), **extra}


def random_op(rng: random.Random, nodes: dict[str, Any]) -> dict[str, Any]:
    """One that fits the nodes as somebody sees them."""
    key = rng.choice([key for key in nodes if key.startswith("n")])
    parent = next((name for name, node in nodes.items() if key in node["children"]), "")
    text = str(nodes["text"]["properties"].get("body") or "")
    place = rng.randint(0, len(text))
    number = rng.randint(-5, 5)
    typed = "".join(rng.choice("ab é😀\n") for _ in range(rng.randint(1, 4)))
    fresh = f"n{rng.randrange(60)}"
    return rng.choice(
        [
            op("number.set", key, "x", number),
            op("number.add", key, "x", number or 1),
            op("vector3.add", key, "v", [number, 1, 0.5]),
            op("vector3.set", key, "v", [number, 0, 0]),
            op("color.set", key, "c", f"#{rng.randrange(2**24):06x}"),
            op("array.push", key, "a", number),
            op("object.merge", key, "o", {rng.choice("klm"): number}),
            op("node.insert", rng.choice(GROUPS), "children", {"key": fresh, "tag": "Mesh", "x": 0}),
            op("node.move", parent, "children", {"nodeKey": key, "newParent": rng.choice(GROUPS)}),
            op("node.move", "root", "children", {"nodeKey": "g1", "newParent": rng.choice(["g0", "root"])}),
            op("node.remove", parent, "children", key) if key != "n0" else op("number.set", key, "x", number),
            op("text.insert", "text", "body", [None, typed], position=place),
            op("text.insert", "text", "body", [None, typed], position=place),
            op("text.delete", "text", "body", position=place, length=rng.randint(1, 3)),
            op("text.replace", "text", "body", [None, typed], position=place, length=rng.randint(1, 3)),
        ]
    )


@asynccontextmanager
async def breaking_link(port: int, rng: random.Random) -> AsyncIterator[int]:
    """A port whose connections lead to another one for a second at most, then break."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, port)
        ways = [asyncio.create_task(carry(*way)) for way in ((reader, far_writer), (far_reader, writer))]
        await asyncio.wait(ways, timeout=rng.uniform(0.05, 1), return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, far_writer):
            end.transport.abort()

    async with await asyncio.start_server(attend, HOST, 0) as listener:
        yield listener.sockets[0].getsockname()[1]


async def edit_natively(client: RoomClient, rounds: int, rng: random.Random) -> None:
    for _ in range(rounds):
        match rng.random():
            case chance if chance < 0.15:
                client.undo()
            case chance if chance < 0.22:
                client.redo()
            case _:
                for _ in range(rng.randint(1, 3)):
                    client.edit(random_op(rng, live_nodes(room_view(client))))
                client.commit()
        await asyncio.sleep(rng.choice([0, 0.001, 0.02]))
    await asyncio.wait_for(client.synced(), SILENCE_MAX_S)


def edit_published(client: PublishedClient, url: str, rng: random.Random) -> None:
    """Commits of one operation each, undos and redos, and now and then a new connection."""
    for _ in range(PUBLISHED_TURNS):
        nodes = live_nodes(client.call("graph"))
        turns = [rng.choice([{"ops": [random_op(rng, nodes)]}] * 5 + [{"do": "undo"}, {"do": "redo"}])]
        client.call("persist", url=url, client=client.name, turns=turns, silence=SILENCE_MAX_S)
        if rng.random() < 0.2:
            client.call("close")


@pytest.mark.parametrize("seed", SEEDS)
async def test_stores_of_both_kinds_end_with_one_scene(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    with ServerProcess(tmp_path) as server:
        server.create_documents([SLUG])
        stores = {name: PublishedClient(name) for name in (*PUBLISHED, "joiner")}
        try:
            await session(server, stores, rng)
        finally:
            for store in stores.values():
                store.stop()


async def session(server: ServerProcess, stores: dict[str, PublishedClient], rng: random.Random) -> None:
    seeds = iter(lambda: random.Random(rng.random()), None)
    async with AsyncExitStack() as stack:
        direct = urlsplit(server.url(SLUG, "ann"))
        assert direct.port is not None
        port = await stack.enter_async_context(breaking_link(direct.port, next(seeds)))
        url = f"ws://{HOST}:{port}{direct.path}"
        async with RoomClient(url, "builder", backoff=SOON) as builder:
            await build(builder)
        rooms = [
            await stack.enter_async_context(RoomClient(url, name, backoff=SOON, retry_pause_s=0.05))
            for name in NATIVES
        ]
        await asyncio.gather(*(edit_natively(room, ROUNDS_ALONE, next(seeds)) for room in rooms))
        for name in PUBLISHED:
            stores[name].call("connect", url=server.url(SLUG, name), client=name)
        async with asyncio.TaskGroup() as editing:
            for room in rooms:
                editing.create_task(edit_natively(room, ROUNDS_TOGETHER, next(seeds)))
            for name in PUBLISHED:
                work = (edit_published, stores[name], server.url(SLUG, name), next(seeds))
                editing.create_task(asyncio.to_thread(*work))
        ours = document_view(server.data_dir, SLUG)
        for room in rooms:
            while not (status := await asyncio.wait_for(room.synced(verify=True), SILENCE_MAX_S)).is_same:
                assert status.is_same is None, "it shows another document"
            assert_same_scene(room_view(room), ours)
        for name, store in stores.items():
            store.call("connect", url=server.url(SLUG, name), client=name)
            store.call("read_on")
            assert_same_scene(store.call("graph"), ours)
        assert server.digest(SLUG) == document_graph(server.data_dir, SLUG).digest()


async def build(room: RoomClient) -> None:
    """What the others cannot undo, so that there is always something to edit."""
    with room.scene.transaction():
        root = room.scene.add("Scene", key="root")
        for group in GROUPS:
            root.add("Group", key=group)
        for number in range(6):
            room.scene[GROUPS[number % 3]].add("Mesh", key=f"n{number}", x=0, v=[0, 0, 0], a=[], o={})
        root.add("Text", key="text")
        room.edit(op("text.init", "text", "body"))
    await room.synced()
