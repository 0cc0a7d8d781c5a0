"""Tokens on a real server; the example of docs/embed.md is run as it stands there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server import ROOT, ServerProcess
from vuer_rtc.protocol.codes import CloseCode

PATIENCE_S = 30
SETUP = """
from django.contrib.auth import get_user_model
from journal.models import Document
users = get_user_model().objects
robot = users.create(username="robot")
Document.objects.create(slug="stage", owner=robot)
Document.objects.create(slug="hall", visibility="public-edit")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("tokens")) as running:
        shell(running, SETUP)
        yield running


def shell(server: ServerProcess, code: str) -> str:
    return server.manage("shell", "--no-imports", "-c", code).strip()


def example(name: str) -> str:
    found = re.search(rf"```python\n# {name}\n(.*?)```", (ROOT / "docs/embed.md").read_text(), re.S)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def token(server: ServerProcess) -> str:
    return shell(server, example("invite.py") + "print(token)")


def minted(server: ServerProcess, call: str) -> str:
    return shell(server, f"from rooms import tokens\n{SETUP[: SETUP.index('robot')]}" + f"""
robot, stage = users.get(username="robot"), Document.objects.get(slug="stage")
print(tokens.mint({call}))""")  # fmt: skip


def enter(server: ServerProcess, query: str, slug: str = "stage", **options: Any) -> str | int:
    """The first message, or the close code."""
    address = f"{server.url(slug, 'arm-1', format='json')}{query}"
    with connect(address, compression=None, **options) as socket:
        try:
            return str(json.loads(socket.recv(timeout=PATIENCE_S))["mtype"])
        except ConnectionClosed:
            assert socket.close_code is not None
            return socket.close_code


def test_the_example_of_the_documentation_works(server: ServerProcess, token: str) -> None:
    """R1."""
    names: dict[str, Any] = {"token": token, "server": f"ws://127.0.0.1:{server.port}"}
    exec(example("arm.py"), names)
    assert names["state"]["mtype"] == "state"
    assert names["socket"].subprotocol == "vuer-rtc"


def test_the_first_room_of_the_documentation_opens_to_its_first_client(server: ServerProcess) -> None:
    token = shell(server, example("first_room.py").replace('"stage"', '"first"'))
    client = example("first_client.py").replace(":8000/ws/rooms/stage/", f":{server.port}/ws/rooms/first/")
    for height in (1, 2):
        command = [sys.executable, "-c", client, token]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.stdout == f"the cube is at [0, {height}, 0]\n", done.stderr


def test_a_token_comes_as_a_header_or_in_the_address_as_well(server: ServerProcess, token: str) -> None:
    assert enter(server, "", additional_headers={"Authorization": f"Bearer {token}"}) == "state"
    assert enter(server, f"&token={token}") == "state"
    assert enter(server, "") == CloseCode.UNKNOWN_ROOM
    assert enter(server, "&token=forged", "hall") == CloseCode.BAD_TOKEN
    assert enter(server, f"&token={token}", "hall") == CloseCode.UNKNOWN_ROOM


def test_an_open_connection_ends_with_its_token(server: ServerProcess) -> None:
    token = minted(server, 'stage, robot, client="arm-1", expires_in_s=8')
    with connect(f"{server.url('stage', 'arm-1', format='json')}&token={token}") as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["mtype"] == "state"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=PATIENCE_S)
    assert socket.close_code == CloseCode.TOKEN_EXPIRED
    assert enter(server, f"&token={token}") == CloseCode.TOKEN_EXPIRED


def test_a_token_for_single_use_cannot_be_replayed(server: ServerProcess) -> None:
    token = minted(server, "stage, robot, single_use=True")
    assert [enter(server, f"&token={token}") for _ in range(2)] == ["state", CloseCode.BAD_TOKEN]


def test_no_token_is_in_the_server_s_log(server: ServerProcess, token: str, tmp_path: Path) -> None:
    enter(server, f"&token={token}")
    enter(server, f"&token={token}x")
    assert token not in server.log()
