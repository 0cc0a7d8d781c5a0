"""R7: published stores live through a restore by another process and its undo by a moderator."""

import json

from tests.rooms.build import undo
from tests.rooms.client import NativeClient
from tests.server import ServerProcess

from .crew import SLUG, Clients, connect, join, play
from .process import assert_same_scene, live_nodes
from .room import document_view, journal_messages
from .scene import turns

OWN = """
from django.contrib.auth import get_user_model
from journal.models import Document
from rooms import tokens
owner = get_user_model().objects.create(username="owner")
Document.objects.update(owner=owner)
print(tokens.mint(Document.objects.get(slug="stage"), owner))
"""

SITE_EDIT = """
import rooms
with rooms.Editor("stage") as editor:
    typed = {"ot": "text.insert", "key": "text0", "path": "body", "position": 0, "value": "The site: "}
    print(editor.edit([typed, {"ot": "vector3.set", "key": "scene", "path": "sun", "value": [0, 1, 0]}]).message.id)
    print(editor.edit([{"ot": "node.insert", "key": "scene", "path": "children", "value": {"key": "made"}}]).message.id)
    mistake = editor.edit([{"ot": "number.add", "key": "scene", "path": "after", "value": 100}]).message.id
    print(mistake)
    print(editor.undo(mistake).message.id)
"""


async def test_r7_published_stores_show_what_was_restored_and_what_was_undone(
    server: ServerProcess, clients: Clients
) -> None:
    editors = connect(server, clients)
    script = list(turns(seed=11))
    for turn in script[:75]:
        play(editors, turn)
    wanted, seq = document_view(server.data_dir, SLUG), len(journal_messages(server.data_dir, SLUG))
    wanted_digest = server.digest(SLUG)
    for turn in script[75:150]:
        play(editors, turn)
    spoilt = document_view(server.data_dir, SLUG)
    spoilt_digest = server.digest(SLUG)
    assert live_nodes(spoilt) != live_nodes(wanted)

    report = json.loads(server.manage("restore_document", "--document", SLUG, "--seq", str(seq), "--json"))
    assert {"node.remove", "node.insert", "string.set", "number.set"} <= report["ops"].keys()
    for client in editors.values():
        client.call("pump_states", count=1)
        assert_same_scene(client.call("graph"), wanted)
    assert_same_scene(join(server, clients["joiner"]), wanted)
    assert server.digest(SLUG) == wanted_digest

    token = server.manage("shell", "--no-imports", "-c", OWN).strip()
    async with NativeClient(server, SLUG, "moderator", token=token) as moderator:
        assert moderator.native.graph.digest() == wanted_digest
        await moderator.edit(undo(report["message"]))
        await moderator.assert_same()
    for client in editors.values():
        client.call("pump_states", count=2)
        assert_same_scene(client.call("graph"), spoilt)
    assert server.digest(SLUG) == spoilt_digest

    report = json.loads(server.manage("restore_document", "--document", SLUG, "--seq", str(seq), "--json"))
    assert report["outcome"] == "restored"
    for client in editors.values():
        client.call("pump_states", count=3)
    typed = {"ot": "text.insert", "key": "text0", "path": "body", "position": 0, "value": [None, "again "]}
    for author in editors.values():
        before = set(author.call("unacked"))
        author.call("edit", ops=[typed, {"ot": "number.add", "key": "scene", "path": "after", "value": 1}])
        sent = [message for message in author.call("unacked") if message not in before]
        author.call("pump", acked=sent)
        for other in editors.values():
            other.call("pump", seen=sent)
    seen = server.manage("shell", "--no-imports", "-c", SITE_EDIT).split()
    for client in editors.values():
        client.call("pump", seen=seen)
    after = document_view(server.data_dir, SLUG)
    assert after["nodes"]["text0"]["properties"]["body"].startswith("The site: ")
    assert after["nodes"]["scene"]["properties"]["after"] == 3
    assert after["nodes"]["text0"]["properties"]["body"].count("again") == 3
    for client in editors.values():
        assert_same_scene(client.call("graph"), after)
