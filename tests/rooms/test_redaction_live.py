"""Rules J60 and J61 beside a real server, looked at in the raw bytes of its data folder."""

import asyncio
from pathlib import Path

import psycopg

from tests.postgresql import PostgreSQL
from tests.rooms.client import Client
from tests.server import ServerProcess
from vuer_rtc.crdt.message import Op

SECRETS = [b"overwritten-secret", b"deleted-secret", b"removed-secret", b"undone-secret", b"labelled-secret"]
KEPT = [b"what everybody sees", b"what bob wrote"]


def string(path: str, value: str) -> Op:
    return Op(ot="string.set", key="n", path=path, value=value)


def words_in(folder: Path, words: list[bytes]) -> set[bytes]:
    """Those of the words that stand in any file of the folder but the server's log."""
    found: set[bytes] = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "server.log":
            data = path.read_bytes()
            found |= {word for word in words if word in data}
    return found


async def test_nothing_of_a_person_is_left_in_the_files_and_the_room_goes_on(tmp_path: Path) -> None:
    # small batches are not packed, so that bytes in the file are the words themselves
    options = {"HEAD_POLL_S": 0.2, "JOURNAL_BATCH_COMPRESS_BYTES_MIN": 1_000_000, "ROOM_IDLE_S": 600}
    with ServerProcess(tmp_path, settings=options) as server:
        server.create_documents(["stage"])
        bob, eve = Client(server, "stage", "bob"), Client(server, "stage", "eve")
        await bob.open()
        await eve.open()
        await bob.edit(Op(ot="node.insert", path="children", value={"key": "n", "note": "what bob wrote"}))
        await eve.edit(string("a", "overwritten-secret"))
        await eve.edit(string("a", "what everybody sees"))
        typed = Op(
            ot="text.insert", key="n", path="t", value=[None, "deleted-secret"], id="eve:0", seq=1, ts=1
        )
        await eve.edit(typed)
        await eve.edit(Op(ot="text.delete", key="n", path="t", rm=[["eve:0", 14]]))
        await eve.edit(Op(ot="node.insert", path="children", value={"key": "g", "note": "removed-secret"}))
        await eve.edit(Op(ot="node.remove", path="children", value="g"))
        undone = await eve.send(string("b", "undone-secret"))
        await eve.acked(undone)
        await eve.edit(Op(ot="meta.undo", key="_meta", path="_meta", target=undone.id))
        await eve.edit(string("c", "labelled-secret"))
        server.manage("shell", "--no-imports", "-c", LABEL)
        last = await eve.edit(string("c", ""))
        await bob.until(lambda: len(bob.broadcasts) == 10)
        await eve.leave()
        await asyncio.to_thread(server.manage, "compact_journals", "--keep=4", "--older-than=0", "--archive")
        assert words_in(tmp_path, [*SECRETS, *KEPT, b"websockets/"]) == {*SECRETS, *KEPT, b"websockets/"}

        known = len(bob.states)
        command = ("redact_user", "--client", "eve", "--yes", "--vacuum", "--json")
        told = await asyncio.to_thread(server.manage, *command)
        assert '"labels": ["draft"]' in told
        assert '"archives": 1' in told
        await bob.until(lambda: len(bob.states) > known)
        assert words_in(tmp_path, SECRETS) == set()
        assert words_in(tmp_path, KEPT) == set(KEPT)

        state = bob.states[-1]
        assert state["serverSeq"] > last + 1
        assert state["snapshot"]["graph"]["nodes"]["n"]["a"] == "what everybody sees"
        assert "secret" not in str(state)
        await bob.edit(Op(ot="number.set", key="n", path="x", value=1))
        back = Client(server, "stage", "eve", v="2", since=str(last))
        await back.open()
        assert back.welcomes[-1]["resumed"] is False, "what it missed is folded away"
        await back.leave()
        await bob.leave()
        server.stop()
        assert words_in(tmp_path, SECRETS) == set(), "a snapshot at shutdown brings nothing back"
        server.start()
        await bob.open()
        assert [message["ops"][0]["path"] for message in bob.states[-1]["journal"]] == ["x"]
        await bob.leave()


async def test_nothing_of_a_person_is_in_the_statistics_of_postgresql(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    """What it notes of frequent values is to be read by anybody, for as long as nobody asks it to look again."""
    url = postgresql.create_database("redacted")
    told = (
        "SELECT count(*) FROM pg_stats WHERE tablename LIKE 'vuer%' AND (most_common_vals::text || coalesce("
    )
    told += "histogram_bounds::text, '')) LIKE '%removed-secret%'"
    with ServerProcess(tmp_path, database_url=url) as server:
        server.create_documents(["stage", "other"])
        for slug in ("stage", "other"):
            async with Client(server, slug, "bob") as bob:
                await bob.edit(Op(ot="node.insert", path="children", value={"key": "n"}))
        async with Client(server, "stage", "eve") as eve:
            names = [f"g{number}" for number in range(20)]
            for key in names:
                value = {"key": key, "name": "removed-secret"}
                await eve.edit(Op(ot="node.insert", path="children", value=value))
            server.stop()  # so that rows are written
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
            assert connection.execute(told).fetchone() != (0,)
            server.start()
            async with Client(server, "stage", "bob") as bob:
                bob.counter = 1
                for key in names:
                    await bob.edit(Op(ot="node.remove", path="children", value=key))
            command = ("redact_user", "--client", "eve", "--yes")
            await asyncio.to_thread(server.manage, *command)
            assert connection.execute(told).fetchone() == (0,)


LABEL = """
from journal.label import label_state
from journal.models import Document
from journal.position import read_heads
document = Document.objects.get(slug="stage")
label_state(document.pk, read_heads([document.pk])[document.pk], "draft")
"""
