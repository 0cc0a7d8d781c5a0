"""Rights that change while sockets are open, on two server processes, without a channel layer and with nothing else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rooms.build import insert
from tests.rooms.client import Client
from tests.rooms.redis_process import RedisProcess
from tests.server import ServerProcess
from vuer_rtc.protocol.codes import CloseCode

SETTINGS = {"RIGHTS_RECHECK_S": 0, "HEAD_POLL_S": 0.2}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    data_dir = tmp_path_factory.mktemp("rights")
    with (
        ServerProcess(data_dir, settings=SETTINGS) as one,
        ServerProcess(data_dir, settings=SETTINGS) as other,
    ):
        yield [one, other]


async def change(server: ServerProcess, slug: str, what: str) -> None:
    """In a process of its own, as a view of the site would."""
    code = f"from journal.models import Document; d = Document.objects.get(slug={slug!r}); {what}; d.save()"
    await asyncio.to_thread(server.manage, "shell", "--no-imports", "-c", code)


async def test_a_change_elsewhere_reaches_every_process(servers: list[ServerProcess]) -> None:
    servers[0].create_documents(["hall"])
    clients = [
        Client(server, "hall", name, v="2") for server, name in zip(servers, ("ann", "bob"), strict=True)
    ]
    for client in clients:
        await client.open()
    await change(servers[0], "hall", "d.is_read_only = True")
    for client in clients:
        await client.until(lambda c=client: c.welcomes[-1]["rights"] == ["view"])
        message = await client.send(insert("n"))
        await client.until(lambda c=client: c.errors)
        assert [(e["msgId"], e["code"]) for e in client.errors] == [(message.id, "forbidden")]
    await change(servers[0], "hall", "d.visibility = 'private'")
    for client in clients:
        await client.until(lambda c=client: c.close_code == CloseCode.FORBIDDEN)
        await client.leave()


async def test_through_the_channel_layer_alone_rights_kicks_and_resets_reach_every_process(
    tmp_path: Path, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3, R4, R5: no poll, no slow check; the changes are made by processes that serve nobody."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    settings = {"RIGHTS_RECHECK_S": 0, "HEAD_POLL_S": 0}
    with (
        ServerProcess(tmp_path, settings=settings) as one,
        ServerProcess(tmp_path, settings=settings) as other,
    ):
        one.create_documents(["hall"])
        clients = [Client(server, "hall", name, v="2") for server, name in ((one, "ann"), (other, "bob"))]
        for client in clients:
            await client.open()
        await clients[0].edit(insert("n"))
        await clients[1].until(lambda: clients[1].broadcasts)
        await change(one, "hall", "d.is_read_only = True")
        for client in clients:
            await client.until(lambda c=client: c.welcomes[-1]["rights"] == ["view"])
        await change(one, "hall", "import rooms; rooms.reset(d)")
        for client in clients:
            await client.until(
                lambda c=client: [m for m in c.broadcasts if m["ops"][0]["ot"] == "server.reset"]
            )
        await asyncio.to_thread(other.manage, "close_sessions", "--document", "hall")
        for client in clients:
            await client.until(lambda c=client: c.close_code == CloseCode.KICKED)
            await client.leave()
