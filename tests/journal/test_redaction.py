"""Rules J60 to J64: one person is forgotten, the document goes on, and nobody merges otherwise."""

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.storage import Storage, storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from journal import authoring, compaction, redaction, snapshot
from journal.archive import files_of
from journal.authoring import Author
from journal.batch_table import BatchRow
from journal.compaction import KeepRules, compact_document
from journal.entry import Entry
from journal.error import ArchiveFailed, JournalBusy, JournalTruncated, OutOfReach
from journal.export import Export
from journal.intake import import_lines
from journal.label import label_named, label_state
from journal.lease import lease
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.position import read_heads
from journal.projection import catch_up
from journal.reader import hydrate, read_after
from journal.redaction import Person, Redacted, RedactionFailed, documents_of, redact_document
from journal.restore import point_at, point_of_label, restore
from journal.snapshot import draft_snapshot, restore_snapshot, take_snapshot
from journal.transfer_line import read_lines
from journal.verification import verify_document
from journal.writer import Appended, Draft, Fenced, append_batches
from rooms.models import Session
from tests.journal.history import append, append_each, compact, head_of, insert, message, put, undo
from tests.journal.takeover import at, taken_over
from tests.journal.test_purge import place
from vuer_rtc.crdt.graph import Graph
from vuer_rtc.crdt.message import RESTORE_PREFIX, Op

__all__ = ["place"]

SECRET = "s3cret"


@pytest.fixture
def eve(db: None) -> User:
    return User.objects.create_user("eve", email="eve@example.org")


def text(client: str, number: int, anchor: str | None, content: str, seq: int) -> Op:
    return Op(
        ot="text.insert", key="n", path="t", value=[anchor, content], id=f"{client}:{number}", seq=seq, ts=seq
    )


def string(path: str, value: str, key: str = "n") -> Op:
    return Op(ot="string.set", key=key, path=path, value=value)


@pytest.fixture
def scene(document: Document, eve: User, place: Path) -> Document:
    """What eve (client `pad`) and ann wrote; some of it is seen no more."""
    user = str(eve.pk)
    append(document, message(1, insert("n", note=f"{SECRET}-initial")))
    append(document, message(2, text("pad", 0, None, f"seen{SECRET}", 1), client="pad"), user=user)
    append(document, message(3, Op(ot="text.delete", key="n", path="t", rm=[["pad:4", len(SECRET)]])))
    append(document, message(4, string("note", f"{SECRET}-over"), client="pad"), user=user)
    append(document, message(5, string("note", "public")))
    append(document, message(6, insert("gone", note=SECRET), client="pad"), user=user)
    label_state(document.pk, 6, "draft")
    append(document, message(7, Op(ot="node.remove", key="", path="children", value="gone")))
    append(document, message(8, string("later", SECRET, "never"), client="pad"), user=user)
    append(document, message(9, string("undone", SECRET), client="pad"), user=user)
    append(document, message(10, undo("pad:9"), client="pad"), user=user)
    append(document, message(11, string("kept", "eve's own"), client="pad"), user=user)
    append(document, message(12, put("n", "x", 12)))
    compact_document(document, KeepRules(8, 0), is_archiving=True)
    catch_up(document.pk)
    now = timezone.now()
    Session.objects.create(
        document=document,
        client="pad",
        user=eve,
        connected_at=now,
        last_seen_at=now,
        closed_at=now,
        remote_address="203.0.113.9",
        user_agent="Pad/7",
    )
    return document


def seen(document: Document) -> Any:
    return {key: view for key, view in hydrate(document.pk).graph.nodes().items() if not view.deleted}


def redact(document: Document, user: User, **options: Any) -> Redacted:
    return redact_document(document, Person(str(user.pk)), {"pad"}, **options)


def assert_nowhere(word: str) -> None:
    """In no row, packed or not."""
    for model in apps.get_models(include_auto_created=True):
        for row in model._base_manager.values():
            assert word not in repr(row), model
    for row in Snapshot.objects.all():
        graph = restore_snapshot(row)
        assert word.encode() not in graph.snapshot()
    for batch in JournalBatch.objects.all():
        assert word.encode() not in bytes(batch.payload)


def test_j60_what_is_no_longer_seen_is_gone_and_what_is_seen_stays(
    scene: Document, eve: User, place: Path
) -> None:
    before = seen(scene)
    digest = hydrate(scene.pk).graph.digest()
    report = redact(scene, eve)
    assert seen(scene) == before
    assert before["n"].properties == {"t": "seen", "note": "public", "kept": "eve's own", "x": 12}
    assert hydrate(scene.pk).graph.digest() == digest
    assert_nowhere(SECRET)
    assert not any(place.rglob("*"))
    assert (report.labels, report.archives, report.sessions) == (["draft"], 1, 1)
    assert report.blanked["characters"] == len(SECRET)
    assert report.blanked["waiting"] == 1
    assert verify_document(scene).findings == []
    Snapshot.objects.all()[0].delete()
    assert hydrate(scene.pk).graph.digest() == digest, "there is one to fall back to (J10)"


def test_j60_neither_account_nor_address_nor_program_is_told_any_more(scene: Document, eve: User) -> None:
    redact(scene, eve)
    assert not Operation.objects.filter(user_id=eve.pk).exists()
    assert not JournalBatch.objects.filter(document=scene).exists()
    assert Session.objects.filter(document=scene, user=None, remote_address="", user_agent="").count() == 1
    assert_nowhere("203.0.113.9")
    assert_nowhere("Pad/7")
    assert SceneObject.objects.get(key="gone").properties == {}


def test_j60_nothing_costly_happens_while_others_cannot_write(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_table, begun = redaction.batch_table, []

    def begin(*args: Any) -> Any:
        """The first step of the transaction."""
        begun.append(args)
        for costly in ("pack_snapshot", "decompress", "Graph"):
            monkeypatch.setattr(redaction, costly, None)
        monkeypatch.setattr(snapshot, "zstandard", None)
        return batch_table(*args)

    monkeypatch.setattr(redaction, "batch_table", begin)
    redact(scene, eve)
    assert begun
    assert_nowhere(SECRET)


def test_j60_a_row_that_does_not_read_back_takes_everything_back(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rot(*args: Any, **options: Any) -> Snapshot:
        row = write(*args, **options)
        Snapshot.objects.filter(pk=row.pk).update(payload=bytes(row.payload)[:-1] + b"?")
        return row

    before, write = seen(scene), redaction.write_snapshot
    monkeypatch.setattr(redaction, "write_snapshot", rot)
    with pytest.raises(RedactionFailed, match="payload does not read back"):
        redact(scene, eve)
    assert seen(scene) == before
    assert JournalBatch.objects.filter(document=scene).exists()
    assert Snapshot.objects.filter(label="draft").exists()


def test_j61_whoever_has_the_document_open_must_begin_from_the_new_state(scene: Document, eve: User) -> None:
    head_seq = read_heads([scene.pk])[scene.pk]
    stale = hydrate(scene.pk).graph
    report = redact(scene, eve)
    assert report.head_seq == head_seq + 1 == read_heads([scene.pk])[scene.pk]
    entry = Entry(message(50, put("n", "x", 50)))
    assert append_batches([Draft(scene.pk, head_seq + 1, [entry])], "stale") == [Fenced()]
    with pytest.raises(JournalTruncated):
        read_after(scene.pk, head_seq)
    assert take_snapshot(scene.pk, draft_snapshot(stale), Snapshot.Reason.SHUTDOWN) is None
    assert append_batches([Draft(scene.pk, head_seq + 2, [entry])], "new") == [
        Appended(head_seq + 2, head_seq + 2)
    ]
    assert_nowhere(SECRET)


def test_j61_a_snapshot_that_a_live_room_was_writing_does_not_bring_it_back(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = draft_snapshot(hydrate(scene.pk).graph)
    write = snapshot.write_snapshot

    def slow(*args: Any, **options: Any) -> Snapshot:
        monkeypatch.setattr(snapshot, "write_snapshot", write)
        redact(scene, eve)
        return write(*args, **options)

    monkeypatch.setattr(snapshot, "write_snapshot", slow)
    assert take_snapshot(scene.pk, stale, Snapshot.Reason.COUNT) is None
    assert_nowhere(SECRET)


def test_j61_nor_does_a_label_that_was_being_set(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from journal import label

    write = label.write_snapshot

    def slow(*args: Any, **options: Any) -> Snapshot:
        monkeypatch.setattr(label, "write_snapshot", write)
        redact(scene, eve)
        return write(*args, **options)

    monkeypatch.setattr(label, "write_snapshot", slow)
    with pytest.raises(OutOfReach, match="just been folded away"):
        label_state(scene.pk, read_heads([scene.pk])[scene.pk], "late")
    assert_nowhere(SECRET)


def test_j61_a_message_that_comes_between_is_not_lost(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_row = redaction.build_row

    def late(draft: Draft, writer_id: str) -> BatchRow:
        monkeypatch.setattr(redaction, "build_row", build_row)
        append(scene, message(40, put("n", "x", 40)))
        return build_row(draft, writer_id)

    monkeypatch.setattr(redaction, "build_row", late)
    redact(scene, eve)
    assert seen(scene)["n"].properties["x"] == 40
    assert_nowhere(SECRET)


def test_j62_later_merges_are_those_of_a_document_that_was_only_folded(scene: Document, eve: User) -> None:
    folded = Graph.restore(redaction._folded(hydrate(scene.pk).graph).snapshot())
    redact(scene, eve)
    later = [
        message(13, text("ann", 0, "pad:6", "!", 9)),
        message(4, put("n", "x", 4), client="bob"),
        message(14, insert("gone", fresh=1), client="bob"),
        message(9, string("undone", "again"), client="dan"),
    ]
    for item in later:
        append(scene, item)
    for batch in read_after(scene.pk, folded.head_seq):
        folded.apply_all(batch.messages)
    assert hydrate(scene.pk).graph.digest() == folded.digest()


def test_j62_what_is_written_first_in_an_empty_document_can_be_undone(document: Document, eve: User) -> None:
    """K1: no Lamport time that is still to come is folded away with nothing."""
    redact(document, eve)
    append(document, message(1, insert("n")))
    graph = hydrate(document.pk).graph
    assert graph.refusal(message(2, undo("ann:1"))) is None
    append(document, message(2, undo("ann:1")))
    assert seen(document) == {}


def test_j63_with_content_nothing_of_the_person_is_seen_either(scene: Document, eve: User) -> None:
    report = redact(scene, eve, empties_content=True)
    assert report.emptied == 2
    assert seen(scene)["n"].properties == {"t": "", "note": "public", "kept": "", "x": 12}
    assert_nowhere("eve's own")
    assert_nowhere(SECRET)


def test_j60_what_hangs_below_a_removed_object_is_seen_again_and_stays_unless_it_is_emptied(
    document: Document, eve: User
) -> None:
    append(
        document,
        message(1, insert("group"), insert("n", "group", note=SECRET), client="pad"),
        user=str(eve.pk),
    )
    append(document, message(2, Op(ot="node.remove", key="", path="children", value="group")))
    redact(document, eve)
    assert seen(document)["n"].hidden
    append(document, message(4, insert("group")))
    assert not seen(document)["n"].hidden
    assert seen(document)["n"].properties == {"note": SECRET}
    append(document, message(5, Op(ot="node.remove", key="", path="children", value="group")))
    redact(document, eve, empties_content=True)
    assert_nowhere(SECRET)


@pytest.mark.parametrize("id", ["7b0d4f6e-11aa", "ann:x:2"])
def test_j63_what_a_client_typed_is_found_whatever_its_message_ids_are(document: Document, id: str) -> None:
    append(document, message(1, insert("n", x=0)))
    append(document, message(2, string("t", SECRET), client="pad", id=id))
    append(document, message(3, text("ann", 0, None, "A", 1)))
    redact_document(document, Person(None, "ann"), {"ann"}, empties_content=True)
    assert seen(document)["n"].properties["t"] == SECRET
    redact_document(document, Person(None, "pad"), {"pad"}, empties_content=True)
    assert seen(document)["n"].properties["t"] == ""
    assert_nowhere(SECRET)


def test_j63_what_the_site_wrote_is_the_accounts_it_was_written_for(document: Document, eve: User) -> None:
    user, ann = str(eve.pk), str(User.objects.create_user("ann").pk)
    append(document, message(1, insert("n", x=0)), user=ann)
    author = Author(document.pk)
    author.write([string("by_site", "kept")])
    author.write([string("by_ann", "kept"), string("later", "kept", "never")], user=ann)
    author.write([string("by_eve", SECRET), string("later", SECRET, "gone")], user=user)
    author.write([string("back", "kept")], user=user, prefix=RESTORE_PREFIX)
    out = io.StringIO()
    with pytest.raises(CommandError, match="not well: room"):
        call_command("redact_user", "--user=eve", "--yes", "--content", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert report["outcome"] == "partly redacted"
    assert (report["clients"], report["emptied"], report["left"]) == ([], 1, 1)
    assert report["blanked"]["waiting"] == 1
    kept = {"x": 0, "by_site": "kept", "by_ann": "kept", "by_eve": "", "back": "kept"}
    assert seen(document)["n"].properties == kept
    assert_nowhere(SECRET)


def test_j63_what_the_site_wrote_and_nothing_tells_for_whom_is_told(document: Document, eve: User) -> None:
    append(document, message(1, insert("n", x=0)), user=str(eve.pk))
    Author(document.pk).write([string("note", "whose?")], user=str(eve.pk))
    compact(document)
    error = io.StringIO()
    with pytest.raises(CommandError, match="not well: room"):
        call_command(
            "redact_user", "--user=eve", "--document=room", "--yes", "--force", "--content", stderr=error
        )
    assert "NOT emptied: 1 properties" in error.getvalue()
    assert seen(document)["n"].properties["note"] == "whose?"


@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("is_label", [True, False])
def test_j33_a_restore_that_had_read_a_state_before_does_not_bring_it_back(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch, is_label: bool, when: str
) -> None:
    author = Author(scene.pk)
    point = point_of_label(scene.pk, "draft") if is_label else point_at(scene.pk, 8)
    if when == "before":
        redact(scene, eve)
    else:
        at(monkeypatch, authoring, "author.stamped", lambda: taken_over(scene, lambda: redact(scene, eve)))
    with pytest.raises((OutOfReach, JournalBusy)):
        restore(author, point)
    monkeypatch.undo()
    redact(scene, eve)
    assert_nowhere(SECRET)
    assert not seen(scene).keys() & {"gone"}


def test_j33_a_restore_from_a_label_alone_waits_for_other_commands(scene: Document, eve: User) -> None:
    """A redaction deletes labels after everything else."""
    author, point = Author(scene.pk), point_of_label(scene.pk, "draft")
    label_seq, truncated_seq = point.seq, Document.objects.get(pk=scene.pk).truncated_seq
    if label_seq >= truncated_seq:
        append_each(scene, [message(lt, put("n", "x", lt)) for lt in range(20, 30)])
        compact_document(scene, KeepRules(1, 0))
    with lease(scene.pk, "elsewhere/1/0"), pytest.raises(JournalBusy):
        restore(author, point)
    assert restore(author, point) is not None


@pytest.mark.parametrize("is_retained", [True, False])
def test_j63_what_others_have_added_to_is_told_where_it_may_be_the_persons_in_part(
    document: Document, eve: User, is_retained: bool
) -> None:
    def push(path: str, value: str) -> Op:
        return Op(ot="array.push", key="n", path=path, value=value)

    user = str(eve.pk)
    append(document, message(1, insert("n", x=0)))
    append(document, message(2, push("chat", "hello"), push("log", "a")))
    append(document, message(3, push("chat", SECRET), string("undone", SECRET), client="pad"), user=user)
    append(
        document,
        message(4, Op(ot="string.concat", key="n", path="undone", value="!"), client="pad"),
        user=user,
    )
    append(document, message(5, string("undone", "a"), push("chat", "bye"), push("log", "b")))
    if not is_retained:
        catch_up(document.pk)
        compact(document)
    error, who = io.StringIO(), ("--user=eve", "--client=pad", "--document=room")
    with pytest.raises(CommandError, match="not well: room"):
        call_command("redact_user", *who, "--yes", "--force", "--content", stderr=error)
    left = 1 if is_retained else 2  # nothing tells any more that the log is not the person's
    assert f"NOT emptied: {left} properties" in error.getvalue()
    assert seen(document)["n"].properties["chat"] == ["hello", SECRET, "bye"]


@pytest.mark.sql
def test_j66_nothing_stands_for_a_journal_that_is_not_there_any_more(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was put back while the blanked snapshot was made; the last statement takes the others back (J65)."""
    real, before = redaction._prove, Snapshot.objects.count()
    append(scene, message(13, put("n", "x", 13)))

    def put_back(*draft: Any) -> None:
        head_seq = read_heads([scene.pk])[scene.pk]
        JournalBatch.objects.filter(last_seq=head_seq).delete()
        Document.objects.filter(pk=scene.pk).update(head_seq=head_seq - 1)
        real(*draft)

    monkeypatch.setattr(redaction, "_prove", put_back)
    with pytest.raises(JournalBusy):
        redact(scene, eve)
    monkeypatch.undo()
    assert Snapshot.objects.count() == before
    assert not verify_document(scene).is_damaged
    redact(scene, eve)
    assert_nowhere(SECRET)


@pytest.mark.parametrize("point", ["compact.cut", "compact.snapshot", "compact.origin", "compact.proved"])
def test_j61_a_compaction_that_is_overtaken_leaves_no_state_of_before(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Beside what is still seen it holds what its messages undo."""
    append_each(scene, [message(lt, put("n", "x", lt)) for lt in range(30, 40)])
    fold = compaction.fold_history

    def slow(*arguments: Any) -> Any:
        found = fold(*arguments)
        taken_over(scene, lambda: redact(scene, eve))
        return found

    if point == "compact.cut":
        monkeypatch.setattr(compaction, "fold_history", slow)
    else:
        at(monkeypatch, compaction, point, lambda: taken_over(scene, lambda: redact(scene, eve)))
    with pytest.raises(JournalBusy):
        compact_document(scene, KeepRules(0, 0))
    assert Snapshot.objects.values("seq", "checksum").distinct().count() == 1  # twice (J10)
    assert_nowhere(SECRET)


def test_j50_a_redaction_that_is_overtaken_spares_what_was_archived_behind_it(
    scene: Document, eve: User, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on() -> None:
        append_each(scene, [message(lt, put("n", "x", lt)) for lt in range(30, 33)])
        compact_document(scene, KeepRules(1, 0), is_archiving=True)

    at(monkeypatch, redaction, "redact.replaced", lambda: taken_over(scene, go_on))
    with pytest.raises(JournalBusy):
        redact(scene, eve)
    scene.refresh_from_db()
    assert [file.last_seq for file in files_of(scene.pk)] == [scene.truncated_seq]
    assert len(list(place.rglob("*.zst"))) == 1


def test_j50_a_storage_that_cannot_list_stops_no_redaction_of_what_was_never_folded(
    document: Document, eve: User, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(document, message(1, insert("n", note=SECRET), client="pad"), user=str(eve.pk))
    append(document, message(2, string("note", "public")))
    storage = storages["journal-archive"]
    monkeypatch.setattr(storage, "listdir", lambda path: Storage.listdir(storage, path))
    assert redact(document, eve).archives == 0
    assert_nowhere(SECRET)
    with pytest.raises(ArchiveFailed, match="cannot list"):
        redact(document, eve)  # it is folded now


def test_an_export_afterwards_has_nothing_of_it(scene: Document, eve: User) -> None:
    redact(scene, eve)
    scene.refresh_from_db()
    out = io.BytesIO()
    with lease(scene.pk) as held:
        Export(held, scene, out).write()
    assert SECRET.encode() not in out.getvalue()
    import_lines(read_lines(io.BytesIO(out.getvalue())), "copy")
    copy = Document.objects.get(slug="copy")
    assert hydrate(copy.pk).graph.full_digest() == hydrate(scene.pk).graph.full_digest()
    assert hydrate(copy.pk).head_seq == hydrate(scene.pk).head_seq


@pytest.mark.parametrize("dies_at", ["redact.begun", "redact.replaced", "redact.deleted"])
def test_j64_a_redaction_that_dies_is_finished_by_the_next(
    scene: Document, eve: User, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    def die(point: str) -> None:
        if point == dies_at:
            raise KeyboardInterrupt

    before = seen(scene)
    monkeypatch.setattr(redaction, "reach", die)
    with pytest.raises(KeyboardInterrupt):
        redact(scene, eve)
    monkeypatch.undo()
    assert seen(scene) == before
    call_command("redact_user", "--user=eve", "--yes")
    assert seen(scene) == before
    assert_nowhere(SECRET)
    assert_nowhere("203.0.113.9")


def test_the_documents_a_person_was_in_are_found_and_others_left_alone(
    scene: Document, other: Document, eve: User
) -> None:
    append(other, message(1, insert("n", note="over")), message(2, string("note", "new")))
    catch_up(other.pk)
    head_seq = read_heads([other.pk])[other.pk]
    assert documents_of(Person(str(eve.pk))) == {scene.pk: {"pad"}}
    assert documents_of(Person(None, "pad")) == {scene.pk: {"pad"}}
    out = io.StringIO()
    call_command("redact_user", "--user=eve", "--json", stdout=out)
    assert json.loads(out.getvalue())["outcome"] == "planned"
    assert Snapshot.objects.filter(label="draft").exists(), "without --yes nothing is done"
    out = io.StringIO()
    call_command("redact_user", "--user=eve", "--yes", "--json", stdout=out)
    [report] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (report["slug"], report["clients"], report["outcome"]) == ("room", ["pad"], "redacted")
    assert read_heads([other.pk])[other.pk] == head_seq


def test_a_document_whose_rows_are_behind_is_found_all_the_same(other: Document, eve: User) -> None:
    append(other, message(1, insert("n", note=SECRET), client="pad"), user=str(eve.pk))
    append(other, message(2, string("note", ""), client="pad"), user=str(eve.pk))
    assert not Operation.objects.exists()
    call_command("redact_user", "--user=eve", "--yes")
    assert_nowhere(SECRET)


def test_a_document_that_cannot_be_read_is_told_and_nothing_is_done_to_it(
    scene: Document, other: Document, eve: User
) -> None:
    append(other, message(1, insert("n", note=SECRET), client="pad"), user=str(eve.pk))
    JournalBatch.objects.filter(document=other).update(checksum="")
    for arguments in ([], ["--yes"]):
        error = io.StringIO()
        with pytest.raises(CommandError, match="not well: other-room"):
            call_command("redact_user", "--user=eve", *arguments, stderr=error)
        assert "checksum does not hold" in error.getvalue()
    assert JournalBatch.objects.filter(document=other).exists()
    assert not JournalBatch.objects.filter(document=scene).exists(), "the others are done"


@pytest.mark.django_db(transaction=True)
def test_that_deleted_bytes_are_still_there_is_told_to_whoever_asked_for_them_to_go(
    scene: Document, eve: User
) -> None:
    """By the exit status, too: programs ask for it."""
    if connection.vendor != "sqlite":
        with pytest.raises(CommandError, match="not well: --vacuum"):
            call_command("redact_user", "--user=eve", "--yes", "--vacuum", stderr=io.StringIO())
        return
    name, error = connection.settings_dict["NAME"], io.StringIO()
    connection.cursor().execute("PRAGMA busy_timeout = 100")
    with closing(sqlite3.connect(name, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM django_migrations").fetchone()
        with pytest.raises(CommandError, match="not well: --vacuum"):
            call_command("redact_user", "--user=eve", "--yes", "--vacuum", stderr=error)
        assert "NOT done" in error.getvalue()
        assert_nowhere(SECRET)
        call_command("redact_user", "--user=eve", "--yes")  # who did not ask hears nothing
    call_command("redact_user", "--user=eve", "--yes", "--vacuum")
    assert not any(
        SECRET.encode() in path.read_bytes() for path in Path(name).parent.glob(f"{Path(name).name}*")
    )


@pytest.mark.parametrize("condition", ["importing", "purging"])
def test_what_a_killed_import_or_purge_has_left_is_told(
    scene: Document, other: Document, eve: User, condition: str
) -> None:
    append(other, message(1, insert("n", note=SECRET), client="pad"), user=str(eve.pk))
    Document.objects.filter(pk=other.pk).update(condition=condition)
    error = io.StringIO()
    with pytest.raises(CommandError, match="not well: other-room"):
        call_command("redact_user", "--user=eve", "--yes", stderr=error)
    assert "nobody is at it" in error.getvalue()
    assert not JournalBatch.objects.filter(document=scene).exists(), "the others are done"
    with lease(other.pk, "elsewhere/1/0"):
        call_command("redact_user", "--user=eve", "--yes")


def test_arguments_that_name_nobody_are_refused(eve: User) -> None:
    with pytest.raises(CommandError, match="say who"):
        call_command("redact_user", "--yes")
    with pytest.raises(CommandError, match="no such account"):
        call_command("redact_user", "--user=mallory", "--yes")
    with pytest.raises(CommandError, match="writes for everybody"):
        call_command("redact_user", "--client==site", "--yes")


def test_another_command_at_work_makes_it_wait(scene: Document, eve: User) -> None:
    with lease(scene.pk, "elsewhere/1/0"):
        with pytest.raises(JournalBusy):
            redact(scene, eve)
        out = io.StringIO()
        call_command("redact_user", "--user=eve", "--yes", "--json", stdout=out)
        assert json.loads(out.getvalue())["outcome"] == "busy"


def test_that_no_document_names_a_person_is_said_to_whoever_asks(scene: Document) -> None:
    User.objects.create_user("nemo")
    asked, done = io.StringIO(), io.StringIO()
    call_command("redact_user", "--user=nemo", stdout=asked)
    call_command("redact_user", "--user=nemo", "--yes", stdout=done)
    assert asked.getvalue().startswith("no document names this person")
    assert done.getvalue() == ""


def test_a_document_of_which_no_row_names_the_person_keeps_its_history_unless_that_is_forced(
    scene: Document,
) -> None:
    before, typo = head_of(scene), ("redact_user", "--client=pad-77", "--document=room")
    label_state(scene.pk, before, "kept")
    planned, error = io.StringIO(), io.StringIO()
    call_command(*typo, stdout=planned)
    assert "no row of this document names this person" in planned.getvalue()
    with pytest.raises(CommandError):
        call_command(*typo, "--yes", stderr=error)
    assert "NOT redacted: no row" in error.getvalue()
    assert (head_of(scene), label_named(scene.pk, "kept") is None) == (before, False)
    call_command(*typo, "--yes", "--force")
    assert (head_of(scene), label_named(scene.pk, "kept")) == (before + 1, None)


def test_a_person_whose_account_is_deleted_is_named_by_its_key(scene: Document, eve: User) -> None:
    key = str(eve.pk)
    with pytest.raises(CommandError, match="no such account"):
        call_command("redact_user", "--user", key)  # there is one of this key: by its name
    eve.delete()
    for no_key in (f"{key}0", "9" * 30):
        with pytest.raises(CommandError, match="no such account"):
            call_command("redact_user", "--user", no_key)
    call_command("redact_user", "--user", key, "--yes")
    assert not Operation.objects.filter(user=key).exists()
    assert documents_of(Person(key)) == {}
