import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from rooms.outbox import DOCUMENTS_MAX, WRITE_BYTES_MAX, Outbox
from rooms.server_extension import EXTENSION, write_of
from vuer_rtc.protocol.codes import CloseCode


class Socket:
    """The sending half of a socket whose peer may stop reading."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.is_readable = asyncio.Event()
        self.is_readable.set()
        self.fault: Exception | None = None

    async def send(self, event: dict[str, Any]) -> None:
        await self.is_readable.wait()
        if self.fault:
            raise self.fault
        self.events.append(event)

    @property
    def frames(self) -> list[Any]:
        return [e.get("bytes", e.get("text")) for e in self.events if e["type"] == "websocket.send"]


class OurSocket(Socket):
    """One of our own server, which takes many frames at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[list[Any]] = []
        self.takes_pieces = 1000

    def write(self, frames: Iterable[Any]) -> bool:
        if not self.is_readable.is_set() or len(self.pieces) == self.takes_pieces:
            return False
        self.pieces.append(list(frames))
        return True


class Overflow:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def outbox_of(socket: Socket, overflow: Overflow | None = None, **bounds: int) -> Outbox:
    given = {"bytes_max": 100, "frames_max": 10, **bounds}
    scope = {"extensions": {EXTENSION: {"write": socket.write}}} if isinstance(socket, OurSocket) else {}
    return Outbox(socket.send, write_of(scope), **given, on_overflow=overflow or Overflow())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_frames_of_one_turn_leave_together_in_order_and_keep_their_kind() -> None:
    socket = Socket()
    outbox = outbox_of(socket)
    outbox.push([b"a", b"b"], 2)
    outbox.push(["c"], 1)
    assert socket.events == []
    await turns()
    assert socket.frames == [b"a", b"b", "c"]
    assert socket.events[2] == {"type": "websocket.send", "text": "c"}
    assert outbox.queued_bytes == 0


async def test_frames_queued_while_the_peer_is_slow_follow_when_it_reads_again() -> None:
    socket = Socket()
    outbox = outbox_of(socket)
    socket.is_readable.clear()
    outbox.push([b"a"], 1)
    await turns()
    outbox.push([b"b"], 1)
    await turns()
    socket.is_readable.set()
    await turns(10)
    assert socket.frames == [b"a", b"b"]


@pytest.mark.parametrize("bounds", [{"bytes_max": 30}, {"frames_max": 3}])
async def test_a_queue_beyond_its_bounds_is_dropped_and_reported_once(bounds: dict[str, int]) -> None:
    socket, overflow = Socket(), Overflow()
    outbox = outbox_of(socket, overflow, **bounds)
    socket.is_readable.clear()
    outbox.push([b"x" * 10], 10)
    await turns()
    for _ in range(4):
        outbox.push([b"x" * 10], 10)
    assert overflow.count == 1
    assert outbox.queued_bytes <= 20
    outbox.close(CloseCode.SLOW_CLIENT)
    outbox.push([b"late"], 4)
    socket.is_readable.set()
    await turns(10)
    assert socket.events[-1] == {"type": "websocket.close", "code": 4408, "reason": "slow-client"}
    assert b"late" not in socket.frames


async def test_the_size_of_the_document_does_not_count_against_the_client() -> None:
    socket, overflow = Socket(), Overflow()
    outbox = outbox_of(socket, overflow)
    socket.is_readable.clear()
    outbox.push_document([b"d" * 500, b"d" * 500], 1000)
    outbox.push([b"x" * 99], 99)
    assert overflow.count == 0
    outbox.push([b"x" * 2], 2)
    assert overflow.count == 1


async def test_the_allowance_of_a_document_ends_when_it_is_written() -> None:
    socket, overflow = Socket(), Overflow()
    outbox = outbox_of(socket, overflow)
    outbox.push_document([b"d" * 1000], 1000)
    await turns()
    socket.is_readable.clear()
    outbox.push([b"x" * 101], 101)
    assert overflow.count == 1


async def test_close_writes_what_is_queued_first_and_takes_nothing_more() -> None:
    socket = Socket()
    outbox = outbox_of(socket)
    outbox.push([b"a"], 1)
    outbox.close(CloseCode.REPLACED)
    outbox.close(CloseCode.GOING_AWAY)
    outbox.push([b"b"], 1)
    await turns()
    assert socket.events == [
        {"type": "websocket.send", "bytes": b"a"},
        {"type": "websocket.close", "code": 4410, "reason": "replaced"},
    ]


@pytest.mark.parametrize("fault", [OSError("gone"), RuntimeError("after websocket.close")])
async def test_a_peer_that_is_gone_is_nobody_s_error(fault: Exception) -> None:
    socket = Socket()
    socket.fault = fault
    outbox = outbox_of(socket)
    outbox.push([b"a"], 1)
    await turns()
    assert socket.events == []


async def test_abandon_stops_waiting_for_the_peer() -> None:
    socket = Socket()
    outbox = outbox_of(socket)
    socket.is_readable.clear()
    outbox.push([b"a"], 1)
    await turns()
    outbox.abandon()
    socket.is_readable.set()
    await turns()
    assert socket.events == []


# Many frames at once


async def test_frames_of_one_turn_are_handed_over_in_one_piece() -> None:
    socket = OurSocket()
    outbox = outbox_of(socket)
    outbox.push([b"a", b"b"], 2)
    outbox.push(["c"], 1)
    assert socket.pieces == []
    await turns(1)
    assert socket.pieces == [[b"a", b"b", "c"]]
    assert socket.events == []
    assert outbox.queued_bytes == 0


async def test_a_socket_that_takes_nothing_now_is_waited_for_and_then_given_the_rest_at_once() -> None:
    socket = OurSocket()
    outbox = outbox_of(socket)
    socket.is_readable.clear()
    outbox.push([b"a", b"b", b"c"], 3)
    await turns()
    assert outbox.queued_bytes == 3
    outbox.push([b"d"], 1)
    socket.is_readable.set()
    await turns()
    assert socket.frames == [b"a"]
    assert socket.pieces == [[b"b", b"c", b"d"]]
    assert outbox.queued_bytes == 0


async def test_more_than_a_transport_buffers_is_handed_over_piece_by_piece() -> None:
    socket = OurSocket()
    half = b"h" * (WRITE_BYTES_MAX // 2)
    whole = b"w" * (WRITE_BYTES_MAX + 1)
    outbox = outbox_of(socket, bytes_max=10 * WRITE_BYTES_MAX)
    socket.takes_pieces = 2
    frames = [half, half, half, whole, b"last"]
    outbox.push(frames, sum(map(len, frames)))
    await turns(1)
    assert socket.pieces == [[half, half], [half]]
    assert outbox.queued_bytes == len(whole) + 4, "what the socket did not take counts against the bound"
    socket.takes_pieces = 3
    await turns()
    assert socket.frames == [whole]
    assert socket.pieces[2:] == [[b"last"]]
    assert outbox.queued_bytes == 0


async def test_a_close_follows_what_was_handed_over_at_once() -> None:
    socket = OurSocket()
    outbox = outbox_of(socket)
    outbox.push([b"a"], 1)
    outbox.close(CloseCode.REPLACED)
    await turns()
    assert socket.pieces == [[b"a"]]
    assert [event["type"] for event in socket.events] == ["websocket.close"]


async def test_a_client_that_asks_for_the_document_again_and_again_and_takes_nothing_is_behind() -> None:
    socket, overflow = Socket(), Overflow()
    outbox = outbox_of(socket, overflow, frames_max=1000)
    socket.is_readable.clear()
    for _ in range(DOCUMENTS_MAX):
        outbox.push_document([b"d" * 1000], 1000)
    outbox.push([b"x" * 99], 99)
    assert overflow.count == 0
    outbox.push_document([b"d" * 1000], 1000)
    assert overflow.count == 1
