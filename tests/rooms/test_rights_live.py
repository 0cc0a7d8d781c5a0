"""Rights that change while sockets are open, on two server processes, without a channel layer and with nothing else."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect

from tests.rooms.build import insert
from tests.rooms.client import PATIENCE_S, Client
from tests.rooms.redis_process import RedisProcess
from tests.server import HOST, ServerProcess
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


LOGIN = """
from django.contrib.auth import get_user_model
from django.test import Client
from journal.models import Document
ann = get_user_model().objects.create(username="ann", is_staff=True)
Document.objects.create(slug="cabin", owner=ann)
browser = Client()
browser.force_login(ann)
print(browser.cookies["sessionid"].value)
"""


def log_out(server: ServerProcess, session: str) -> None:
    """As a browser does in the admin."""
    page = f"http://{HOST}:{server.port}/admin/"
    cookie = f"sessionid={session}"
    with urlopen(Request(page, headers={"Cookie": cookie})) as answer:
        found = re.search(r'csrfmiddlewaretoken" value="(\w+)"', answer.read().decode())
        csrf = answer.headers["Set-Cookie"].split(";")[0]
    assert found is not None
    body = urlencode({"csrfmiddlewaretoken": found[1]}).encode()
    with urlopen(Request(f"{page}logout/", body, {"Cookie": f"{cookie}; {csrf}"})) as answer:
        assert answer.status == 200


async def test_a_logout_closes_the_sockets_of_that_login_on_every_process(
    servers: list[ServerProcess],
) -> None:
    """R3: the private document is hers as long as she is logged in."""
    code = ("shell", "--no-imports", "-c", LOGIN)
    session = (await asyncio.to_thread(servers[0].manage, *code)).strip()
    urls = [server.url("cabin", f"ann-{n}", format="json") for n, server in enumerate(servers)]
    headers = {"Cookie": f"sessionid={session}"}
    async with (
        connect(urls[0], additional_headers=headers) as one,
        connect(urls[1], additional_headers=headers) as other,
    ):
        for socket in (one, other):
            assert json.loads(await socket.recv())["mtype"] == "state"
        await asyncio.to_thread(log_out, servers[0], session)
        for socket in (one, other):
            async with asyncio.timeout(PATIENCE_S):
                await socket.wait_closed()
            assert socket.close_code == CloseCode.LOGGED_OUT
