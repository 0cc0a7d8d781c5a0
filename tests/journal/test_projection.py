"""J16: rows that people read follow from the journal alone, whoever writes them and however often."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet
from django.test import override_settings
from django.utils import timezone

from journal import operation, projection, scene_object
from journal.column import bounded, moment, storable
from journal.compaction import KeepRules
from journal.entry import Entry
from journal.error import JournalError, JournalGap, JournalPutBack, UnknownDocument
from journal.history import graph_at
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.operation import adapted_operations, create_operations, delete_operations, operation_rows
from journal.projection import Step, catch_up, project, project_together, rebuild
from journal.reader import hydrate
from journal.row_insert import Row, Table
from journal.snapshot import draft_snapshot, take_snapshot
from journal.verification import verify_document
from tests.journal.history import all_rows, append, append_each, compact, insert, message, put, undo
from vuer_rtc.crdt.message import Message, Op, cut_record

HISTORY = [
    message(1, insert("a", x=0, tag="mesh", name="Arm"), insert("b", "a")),
    message(2, put("a", "x", 5), put("b", "y", 1)),
    message(3, Op(ot="node.remove", key="a", path="children", value="b")),
    message(4, undo("ann:2")),
]


def redo(target: str) -> Op:
    return Op(ot="meta.redo", key="_meta", path="_meta", target=target)


def project_all(document: Document, since: int | None = None) -> bool:
    found = hydrate(document.pk)
    return project(document.pk, found.head_seq, found.graph.undone_ids(), found.graph.nodes(), since)


def objects(document: Document) -> dict[str, SceneObject]:
    return {row.key: row for row in SceneObject.objects.filter(document=document)}


def test_j66_nothing_is_written_of_a_state_that_the_journal_does_not_reach(document: Document) -> None:
    append_each(document, HISTORY)
    nodes = hydrate(document.pk).graph.nodes()
    JournalBatch.objects.filter(first_seq__gt=2).delete()
    with pytest.raises(JournalGap):
        project(document.pk, 4, set(), nodes)
    assert not SceneObject.objects.exists()
    assert project_all(document)


def test_j66_nothing_is_written_of_a_state_that_the_journal_has_something_else_for(
    document: Document,
) -> None:
    append_each(document, HISTORY[:4])
    hydrated = hydrate(document.pk)
    JournalBatch.objects.filter(first_seq__gt=2).delete()
    append_each(document, [message(8), message(9)])
    step = Step(document.pk, 4, (), hydrated.graph.nodes(), last_batch=hydrated.last_batch)
    with pytest.raises(JournalPutBack):
        project_together([step])
    assert not SceneObject.objects.exists()
    hydrated = hydrate(document.pk)
    step = Step(document.pk, 4, (), hydrated.graph.nodes(), last_batch=hydrated.last_batch)
    assert project_together([step]) == [True]


@pytest.mark.parametrize("rows_max", [1, 1000])
def test_j66_nothing_is_written_when_the_database_is_put_back_meanwhile(
    document: Document, monkeypatch: pytest.MonkeyPatch, settings: Any, rows_max: int
) -> None:
    """Behind the reading of the batches, before the rows."""
    settings.VUER_RTC = {"JOURNAL_PROJECTION_ROWS_MAX": rows_max}
    append_each(document, HISTORY[:2])
    project_all(document)
    before = all_rows(document)
    append_each(document, HISTORY[2:])
    hydrated = hydrate(document.pk)
    marks = projection._marks

    def put_back(*given: Any, **how: Any) -> Any:
        if how:
            JournalBatch.objects.filter(first_seq__gt=2).delete()
        return marks(*given, **how)

    monkeypatch.setattr(projection, "_marks", put_back)
    step = Step(document.pk, 4, (), hydrated.graph.nodes(), last_batch=hydrated.last_batch)
    with pytest.raises(JournalPutBack):
        project_together([step])
    assert all_rows(document) == before


def test_every_op_has_a_row_that_says_who_what_and_when(document: Document) -> None:
    user = get_user_model().objects.create_user("ann")
    append(document, *HISTORY[:2], user=str(user.pk))
    project_all(document)
    rows = list(Operation.objects.order_by("server_seq", "op_index"))
    assert [(row.server_seq, row.op_index, row.otype, row.key, row.path) for row in rows] == [
        (1, 0, "node.insert", "a", ""),
        (1, 1, "node.insert", "b", ""),
        (2, 0, "number.set", "a", "x"),
        (2, 1, "number.set", "b", "y"),
    ]
    last = rows[-1]
    assert (last.user, last.client, last.session, last.message_id, last.value) == (
        user,
        "ann",
        "s-1",
        "ann:2",
        1,
    )
    assert (last.lt, last.ts) == (2, 1e9 + 2)
    assert last.received_at == datetime.fromtimestamp(1.75e9 + 2, UTC)
    assert last.batch.document == document
    assert rows[1].extra == {"parent": "a"}
    assert rows[0].value == {"key": "a", "x": 0, "tag": "mesh", "name": "Arm"}


def test_structural_ops_are_rows_of_the_node_they_are_about(document: Document) -> None:
    append(document, message(1, insert("a"), insert("b")))
    append(
        document, message(2, Op(ot="node.move", path="children", value={"nodeKey": "b", "newParent": "a"}))
    )
    append(document, message(3, Op(ot="node.remove", path="children", value="b")))
    append(document, message(4, Op(ot="node.remove", path="children", value=7)))
    project_all(document)
    assert list(Operation.objects.values_list("otype", "key").order_by("server_seq"))[2:] == [
        ("node.move", "b"),
        ("node.remove", "b"),
        ("node.remove", ""),
    ]


def test_fields_without_a_column_are_kept(document: Document) -> None:
    append(document, message(1, Op(ot="array.move", key="a", path="list", from_=0, to=2), undo("bob:1")))
    project_all(document)
    move, meta = Operation.objects.order_by("op_index")
    assert (move.extra, move.value) == ({"from": 0, "to": 2}, None)
    assert (meta.target_message_id, meta.extra) == ("bob:1", {})


def test_objects_are_the_nodes_of_the_graph(document: Document) -> None:
    append_each(document, HISTORY)
    project_all(document)
    rows = objects(document)
    assert set(rows) == {"a", "b"}
    a, b = rows["a"], rows["b"]
    assert (a.tag, a.name, a.parent, a.properties, a.is_tombstone, a.is_hidden) == (
        "mesh",
        "Arm",
        "",
        {"x": 0},
        False,
        False,
    )
    assert (b.parent, b.is_tombstone, b.is_hidden, b.lt, b.seq) == ("a", True, True, 3, 4)
    assert b.updated_at == datetime.fromtimestamp(1e9 + 3, UTC)
    document.refresh_from_db()
    assert document.head_seq == 4


def test_what_was_undone_when_a_live_room_folded_it_stays_so_on_rows_that_are_written_later(
    document: Document,
) -> None:
    """As those of an import are, or of a room whose process died before it wrote them."""
    append_each(
        document, [message(1, insert("a", x=0)), message(2, put("a", "x", 5)), message(3, undo("ann:2"))]
    )
    append_each(document, [cut_record("=server:1", 3, 0), message(4, put("a", "y", 1))])
    catch_up(document.pk)
    assert list(Operation.objects.filter(undone=True).values_list("message_id", flat=True)) == ["ann:2"]
    before = list(Operation.objects.values_list("server_seq", "undone"))
    rebuild(document.pk)
    assert list(Operation.objects.values_list("server_seq", "undone")) == before


def test_so_it_does_when_it_was_folded_before_what_came_earlier(document: Document) -> None:
    """J16: somebody comes back and undoes what was done offline; a cut folds that, and not what others have written
    meanwhile."""
    append_each(document, [message(1, insert("a", x=0)), message(20, put("a", "x", 5))])
    project_all(document)
    back = [message(2, put("a", "x", 6), client="bob"), message(3, undo("bob:2"), client="bob")]
    append_each(document, [*back, cut_record("=server:1", 10, 0)])
    catch_up(document.pk)
    assert list(Operation.objects.filter(undone=True).values_list("message_id", flat=True)) == ["bob:2"]


def test_undo_and_redo_show_on_the_rows_of_the_target(document: Document) -> None:
    append_each(document, HISTORY[:2])
    project_all(document)
    append(document, HISTORY[3])
    project_all(document)
    assert set(Operation.objects.filter(undone=True).values_list("message_id", flat=True)) == {"ann:2"}
    assert Operation.objects.filter(undone=True).count() == 2
    append(document, message(5, Op(ot="meta.redo", key="_meta", target="ann:2")))
    project_all(document)
    assert not Operation.objects.filter(undone=True).exists()


def test_j16_projecting_again_changes_nothing(document: Document) -> None:
    append_each(document, HISTORY)
    project_all(document)
    before = [list(Operation.objects.values()), list(SceneObject.objects.values())]
    project_all(document)
    assert project_all(document, since=4)
    assert [list(Operation.objects.values()), list(SceneObject.objects.values())] == before


def test_j16_databases_without_upserts_get_the_same_rows(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_way(target: Document) -> None:
        append_each(target, HISTORY[:2])
        project_all(target)
        append_each(target, HISTORY[2:])
        Document.objects.filter(pk=target.pk).update(head_seq=0)
        project_all(target)

    half_way(document)
    for module in (operation, scene_object):
        monkeypatch.setattr(module, "is_fast", lambda connection: False)
    half_way(other)
    for mine, theirs in zip(all_rows(document), all_rows(other), strict=True):
        for row in [*mine, *theirs]:
            row.pop("document_id"), row.pop("batch_id", None)
        assert mine == theirs


def test_j16_every_way_to_write_operations_writes_the_same(
    document: Document, other: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = get_user_model().objects.create_user("ann")
    value = {"text": 'it\'s "ü" %s ? 🦾 \x00', "big": 2**60, "tiny": 1e-300, "none": None, "deep": [[], {}]}
    odd = [
        message(1, *[put("a", "x", each) for each in (value, "", {}, [], 0, False, "null", -1.5)]),
        message(2, put("ключ" * 200, "p" * 600, "x"), undo("ann:1"), Op(ot="node.remove", value="b")),
    ]
    entries = [
        Entry(msgspec.structs.replace(each, server_seq=seq), user=user, session="s" * 80, received_at=at)
        for user, at in ((str(ann.pk), 1.75e9), (None, 1.75e9 + 1e-6), ("no key", 1e300))
        for seq, each in enumerate(odd, 1)
    ]
    batch_id = uuid4()

    def written(target: Document) -> list[Any]:
        rows = adapted_operations(
            [
                (*row[:3], number, *row[4:])
                for number, entry in enumerate(entries, 1)
                for row in operation_rows(target.pk, batch_id, entry, {"ann:2"})
            ]
        )
        create_operations(rows)
        create_operations(rows)  # those that are there are left
        found = Operation.objects.filter(document=target).order_by("server_seq", "op_index").values()
        assert len(found) == len(rows)
        return [{name: row[name] for name in row if name not in ("id", "document_id")} for row in found]

    mine = written(document)
    monkeypatch.setattr(operation, "is_fast", lambda connection: False)
    reference = written(other)
    for row in [*mine, *reference]:
        if row["server_seq"] > 4:  # no calendar has that time: the row's own
            assert timezone.now() - row.pop("received_at") < timedelta(minutes=1)
    assert mine == reference


def test_j16_step_by_step_equals_a_rebuild(document: Document) -> None:
    seq = 0
    project_all(document)
    for item in HISTORY:
        append(document, item)
        found = hydrate(document.pk)
        applied_keys = {"a", "b"}
        views = {key: found.graph.nodes().get(key) for key in applied_keys}
        assert project(document.pk, found.head_seq, found.graph.undone_ids(), views, since=seq)
        seq = found.head_seq
    stepwise = all_rows(document)
    assert rebuild(document.pk) == (6, 2)
    assert all_rows(document) == stepwise


def test_j16_rows_that_have_not_come_as_far_need_all_nodes(document: Document) -> None:
    append_each(document, HISTORY)
    assert not project(document.pk, 4, (), {}, since=2)
    assert not SceneObject.objects.exists()
    assert project_all(document)


def test_j16_a_state_that_is_older_than_the_rows_is_not_written(document: Document) -> None:
    append_each(document, HISTORY[:2])
    stale = hydrate(document.pk).graph
    append_each(document, HISTORY[2:])
    project_all(document)
    before = all_rows(document)
    assert project(document.pk, 2, stale.undone_ids(), stale.nodes(), since=1)
    assert project(document.pk, 2, stale.undone_ids(), stale.nodes())
    assert all_rows(document) == before


def test_a_node_that_is_no_longer_part_of_the_state_loses_its_row(document: Document) -> None:
    append(document, HISTORY[0])
    project_all(document)
    append(document, message(2, undo("ann:1")))
    graph = hydrate(document.pk).graph
    assert project(document.pk, 2, graph.undone_ids(), {"a": graph.nodes().get("a"), "b": None}, since=1)
    assert objects(document) == {}


def test_j16_rebuild_puts_right_whatever_was_wrong(document: Document) -> None:
    append_each(document, HISTORY)
    project_all(document)
    right = all_rows(document)
    Operation.objects.filter(server_seq=2).delete()
    Operation.objects.filter(server_seq=3).update(undone=True, key="nonsense")
    SceneObject.objects.filter(key="a").update(properties={})
    SceneObject.objects.create(document=document, key="ghost", lt=1)
    assert rebuild(document.pk) == (6, 2)
    assert all_rows(document) == right


@pytest.mark.parametrize("write", [rebuild, catch_up])
def test_j16_what_was_undone_before_it_was_folded_away_stays_so(document: Document, write: Any) -> None:
    """J21."""
    append(document, message(1, insert("n")), message(2, put("n", "x", 2)), message(3, put("n", "x", 3)))
    append(document, message(4, undo("ann:2")), message(5, undo("ann:3")))
    append(document, message(6, put("n", "x", 6)), message(7, undo("ann:6")))
    append(document, cut_record("=server:1", 2, 0), message(8, redo("ann:6")))
    append(document, cut_record("=server:2", 8, 0))
    draft = draft_snapshot(hydrate(document.pk).graph)
    assert take_snapshot(document.pk, draft, Snapshot.Reason.COUNT)
    write(document.pk)
    undone = Operation.objects.filter(undone=True).values_list("message_id", flat=True)
    assert sorted(undone) == ["ann:2", "ann:3"]


@pytest.mark.parametrize("is_behind", [False, True])
def test_j16_what_was_undone_before_a_compaction_folded_it_stays_so(
    document: Document, is_behind: bool
) -> None:
    """J35: the snapshot has folded a message whose batch stays; the origin has not."""
    append_each(document, [message(1, insert("n")), message(5, put("n", "x", 5))])
    append(document, message(3, put("n", "y", 3), client="bob"))
    append_each(document, [message(6, undo("bob:3"), client="bob"), message(7, put("n", "x", 7))])
    if not is_behind:
        catch_up(document.pk)
    assert compact(document, KeepRules(3, 0)).truncated_seq == 2
    undone = Operation.objects.filter(undone=True).values_list("message_id", flat=True)
    assert list(undone) == ["bob:3"]
    rebuild(document.pk)
    assert list(undone.all()) == ["bob:3"]


def test_j13_catching_up_begins_again_when_a_compaction_overtakes_it(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY)
    read_batches = projection.read_batches

    def overtaken(*place: Any) -> Any:
        """Truncated behind the look at where the journal begins."""
        monkeypatch.setattr(projection, "read_batches", read_batches)
        compact(document)
        return read_batches(*place)

    monkeypatch.setattr(projection, "read_batches", overtaken)
    catch_up(document.pk)
    assert objects(document).keys() == hydrate(document.pk).graph.nodes().keys()


def test_catching_up_reads_only_heads_when_there_is_nothing_to_do(
    document: Document, django_assert_max_num_queries: Any
) -> None:
    append_each(document, HISTORY)
    catch_up(document.pk)
    with django_assert_max_num_queries(2):
        catch_up(document.pk)
    assert set(objects(document)) == {"a", "b"}


@pytest.mark.sql
def test_large_projections_go_by_bounded_statements(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_inserted(monkeypatch, operation.TABLE)
    append_each(document, [message(lt, put("a", "x", lt)) for lt in range(1, 41)], size=2)
    with override_settings(VUER_RTC={"JOURNAL_PROJECTION_ROWS_MAX": 10}):
        project_all(document)
    assert max(sizes) == 10
    assert Operation.objects.count() == 40


@pytest.mark.sql
def test_rows_of_a_large_document_go_by_bounded_transactions(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits of rooms wait for each, on SQLite."""
    sizes = count_inserted(monkeypatch, scene_object.TABLE)
    append(document, message(1, *[insert(f"n{number}") for number in range(45)]))
    with override_settings(VUER_RTC={"JOURNAL_PROJECTION_ROWS_MAX": 10}):
        project_all(document)
    assert max(sizes) == 10
    assert len(objects(document)) == 45


def count_inserted(monkeypatch: pytest.MonkeyPatch, table: Table) -> list[int]:
    """How many rows each call inserts."""
    sizes: list[int] = []
    insert_rows = table.insert

    def count(connection: Any, rows: Sequence[Row]) -> None:
        sizes.append(len(rows))
        insert_rows(connection, rows)

    monkeypatch.setattr(table, "insert", count)
    return sizes


@pytest.mark.parametrize("since", [None, 1])
def test_j16_what_others_write_between_a_look_at_the_rows_and_the_last_transaction_counts(
    document: Document, since: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY[:1])
    project_all(document)
    append_each(document, [message(2, put("a", "x", 1)), message(3, undo("ann:2"))])
    prepare, rival = projection._prepare_all, []

    def overtaken(*args: Any) -> Any:
        works = prepare(*args)
        if not rival:
            rival.append(True)
            before = graph_at(document.pk, 2)
            assert project(document.pk, 2, (), before.nodes())
            assert objects(document)["a"].properties == {"x": 1}
        return works

    monkeypatch.setattr(projection, "_prepare_all", overtaken)
    assert project_all(document, since)
    assert objects(document)["a"].properties == {"x": 0}


@pytest.mark.sql
def test_j16_what_others_write_and_do_not_finish_counts_too(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("a", "b", "c")
    append(document, message(1, *[insert(key, x=0) for key in keys]))
    project_all(document)
    append_each(document, [message(2, *[put(key, "x", 1) for key in keys]), message(3, undo("ann:2"))])
    prepare, rival = projection._prepare_all, []

    def overtaken(*args: Any) -> Any:
        works = prepare(*args)
        if not rival:
            rival.append(True)
            with (
                override_settings(VUER_RTC={"JOURNAL_PROJECTION_ROWS_MAX": 1}),
                monkeypatch.context() as patch,
            ):
                patch.setattr(projection, "_finish", lambda _: [])  # it is killed before
                project(document.pk, 2, (), graph_at(document.pk, 2).nodes())
            assert objects(document)["a"].properties == {"x": 1}
        return works

    monkeypatch.setattr(projection, "_prepare_all", overtaken)
    assert project_all(document)
    assert [objects(document)[key].properties for key in keys] == [{"x": 0}] * 3


def test_j16_no_rows_are_written_of_batches_that_are_being_deleted(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Say because one of their authors is being redacted."""
    append_each(document, [message(lt, *[put("a", "x", lt)] * 20) for lt in range(1, 5)])
    create = projection.adapted_operations

    def overtaken(rows: Sequence[Row]) -> list[Row]:
        Document.objects.filter(pk=document.pk).update(truncated_seq=3)
        return create(rows)

    monkeypatch.setattr(projection, "adapted_operations", overtaken)
    for rows_max in (10, 1000):
        Document.objects.update(truncated_seq=0)
        with override_settings(VUER_RTC={"JOURNAL_PROJECTION_ROWS_MAX": rows_max}), suppress(JournalGap):
            project_all(document)
        assert set(Operation.objects.values_list("server_seq", flat=True)) <= {4}


def test_operations_are_deleted_a_part_at_a_time(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    append_each(document, [message(lt, *[put("a", "x", lt)] * 3) for lt in range(1, 9)])
    project_all(document)
    monkeypatch.setattr(operation, "ROWS_DELETED", 5)
    delete, counts = QuerySet.delete, []

    def count(rows: "QuerySet[Any]") -> tuple[int, dict[str, int]]:
        found = delete(rows)
        counts.append(found[0])
        return found

    monkeypatch.setattr(QuerySet, "delete", count)
    delete_operations(document.pk, 6)
    assert max(counts) == 6  # messages are not split
    assert sorted(set(Operation.objects.values_list("server_seq", flat=True))) == [7, 8]
    delete_operations(document.pk)
    assert not Operation.objects.exists()


def waits_for_the_disk() -> Any:
    """What the database says of the commits of this connection."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous" if connection.vendor == "sqlite" else "SHOW synchronous_commit")
        return cursor.fetchone()[0]


@pytest.mark.sql
@pytest.mark.django_db(transaction=True)
def test_j16_only_the_commits_of_rows_do_not_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Document.objects.create(slug="room")
    append_each(document, HISTORY)
    before, within = waits_for_the_disk(), []
    reached = projection.reach
    monkeypatch.setattr(
        projection, "reach", lambda point: within.append(waits_for_the_disk()) or reached(point)
    )
    project_all(document)
    assert within == [*[1 if connection.vendor == "sqlite" else "off"] * 2, before]
    with pytest.raises(UnknownDocument):
        project(uuid4(), 1, (), {})
    assert waits_for_the_disk() == before


def awkward() -> Message:
    long = "k" * 3000
    return message(
        1,
        insert(long, **{"nul\x00": "a\x00b"}),
        put(long, "p" * 3000, 1),
        Op(ot="string.set", key="\x00", path="\x00", value="\x00"),
        client="c" * 3000,
        id="i" * 3000,
    )


def test_what_does_not_fit_a_column_is_cut_and_marked(document: Document) -> None:
    append(document, awkward())
    project_all(document)
    insert_row, put_row, nul_row = Operation.objects.order_by("op_index")
    assert insert_row.key == put_row.key == bounded("k" * 3000)
    assert len(put_row.key) == 512
    assert (nul_row.key, nul_row.value) == ("␀", "␀")
    assert objects(document)[bounded("k" * 3000)].properties["nul␀"] == "a␀b"


def test_nodes_whose_keys_look_the_same_in_a_column_share_a_row(document: Document) -> None:
    append(document, message(1, insert("\x00", tag="one"), insert("␀", tag="other")))
    for since in (None, 0):
        Document.objects.update(head_seq=0)
        assert project_all(document, since)
        assert set(objects(document)) == {"␀"}


def test_large_doubles_are_what_the_journal_says_whatever_the_database_makes_of_them(
    document: Document,
) -> None:
    """Nanoseconds since 1970 are one: an integer beyond 2^53."""
    values = [float(1764000000123456789), 1e30, -1e308, 5e-324, 2.0**53]
    append(document, message(1, insert("a", x=values, y={"z": values[0]})))
    catch_up(document.pk)
    assert verify_document(document).findings == []
    [properties] = SceneObject.objects.values_list("properties", flat=True)
    SceneObject.objects.update(properties={**properties, "y": {"z": values[0] * 1.0001}})
    assert len(verify_document(document).findings) == 1


def test_j16_a_boolean_that_became_a_number_is_written(document: Document) -> None:
    append(document, message(1, insert("a", x=True, y=[0])))
    catch_up(document.pk)
    append(document, message(2, put("a", "x", 1), Op(ot="array.set", key="a", path="y", value=[False])))
    catch_up(document.pk)
    [properties] = SceneObject.objects.values_list("properties", flat=True)
    assert repr(properties["x"]) == "1"
    assert repr(properties["y"]) == "[False]"
    SceneObject.objects.update(properties={**properties, "x": True})
    assert len(verify_document(document).findings) == 1


def test_what_only_looks_like_a_nul_character_stays() -> None:
    value = {"a": ["\\u0000", {"b": "\x00\\u0000"}]}
    assert storable(value) == {"a": ["\\u0000", {"b": "␀\\u0000"}]}


def test_bounded_texts_stay_apart() -> None:
    assert bounded("x" * 512) == "x" * 512
    assert bounded("x" * 513) != bounded("x" * 514)
    assert storable({"a": ["\x00", 1, None]}) == {"a": ["␀", 1, None]}


@pytest.mark.parametrize("ts", [1.75e9, 1.75e12])
def test_client_clocks_in_seconds_and_milliseconds_are_the_same_moment(ts: float) -> None:
    assert moment(ts) == datetime(2025, 6, 15, 15, 6, 40, tzinfo=UTC)


@pytest.mark.parametrize("ts", [1e300, -1e300, 1e25])
def test_a_client_clock_that_no_calendar_has_is_no_moment(ts: float) -> None:
    assert moment(ts) is None


def test_an_account_that_is_none_is_nobody(document: Document) -> None:
    append(document, HISTORY[0], user="not-a-key")
    project_all(document)
    assert {row.user_id for row in Operation.objects.all()} == {None}


@pytest.mark.parametrize("since", [None, 2])
def test_rows_that_are_begun_anew_meanwhile_are_not_left_without_what_was_there(
    document: Document, since: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_each(document, HISTORY[:2])
    project_all(document)
    append_each(document, HISTORY[2:])
    prepare = projection._prepare_all

    def overtaken(*args: Any) -> Any:
        works = prepare(*args)
        Document.objects.update(head_seq=0)  # as `rebuild` does
        Operation.objects.all().delete()
        return works

    monkeypatch.setattr(projection, "_prepare_all", overtaken)
    with suppress(JournalError):
        assert not project_all(document, since)
    monkeypatch.undo()
    project_all(document)
    before = all_rows(document)
    rebuild(document.pk)
    assert before == all_rows(document)
