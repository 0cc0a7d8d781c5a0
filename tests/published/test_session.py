"""Three published stores, a real server process, 200 nodes, every operation; then SIGKILL in the middle of a burst."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.server import ServerProcess

from .crew import CLIENTS, SLUG, Clients, connect, join, play
from .process import assert_same_scene
from .room import document_graph, document_view, journal_messages
from .scene import turns

BURST = 80
"""Messages each client has ready when the server is about to die."""


def test_three_published_stores_build_a_scene_turn_by_turn(server: ServerProcess, clients: Clients) -> None:
    editors = connect(server, clients)
    for turn in turns(seed=7):
        play(editors, turn)
    ours = document_view(server.data_dir, SLUG)
    assert len(ours["nodes"]) == 200
    for client in editors.values():
        assert_same_scene(client.call("graph"), ours)
    assert_same_scene(join(server, clients["joiner"]), ours)
    assert server.digest(SLUG) == document_graph(server.data_dir, SLUG).digest()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_in_a_burst(
    server: ServerProcess, clients: Clients
) -> None:
    editors = connect(server, clients)
    for turn in list(turns(seed=7))[:12]:
        play(editors, turn)
    sent = {
        name: c.call("prepare", key="scene", path=f"count-{name}", count=BURST) for name, c in editors.items()
    }
    for client in editors.values():
        client.start("burst", timeout=20)
    every = {message for ids in sent.values() for message in ids}
    wait_until(lambda: every & {message for _, message in journal_messages(server.data_dir, SLUG)})
    server.kill()
    acked = {message for client in editors.values() for message in client.answer()["acked"]}
    assert_contiguous(server, acked)

    server.start()
    for name, client in editors.items():
        client.call("connect", url=server.url(SLUG, name), client=name, keep=True)
    resent = {name: client.call("resend") for name, client in editors.items()}
    assert any(resent.values()), "the kill came too late to interrupt anything"
    for name, client in editors.items():
        client.call("pump", seen=list(every), acked=resent[name], timeout=60)
    assert_contiguous(server, every)

    ours = document_view(server.data_dir, SLUG)
    counts = ours["nodes"]["scene"]["properties"]
    assert {name: counts[f"count-{name}"] for name in CLIENTS} == dict.fromkeys(CLIENTS, BURST)
    for client in editors.values():
        assert_same_scene(client.call("graph"), ours)
    assert_same_scene(join(server, clients["joiner"]), ours)


def test_compaction_runs_while_they_edit(server: ServerProcess, clients: Clients) -> None:
    editors = connect(server, clients)
    script = list(turns(seed=11))
    for turn in script[:60]:
        play(editors, turn)
    with ThreadPoolExecutor(1) as pool:
        for start in range(60, 160, 25):
            running = pool.submit(
                server.manage, "compact_journals", "--document", SLUG, "--keep", "20", "--older-than", "0"
            )
            for turn in script[start : start + 25]:
                play(editors, turn)
            running.result(timeout=60)
    first = min(seq for seq, _ in journal_messages(server.data_dir, SLUG))
    assert first > 1, "nothing was truncated"
    joined = join(server, clients["joiner"])
    for client in editors.values():
        assert_same_scene(client.call("graph"), joined)
    digest = server.digest(SLUG)
    server.stop()
    server.start()
    assert server.digest(SLUG) == digest
    clients["joiner"].call("close")
    assert_same_scene(join(server, clients["joiner"]), joined)


def wait_until(holds: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.001)


def assert_contiguous(server: ServerProcess, acked: set[str]) -> None:
    """Every acked message is journalled exactly once, and the sequence has no gap."""
    rows = journal_messages(server.data_dir, SLUG)
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    ids = [message for _, message in rows]
    assert len(set(ids)) == len(ids)
    assert acked <= set(ids)
