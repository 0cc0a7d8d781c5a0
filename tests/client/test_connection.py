"""The parts of a connection that need no server; the rest is shown by `test_room` and the lossy links."""

import asyncio
import contextlib
import http
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from tests.client.network import FakeServer, broadcast
from tests.rooms.patience import until
from vuer_rtc.client.answer import Refusal
from vuer_rtc.client.connection import BACKOFF, REFUSALS_MAX, Backoff, Connection
from vuer_rtc.client.error import CommitRefused, RoomClosed, RoomError
from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.client.handshake import Handshake
from vuer_rtc.client.room import RoomClient
from vuer_rtc.client.syncer import Syncer
from vuer_rtc.protocol.codes import CloseCode


def test_pauses_double_up_to_a_bound_and_no_two_clients_come_back_in_step() -> None:
    """E4."""
    assert Backoff() == Backoff(first_s=1, max_s=30)
    backoff = Backoff(first_s=1, max_s=60)
    for attempt in (0, 1, 5, 1000):
        longest = min(60, 2.0**attempt if attempt < 30 else 60)
        pauses = [backoff.pause_s(attempt) for _ in range(200)]
        assert all(longest / 10 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 100


async def test_what_is_waited_for_after_the_end_says_why_it_ended() -> None:
    ends: list[RoomClosed | None] = []
    connection = Connection(
        Handshake("ws://nowhere/", "ann"),
        Syncer(GraphStore("ann")),
        backoff=BACKOFF,
        retry_pause_s=0.5,
        heartbeat_s=20,
        on_refused=None,
        on_end=lambda: ends.append(connection.end),
    )
    first, second = RoomClosed(None, "the first reason counts"), RoomClosed(None, "too late")
    await connection.until(lambda: True)
    await connection.close(first)
    await connection.close(second)
    assert ends[0] is connection.end is first
    with pytest.raises(RoomClosed, match="the first reason counts"):
        await connection.until(lambda: False)
    assert [names async for names in connection.presence.changes()] == []


def test_a_program_that_never_asks_keeps_no_more_than_a_thousand_refusals() -> None:
    told: list[str] = []
    syncer = Syncer(GraphStore("ann"))
    connection = Connection(
        Handshake("ws://nowhere/", "ann"),
        syncer,
        backoff=BACKOFF,
        retry_pause_s=0.5,
        heartbeat_s=20,
        on_refused=lambda refusal: told.append(refusal.message_id),
        on_end=lambda: None,
    )

    def refuse(number: int) -> list[Any]:
        for message_id in (f"ann:{number}", f"ann:{number + 1}"):
            syncer._refuse(Refusal.stale(message_id))
        return []

    for number in range(0, 2500, 2):
        connection._take_turn(lambda number=number: refuse(number))
    assert told == [f"ann:{number}" for number in range(2500)]
    assert [refusal.message_id for refusal in syncer.refusals] == told[-REFUSALS_MAX:]


def test_refusals_in_a_row_for_one_reason_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A robot that lost its right to edit would fill the log, a hundred times a second."""
    caplog.set_level(logging.INFO, "vuer_rtc.client")
    syncer = Syncer(GraphStore("ann"))
    connection = Connection(
        Handshake("ws://nowhere/", "ann"),
        syncer,
        backoff=BACKOFF,
        retry_pause_s=0.5,
        heartbeat_s=20,
        on_refused=None,
        on_end=lambda: None,
    )

    def turn(*codes: str) -> None:
        for number, code in enumerate(codes):
            syncer._refuse(Refusal(f"ann:{number}", code, f"{code}: no"))
        connection._take_turn(list)

    turn("forbidden", "forbidden")
    turn("forbidden")
    turn("over-limit")
    syncer._settle("ann:9")
    turn("over-limit", "over-limit")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "ws://nowhere/: forbidden: no"),
        ("INFO", "ws://nowhere/: forbidden: no"),
        ("INFO", "ws://nowhere/: forbidden: no"),
        ("WARNING", "ws://nowhere/: over-limit: no"),
        ("WARNING", "ws://nowhere/: over-limit: no"),
        ("INFO", "ws://nowhere/: over-limit: no"),
    ]


def test_a_thousand_refusals_are_told_in_a_line() -> None:
    """As when a program goes on committing whose right to edit was withdrawn."""
    refusals = [Refusal(f"ann:{number}", "forbidden", "forbidden: you may not") for number in range(1000)]
    assert str(CommitRefused(refusals)) == "forbidden: you may not; 1000 in all"
    assert str(CommitRefused(refusals[:1])) == "forbidden: you may not"
    others = [Refusal(f"ann:{number}", "over-limit", f"over-limit: {number}") for number in range(9)]
    assert str(CommitRefused(others)).endswith("over-limit: 4; 9 in all")


@contextlib.asynccontextmanager
async def answering(*statuses: int) -> AsyncGenerator[tuple[str, list[str]]]:
    """The address of a server that answers with these HTTP statuses, the last one for ever; and what it was asked."""
    asked: list[str] = []

    def refuse(connection: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        return connection.respond(http.HTTPStatus(statuses[min(len(asked), len(statuses)) - 1]), "no")

    async def handle(connection: ServerConnection) -> None:
        raise AssertionError("nobody gets in")

    async with serve(handle, "127.0.0.1", 0, process_request=refuse) as server:
        [listener] = server.sockets
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws/rooms/demo/", asked


@pytest.mark.parametrize("status", [403, 404, 401, 200])
async def test_an_address_that_leads_to_no_room_is_told_to_the_program(status: int) -> None:
    async with answering(status) as (url, asked):
        with pytest.raises(RoomClosed, match=rf"no room at {url}: .*HTTP {status}"):
            async with RoomClient(url):
                pass
        assert len(asked) == 1


async def test_what_may_pass_is_tried_again_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with answering(503, 429, 502, 404) as (url, asked):
        room = RoomClient(url, backoff=Backoff(first_s=0.01, max_s=0.01))
        with pytest.raises(RoomClosed, match="HTTP 404"):
            async with room:
                pass
        assert len(asked) == 4
    told = [record.levelname for record in caplog.records if "cannot be reached" in record.message]
    assert told == ["WARNING", "INFO", "INFO"]


async def test_who_has_been_in_the_room_tries_on_whatever_answers_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy has another page for rooms whose server is being replaced."""
    async with answering(404) as (url, asked):
        room = RoomClient(url, backoff=Backoff(first_s=0.01, max_s=0.01))
        monkeypatch.setattr(room._syncer, "beginnings", 1)
        room.start()
        await room._connection.until(lambda: len(asked) > 3)
        await room.close()


async def told(caplog: pytest.LogCaptureFixture, text: str, count: int = 1) -> list[logging.LogRecord]:
    """What was logged with this text, once it was so often."""
    await until(lambda: sum(text in record.message for record in caplog.records) >= count)
    return [record for record in caplog.records if text in record.message][:count]


async def test_who_cannot_reach_the_server_is_warned_once_in_a_row(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    caplog.set_level(logging.INFO, "vuer_rtc.client")
    room = RoomClient(f"ws://127.0.0.1:{unused_tcp_port}/ws/rooms/stage/", "ann", backoff=Backoff(0.01, 0.02))
    room.start()
    warnings = await told(caplog, "cannot be reached, trying on: ", 4)
    await room.close()
    assert [record.levelname for record in warnings] == ["WARNING", "INFO", "INFO", "INFO"]
    assert f"ws://127.0.0.1:{unused_tcp_port}/ws/rooms/stage/" in warnings[0].message


async def test_who_is_not_let_in_is_warned_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """The room is full, say: the program would wait without a word."""
    caplog.set_level(logging.INFO, "vuer_rtc.client")

    async def refuse(socket: ServerConnection) -> None:
        await socket.close(CloseCode.ROOM_FULL, CloseCode.ROOM_FULL.reason)

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        room = RoomClient(f"ws://127.0.0.1:{port}/ws/rooms/stage/", "ann", backoff=Backoff(0.01, 0.02))
        room.start()
        warnings = await told(caplog, "room-full", 3)
        await room.close()
    assert [record.levelname for record in warnings] == ["WARNING", "INFO", "INFO"]


async def test_an_error_that_is_about_no_commit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A presence that is too large, say: nobody waits for an answer to it."""

    async def refuse(socket: ServerConnection) -> None:
        error = {
            "mtype": "error",
            "msgId": "",
            "error": "over-limit: presence_bytes_max",
            "code": "over-limit",
        }
        await socket.send(msgspec.msgpack.encode(error))
        await socket.wait_closed()

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        room = RoomClient(f"ws://127.0.0.1:{port}/ws/rooms/stage/", "ann")
        room.start()
        [warning] = await told(caplog, "over-limit: presence_bytes_max")
        await room.close()
    assert warning.levelname == "WARNING"


async def test_e2_who_waits_takes_no_error_about_another_message_as_an_answer() -> None:
    """E2: a reset beside a presence that comes too fast."""
    room_of, reset = FakeServer(), asyncio.Event()

    async def answer(socket: ServerConnection) -> None:
        async def send(wire: dict[str, Any]) -> None:
            await socket.send(msgspec.msgpack.encode(wire))

        for wire in room_of.greeting("ann", None):
            await send(wire)
        while msgspec.msgpack.decode(await socket.recv(decode=False))["mtype"] != "room-reset":
            pass
        for about in ("presence", "sync-check"):
            await send(
                {"mtype": "error", "msgId": "", "error": "rate-limited: ", "retry": True, "about": about}
            )
        await reset.wait()
        room_of.reset()
        await send(broadcast(room_of.journal[-1]))
        await socket.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with RoomClient(f"ws://127.0.0.1:{port}/ws/rooms/stage/", "ann") as room:
            resetting = asyncio.create_task(room.reset())
            await until(lambda: len(room._syncer.faults) == 2)
            reset.set()
            await asyncio.wait_for(resetting, 10)
            assert room._syncer.epoch == 1


async def test_n9_who_comes_back_says_when_it_came_before() -> None:
    """N9, A6: and that it lives, as soon as it is welcome."""
    asked: list[str] = []

    async def send_away(socket: ServerConnection) -> None:
        assert socket.request is not None
        asked.append(socket.request.path.partition("&after=")[2])
        welcome, state = FakeServer().greeting("ann", None)
        for wire in ({**welcome, "arrivedAt": 1764000000.123456 + len(asked)}, state):
            await socket.send(msgspec.msgpack.encode(wire))
        assert msgspec.msgpack.decode(await socket.recv(decode=False))["mtype"] == "heartbeat"
        await socket.close(CloseCode.INTERNAL)

    async with serve(send_away, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        room = RoomClient(f"ws://127.0.0.1:{port}/ws/rooms/stage/", "ann", backoff=Backoff(0.01, 0.02))
        room.start()
        await until(lambda: len(asked) > 2)
        await room.close()
    assert asked[:3] == ["", "1764000001.123456", "1764000002.123456"]


async def test_what_a_callback_raises_when_all_is_sent_again_ends_the_room() -> None:
    """As at any other time."""

    async def refuse(socket: ServerConnection) -> None:
        for wire in FakeServer().greeting("ann", None):
            await socket.send(msgspec.msgpack.encode(wire))
        while "msg" not in (wire := msgspec.msgpack.decode(await socket.recv(decode=False))):
            pass
        message_id = wire["msg"]["id"]
        later = {"mtype": "error", "msgId": message_id, "code": "rate-limited", "retry": True}
        for wire in (later, {"mtype": "rights", "rights": [], "limits": {"frame_bytes_max": 10}}):
            await socket.send(msgspec.msgpack.encode(wire))
        await socket.wait_closed()

    def complain(refusal: Refusal) -> None:
        raise LookupError(refusal.code)

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        room = RoomClient(
            f"ws://127.0.0.1:{port}/ws/rooms/stage/", "ann", on_refused=complain, retry_pause_s=0.1
        )
        async with room:
            room.scene.add("Mesh")
            room.commit()
            with pytest.raises(RoomClosed, match=r"LookupError\('over-limit'\)"):
                await asyncio.wait_for(room.synced(), 10)


async def test_who_waits_in_a_room_that_was_not_started_is_told() -> None:
    room = RoomClient("ws://127.0.0.1:1/ws/rooms/stage/", "ann")
    room.scene.add("Mesh")
    room.commit()
    for wait in (room.synced, room.joined, room.refresh, room.reset):
        with pytest.raises(RoomError, match="not started"):
            await asyncio.wait_for(wait(), 5)


async def test_an_edit_in_another_thread_is_refused(unused_tcp_port: int) -> None:
    room = RoomClient(f"ws://127.0.0.1:{unused_tcp_port}/ws/rooms/stage/", "ann")
    await asyncio.to_thread(room.scene.add, "Mesh", key="before")  # it has no thread yet
    room.start()
    for act in (lambda: room.scene.add("Mesh"), room.commit, room.undo, room.redo):
        with pytest.raises(RoomError, match="call_soon_threadsafe"):
            await asyncio.to_thread(act)
    assert room.commit() is not None
    assert list(room.graph.nodes) == ["before"]
    await room.close()


async def test_who_leaves_before_all_is_acknowledged_is_warned_once(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int, tmp_path: Path
) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}/ws/rooms/stage/"
    for outbox in (None, tmp_path / "outbox.sqlite3"):
        room = RoomClient(url, "ann", outbox=outbox)
        room.scene.add("Mesh")
        room.commit()
        await room.close()
        await room.close()
    assert [r.message for r in caplog.records] == [
        f"{url}: left before 1 commits were acknowledged; they may be lost"
    ]


async def test_who_is_cancelled_while_leaving_is_cancelled() -> None:
    went_on: list[bool] = []
    async with answering(503) as (url, asked):
        room = RoomClient(url, backoff=Backoff(first_s=0.01, max_s=0.01))
        room.start()
        await until(lambda: bool(asked))

        async def leave() -> None:
            await room.close()
            went_on.append(True)

        leaving = asyncio.create_task(leave())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not went_on
        await room.close()


async def test_a_room_whose_task_was_cancelled_has_ended_for_everybody() -> None:
    """By a program that cancels every task of its loop, or by the end of `asyncio.run`."""
    async with answering(503) as (url, asked):
        room = RoomClient(url, backoff=Backoff(first_s=0.01, max_s=0.01))
        room.start()
        await until(lambda: bool(asked))
        waiting = asyncio.create_task(room.synced())
        await asyncio.sleep(0)
        assert room._connection._task is not None
        room._connection._task.cancel()
        with pytest.raises(RoomClosed, match="cancelled"):
            await asyncio.wait_for(waiting, 5)
        assert not room.is_live


async def test_an_end_that_is_told_often_keeps_nothing_of_who_was_told() -> None:
    async with answering(404) as (url, _):
        room = RoomClient(url)
        for _ in range(20):
            with pytest.raises(RoomClosed) as told:
                async with room:
                    pass
        assert len(told.traceback) < 10


async def test_a_token_function_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Robots come back before their network does, and with it who gives tokens."""
    async with answering(404) as (url, asked):
        failures = [RuntimeError("no network"), ValueError("no JSON"), TimeoutError()]

        async def token() -> str:
            if failures:
                raise failures.pop(0)
            return "fresh"

        with pytest.raises(RoomClosed, match="HTTP 404"):
            async with RoomClient(url, token=token, backoff=Backoff(first_s=0.01, max_s=0.01)):
                pass
        assert len(asked) == 1
    assert "no token: RuntimeError('no network')" in caplog.text


@contextlib.asynccontextmanager
async def redirecting(location: str) -> AsyncGenerator[tuple[str, list[str]]]:
    """What a captive portal, or a proxy that wants TLS, has for whoever comes."""
    asked: list[str] = []

    def redirect(connection: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        response = connection.respond(http.HTTPStatus.FOUND, "elsewhere")
        response.headers["Location"] = location
        return response

    async def handle(connection: ServerConnection) -> None:
        raise AssertionError("nobody gets in")

    async with serve(handle, "127.0.0.1", 0, process_request=redirect) as server:
        [listener] = server.sockets
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws/rooms/demo/", asked


async def test_a_redirection_to_no_room_ends_only_who_has_not_been_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with redirecting("https://portal.example/login") as (url, asked):
        with pytest.raises(RoomClosed, match=r"https://portal\.example/login"):
            async with RoomClient(url):
                pass
        room = RoomClient(url, backoff=Backoff(first_s=0.01, max_s=0.01))
        monkeypatch.setattr(room._syncer, "beginnings", 1)
        room.start()
        await room._connection.until(lambda: len(asked) > 3)
        await room.close()
