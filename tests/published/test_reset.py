"""R5: published stores live through resets of their room, and do not stumble over what they did before."""

import time
from typing import Any

from tests.server import ServerProcess

from .crew import SLUG, Clients, connect, join, play
from .process import PublishedClient, assert_same_scene
from .room import document_view
from .scene import turns

PATIENCE_S = 20

RESET = """
from journal.models import Document
from rooms.moderation import reset
print(reset(Document.objects.get(slug="stage")))
"""


def errors_of(client: PublishedClient, count: int) -> list[dict[str, Any]]:
    """What it was refused, once that is so much; it may come a moment behind the state."""
    deadline = time.monotonic() + PATIENCE_S
    while len(errors := client.call("drain")["errors"]) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return list(errors)


def test_published_stores_build_a_scene_again_after_each_reset(
    server: ServerProcess, clients: Clients
) -> None:
    editors = connect(server, clients)
    for epoch in (1, 2):
        for turn in list(turns(seed=epoch))[:40]:
            play(editors, turn)
        assert len(document_view(server.data_dir, SLUG)["nodes"]) > 3
        late = editors["alice"]
        late.call("offline", is_offline=True)
        stale = [
            late.call("edit", ops=[{"ot": "number.set", "key": "scene", "path": "x", "value": n}])
            for n in (1, 2)
        ]
        assert server.manage("shell", "--no-imports", "-c", RESET).strip() == str(epoch)
        late.call("offline", is_offline=False)
        late.call("resend")
        for client in editors.values():
            client.call("pump_states", count=epoch)
            assert client.call("unacked") == []
            assert client.call("graph") == {"root": "", "nodes": {}}
        errors = errors_of(late, count=len(stale))
        assert [(error["msgId"], error["code"]) for error in errors] == [(id, "stale-epoch") for id in stale]
        late.call("forget_errors")
    for turn in list(turns(seed=3))[:40]:
        play(editors, turn)
    ours = document_view(server.data_dir, SLUG)
    for client in editors.values():
        assert_same_scene(client.call("graph"), ours)
    assert_same_scene(join(server, clients["joiner"]), ours)
