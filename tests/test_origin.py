"""Which handshakes get through to the rooms."""

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.test import override_settings

from vuer_rtc.origin import PageOriginValidator


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def is_let_in(*headers: tuple[bytes, bytes]) -> bool:
    communicator = WebsocketCommunicator(
        PageOriginValidator(accepting), "/ws/rooms/demo/", headers=list(headers)
    )
    connected, _ = await communicator.connect()
    if connected:
        await communicator.disconnect()
    return bool(connected)


async def test_programs_without_an_origin_come_in() -> None:
    assert await is_let_in()


@pytest.mark.parametrize("origin", [b"http://localhost:8000", b"http://127.0.0.1:9000", b"https://localhost"])
async def test_pages_of_the_allowed_hosts_come_in(origin: bytes) -> None:
    assert await is_let_in((b"origin", origin))


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"",
        b"http://localhost.evil.example",
        b"file://",
        b"http://127.0.0.1@evil.example",
        b"http://[",
        b"http://[::1",
        b"http://localhost:port",
        b"\xff",
    ],
)
async def test_other_pages_are_refused(origin: bytes) -> None:
    assert not await is_let_in((b"origin", origin))


@pytest.mark.parametrize("is_debugging", [True, False])
async def test_a_new_project_allows_the_developer_s_own_pages(is_debugging: bool) -> None:
    with override_settings(DEBUG=is_debugging, ALLOWED_HOSTS=[]):
        for origin in (b"http://localhost:8000", b"http://127.0.0.1:8000", b"http://[::1]:8000"):
            assert await is_let_in((b"origin", origin)) is is_debugging
        assert not await is_let_in((b"origin", b"https://evil.example"))
