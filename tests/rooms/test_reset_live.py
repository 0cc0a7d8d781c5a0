"""Documents emptied while clients of both kinds edit them, on two server processes; rules R5 and R6."""

import asyncio
import base64
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.rooms.build import insert, message, put
from tests.rooms.client import Client
from tests.server import ROOT, ServerProcess
from vuer_rtc.crdt.canonical import canonical_message
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import Epoch, Message

SETTINGS = {"HEAD_POLL_S": 0.2, "PROJECTION_INTERVAL_S": 0.2, "LIMITS": {"message_burst_max": 100_000}}
SETUP = """
from django.contrib.auth import get_user_model
from journal.models import Document
owner = get_user_model().objects.create(username="owner-" + {slug!r})
document = Document.objects.create(slug={slug!r}, owner=owner, visibility="public-edit")
from rooms import tokens
print(tokens.mint(document, owner))
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    data_dir = tmp_path_factory.mktemp("reset")
    with (
        ServerProcess(data_dir, settings=SETTINGS) as one,
        ServerProcess(data_dir, settings=SETTINGS) as other,
    ):
        yield [one, other]


def shell(server: ServerProcess, code: str) -> str:
    return server.manage("shell", "--no-imports", "-c", code).strip()


async def reset_elsewhere(server: ServerProcess, slug: str) -> None:
    code = f"from journal.models import Document; import rooms.moderation as m; print(m.reset(Document.objects.get(slug={slug!r})))"  # noqa: E501
    await asyncio.to_thread(shell, server, code)


class Native(Client):
    """A native client that holds the document; it drops what it has not had acknowledged when it is reset."""

    def __init__(self, server: ServerProcess, slug: str, name: str, **query: str) -> None:
        super().__init__(server, slug, name, v="2", **query)
        self.graph = Graph()
        self.resets = 0

    def _take(self, wire: dict[str, Any]) -> None:
        super()._take(wire)
        match wire["mtype"]:
            case "state":
                self.graph = Graph.restore(base64.b64decode(wire["native"]))
                for raw in wire["journal"]:
                    self.graph.apply(msgspec.convert(raw, Message))
            case "broadcast":
                self._apply(msgspec.convert(wire["msg"], Message))
            case "ack" if wire.get("serverSeq"):
                self._apply(msgspec.structs.replace(self.sent[wire["msgId"]], server_seq=wire["serverSeq"]))
        self.lt = max(self.lt, self.graph.lt)

    def _apply(self, message: Message) -> None:
        if message.server_seq > self.graph.head_seq:
            assert message.server_seq == self.graph.head_seq + 1, "a gap"
            before = self.graph.epoch
            self.graph.apply(message)
            self.resets += self.graph.epoch != before


async def test_a_moderator_s_client_resets_and_nobody_else_s(servers: list[ServerProcess]) -> None:
    """R6."""
    token = shell(servers[0], SETUP.format(slug="stage"))
    async with (
        Native(servers[0], "stage", "mod", token=token) as mod,
        Native(servers[1], "stage", "ann") as ann,
    ):
        await ann.edit(insert("n"))
        assert mod.welcomes[0]["epoch"] == 0
        await ann.send_raw({"mtype": "room-reset", "epoch": 0})
        await ann.until(lambda: ann.errors)
        await mod.send_raw({"mtype": "room-reset", "epoch": 7})
        await mod.until(lambda: mod.errors)
        assert (ann.errors[0]["code"], mod.errors[0]["code"]) == ("forbidden", "stale-epoch")
        await mod.send_raw({"mtype": "room-reset", "epoch": 0})
        for client in (mod, ann):
            await client.until(lambda c=client: c.resets == 1)
            assert client.graph.epoch.number == 1
            assert client.graph.node_count == 0
        await ann.edit(insert("m"))
        await mod.until(lambda: list(mod.graph.nodes()) == ["m"])
        assert mod.graph.digest() == (await ann.status())["digest"]
    async with Native(servers[0], "stage", "bob") as bob:
        assert bob.welcomes[0]["epoch"] == 1
        assert bob.graph.epoch == Epoch(1, mod.graph.epoch.lt)


async def test_clients_that_edit_through_resets_agree_in_the_end(servers: list[ServerProcess]) -> None:
    """R5: two processes, published and native clients, resets from a third process; work of an old epoch never
    appears in a new one, and what is acknowledged in the last epoch is there."""
    servers[0].create_documents(["hall"])
    rng = random.Random(6)
    published = [Client(server, "hall", f"p{i}") for i, server in enumerate(servers)]
    native = [Native(server, "hall", f"n{i}") for i, server in enumerate(servers)]
    clients = [*published, *native]
    for client in clients:
        await client.open()
    is_editing = True

    async def edit(client: Client) -> None:
        while is_editing:
            await client.send(
                insert(f"{client.name}-{client.counter}"), put(f"{client.name}-{client.counter}")
            )
            await asyncio.sleep(rng.random() * 0.02)

    editing = [asyncio.create_task(edit(client)) for client in clients]
    for _ in range(3):
        await asyncio.sleep(0.3)
        await reset_elsewhere(servers[0], "hall")
    await asyncio.sleep(0.5)
    is_editing = False
    await asyncio.gather(*editing)
    for client in clients:
        await client.until(lambda c=client: {m.id for m in c.unacked} <= stale(c))
        assert {error["code"] for error in client.errors} <= {"stale-epoch", "unavailable"}  # a slow disk
    standings = await settled(clients)
    assert len({standing["digest"] for standing in standings}) == 1
    for client in native:
        await client.until(lambda c=client: c.graph.head_seq == standings[-1]["serverSeq"])
        assert client.graph.epoch.number == client.resets == 3
        assert client.graph.digest() == standings[0]["digest"]
    floor = native[0].graph.epoch.lt
    keys = set(native[0].graph.nodes())
    of_last_epoch = {
        m.ops[0].value["key"] for c in clients for m in c.sent.values() if m.id in c.acks and m.lt > floor
    }
    assert keys == of_last_epoch
    assert keys
    for client in published:
        state = client.states[-1]
        assert (len(client.states), client.room_resets) == (4, 3)
        assert state["snapshot"]["lt"] >= floor
        graph = replica_behind(client, state["serverSeq"])
        assert graph <= keys
    assert any(stale(client) for client in clients), "no work of an old epoch was on its way"
    for client in clients:
        await client.leave()


def stale(client: Client) -> set[str]:
    """Ids of its messages that were refused as of an older epoch."""
    return {error["msgId"] for error in client.errors if error["code"] == "stale-epoch"}


async def settled(clients: list[Client]) -> list[dict[str, Any]]:
    """What the servers say once all are equally far."""
    for _ in range(20):
        standings = [await client.status() for client in clients]
        if len({standing["serverSeq"] for standing in standings}) == 1:
            return standings
        await asyncio.sleep(0.5)
    raise AssertionError(f"the servers do not meet: {standings}")


def replica_behind(client: Client, seq: int) -> set[str]:
    """Keys that a published client was told of after its last state."""
    told = [canonical_message(raw) for raw in client.broadcasts if raw["serverSeq"] > seq]
    return {message.ops[0].value["key"] for message in told}


async def test_a_process_that_dies_right_after_the_record_is_made_up_for(
    servers: list[ServerProcess],
) -> None:
    """J17, `reset.written`: the record is read like any other, and the row follows."""
    servers[0].create_documents(["cellar"])
    code = (
        "import rooms; from journal.models import Document; rooms.reset(Document.objects.get(slug='cellar'))"
    )
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
    environment = {**servers[0].environment(), "VUER_RTC_FAILPOINT": "reset.written"}
    async with Native(servers[0], "cellar", "ann") as ann:
        await ann.edit(insert("n"))
        died = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=environment, check=False)
        assert died.returncode == -signal.SIGKILL
        await ann.until(lambda: ann.resets == 1)
        question = "from journal.models import Document; print(Document.objects.get(slug='cellar').epoch)"
        for _ in range(20):
            if await asyncio.to_thread(shell, servers[1], question) == "1":
                return
    raise AssertionError("the row does not know of the epoch")


async def test_who_was_away_during_a_reset_cannot_bring_its_work_back(servers: list[ServerProcess]) -> None:
    servers[0].create_documents(["attic"])
    ann = Client(servers[0], "attic", "ann")
    await ann.open()
    await ann.edit(insert("n"))
    lost = message("ann", 2, put(), lt=ann.lt + 1)
    await ann.leave()
    await reset_elsewhere(servers[1], "attic")
    ann = Client(servers[1], "attic", "ann")
    await ann.open()
    assert ann.states[-1]["snapshot"]["graph"]["nodes"] == {}
    await ann.resend(lost)
    await ann.until(lambda: ann.errors)
    assert [(e["msgId"], e["code"], e.get("retry", False)) for e in ann.errors] == [
        ("ann:2", "stale-epoch", False)
    ]
    ann.counter = 2
    assert await ann.edit(insert("m")) == 3
    await ann.leave()
