"""One command from nothing to a server, as a newcomer meets it: pages, login, README client, stop, start."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import IO

import pytest
from django.contrib.auth import authenticate, get_user_model
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.server import ROOT, ServerProcess
from vuer_rtc.serve import announcement, open_one_time_login

ANSWER_MAX_S = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that the test may stop and start."""
    with ServerProcess(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that no test changes."""
    with ServerProcess(tmp_path_factory.mktemp("lasting")) as running:
        yield running


class Browser:
    """Fetches pages and keeps cookies."""

    def __init__(self, server: ServerProcess) -> None:
        self.site = f"http://127.0.0.1:{server.port}"
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> str:
        with self.opener.open(self.site + path, timeout=ANSWER_MAX_S) as answer:
            return str(answer.read().decode())

    def log_in(self, username: str, password: str) -> str:
        """The page after the admin's login form was sent."""
        self.get("/admin/login/")
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        form = {"username": username, "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
        with self.opener.open(f"{self.site}/admin/login/", urllib.parse.urlencode(form).encode()) as answer:
            return str(answer.read().decode())


def printed_logins(server: ServerProcess) -> list[tuple[str, str]]:
    return re.findall(r"login +(\S+) / (\S+)", server.log())


def readme_client(server: ServerProcess, folder: Path, name: str) -> "subprocess.Popen[str]":
    """The README's client as a process, at this server."""
    (code,) = re.findall(r"```python\n(import asyncio.*?)```", (ROOT / "README.md").read_text(), re.S)
    script = folder / "client.py"
    script.write_text(code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
    command = [sys.executable, "-u", str(script), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def next_frame(output: "IO[str] | None") -> dict[str, object]:
    assert output is not None
    line = output.readline()
    assert line.startswith("{"), line + output.read()
    frame: dict[str, object] = json.loads(line)
    return frame


def height_of_the_box(server: ServerProcess) -> float:
    code = """from journal.models import SceneObject
print(SceneObject.objects.get(key="box").properties["position"][1])"""
    return float(server.manage("shell", "--no-imports", "-c", code))


def test_the_printed_addresses_and_login_work(lasting_server: ServerProcess) -> None:
    browser = Browser(lasting_server)
    assert f"ws://127.0.0.1:{lasting_server.port}/ws/rooms/demo/" in browser.get("/")
    (login,) = printed_logins(lasting_server)
    assert "Site administration" in browser.log_in(*login)
    style = re.findall(r'href="(/static/admin/css/base[^"]*)"', browser.get("/admin/"))
    assert "--primary" in browser.get(style[0])


@pytest.mark.parametrize("path", ["..%2f..%2fdb.sqlite3", "%2e%2e/secret_key", "%00", "a" * 5000])
def test_what_is_no_static_file_is_not_found_and_fails_nothing(
    lasting_server: ServerProcess, path: str
) -> None:
    assert lasting_server.page(f"/static/{path}")[0] == 404
    assert "Traceback" not in lasting_server.log()


def test_two_readme_clients_see_each_other_and_the_edits_outlive_a_restart(
    server: ServerProcess, tmp_path: Path
) -> None:
    alice = readme_client(server, tmp_path, "alice")
    bob = None
    try:
        assert next_frame(alice.stdout)["mtype"] == "ack"
        bob = readme_client(server, tmp_path, "bob")
        assert next_frame(bob.stdout)["mtype"] == "ack"
        heard = next_frame(alice.stdout)
        assert heard["mtype"] == "broadcast"
        assert "bob" in json.dumps(heard)
    finally:
        for client in (alice, bob):
            if client is not None:
                client.kill()
                client.wait()
    assert server.stop() == 0
    server.start()
    again = readme_client(server, tmp_path, "alice")
    try:
        frame = next_frame(again.stdout)
        assert (frame["mtype"], frame["serverSeq"]) == ("ack", 3)
    finally:
        again.kill()
        again.wait()
    server.stop()
    assert height_of_the_box(server) == 3


def test_every_start_replaces_the_login(server: ServerProcess) -> None:
    server.stop()
    server.start()
    first, second = printed_logins(server)
    assert first != second
    assert "Site administration" not in Browser(server).log_in(*first)
    assert "Site administration" in Browser(server).log_in(*second)


def test_a_second_start_on_the_same_port_ends_and_leaves_the_login_alone(
    lasting_server: ServerProcess,
) -> None:
    command = [sys.executable, "-m", "vuer_rtc.serve"]
    second = subprocess.run(
        command, cwd=ROOT, env=lasting_server.environment(), capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert "PORT=" in second.stderr
    assert "login" not in second.stdout
    (login,) = printed_logins(lasting_server)
    assert "Site administration" in Browser(lasting_server).log_in(*login)


def test_pages_of_unknown_hosts_are_refused(lasting_server: ServerProcess) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{lasting_server.port}/", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=ANSWER_MAX_S)


@pytest.mark.django_db
def test_the_one_time_login_opens_the_admin_until_the_next_one() -> None:
    first, second = open_one_time_login(), open_one_time_login()
    assert first is not None
    assert second is not None
    assert authenticate(username=first.username, password=first.password) is None
    account = authenticate(username=second.username, password=second.password)
    assert account is not None
    assert account.is_superuser


@pytest.mark.django_db
def test_an_administrator_of_their_own_closes_the_one_time_login() -> None:
    login = open_one_time_login()
    assert login is not None
    get_user_model().objects.create_superuser("anna", password="hers")
    assert open_one_time_login() is None
    assert authenticate(username=login.username, password=login.password) is None
    assert authenticate(username="anna", password="hers") is not None


@pytest.mark.django_db
def test_an_account_called_admin_that_people_made_is_never_touched() -> None:
    get_user_model().objects.create_user("admin", password="theirs")
    assert open_one_time_login() is None
    assert authenticate(username="admin", password="theirs") is not None


def test_addresses_with_colons_are_bracketed() -> None:
    assert "http://[::1]:8000/" in announcement("::1", 8000, None)


def test_a_socket_at_an_unknown_path_is_refused_without_a_traceback(lasting_server: ServerProcess) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{lasting_server.port}/ws/nowhere/")
    assert "Traceback" not in lasting_server.log()


def test_the_session_cookie_of_the_pages_opens_private_documents(server: ServerProcess) -> None:
    server.create_documents(["vault"], visibility="private")
    browser = Browser(server)
    browser.log_in(*printed_logins(server)[0])
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    url = server.url("vault", "anna", format="json")
    with connect(url, additional_headers={"Cookie": cookie}) as connection:
        assert json.loads(connection.recv(timeout=ANSWER_MAX_S))["mtype"] == "state"
    with connect(url) as connection, pytest.raises(ConnectionClosed):
        connection.recv(timeout=ANSWER_MAX_S)
