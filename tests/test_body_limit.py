"""How much one may send to a page, at a real server."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import HOST, ServerProcess
from vuer_rtc.body_limit import BODY_BYTES_MAX

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("body")) as running:
        yield running


def sent(server: ServerProcess, path: str, mib: int) -> tuple[int, bytes]:
    """How many pieces of a body without an end the server took, and what it answered."""
    with socket.create_connection((HOST, server.port), timeout=20) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        pieces = 0
        try:
            while pieces < mib:
                pieces += 1
                connection.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
        except OSError:  # it has closed the connection
            pass
        try:
            return pieces, connection.recv(4096)
        except ConnectionError:  # the answer is lost where more is on its way than was read
            return pieces, b""


def drafts(server: ServerProcess) -> list[str]:
    """Temporary files that the process holds."""
    assert server.process is not None
    folder = Path(f"/proc/{server.process.pid}/fd")
    found = [os.readlink(path) for path in folder.iterdir() if path.is_symlink()]
    return [name for name in found if name.endswith("(deleted)")]


@pytest.mark.parametrize("path", ["/healthz", "/admin/login/", "/static/x", "/api/rooms/demo/token/"])
def test_a_body_without_an_end_is_cut_off_whatever_the_page(server: ServerProcess, path: str) -> None:
    pieces, answer = sent(server, path, 64)
    assert pieces < 64
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    if Path("/proc").exists():
        assert drafts(server) == []
    assert server.page("/healthz")[0] == 200
    assert "Traceback" not in server.log()


def test_as_much_as_a_form_may_have_is_taken_and_more_is_told(server: ServerProcess) -> None:
    address = f"http://{HOST}:{server.port}/healthz"
    for size, status in ((BODY_BYTES_MAX, 403), (BODY_BYTES_MAX + 1, 413)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(address, data=bytes(size)), timeout=20)
        assert refusal.value.code == status
