"""What the register says of how a connection ended: by whom, or by nobody."""

import asyncio
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from tests.rooms.client import Client
from tests.rooms.disk import open_database
from tests.rooms.raw_socket import RawSocket, close_frame
from tests.server import ServerProcess
from vuer_rtc import RoomClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("ends")) as running:
        running.create_documents(["hall"])
        yield running


async def end_of(server: ServerProcess, client: str) -> tuple[int, str]:
    """(code, whose) of the client's session, once it has ended."""
    query = "SELECT close_code, closed_by FROM vuer_rooms_session WHERE client = ? AND closed_at IS NOT NULL"
    for _ in range(200):
        database = open_database(server.data_dir)
        rows = database.execute(query, (client,)).fetchall()
        database.close()
        if rows:
            [(code, closed_by)] = rows
            return code, closed_by
        await asyncio.sleep(0.05)
    raise AssertionError(f"the session of {client} does not end")


async def joined(server: ServerProcess, client: str) -> RawSocket:
    socket = RawSocket(server.port)
    await socket.open(f"/ws/rooms/hall/?client={client}&format=json")
    assert (await socket.receive_message())["mtype"] == "state"
    return socket


async def test_a_connection_that_just_breaks_was_lost(server: ServerProcess) -> None:
    (await joined(server, "torn")).abort()
    assert await end_of(server, "torn") == (1006, "")


async def test_a_connection_that_ends_without_a_close_frame_was_lost(server: ServerProcess) -> None:
    socket = await joined(server, "silent")
    assert socket.writer is not None
    socket.writer.close()
    assert await end_of(server, "silent") == (1006, "")


async def test_a_client_whose_program_fails_has_closed_it_itself(server: ServerProcess) -> None:
    async with connect(server.url("hall", "clumsy"), compression=None) as connection:
        await connection.recv()
        await connection.close(
            1011
        )  # what newer versions of the library do when the block is left by an exception
    assert await end_of(server, "clumsy") == (1011, "client")


async def test_our_client_that_is_done_has_left(server: ServerProcess) -> None:
    async with RoomClient(f"ws://127.0.0.1:{server.port}/ws/rooms/hall/", "done") as room:
        await room.synced()
    assert await end_of(server, "done") == (1000, "client")


async def test_a_client_that_leaves_without_a_reason_has_left(server: ServerProcess) -> None:
    socket = await joined(server, "curt")
    socket.write(close_frame())
    assert await end_of(server, "curt") == (1005, "client")


async def test_what_the_server_closes_is_the_servers(server: ServerProcess) -> None:
    async with Client(server, "hall", "twin") as first, Client(server, "hall", "twin-2"):
        await asyncio.to_thread(server.manage, "close_sessions", "--client", "twin")
        await first.until(lambda: first.close_code is not None)
    assert await end_of(server, "twin") == (4411, "server")
    assert await end_of(server, "twin-2") == (1000, "client")
