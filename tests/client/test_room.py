"""Room clients and a published client in one room over a real server that is killed and started again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.published.process import PublishedClient, assert_same_scene
from tests.published.room import room_view
from tests.server import ServerProcess
from vuer_rtc.client.room import Backoff, CommitRefused, RoomClient, RoomClosed, RoomError

SLUG = "stage"
SOON = Backoff(first_s=0.05, max_s=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        running.create_documents([SLUG])
        yield running


@pytest.fixture
def published() -> Iterator[PublishedClient]:
    client = PublishedClient("pat")
    yield client
    client.stop()


def room(server: ServerProcess, client: str, **options: Any) -> RoomClient:
    url = server.url(SLUG, client).partition("?")[0]
    return RoomClient(url, client, backoff=SOON, retry_pause_s=0.1, **options)


async def both_synced(*clients: RoomClient) -> None:
    for _ in range(2):
        for client in clients:
            await asyncio.wait_for(client.synced(), 30)


async def test_two_room_clients_and_a_published_one_converge_over_a_killed_server(
    server: ServerProcess, published: PublishedClient
) -> None:
    async with room(server, "alice") as alice, room(server, "bob") as bob:
        with alice.scene.transaction():
            scene = alice.scene.add("Scene", key="scene")
            scene.add("Mesh", key="cube", position=[0, 0, 0], count=0)
            scene.add("Text", key="note").text("body").insert(0, "shared")
        await both_synced(alice, bob)
        published.call("connect", url=server.url(SLUG, "pat"), client="pat")
        published.call("edit", ops=[{"ot": "number.add", "key": "cube", "path": "count", "value": 100}])
        published.call("pump", acked=published.call("unacked"))
        await both_synced(alice, bob)
        assert room_view(alice)["nodes"]["cube"]["properties"]["count"] == 100

        for turn in range(60):
            for client in (alice, bob):
                with client.scene.transaction():
                    cube = client.scene["cube"]
                    cube.count += 1
                    cube.position += [0.5, 0, 0]
                    text = client.scene["note"].text("body")
                    text.insert(len(text) // 2, client.client[0])
            if turn == 20:
                server.kill()
            if turn == 40:
                await asyncio.sleep(0.2)
                server.start()
            await asyncio.sleep(0.005)
        await both_synced(alice, bob)
        published.call("connect", url=server.url(SLUG, "pat"), client="pat", keep=True)
        seen = [entry.msg.id for client in (alice, bob) for entry in client.store.getState().journal]
        published.call(
            "pump", seen=[message for message in seen if not message.startswith("pat:")], timeout=30
        )

        cube = alice.scene["cube"]
        assert cube.count == 220
        assert cube.position == [60, 0, 0]
        typed = str(alice.scene["note"].text("body"))
        assert sorted(typed) == sorted("shared" + "a" * 60 + "b" * 60)
        assert room_view(alice) == room_view(bob)
        assert_same_scene(published.call("graph"), room_view(alice))
        status = await alice.synced(verify=True)
        assert status.is_same
        assert server.digest(SLUG) == status.digest
        async with room(server, "carol") as carol:
            assert (await carol.synced(verify=True)).is_same
            assert room_view(carol) == room_view(alice)
            carol.scene["note"].text("body").insert(3, "carol")
            carol.commit()
            await both_synced(carol, alice)
            assert room_view(carol) == room_view(alice)


async def test_a_refreshed_client_keeps_what_is_pending(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        alice.scene.add("Scene", key="scene", x=1)
        assert alice.commit("a description, as a store's commit takes it") is not None
        await alice.synced()
        alice.scene["scene"].x = 2
        alice.commit()
        alice.scene["scene"].y = 3
        await alice.refresh()
        assert (alice.scene["scene"].x, alice.scene["scene"].y) == (2, 3)
        alice.commit()
        assert (await alice.synced(verify=True)).is_same


async def test_changes_undo_and_refusals(server: ServerProcess) -> None:
    refused: list[str] = []
    async with (
        room(server, "alice") as alice,
        room(server, "bob", on_refused=lambda refusal: refused.append(refusal.code)) as bob,
    ):
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        changes = bob.changes()
        assert "scene" in await asyncio.wait_for(anext(changes), 10)
        bob.scene["scene"].x = 2
        bob.commit()
        await both_synced(bob, alice)
        assert alice.scene["scene"].x == 2
        bob.undo()
        await both_synced(bob, alice)
        assert alice.scene["scene"].x == 1
        bob.redo()
        await both_synced(bob, alice)
        assert alice.scene["scene"].x == 2

        bob.edit({"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "alice:1"})
        bob.edit({"ot": "number.set", "key": "scene", "path": "x", "value": 3})
        bob.commit()
        assert bob.scene["scene"].x == 3
        with pytest.raises(CommitRefused, match="foreign-undo"):
            await bob.synced()
        assert refused == ["foreign-undo"]
        assert bob.scene["scene"].x == 2
        assert bob.pending_count == 0
        assert (await bob.synced(verify=True)).is_same


async def test_a_room_that_is_not_there_closes_for_good(server: ServerProcess) -> None:
    client = RoomClient(server.url("nowhere", "x").partition("?")[0], "x", backoff=SOON)
    with pytest.raises(RoomClosed, match="unknown-room"):
        async with client:
            pass


async def test_a_backlog_larger_than_the_rate_gets_through(server: ServerProcess) -> None:
    alice = room(server, "alice")
    alice.scene.add("Scene", key="scene", count=0)
    alice.commit()
    for _ in range(3000):
        alice.scene["scene"].count += 1
        alice.commit()
    async with alice:
        await asyncio.wait_for(alice.synced(), 60)
        assert alice.scene["scene"].count == 3000
    async with room(server, "bob") as bob:
        assert bob.scene["scene"].count == 3000
        assert (await bob.synced(verify=True)).is_same


async def test_what_had_no_effect_when_it_came_has_it_later(server: ServerProcess) -> None:
    """A move that would cycle has no effect when it arrives; the undo of another brings it back, everywhere at once."""

    def move(key: str, parent: str) -> dict[str, Any]:
        return {
            "ot": "node.move",
            "key": "",
            "path": "children",
            "value": {"nodeKey": key, "newParent": parent},
        }

    async with room(server, "alice") as alice, room(server, "bob") as bob:
        for key in ("p", "q"):
            alice.scene.add("Group", key=key, parent="")
        alice.commit()
        await both_synced(alice, bob)
        bob.edit(move("p", "q"))
        bob.commit()
        await both_synced(bob, alice)
        alice.edit(move("q", "p"))
        alice.commit()
        await both_synced(alice, bob)
        bob.undo()
        await both_synced(bob, alice)
        assert alice.node("q").parent == "p"  # type: ignore[union-attr]
        assert bob.node("q").parent == "p"  # type: ignore[union-attr]
        assert (await bob.synced(verify=True)).is_same
        assert room_view(bob) == room_view(alice)


async def test_a_reloaded_client_undoes_what_it_did_before(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        alice.scene["scene"].x = 2
        alice.commit()
        await alice.synced()
    async with room(server, "bob") as bob, room(server, "alice") as alice:
        assert alice.welcome.undoable == ("alice:1", "alice:2")
        assert "edit" in alice.welcome.rights
        assert alice.welcome.durability["full"] is True
        assert alice.welcome.limits["frame_bytes_max"] == 1_048_576
        alice.undo()
        await both_synced(alice, bob)
        assert (alice.scene["scene"].x, bob.scene["scene"].x) == (1, 1)


async def test_a_client_that_comes_back_after_a_compaction_keeps_its_work(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        alice.scene.add("Scene", key="scene", count=0)
        alice.commit()
        for _ in range(50):
            alice.scene["scene"].count += 1
            alice.commit()
        await alice.synced()
        server.kill()
        alice.scene["scene"].count += 1000
        alice.commit()
        server.manage("compact_journals", "--keep", "0", "--older-than", "0")
        server.start()
        await asyncio.wait_for(alice.synced(), 30)
        assert alice.scene["scene"].count == 1050
        assert (await alice.synced(verify=True)).is_same
        server.manage("compact_journals", "--keep", "0", "--older-than", "0")
        alice.scene["scene"].count += 1
        alice.commit()
        assert (await asyncio.wait_for(alice.synced(verify=True), 30)).is_same
        assert len(alice.store.getState().journal) <= 1


def mint(server: ServerProcess, client: str, expires_in_s: float) -> str:
    """A token for an editor of the room, who has an account."""
    code = (
        "from django.contrib.auth import get_user_model as model\n"
        "from journal.models import Document\nfrom rooms.tokens import mint\n"
        f"user, _ = model().objects.get_or_create(username='{client}')\n"
        f"document = Document.objects.get(slug='{SLUG}')\n"
        "Document.objects.filter(pk=document.pk).update(owner=user, visibility='private')\n"
        f"print('token:' + mint(document, user, expires_in_s={expires_in_s}))"
    )
    return server.manage("shell", "--no-imports", "-c", code).partition("token:")[2].strip()


async def test_a_token_lets_in_and_a_function_is_asked_for_the_next_one(server: ServerProcess) -> None:
    tokens = [mint(server, "alice", expires_in_s=2), mint(server, "alice", expires_in_s=600)]
    with pytest.raises(RoomClosed, match="unknown-room"):
        async with room(server, "bob"):
            pass
    asked: list[str] = []
    has_asked_again = asyncio.Event()

    async def token() -> str:
        asked.append(tokens[min(len(asked), 1)])
        if len(asked) > 1:
            has_asked_again.set()
        return asked[-1]

    async with room(server, "alice", token=token) as alice:
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        await alice.synced()
        await asyncio.wait_for(has_asked_again.wait(), 20)
        alice.scene["scene"].x = 2
        alice.commit()
        await asyncio.wait_for(alice.synced(), 20)
        assert alice.scene["scene"].x == 2
    with pytest.raises(RoomClosed, match=r"token-expired|bad-token"):
        async with room(server, "alice", token=tokens[0]):
            pass


async def until_present(client: RoomClient, wanted: dict[str, Any]) -> None:
    """Returns once `client` sees exactly these others."""
    changes = client.presence.changes()
    async with asyncio.timeout(20):
        while {name: dict(other.data) for name, other in client.presence.others.items()} != wanted:
            await anext(changes)


async def test_clients_see_where_the_others_are_until_they_leave(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        alice.presence.show({"cursor": {"position": [0, 0, 0]}})
        async with room(server, "bob") as bob:
            await until_present(bob, {"alice": {"cursor": {"position": [0, 0, 0]}}})
            bob.presence.show({"selection": ["cube"]})
            await until_present(alice, {"bob": {"selection": ["cube"]}})
            for x in range(200):
                alice.presence.show({"cursor": {"position": [x, 0, 0]}})
                await asyncio.sleep(0.001)
            await until_present(bob, {"alice": {"cursor": {"position": [199, 0, 0]}}})
            server.kill()
            await until_present(bob, {})
            server.start()
            await until_present(bob, {"alice": {"cursor": {"position": [199, 0, 0]}}})
            bob.presence.hide()
            await until_present(alice, {})
            bob.presence.show({"selection": []})
            await until_present(alice, {"bob": {"selection": []}})
        await until_present(alice, {})
        assert alice.presence.mine == {"cursor": {"position": [199, 0, 0]}}


def test_a_program_that_is_no_coroutine_edits_and_shows_itself_between_its_waits(
    server: ServerProcess,
) -> None:
    with asyncio.Runner() as runner:

        async def begin() -> RoomClient:
            alice = room(server, "alice")
            alice.start()
            await alice.joined()
            return alice

        alice = runner.run(begin())
        alice.presence.show({"selection": []})
        alice.presence.show({"selection": ["scene"]})
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        assert runner.run(alice.synced()).server_seq == 1

        async def look() -> None:
            async with room(server, "bob") as bob:
                await until_present(bob, {"alice": {"selection": ["scene"]}})

        runner.run(look())
        runner.run(alice.close())


async def test_a_moderator_empties_the_document_for_everybody(server: ServerProcess) -> None:
    token = mint(server, "alice", expires_in_s=600)
    server.manage(
        "shell",
        "--no-imports",
        "-c",
        "from journal.models import Document; Document.objects.update(visibility='public-edit')",
    )
    async with room(server, "alice", token=token) as alice, room(server, "bob") as bob:
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        await both_synced(alice, bob)
        with pytest.raises(RoomError, match="forbidden"):
            await bob.reset()
        await alice.reset()
        await both_synced(alice, bob)
        assert not alice.graph.nodes
        assert not bob.graph.nodes
        bob.scene.add("Scene", key="again", x=2)
        bob.commit()
        await both_synced(bob, alice)
        assert alice.scene["again"].x == 2
        for client in (alice, bob):
            assert (await client.synced(verify=True)).is_same


async def test_l4_who_begins_anew_too_often_waits_and_does(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        for _ in range(30):
            await asyncio.wait_for(alice.refresh(), 10)
        assert alice._syncer.beginnings == 31


async def test_l4_who_asks_too_often_waits_a_moment_and_a_crowd_shares_an_answer(
    server: ServerProcess,
) -> None:
    async with room(server, "alice") as alice:
        alice.scene.add("Scene", key="scene", count=0)
        for number in range(40):
            alice.scene["scene"].count += 1
            alice.commit()
            async with asyncio.timeout(2):
                status = await alice.synced()
            assert status.server_seq == number + 1
        before = alice._syncer.asked
        verified, *statuses = await asyncio.gather(
            alice.synced(verify=True), *(alice.synced() for _ in range(300))
        )
        assert verified.is_same
        assert {status.server_seq for status in statuses} == {40}
        assert alice._syncer.asked - before < 10


async def test_who_gives_up_waiting_leaves_no_answer_behind(server: ServerProcess) -> None:
    async with room(server, "alice") as alice:
        alice.scene.add("Scene", key="scene", x=1)
        alice.commit()
        await alice.synced()
        server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await alice.synced(verify=True)
        alice.scene["scene"].x = 2
        alice.commit()
        server.resume()
        status = await asyncio.wait_for(alice.synced(), 30)
        assert (status.server_seq, status.is_same) == (2, None)
