"""Rule J52 on a real server: whoever is in a purged document is sent away, and nothing is acknowledged after."""

import asyncio
from pathlib import Path

from tests.rooms.client import Client
from tests.server import ServerProcess
from vuer_rtc.crdt.message import Op


async def test_nobody_gets_an_ack_after_the_purge_and_the_name_starts_anew(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, settings={"HEAD_POLL_S": 0.2}) as server:
        server.create_documents(["stage", "other"])
        ann, bob, carol = (Client(server, slug, name) for slug, name in
                           (("stage", "ann"), ("stage", "bob"), ("other", "carol")))  # fmt: skip
        for client in (ann, bob, carol):
            await client.open()
        await ann.edit(Op(ot="node.insert", path="children", value={"key": "n", "x": 0}))
        assert "2 connections are open" in await refused(server)

        writing = asyncio.create_task(write_on(ann))
        await ann.until(lambda: len(ann.acks) > 20)
        await asyncio.to_thread(server.manage, "purge_document", "--document", "stage", "--yes", "--force")
        known = dict(ann.acks)
        for client in (ann, bob):
            await client.until(lambda client=client: client.close_code is not None)
        await writing
        assert ann.acks == known
        assert carol.close_code is None
        await carol.edit(Op(ot="node.insert", path="children", value={"key": "m"}))

        await bob.open()
        assert bob.close_code is not None, "it is no room any more"
        server.create_documents(["stage"])
        again = Client(server, "stage", "ann")
        await again.open()
        assert again.states[-1]["serverSeq"] == 0
        assert again.states[-1]["snapshot"]["graph"]["nodes"] == {}
        assert await again.edit(Op(ot="node.insert", path="children", value={"key": "fresh"})) == 1
        for client in (again, carol):
            await client.leave()
        assert "Traceback" not in server.log()


async def refused(server: ServerProcess) -> str:
    try:
        await asyncio.to_thread(server.manage, "purge_document", "--document", "stage", "--yes")
    except AssertionError as told:
        return str(told)
    raise RuntimeError("it was purged with people in it")


async def write_on(client: Client) -> None:
    """Until the door is shut."""
    for count in range(10_000):
        if client.close_code is not None:
            return
        try:
            await client.send(Op(ot="number.set", key="n", path="x", value=count))
        except Exception:
            return
        await asyncio.sleep(0.005)
