"""The site's own code beside connected clients; the examples of docs/embed.md are run as they stand there."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncRequestFactory

import rooms
from journal.models import Document
from rooms.hub import Hub, current_hub
from rooms.signals import batch_committed, document_opened, session_joined, session_left
from tests.rooms.build import put
from tests.rooms.client import Client, NativeClient
from tests.rooms.redis_process import RedisProcess
from tests.rooms.socket import Socket
from tests.server import ROOT, ServerProcess
from vuer_rtc.client.room import RoomClient
from vuer_rtc.crdt.message import Op

SLUG = "stage"


def example(name: str) -> str:
    found = re.search(rf"```python\n# {name}\n(.*?)```", (ROOT / "docs/embed.md").read_text(), re.S)
    assert found is not None
    return found[1]


def lamp(key: str, watts: int) -> Op:
    return Op("node.insert", "", "children", {"key": key, "tag": "Lamp", "watts": watts})


RUN_COMMAND = """
from django.core.management import call_command
call_command(Command(), "stage")
"""


async def manage(server: ServerProcess, code: str) -> str:
    """What code prints that another process of the site runs."""
    return (await asyncio.to_thread(server.manage, "shell", "--no-imports", "-c", code)).strip()


# Another process


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        running.create_documents([SLUG])
        yield running


async def test_clients_see_what_a_command_in_another_process_writes(server: ServerProcess) -> None:
    async with Client(server, SLUG, "ann") as ann, NativeClient(server, SLUG, "bob") as bob:
        await ann.edit(lamp("a", 40), lamp("b", 60))
        await bob.until(lambda: bob.native.seq == 1)
        said = await manage(server, example("dim_lamps.py") + RUN_COMMAND)
        assert said.startswith("2 lamps, in message =site:")
        assert said.endswith(" at 2")
        for one in (ann, bob):
            await one.until(lambda one=one: one.broadcasts)
        assert ann.broadcasts[-1]["client"] == "=site"
        await bob.until(lambda: bob.native.seq == 2)
        await bob.assert_same()
        watts = {key: node.properties["watts"] for key, node in bob.native.graph.nodes().items()}
        assert watts == {"a": 20, "b": 30}
        await ann.edit(put("a", "watts", 5))
        assert await manage(server, "import rooms; print(rooms.read('stage').nodes['a']['watts'])") == "5"


async def test_two_writers_of_the_site_and_a_client_lose_nothing(server: ServerProcess) -> None:
    count = """
import rooms
editor = rooms.Editor("stage")
for _ in range(100):
    editor.edit([{"ot": "number.add", "key": "a", "path": "watts", "value": 1}])
"""
    async with NativeClient(server, SLUG, "ann") as ann:
        await ann.edit(lamp("a", 0))
        writers = [asyncio.create_task(manage(server, count)) for _ in range(2)]
        for _ in range(100):
            await ann.edit(Op("number.add", "a", "watts", 1))
        await asyncio.gather(*writers)
        await ann.until(lambda: ann.native.seq == 301)
        await ann.assert_same()
        assert ann.native.graph.nodes()["a"].properties["watts"] == 300


async def test_with_a_channel_layer_they_see_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls here."""
    with RedisProcess(tmp_path) as redis:
        monkeypatch.setenv("REDIS_URL", redis.url)
        with ServerProcess(tmp_path, settings={"HEAD_POLL_S": 3600}) as server:
            server.create_documents([SLUG])
            async with Client(server, SLUG, "ann") as ann:
                await ann.edit(lamp("a", 40))
                await manage(server, example("dim_lamps.py") + RUN_COMMAND)
                await ann.until(lambda: ann.broadcasts)


def room(server: ServerProcess, client: str) -> RoomClient:
    return RoomClient(server.url(SLUG, client).partition("?")[0], client)


async def test_room_clients_live_through_a_restore_and_edit_on(server: ServerProcess) -> None:
    """R1 to R6."""
    async with room(server, "ann") as ann, room(server, "bob") as bob:
        with ann.scene.transaction():
            hall = ann.scene.add("Scene", key="hall")
            hall.add("Lamp", key="lamp", watts=40)
            hall.add("Text", key="note").text("body").insert(0, "shared")
        await ann.synced()
        wanted = await asyncio.to_thread(server.digest, SLUG)
        await bob.synced()
        ann.scene["lamp"].remove()
        bob.scene["note"].text("body").insert(6, " by all")
        bob.scene["hall"]["extra"] = 1
        for client in (ann, bob):
            client.commit()
            await client.synced()
        restore = ("restore_document", "--document", SLUG, "--seq", "1", "--json")
        report = json.loads(await asyncio.to_thread(server.manage, *restore))
        assert report["outcome"] == "restored"
        for client in (ann, bob):
            await until(lambda client=client: "lamp" in client.scene)
            assert client.graph.nodes["hall"].properties == {}
            assert client.graph.nodes["note"].properties["body"] == "shared"
        assert await asyncio.to_thread(server.digest, SLUG) == wanted
        bob.scene["note"].text("body").insert(0, "still ")
        bob.commit()
        await until(lambda: ann.graph.nodes["note"].properties["body"] == "still shared")
        undo = ("restore_document", "--document", SLUG, "--undo", report["message"], "--json")
        await asyncio.to_thread(server.manage, *undo)
        for client in (ann, bob):
            await until(lambda client=client: "lamp" not in client.scene)
        assert ann.graph.nodes["hall"].properties == bob.graph.nodes["hall"].properties == {"extra": 1}
        texts = {client.graph.nodes["note"].properties["body"] for client in (ann, bob)}
        assert len(texts) == 1


async def test_clients_that_edit_without_a_pause_agree_on_what_a_restore_made(server: ServerProcess) -> None:
    restore = ("restore_document", "--document", SLUG, "--seq", "1", "--json")
    async with NativeClient(server, SLUG, "ann") as ann, NativeClient(server, SLUG, "bob") as bob:
        everybody = [ann, bob, Client(server, SLUG, "eve")]
        await everybody[2].open()
        await ann.edit(*[lamp(f"lamp{n}", 40) for n in range(20)])
        is_over = asyncio.Event()

        async def edit(client: Client) -> None:
            for n in itertools.cycle(range(20)):
                if is_over.is_set():
                    return
                key = f"lamp{n}"
                extra = Op("node.remove", "", "children", key) if n % 7 == 3 else put(key, client.name, n)
                await client.edit(put(key, "watts", n), extra)

        editing = [asyncio.create_task(edit(client)) for client in everybody]
        reports = [json.loads(await asyncio.to_thread(server.manage, *restore)) for _ in range(3)]
        is_over.set()
        await asyncio.gather(*editing)
        assert [report["outcome"] for report in reports] == ["restored"] * 3
        for client in (ann, bob):
            await client.assert_same()
        assert len(everybody[2].states) == 4, "one when it joined, one for each restore"
        await everybody[2].leave()


async def until(condition: Any) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


# The server's own process


@pytest.fixture
async def hub(transactional_db: None, settings: Any) -> AsyncIterator[Hub]:
    """It does not poll."""
    settings.VUER_RTC = {"HEAD_POLL_S": 0}
    await Document.objects.acreate(slug=SLUG, visibility="public-edit")
    running = current_hub()
    yield running
    await running.stop()


async def test_clients_see_what_a_view_of_the_same_process_writes(hub: Hub) -> None:
    site: dict[str, Any] = {}
    exec(example("views.py"), site)
    ann = await User.objects.acreate(username="ann")
    async with Socket(SLUG, "bob") as bob:
        await rooms.aedit(SLUG, [{"ot": "node.insert", "key": "a"}])
        request = AsyncRequestFactory().post("/", {"watts": "30"})
        request.auser = sync_to_async(lambda: ann)
        answer = await site["switch"](request, SLUG, "a")
        assert answer.status_code == 200
        await bob.until(lambda: len(bob.seen) == 2)
        assert bob.frames[-1]["msg"]["ops"][0]["value"] == 30
        request = AsyncRequestFactory().post("/", {"watts": "nan"})
        request.auser = sync_to_async(lambda: ann)
        assert (await site["switch"](request, SLUG, "a")).status_code == 400
        await sync_to_async(rooms.edit)(SLUG, [{"ot": "number.set", "key": "a", "path": "watts", "value": 1}])
        await bob.until(lambda: len(bob.seen) == 3)


async def test_receivers_hear_of_rooms_sessions_and_batches(hub: Hub) -> None:
    site: dict[str, Any] = {}
    heard: list[str] = []

    def note(name: str) -> Any:
        def receive(sender: Any, **told: Any) -> None:
            heard.append(
                " ".join([name, sender.__name__, *(str(told[k]) for k in ("client", "code") if k in told)])
            )

        return receive

    signals = {"opened": document_opened, "joined": session_joined, "left": session_left}
    receivers = {name: note(name) for name in signals}
    for name, receiver in receivers.items():
        signals[name].connect(receiver)
    exec(example("receivers.py"), site)
    try:
        async with Socket(SLUG, "bob") as bob:
            sent = bob.edit(lamp("a", 1))
            await bob.until(lambda: sent in bob.acks)
            await rooms.aedit(SLUG, [{"ot": "node.remove", "key": "a"}])
        await hub.stop()
    finally:
        batch_committed.disconnect(site["count_edits"])
        for name, receiver in receivers.items():
            signals[name].disconnect(receiver)
    assert heard == ["opened Document", "joined Session bob", "left Session bob 1000"]
    assert site["edits"] == [(None, 1), (None, 1)]
