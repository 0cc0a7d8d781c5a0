"""Our server's WebSocket protocol, over real sockets."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rooms import server_extension
from tests.rooms.raw_socket import CONTINUATION, PING, PONG, TEXT, RawSocket, frame_of
from tests.server import HOST, free_port
from vuer_rtc.protocol.codes import CloseCode as RoomCloseCode
from vuer_rtc.websocket import BARE_BURST_MAX, EXTENSION, SENT_SIZE_MAX, WebSocketProtocol

PATIENCE_S = 10


class Application:
    """Lets one client in, and the test do the rest."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.send: Any = None
        self.is_open = asyncio.Event()
        self.is_over = asyncio.Event()
        self.may_receive = asyncio.Event()
        self.may_receive.set()
        self.events: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.scope, self.send = scope, send
        self.is_open.set()
        while not self.events or self.events[-1]["type"] != "websocket.disconnect":
            await self.may_receive.wait()
            self.events.append(await receive())
        self.is_over.set()

    @property
    def write(self) -> Any:
        return self.scope["extensions"][EXTENSION]["write"]

    @property
    def read(self) -> Any:
        return self.scope["extensions"][EXTENSION]["read"]

    async def over(self) -> dict[str, Any]:
        """The event that ended it."""
        await asyncio.wait_for(self.is_over.wait(), PATIENCE_S)
        end: dict[str, Any] = self.events[-1]
        return end


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Application, ClientConnection]]:
    application = Application()
    async with (
        serving_application(application, **options) as port,
        connect(f"ws://{HOST}:{port}", max_size=None) as client,
    ):
        await asyncio.wait_for(application.is_open.wait(), PATIENCE_S)
        yield application, client


@asynccontextmanager
async def serving_application(application: Any, **options: Any) -> AsyncIterator[int]:
    """The port it is at."""
    port = free_port()
    config = uvicorn.Config(
        application, HOST, port, ws=WebSocketProtocol, lifespan="off", log_level="error", **options
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


async def received(client: ClientConnection, count: int) -> list[Any]:
    return [await asyncio.wait_for(client.recv(), PATIENCE_S) for _ in range(count)]


def test_rooms_look_for_it_under_the_name_it_has() -> None:
    assert server_extension.EXTENSION == EXTENSION


async def test_frames_written_at_once_arrive_one_by_one_in_order_whatever_their_size() -> None:
    sizes = [0, 1, 125, 126, 65_535, 65_536, 200_000]
    frames: list[bytes | str] = [f(size) for size in sizes for f in (lambda n: b"b" * n, lambda n: "ü" * n)]
    async with serving(ws_per_message_deflate=False) as (application, client):
        assert application.write(frames)
        await application.send({"type": "websocket.send", "text": "the end"})
        assert await received(client, len(frames) + 1) == [*frames, "the end"]


async def test_nothing_is_written_at_once_to_a_peer_that_does_not_read() -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        client.transport.pause_reading()
        written = 0
        while application.write([b"x" * 60_000]):
            written += 1
            assert written < 1000
            await asyncio.sleep(0)
        client.transport.resume_reading()
        await application.send({"type": "websocket.send", "text": "the end"})
        frames = await received(client, written + 1)
        assert frames == [b"x" * 60_000] * written + ["the end"]
        assert application.write([b"again"])


async def test_a_large_message_waits_outside_of_the_buffer_of_a_peer_that_does_not_read() -> None:
    """In one piece, a document would be copied for each of those who do not."""
    async with serving(ws_per_message_deflate=False) as (application, client):
        client.transport.pause_reading()
        protocol = application.write.__self__
        for message in (b"b" * 20_000_000, "\u20ac\U0001f600" * 5_000_000):
            assert not application.write([message])
            kind = "bytes" if isinstance(message, bytes) else "text"
            sending = asyncio.create_task(application.send({"type": "websocket.send", kind: message}))
            while protocol.writable.is_set():  # noqa: ASYNC110 - until the peer takes no more
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert protocol.transport.get_write_buffer_size() < 4 * SENT_SIZE_MAX + 65_536
            assert not application.write([b"between"])
            pong = await client.ping()
            client.transport.resume_reading()
            assert await received(client, 1) == [message]
            await asyncio.wait_for(asyncio.gather(sending, pong), PATIENCE_S)
            client.transport.pause_reading()
        assert application.write([b"again"])
        client.transport.resume_reading()
        assert await received(client, 1) == [b"again"]


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_large_message_ends_with_its_connection(is_ours: bool) -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        client.transport.pause_reading()
        protocol = application.write.__self__
        large = {"type": "websocket.send", "bytes": b"b" * 20_000_000}
        sending = asyncio.create_task(application.send(large))
        while protocol.writable.is_set():  # noqa: ASYNC110 - until the peer takes no more
            await asyncio.sleep(0)
        if is_ours:
            sending.cancel()
            client.transport.resume_reading()
            await application.send({"type": "websocket.close", "code": 4408})
            with pytest.raises(ConnectionClosed):
                await received(client, 1)
            assert client.close_code == 4408
        else:
            client.transport.abort()
            with pytest.raises(ClientDisconnected):
                await asyncio.wait_for(sending, PATIENCE_S)


async def test_pongs_do_not_pile_up_for_a_peer_that_does_not_read() -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        client.transport.pause_reading()
        protocol = application.write.__self__
        while application.write([b"x" * 60_000]):  # noqa: ASYNC110 - until the peer takes no more
            await asyncio.sleep(0)
        full = protocol.transport.get_write_buffer_size()
        pings = [await client.ping(str(number).rjust(125)) for number in range(1500)]
        await client.send("and all have been read")
        while not application.events:  # noqa: ASYNC110 - the application has no event for it
            await asyncio.sleep(0.01)
        assert protocol.transport.get_write_buffer_size() <= full
        client.transport.resume_reading()
        reading = asyncio.create_task(received(client, 10**6))
        await asyncio.wait_for(pings[-1], PATIENCE_S)
        await asyncio.wait_for(await client.ping(), PATIENCE_S)
        reading.cancel()


@pytest.mark.parametrize("kind", ["pings", "pongs", "empty fragments", "fragments of a byte"])
async def test_who_floods_with_what_is_no_message_is_closed(kind: str) -> None:
    """Rule L10."""
    async with serving(ws_per_message_deflate=False) as (application, client):
        flood = {
            "pings": frame_of(b"", PING),
            "pongs": frame_of(b"", PONG),
            "empty fragments": frame_of(b"", CONTINUATION, flags=0),
            "fragments of a byte": frame_of(b"x", CONTINUATION, flags=0),
        }[kind]
        protocol = application.write.__self__
        client.transport.write(frame_of(b"", TEXT, flags=0) + flood * 40_000)
        assert (await application.over())["code"] == RoomCloseCode.RATE
        assert sum(map(len, protocol.frames)) <= 2 * BARE_BURST_MAX
        await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
        assert client.close_code in (RoomCloseCode.RATE, 1006), (
            "what it had not read may be lost with the rest"
        )


async def test_who_goes_on_sending_after_the_close_is_cut_off() -> None:
    """Else its frames would be parsed until the time for its own close frame is over."""
    async with serving(ws_per_message_deflate=False) as (application, client):
        protocol = application.write.__self__
        client.transport.pause_reading()
        await application.send({"type": "websocket.close", "code": RoomCloseCode.PROTOCOL})
        client.transport.write(frame_of(b"", TEXT) * 40_000)
        begun_at = time.monotonic()
        while not protocol.disconnected:
            assert time.monotonic() < begun_at + PATIENCE_S / 2
            await asyncio.sleep(0.01)
        client.transport.abort()


@pytest.mark.parametrize(
    "early",
    [
        frame_of(b"", PING) * 2 * BARE_BURST_MAX,
        frame_of(b"\xff", TEXT),
        frame_of(b"", 0xF),
        frame_of(b"", TEXT, flags=0),
    ],
    ids=["a flood of pings", "no unicode", "no known kind", "a fragment"],
)
async def test_who_does_not_wait_for_the_answer_to_the_handshake_is_cut_off(
    early: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule L10; anybody can send it, and as often as they like: nothing is logged."""
    begun, accepting = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun.set()
        await accepting.wait()
        await send({"type": "websocket.accept"})

    async with serving_application(application) as port:
        client = RawSocket(port)
        await client.connect()
        client.write(client.request("/"))
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        client.write(early)
        assert await asyncio.wait_for(client.close_code(), PATIENCE_S) == 1006
        accepting.set()
        client.abort()
    assert caplog.records == []


async def test_a_message_in_pieces_arrives_as_one() -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        await client.send("ä" for _ in range(1000))
        await client.send(b"xy" * 4096 for _ in range(100))
        await client.send([b"", b"z", b""])
        while len(application.events) < 3:  # noqa: ASYNC110 - the application has no event for it
            await asyncio.sleep(0.01)
        text, large, small = application.events
        assert text["text"] == "ä" * 1000
        assert type(large["bytes"]) is bytes
        assert large["bytes"] == b"xy" * 409_600
        assert small["bytes"] == b"z"


async def test_nothing_is_written_at_once_where_frames_are_compressed() -> None:
    async with serving(ws_per_message_deflate=True) as (application, client):
        assert not application.write([b"a"])
        await application.send({"type": "websocket.send", "bytes": b"a"})
        assert await received(client, 1) == [b"a"]


@pytest.mark.parametrize("side", ["client", "server"])
async def test_nothing_is_written_at_once_to_a_closed_connection(side: str) -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        write = application.write
        if side == "server":
            await application.send({"type": "websocket.close", "code": 1000})
        else:
            await client.close()
            await asyncio.wait_for(application.is_over.wait(), PATIENCE_S)
        assert not write([b"late"])


async def test_the_way_to_write_at_once_goes_with_the_connection() -> None:
    async with serving(ws_per_message_deflate=False) as (application, client):
        await client.close()
        await asyncio.wait_for(application.is_over.wait(), PATIENCE_S)
        await asyncio.sleep(0)
        assert EXTENSION not in application.scope["extensions"], "a cycle that garbage is made of"


MESSAGES: list[bytes | str] = [b"", "", b"a", "ü", b"x" * 70_000, "the end"]


async def taken(count: int, found: list[Any]) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return found


async def test_messages_are_handed_over_as_they_are_read_and_receive_tells_of_the_end() -> None:
    async with serving() as (application, client):
        found: list[Any] = []
        application.read(found.append)
        for message in MESSAGES:
            await client.send(message)
        await client.send(["in ", "three ", "parts"])
        assert await taken(7, found) == [*MESSAGES, "in three parts"]
        await client.close(4001, "bye")
        assert await application.over() == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
        assert len(application.events) == 1


async def test_messages_that_wait_to_be_received_are_handed_over_first() -> None:
    async with serving() as (application, client):
        application.may_receive.clear()
        for message in ("taken before", *MESSAGES):
            await client.send(message)
        async with asyncio.timeout(PATIENCE_S):
            while not application.events:  # noqa: ASYNC110 - this one was waited for already
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        found: list[Any] = []
        application.read(found.append)
        await client.send("after")
        assert await taken(7, found) == [*MESSAGES, "after"]
        application.may_receive.set()
        await client.close()
        assert (await application.over())["code"] == 1000


async def test_a_disconnect_that_waits_stays_behind_what_is_handed_over() -> None:
    async with serving() as (application, client):
        application.may_receive.clear()
        await client.send("taken before")
        async with asyncio.timeout(PATIENCE_S):
            while not application.events:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        client.transport.write(masked(b"last") + masked((1000).to_bytes(2), opcode=0x88))
        await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
        found: list[Any] = []
        application.read(found.append)
        assert found == ["last"]
        application.may_receive.set()
        assert (await application.over())["code"] == 1000


def masked(payload: bytes, opcode: int = 0x81) -> bytes:
    """A whole frame of a client, with a mask that changes nothing."""
    return bytes((opcode, 0x80 | len(payload))) + bytes(4) + payload


async def test_what_comes_after_the_server_has_closed_is_not_handed_over() -> None:
    async with serving() as (application, client):
        found: list[Any] = []
        application.read(found.append)
        await application.send({"type": "websocket.close", "code": 1000})
        client.transport.write(masked(b"late"))
        await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
        await application.over()
        assert found == []


def test_one_who_floods_has_one_piece_a_turn() -> None:
    async def most_in_a_turn() -> int:
        taken_in: Counter[int] = Counter()
        async with serving() as (application, client):
            turn = 0
            application.read(lambda frame: taken_in.update({turn: len(frame)}))
            client.transport.write(masked(b"x" * 100) * 20_000)
            async with asyncio.timeout(PATIENCE_S):
                while taken_in.total() < 2_000_000:
                    turn += 1
                    await asyncio.sleep(0)
                    time.sleep(0.001)  # noqa: ASYNC251 - the kernel has more for it meanwhile
        return max(taken_in.values())

    assert uvloop.run(most_in_a_turn()) <= 256_000


@pytest.mark.parametrize("is_read_at_once", [True, False])
async def test_text_that_is_no_unicode_ends_the_connection_and_is_not_logged(
    is_read_at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6455, 8.1; anybody can send it, and as often as they like."""
    taken: list[Any] = []
    async with serving() as (application, client):
        if is_read_at_once:
            application.read(taken.append)
        await client.send([b"\xff\xfe", b"a"], text=True)
        end = await application.over()
        assert end["code"] == 1007
        await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
        assert client.close_code == 1007
    assert (taken, application.events) == ([], [end])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("Cookie: a=" + "x" * 9000, b"HTTP/1.1 431 "),
        ("\r\n".join(f"X-{number}: 1" for number in range(140)), b"HTTP/1.1 431 "),
        ("X-A: \x01", b""),
    ],
    ids=["a long line", "many lines", "not HTTP"],
)
async def test_a_handshake_that_cannot_be_read_is_answered_and_ended(header: str, answer: bytes) -> None:
    async with serving(http="h11") as (_, client):
        socket = RawSocket(client.remote_address[1])
        await socket.connect()
        socket.write(socket.request("/", header))
        found = await asyncio.wait_for(socket.reader.read(), PATIENCE_S)
        assert found[: len(answer)] == answer
        assert bool(found) == bool(answer)
        socket.abort()


@pytest.mark.parametrize("is_let_in", [True, False])
async def test_the_token_of_an_address_is_not_logged(
    is_let_in: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert scope["query_string"] == b"client=a&token=secret"
        await send({"type": "websocket.accept" if is_let_in else "websocket.close"})

    port = free_port()
    config = uvicorn.Config(application, HOST, port, ws=WebSocketProtocol, lifespan="off", log_level="info")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)  # to where pytest hears it
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    with suppress(InvalidStatus, ConnectionClosed):
        async with connect(f"ws://{HOST}:{port}/ws/rooms/a/?client=a&token=secret") as client:
            await client.recv()
    server.should_exit = True
    await task
    assert '"WebSocket /ws/rooms/a/"' in caplog.text
    assert "secret" not in caplog.text
