"""J23: our client and the published one in a room whose journal is damaged, and repaired while they are there."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.client.test_room import SLUG, room
from tests.published.process import PublishedClient, assert_same_scene
from tests.published.room import room_view
from tests.server import ServerProcess
from vuer_rtc.client.room import CommitRefused

DAMAGED_SEQ = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, settings={"DAMAGE_RECHECK_S": 0.2}) as running:
        running.create_documents([SLUG])
        yield running


@pytest.fixture
def published() -> Iterator[PublishedClient]:
    client = PublishedClient("pat")
    yield client
    client.stop()


def exchange(server: ServerProcess, payload: bytes) -> bytes:
    """The payload that the damaged batch had; it has the given one now."""
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3", timeout=20)) as database, database:
        place = (DAMAGED_SEQ, DAMAGED_SEQ)
        where = "first_seq <= ? AND last_seq >= ?"
        [(found,)] = database.execute(f"SELECT payload FROM vuer_journal_journalbatch WHERE {where}", place)
        database.execute(f"UPDATE vuer_journal_journalbatch SET payload = ? WHERE {where}", (payload, *place))
    return bytes(found)


async def test_both_kinds_of_client_look_on_and_edit_again_after_the_repair(
    server: ServerProcess, published: PublishedClient
) -> None:
    async with room(server, "alice") as alice:
        for key in ("scene", "one", "two", "three"):
            alice.scene.add("Mesh", key=key, x=0)
            alice.commit()
            await alice.synced()
    server.kill()
    good = exchange(server, b"\x90")
    server.start()

    async with room(server, "bob") as bob:
        assert set(bob.graph.nodes) == {"scene", "one"}
        assert bob.welcome.rights == {"view"}
        bob.scene["one"].x = 1
        bob.commit()
        with pytest.raises(CommitRefused, match="damaged"):
            await bob.synced()
        assert bob.scene["one"].x == 0
        await asyncio.to_thread(published.call, "connect", url=server.url(SLUG, "pat"), client="pat")
        ops = [{"ot": "number.add", "key": "one", "path": "x", "value": 5}]
        sent = await asyncio.to_thread(published.call, "edit", ops=ops)
        await asyncio.to_thread(published.call, "drain", seconds=1)
        told = await asyncio.to_thread(published.call, "pump")
        assert [error["code"] for error in told["errors"]] == ["damaged"]

        exchange(server, good)
        await asyncio.to_thread(published.call, "pump", acked=[sent], timeout=30)
        await asyncio.wait_for(bob.synced(), 30)
        assert set(bob.graph.nodes) == {"scene", "one", "two", "three"}
        assert bob.scene["one"].x == 5
        assert "edit" in bob.welcome.rights
        bob.scene["one"].x = 7
        bob.commit()
        assert (await bob.synced(verify=True)).is_same
        seen = bob.store.getState().journal[-1].msg.id
        await asyncio.to_thread(published.call, "pump", seen=[seen])
        assert_same_scene(await asyncio.to_thread(published.call, "graph"), room_view(bob))
    assert "good" in server.manage("verify_journals", "--json")
