"""The real server in a process of its own, on a real SQLite file, driven over real WebSockets."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.rooms.build import insert, put, undo
from tests.rooms.client import Client
from tests.rooms.disk import assert_journalled_once, journal_messages, open_database, sessions
from tests.rooms.patience import until
from tests.server import ServerProcess

OF_SLUG = "IN (SELECT _id FROM vuer_journal_document WHERE slug = ?)"
QUICK = {
    "SESSION_FLUSH_S": 0.2,
    "RETRY_DELAY_MAX_MS": 100,
    "STATE_TAIL_MESSAGES": 0,
    "LIMITS": {"message_burst_max": 100_000},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests that do not end it; each takes a room of its own."""
    with ServerProcess(tmp_path_factory.mktemp("live"), settings=QUICK) as running:
        yield running


@pytest.fixture
def slug(server: ServerProcess, request: pytest.FixtureRequest) -> str:
    name = f"room-{abs(hash(request.node.nodeid))}"
    server.create_documents([name])
    return name


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, settings=QUICK) as running:
        running.create_documents(["stage"])
        yield running


def flat(nodes: dict[str, Any]) -> dict[str, Any]:
    """Nodes of a `state` without their metadata."""
    return {key: {name: v for name, v in node.items() if name != "_crdt"} for key, node in nodes.items()}


async def test_two_clients_edit_and_a_third_joins_and_equals(server: ServerProcess, slug: str) -> None:
    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob", format="msgpack") as bob:
        assert await ann.edit(insert("n")) == 1
        for round_ in range(10):
            await asyncio.gather(ann.edit(put(value=round_)), bob.edit(put(path="y", value=round_)))
        await ann.edit(undo("ann:11"))
        await ann.edit(insert("m", "n"))
        await asyncio.gather(*(c.until(lambda c=c: len(c.seqs()) == 23) for c in (ann, bob)))
        assert ann.seqs() == bob.seqs() == list(range(1, 24))
        standing = await ann.status()
        assert standing["digest"] == ann.replica().digest() == bob.replica().digest()
        assert standing["vectorClock"] == {"ann": 13, "bob": 10}
        async with Client(server, slug, "cy") as cy:
            [state] = cy.states
            assert state["serverSeq"] == 23
            assert flat(state["snapshot"]["graph"]["nodes"]) == flat(ann.replica().state(0).graph["nodes"])
            assert await bob.edit(put(value=99)) == 24
            await cy.until(lambda: cy.broadcasts)
            assert [m["serverSeq"] for m in cy.broadcasts] == [24]


async def test_a_message_sent_again_is_acked_again_and_broadcast_once(
    server: ServerProcess, slug: str
) -> None:
    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob") as bob:
        message = await ann.send(insert("n"))
        await ann.resend(message)
        await ann.acked(message)
        del ann.acks[message.id]
        await ann.resend(message)
        assert await ann.acked(message) == 1
        assert await ann.edit(put()) == 2
        await bob.until(lambda: len(bob.broadcasts) == 2)
        assert [m["id"] for m in bob.broadcasts] == ["ann:1", "ann:2"]


async def test_kill_in_the_middle_of_a_burst_loses_nothing_that_was_acked(own_server: ServerProcess) -> None:
    server = own_server
    clients = [Client(server, "stage", name) for name in ("ann", "bob")]
    for client in clients:
        await client.open()
    await clients[0].edit(insert("n"))

    bursts = [asyncio.create_task(client.hammer(partial(put, "n", client.name))) for client in clients]
    await clients[0].until(lambda: len(clients[0].acks) > 30)
    server.kill()
    await asyncio.gather(*bursts, return_exceptions=True)
    for client in clients:
        await client.until(lambda c=client: c.close_code is not None)
    acked = {id for client in clients for id in client.acks}
    assert_journalled_once(server.data_dir, "stage", acked)
    assert any(client.unacked for client in clients), "the kill came too late"

    server.start()
    await until(lambda: not any(is_open for _, is_open, _, _ in sessions(server.data_dir)))
    for client in clients:
        await client.open()
        for message in client.unacked:
            await client.resend(message)
    for client in clients:
        await client.until(lambda c=client: not c.unacked)
    everything = {id for client in clients for id in client.sent}
    assert {m.id for m in assert_journalled_once(server.data_dir, "stage", everything)} == everything
    async with Client(server, "stage", "cy") as cy:
        nodes = flat(cy.states[0]["snapshot"]["graph"]["nodes"])
        last = {
            client.name: max(m.ops[0].value for m in client.sent.values() if m.ops[0].path == client.name)
            for client in clients
        }
        assert {name: nodes["n"][name] for name in last} == last
    for client in clients:
        await client.leave()


async def test_a_stop_acks_what_it_took_says_going_away_and_closes_the_sessions(
    own_server: ServerProcess,
) -> None:
    server = own_server
    async with Client(server, "stage", "ann") as ann:
        for value in range(200):
            await ann.send(put("n", "x", value))
        stopped = asyncio.create_task(asyncio.to_thread(server.stop))
        await ann.until(lambda: ann.close_code is not None)
        await stopped
    assert ann.close_code == 1001
    assert {m.id for m in assert_journalled_once(server.data_dir, "stage", set(ann.acks))} == set(ann.acks)
    assert sessions(server.data_dir) == [("ann", False, 1001, max(ann.seqs(), default=0))]


async def test_a_second_process_writes_into_a_live_room(server: ServerProcess, slug: str) -> None:
    def elsewhere(call: str) -> None:
        server.manage("shell", "--no-imports", "-c", f"from tests.rooms.second_writer import *; {call}")

    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob") as bob:
        await ann.edit(insert("n"))
        writer = asyncio.create_task(asyncio.to_thread(elsewhere, f"write_edits({slug!r}, 40)"))
        while not writer.done():
            await ann.edit(put(value=ann.counter))
            await asyncio.sleep(0.001)
        await writer
        await asyncio.to_thread(elsewhere, f"write_cut({slug!r}, 5)")
        await ann.edit(put(value=99))
        messages = assert_journalled_once(server.data_dir, slug, set(ann.acks))
        authors = [message.client for message in messages]
        assert authors.count("robot") == 40
        assert authors.count("=server") + authors.count("=") == 1
        visible = [m for m in messages if not m.is_server_record]
        await asyncio.gather(*(c.until(lambda c=c: len(c.seqs()) == len(visible)) for c in (ann, bob)))
        assert ann.seqs() == bob.seqs() == [message.server_seq for message in visible]
        assert ann.replica().digest() == bob.replica().digest() == (await bob.status())["digest"]


async def test_while_the_journal_is_away_nothing_is_acked_and_afterwards_everything(
    server: ServerProcess, slug: str
) -> None:
    def rename(old: str, new: str) -> None:
        with closing(open_database(server.data_dir)) as database:
            database.execute(f"ALTER TABLE vuer_journal_{old} RENAME TO vuer_journal_{new}")

    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob") as bob:
        await ann.edit(insert("n"))
        rename("journalbatch", "journalbatch_away")
        try:
            first, second = await ann.send(put(value=1)), await ann.send(put(value=2))
            await ann.until(lambda: len(ann.errors) == 2)
            await asyncio.sleep(0.3)
        finally:
            rename("journalbatch_away", "journalbatch")
        assert [(e["msgId"], e["code"], e["retry"]) for e in ann.errors] == [
            (message.id, "unavailable", True) for message in (first, second)
        ]
        assert await ann.acked(first) == 2
        assert await ann.acked(second) == 3
        await bob.until(lambda: len(bob.broadcasts) == 3)
        assert bob.seqs() == [1, 2, 3]


def crdt(
    client: str = "ann", op: str = '{"ot":"number.set","key":"n","path":"x","value":1}', **fields: str
) -> str:
    """A commit as JSON text, with any field as bad as one likes."""
    given = {"id": '"x"', "clock": f'{{"{client}":9}}', "lt": "9", "ts": "1", **fields}
    members = ",".join(f'"{name}":{value}' for name, value in given.items() if value)
    return f'{{"mtype":"crdt","msg":{{{members},"client":"{client}","ops":[{op}]}}}}'


BAD_FRAMES = [
    ("\x00 not json", "bad-frame"),
    (b"\xc1 not msgpack", "bad-frame"),
    ('{"mtype":"nonsense"}', "unknown-mtype"),
    (crdt(id=""), "missing-id"),
    (crdt(op='{"ot":"CREATE","key":"n"}'), "unknown-op"),
    (crdt(op='{"ot":"number.set","key":"n","path":"x","value":NaN}'), "bad-frame"),
    (crdt(op='{"ot":"number.set","key":"n","path":"x","value":1e999}'), "bad-frame"),
    (crdt(op='{"ot":"number.set","key":"n","path":"children","value":1}'), "reserved-path"),
    (crdt(client="eve"), "foreign-client"),
    (crdt(clock='{"ann":9,"eve":1}'), "foreign-clock"),
    (crdt(lt="9000000000"), "lamport-jump"),
    (crdt(id='"ann:1"', clock='{"ann":1}'), "id-reused"),
]


async def test_bad_input_costs_its_sender_an_error_and_the_room_nothing(
    server: ServerProcess, slug: str
) -> None:
    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob") as bob:
        await ann.edit(insert("n"))
        for count, (frame, code) in enumerate(BAD_FRAMES, 1):
            await ann.send_raw(frame)
            await ann.until(lambda count=count: len(ann.errors) == count)
            assert ann.errors[-1]["code"] == code, frame
        misfit = await ann.send(put("n", "name", 7), put("n", "tag", 7))
        assert await ann.acked(misfit) == 2
        assert await bob.edit(put("n", "x", 5)) == 3
        async with Client(server, slug, "cy") as cy:
            node = cy.states[0]["snapshot"]["graph"]["nodes"]["n"]
            assert (node["tag"], node["x"]) == ("mesh", 5)
        assert [m["id"] for m in bob.broadcasts] == ["ann:1"]
        assert bob.errors == []
        assert bob.close_code is None


async def test_a_frame_over_the_limit_closes_that_connection_only(server: ServerProcess, slug: str) -> None:
    async with Client(server, slug, "ann") as ann, Client(server, slug, "bob") as bob:
        await ann.send_raw(b"x" * 1_100_000)
        await ann.until(lambda: ann.close_code is not None)
        assert ann.close_code == 1009
        assert await bob.edit(insert("n")) == 1


@pytest.mark.parametrize(
    ("slug_asked", "query", "code"),
    [
        ("nowhere", {}, 4404),
        ("private-room", {}, 4404),
        ("x" * 300, {}, 4404),
        (None, {"client": ""}, 4406),
        (None, {"client": "%3Dserver"}, 4406),
        (None, {"client": "c" * 200}, 4406),
        (None, {"client": "%FF"}, 4406),
        (None, {"format": "xml"}, 4400),
    ],
)
async def test_who_cannot_be_let_in_is_told_by_close_code(
    server: ServerProcess, slug: str, slug_asked: str | None, query: dict[str, str], code: int
) -> None:
    if slug_asked == "private-room":
        server.create_documents([slug_asked], visibility="private")
    client = Client(server, slug_asked or slug, "ann")
    for name, value in query.items():
        client.url = client.url.replace("client=ann", "") if name == "client" else client.url
        client.url = client.url.replace("format=json", "") + f"&{name}={value}"
    await client.open()
    assert client.close_code == code
    assert client.states == []


async def test_a_second_connection_of_a_client_replaces_the_first(server: ServerProcess, slug: str) -> None:
    async with Client(server, slug, "ann") as first, Client(server, slug, "bob") as bob:
        await first.edit(insert("n"))
        async with Client(server, slug, "ann") as second:
            await first.until(lambda: first.close_code is not None)
            assert first.close_code == 4410
            second.counter, second.lt = first.counter, first.lt
            assert await second.edit(put()) == 2
            assert await bob.edit(put()) == 3
            await second.until(lambda: second.seqs() == [2, 3])


async def test_who_may_look_only_is_refused_edits_and_sees_everything(server: ServerProcess) -> None:
    server.create_documents(["museum"], visibility="public-view")
    async with Client(server, "museum", "ann") as ann:
        await ann.send(insert("n"))
        await ann.until(lambda: ann.errors)
        assert ann.errors[0]["code"] == "forbidden"
        assert (await ann.status())["serverSeq"] == 0


async def test_sync_sends_what_a_clock_lacks_and_heartbeats_reach_the_session(
    server: ServerProcess, slug: str
) -> None:
    async with Client(server, slug, "ann") as ann:
        await ann.edit(insert("n"))
        for value in range(4):
            await ann.edit(put(value=value))
        async with Client(server, slug, "bob") as bob:
            await bob.send_raw({"mtype": "sync", "vectorClock": {"ann": 3}, "count": 0})
            await bob.until(lambda: len(bob.broadcasts) == 2)
            assert bob.seqs() == [4, 5]
            await bob.send_raw({"mtype": "heartbeat", "client": "bob", "vectorClock": {"ann": 5}})
        made_up = {f"nobody-{number}": 1 for number in range(10_000)}
        await ann.send_raw({"mtype": "heartbeat", "client": "ann", "vectorClock": {**made_up, "ann": 5}})
        with closing(open_database(server.data_dir)) as database:
            query = f"SELECT client, vector_clock FROM vuer_rooms_session WHERE document_id {OF_SLUG}"
            wanted = [("ann", '{"ann": 5}'), ("bob", '{"ann": 5}')]
            await ann.until(lambda: sorted(database.execute(query, (slug,)).fetchall()) == wanted)


async def test_rows_of_a_live_room_follow_within_moments(server: ServerProcess, slug: str) -> None:
    def count(table: str) -> int:
        with closing(open_database(server.data_dir)) as database:
            query = f"SELECT COUNT(*) FROM vuer_journal_{table} WHERE document_id {OF_SLUG}"
            [(number,)] = database.execute(query, (slug,)).fetchall()
            return int(number)

    async with Client(server, slug, "ann") as ann:
        for number in range(5):
            await ann.edit(insert(f"n{number}"), put(f"n{number}"))
        await ann.until(lambda: (count("operation"), count("sceneobject")) == (10, 5))
    assert len(journal_messages(server.data_dir, slug)) == 5
