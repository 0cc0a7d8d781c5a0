"""`python -m vuer_rtc`, as a user types it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ServerProcess
from vuer_rtc.client.command import parse_operation
from vuer_rtc.client.room import RoomClient
from vuer_rtc.crdt.plain import InvalidMessage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        running.create_documents(["stage"])
        yield running


def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "vuer_rtc", *arguments]
    return subprocess.run(line, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60)


def test_edit_state_and_tail(server: ServerProcess) -> None:
    url = server.url("stage", "x").partition("?")[0]
    insert = {
        "ot": "node.insert",
        "key": "",
        "path": "children",
        "value": {"key": "cube", "tag": "Mesh", "name": "C"},
    }
    done = command("edit", url, stdin=f"{json.dumps(insert)}\n\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 operations; the document is at 1\n")

    line = [sys.executable, "-m", "vuer_rtc", "tail", url, "--count", "2", "--timeout", "50"]
    tail = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert tail.stdout is not None
    assert tail.stdout.readline() == 'cube  <Mesh> "C"\n'
    assert command("edit", url, "cube.position=[1, 2, 3]", 'cube.color="#ff0000"').returncode == 0
    assert tail.stdout.readline() == 'cube  <Mesh> "C" position=[1, 2, 3] color="#ff0000"\n'
    assert tail.wait(20) == 0

    assert command("state", url).stdout == 'cube  <Mesh> "C" position=[1, 2, 3] color="#ff0000"\n'
    state = json.loads(command("state", url, "--json").stdout)
    assert state["rootKey"] == "cube"
    assert state["nodes"]["cube"]["position"] == [1, 2, 3]


def test_failures_have_an_exit_status_and_one_line(server: ServerProcess) -> None:
    done = command("state", server.url("nowhere", "x").partition("?")[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vuer_rtc: the server closed the room: unknown-room (4404)\n"
    done = command("edit", server.url("stage", "x").partition("?")[0], "cube.x=not json")
    assert done.returncode == 2
    assert "is no JSON" in done.stderr


def test_an_operation_is_json_or_an_assignment() -> None:
    assert parse_operation("cube.a.b=1") == {"ot": "number.set", "key": "cube", "path": "a.b", "value": 1}
    assert parse_operation('{"ot": "number.add"}') == {"ot": "number.add"}
    with pytest.raises(InvalidMessage):
        parse_operation("[1]")


def test_who_waits_in_vain_is_told_what_the_outbox_keeps(tmp_path: Path, unused_tcp_port: int) -> None:
    """The same command once more would edit twice."""
    url, path = f"ws://127.0.0.1:{unused_tcp_port}/ws/rooms/stage/", tmp_path / "outbox.sqlite3"
    for count in (0, 1):
        silent = command("edit", url, "cube.x=1", "--outbox", str(path), "--client", "ann", "--timeout", "1")
        assert silent.returncode == 1
        assert f"{path} keeps {count} commits" in silent.stderr
        offline = RoomClient(url, "ann", outbox=path)
        offline.scene.add("Mesh")
        offline.commit()
        asyncio.run(offline.close())


@pytest.mark.parametrize("given", ["nonsense", "X-Name: Zoë", "X-A: b\r\nX-C: d"])
def test_a_header_that_is_none_is_refused_and_not_tried_until_the_end(given: str) -> None:
    refused = command("state", "ws://127.0.0.1:9/ws/rooms/stage/", "--header", given)
    assert refused.returncode == 2
    assert f"{given!r} is no header" in refused.stderr
