"""Editing from the site's own code, without a server; with one: tests/rooms/test_site_live.py."""

import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

import rooms
from journal.error import OpenTransaction, OutOfReach, UnknownDocument
from journal.label import label_state
from journal.models import Document, JournalBatch, Operation, SceneObject
from journal.projection import rebuild
from journal.reader import read_after
from rooms import site
from rooms.news import Committed
from rooms.signals import batch_committed
from tests.journal.history import append, message
from vuer_rtc.crdt.message import Op
from vuer_rtc.protocol.codes import ErrorCode

LAMP: dict[str, Any] = {
    "ot": "node.insert",
    "key": "",
    "path": "children",
    "value": {"key": "lamp", "watts": 40},
}
DIM: dict[str, Any] = {"ot": "number.set", "key": "lamp", "path": "watts", "value": 10}


@pytest.fixture
def document(db: None) -> Document:
    return Document.objects.create(slug="stage")


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """News for the server processes."""
    news: list[Any] = []
    monkeypatch.setattr(site, "announce", news.append)
    return news


def test_j66_an_editor_writes_no_rows_of_what_a_database_that_was_put_back_does_not_hold(
    document: Document,
) -> None:
    with rooms.Editor("stage") as editor:
        editor.edit([LAMP])
        JournalBatch.objects.all().delete()
        append(document, message(5))
    assert not SceneObject.objects.filter(key="lamp").exists()
    rebuild(document.pk)
    with rooms.Editor("stage") as editor:
        editor.edit([LAMP])
    assert SceneObject.objects.filter(key="lamp").exists()


def test_an_edit_is_journalled_told_and_read_back(document: Document, ann: User, told: list[Any]) -> None:
    authored = rooms.edit("stage", [LAMP], user=ann)
    assert told == [Committed(document.pk, 1)]
    [batch] = read_after(document.pk, 0)
    [entry] = batch.entries
    assert (entry.message, entry.user) == (authored.message, str(ann.pk))
    rooms.edit(document, [DIM])
    scene = rooms.read(document.pk)
    lamp = {"key": "lamp", "tag": "", "name": "", "children": [], "watts": 10}
    assert (scene.seq, scene.root, scene.nodes) == (2, "lamp", {"lamp": lamp})


def test_an_editor_reads_once_and_then_only_what_is_new(document: Document, told: list[Any]) -> None:
    editor = rooms.Editor(document)
    editor.edit([LAMP])
    rooms.edit(document, [DIM])
    assert editor.read().nodes["lamp"]["watts"] == 10
    assert editor.edit([DIM]).seq == 3


def test_a_document_is_restored_to_a_sequence_a_time_or_a_label(
    document: Document, ann: User, told: list[Any]
) -> None:
    rooms.edit(document, [LAMP])
    label_state(document.pk, 1, "bright")
    for point in ({"seq": 1}, {"label": "bright"}, {"at": timezone.now(), "keys": ["lamp"]}):
        rooms.edit(document, [DIM])
        restored = rooms.restore("stage", user=ann, **point)
        assert restored is not None
        assert rooms.read("stage").nodes["lamp"]["watts"] == 40
    assert rooms.restore("stage", seq=1) is None
    with pytest.raises(ValueError, match="name one point"):
        rooms.restore("stage", seq=1, label="bright")
    with pytest.raises(OutOfReach):
        rooms.restore("stage", label="dark")
    Document.objects.update(visibility="public-edit")
    with pytest.raises(PermissionDenied):
        rooms.restore("stage", seq=1, user=ann, check=True)


def test_text_is_edited_by_position_beside_others_who_type(document: Document, told: list[Any]) -> None:
    note = {"key": "note", "path": "body"}
    rooms.edit(document, [{"ot": "node.insert", "key": "note", "value": {"plain": "é!", "n": 5}}])
    typed = Op("text.insert", "note", "body", [None, "wörld"], id="ann:0", seq=1, ts=1)
    append(document, message(20, typed))
    hello = {"ot": "text.insert", **note, "position": 0, "value": "Hello "}
    comma = {"ot": "text.replace", **note, "position": 5, "length": 1, "value": [None, ", "]}
    greeted = rooms.edit(document, [hello, comma])
    rooms.edit(document, [{"ot": "text.delete", "key": "note", "path": "plain", "position": 1, "length": 1}])
    assert rooms.read(document).nodes["note"]["body"] == "Hello, wörld"
    assert rooms.read(document).nodes["note"]["plain"] == "é"
    rooms.undo(document, greeted.message.id)
    assert rooms.read(document).nodes["note"]["body"] == "wörld"
    rooms.edit(document, [{"ot": "text.insert", "key": "note", "path": "new", "position": 9, "value": "a"}])
    assert rooms.read(document).nodes["note"]["new"] == "a"
    nothing = {"ot": "text.delete", **note, "position": 99, "length": 5}
    nowhere = {"ot": "text.insert", "key": "hall", "path": "body", "position": 0, "value": "a"}
    no_text = {"ot": "text.insert", "key": "note", "path": "n", "position": 0, "value": "a"}
    for op in (nothing, nowhere, no_text):
        with pytest.raises(rooms.EditRefused):
            rooms.edit(document, [op])


def test_rows_follow_without_a_server(document: Document, told: list[Any]) -> None:
    rooms.edit(document, [LAMP, {"ot": "node.insert", "key": "shade", "parent": "lamp"}])
    with rooms.Editor(document) as editor:
        editor.edit([DIM])
        assert SceneObject.objects.get(key="lamp").properties == {"watts": 40}
        editor.edit([{"ot": "node.remove", "key": "lamp"}])
    rows = {row.key: row for row in SceneObject.objects.filter(document=document)}
    assert (rows["lamp"].properties, rows["lamp"].is_tombstone, rows["shade"].is_hidden) == (
        {"watts": 10},
        True,
        True,
    )
    assert Operation.objects.filter(document=document, client="=site").count() == 4
    expected = list(SceneObject.objects.order_by("key").values("key", "properties", "is_hidden", "seq"))
    rebuild(document.pk)
    assert (
        list(SceneObject.objects.order_by("key").values("key", "properties", "is_hidden", "seq")) == expected
    )


def test_undo_and_redo(document: Document, told: list[Any]) -> None:
    rooms.edit(document, [LAMP])
    dimmed = rooms.edit(document, [DIM])
    rooms.undo(document, dimmed.message.id)
    assert rooms.read(document).nodes["lamp"]["watts"] == 40
    rooms.redo(document, dimmed.message.id)
    assert rooms.read(document).nodes["lamp"]["watts"] == 10
    with pytest.raises(rooms.EditRefused) as caught:
        rooms.undo(document, "nobody:1")
    assert caught.value.code is ErrorCode.UNKNOWN_TARGET


@pytest.mark.parametrize(
    ("limits", "ops", "code"),
    [
        ({}, [{"ot": "UPDATE"}], ErrorCode.UNKNOWN_OP),
        ({}, [], ErrorCode.BAD_MESSAGE),
        ({"ops_per_message_max": 1}, [LAMP, DIM], ErrorCode.OVER_LIMIT),
        ({"nodes_max": 0}, [LAMP], ErrorCode.TOO_MANY_NODES),
    ],
)
def test_what_a_client_could_not_send_is_refused(
    document: Document, told: list[Any], limits: dict[str, int], ops: list[Any], code: ErrorCode
) -> None:
    Document.objects.update(limits=limits)
    with pytest.raises(rooms.EditRefused) as caught:
        rooms.edit("stage", ops)
    assert caught.value.code is code
    assert told == []
    assert rooms.read("stage").seq == 0


def test_the_policy_is_asked_when_it_is_to_be(document: Document, ann: User, told: list[Any]) -> None:
    rooms.edit(document, [LAMP], user=ann)
    for user in (ann, AnonymousUser(), None):
        with pytest.raises(PermissionDenied):
            rooms.edit(document, [DIM], user=user, check=True)
        with pytest.raises(PermissionDenied):
            rooms.read(document, user=user, check=True)
    Document.objects.update(visibility="public-view")
    assert rooms.read("stage", check=True).seq == 1
    Document.objects.update(owner=ann)
    rooms.edit("stage", [DIM], user=ann, check=True)


def test_who_may_edit_undoes_their_own_work_and_a_moderator_everybodys(
    document: Document, ann: User, told: list[Any]
) -> None:
    Document.objects.update(visibility="public-edit")
    bob = User.objects.create(username="bob")
    rooms.edit("stage", [LAMP])
    dimmed = rooms.edit("stage", [DIM], user=ann, check=True)
    with pytest.raises(PermissionDenied):
        rooms.undo("stage", dimmed.message.id, user=bob, check=True)
    rooms.undo("stage", dimmed.message.id, user=ann, check=True)
    Document.objects.update(owner=bob)
    rooms.redo("stage", dimmed.message.id, user=bob, check=True)


def test_a_document_that_is_not_there_or_archived_is_unknown(document: Document) -> None:
    for name in ("hall", AnonymousUserKey):
        with pytest.raises(UnknownDocument):
            rooms.edit(name, [LAMP])
    Document.objects.update(archived_at=timezone.now())
    with pytest.raises(UnknownDocument):
        rooms.read("stage")


AnonymousUserKey = "00000000-0000-0000-0000-000000000000"


def test_inside_an_atomic_block_nothing_can_be_promised(transactional_db: None) -> None:
    Document.objects.create(slug="stage")
    with transaction.atomic(), pytest.raises(OpenTransaction):
        rooms.edit("stage", [LAMP])
    with transaction.atomic():
        transaction.on_commit(lambda: rooms.edit("stage", [LAMP]))
    assert rooms.read("stage").seq == 1


def test_inside_an_atomic_block_one_may_look(transactional_db: None) -> None:
    rooms.edit(Document.objects.create(slug="stage"), [LAMP])
    with transaction.atomic():
        assert set(rooms.read("stage").nodes) == {"lamp"}
        with pytest.raises(PermissionDenied):
            rooms.read("stage", check=True)


async def test_the_same_from_async_code(transactional_db: None) -> None:
    document = await Document.objects.acreate(slug="stage")
    authored = await rooms.aedit("stage", [LAMP])
    await rooms.aundo(document, authored.message.id)
    assert (await rooms.aread(document.pk)).nodes == {}
    await rooms.aredo(document, authored.message.id)
    assert (await rooms.aread("stage")).seq == 3


def test_receivers_of_this_process_are_told(document: Document, told: list[Any]) -> None:
    heard = []

    def receive(sender: type, **kwargs: Any) -> None:
        heard.append(
            (sender, kwargs["document_id"], kwargs["first_seq"], kwargs["last_seq"], kwargs["entries"])
        )

    batch_committed.connect(receive)
    try:
        authored = rooms.edit("stage", [LAMP])
    finally:
        batch_committed.disconnect(receive)
    [(sender, document_id, first_seq, last_seq, [entry])] = heard
    assert (sender, document_id, first_seq, last_seq) == (Document, document.pk, 1, 1)
    assert entry.message == authored.message


def test_importing_rooms_loads_no_models() -> None:
    code = "import rooms, sys; assert 'journal.models' not in sys.modules; rooms.__getattr__"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        rooms.nonsense  # noqa: B018
