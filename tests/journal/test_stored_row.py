"""J23: what the database itself says of damaged rows and pages is damage of their document, and of no other."""

import io
import json
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connection, connections
from django.test.utils import CaptureQueriesContext

from journal.admin_looking_back import looking_back_page
from journal.compaction import KeepRules, compact_document
from journal.damage import hydrate_readable
from journal.error import CorruptJournal, JournalError, JournalUnavailable
from journal.export import state_not_after
from journal.history import graph_at, reach_length, reach_of, replay_length
from journal.label import label_rows, label_state
from journal.models import Document, JournalBatch, Snapshot
from journal.position import look, read_heads, read_positions, truncated_seq_of
from journal.reader import hydrate, oldest_start, read_after, read_tails, usable_snapshots
from journal.snapshot import covered_seq_of, draft_snapshot, prune_snapshots, take_snapshot
from journal.stored_row import tells_damage
from journal.verification import verify_document
from journal.writer import Appended, Conflict, Draft, append_batches
from tests.journal.history import append_each, entries, head_of, insert, message, put
from tests.journal.sqlite import sqlite_connection

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 61)]]

TEXTS = {
    "no text": "substr(payload, 1, 20) || x'FF' || substr(payload, 22)",
    "text": "'once upon a time'",
    "a number": "12",
    "nothing": "''",
}


@pytest.fixture
def rooms(document: Document, other: Document) -> tuple[Document, Document]:
    append_each(document, HISTORY[:20])
    append_each(other, HISTORY[:20])
    return document, other


def become(row: Any, **expressions: str) -> None:
    """Its columns hold what no code of ours would write there."""
    settings = ", ".join(f"{column} = {expression}" for column, expression in expressions.items())
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {settings} WHERE _id = %s", [row.pk.hex])


def fails(command: str, *arguments: str) -> str:
    """What the command says, which ends with status 1."""
    out = io.StringIO()
    with pytest.raises(CommandError) as failure:
        call_command(command, *arguments, stdout=out, stderr=out)
    assert failure.value.returncode == 1
    return out.getvalue()


@pytest.mark.sql
@pytest.mark.parametrize(
    "columns", [*({"payload": text} for text in TEXTS.values()), {"created_at": "'2026-11?30'"}], ids=str
)
@pytest.mark.sqlite
def test_a_column_that_holds_something_else_is_damage_from_there_on(
    rooms: tuple[Document, Document], columns: dict[str, str], tmp_path: Path
) -> None:
    become(JournalBatch.objects.get(document=rooms[1], first_seq=13), **columns)
    for reading in (hydrate, lambda pk: read_after(pk, 0)):
        with pytest.raises(CorruptJournal) as caught:
            reading(rooms[1].pk)
        assert (caught.value.document_id, caught.value.seq) == (rooms[1].pk, 13)
    assert hydrate_readable(rooms[1].pk).head_seq == 12
    assert [finding.seq for finding in verify_document(rooms[1]).findings] == [13]
    assert "seq 13" in fails("export_journal", "--document", "other-room", "--output", str(tmp_path / "o"))
    reports = [json.loads(line) for line in fails("verify_journals", "--json").splitlines()]
    assert {report["slug"]: report["outcome"] for report in reports} == {
        "room": "good",
        "other-room": "damaged",
    }
    rooms[1].refresh_from_db()
    assert rooms[1].damage.startswith("seq 13: ")
    assert " with text " not in rooms[1].damage


@pytest.mark.sqlite
@pytest.mark.parametrize("columns", [{}, {"reason": "CAST(x'FF' AS TEXT)"}], ids=["payload", "reason"])
def test_a_snapshot_that_the_database_cannot_give_is_damaged_like_any_other(
    document: Document, columns: dict[str, str]
) -> None:
    append_each(document, HISTORY[:20])
    digest = hydrate(document.pk).graph.digest()
    row = take_snapshot(document.pk, draft_snapshot(hydrate(document.pk).graph), Snapshot.Reason.COUNT)
    become(row, payload=TEXTS["no text"], **columns)
    assert hydrate(document.pk).graph.digest() == digest
    [finding] = verify_document(document).findings
    assert (finding.is_damage, finding.seq) == (True, 20)


@pytest.fixture
def own_file(
    transactional_db: None, tmp_path: Path
) -> Iterator[Callable[[Callable[[bytearray], None]], None]]:
    """Puts a copy of the database, changed by hand while nobody has it open, in the place of the tests' own."""
    usual, mine = connections["default"], sqlite_connection(tmp_path)
    mine.alias = "default"

    def exchange(change: Callable[[bytearray], None]) -> None:
        path = Path(mine.settings_dict["NAME"])
        with closing(sqlite3.connect(path)) as copy:
            usual.connection.backup(copy)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
        connections["default"] = mine

    yield exchange
    mine.close()
    connections["default"] = usual


@pytest.mark.sqlite
def test_a_broken_page_is_damage_of_the_documents_whose_rows_are_on_it(own_file: Any) -> None:
    for slug in ("a", "b", "c"):
        append_each(Document.objects.create(slug=slug), HISTORY)
    rows = JournalBatch.objects.filter(document__slug="b").order_by("first_seq")
    checksum = rows[40].checksum.encode()

    def break_page(content: bytearray) -> None:
        size = int.from_bytes(content[16:18], "big")
        start = content.index(checksum) // size * size
        assert content[start] == 0x0D  # a leaf of a table
        content[start] ^= 0x40

    own_file(break_page)
    b = Document.objects.get(slug="b")
    with pytest.raises(CorruptJournal, match="malformed") as caught:
        hydrate(b.pk)
    assert 1 < caught.value.seq <= 41
    assert hydrate_readable(b.pk).head_seq == caught.value.seq - 1
    lost = [finding.seq for finding in verify_document(b).findings]
    assert lost == list(range(lost[0], lost[0] + len(lost)))
    assert lost[0] == caught.value.seq
    assert 41 in lost
    said = fails("verify_journals")
    assert "b: damaged" in said
    assert "a: " not in said
    assert {document.slug for document in Document.objects.exclude(damage="")} <= {"b", "c"}
    b.refresh_from_db()
    assert b.damage.startswith(f"seq {lost[0]}: ")


@pytest.mark.sqlite
@pytest.mark.parametrize("which", [0, 1])
def test_j10_a_snapshot_of_which_a_page_is_broken_may_be_lost(own_file: Any, which: int) -> None:
    document = Document.objects.create(slug="a")
    note = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9000), k=9000)))
    append_each(document, [message(1, insert("n", note=note)), *HISTORY[1:]])
    compact_document(document, KeepRules(10, 0))
    digest = hydrate(document.pk).graph.digest()
    payload = bytes(usable_snapshots(document.pk, 1)[0].payload)
    part = payload[len(payload) // 2 :][:40]  # both hold the same

    def break_page(content: bytearray) -> None:
        size = int.from_bytes(content[16:18], "big")
        places = [found.start() for found in re.finditer(re.escape(part), content)]
        start = places[which] // size * size
        content[start : start + 4] = b"\x00\x7f\xff\xff"  # where what follows is

    own_file(break_page)
    assert hydrate(document.pk).graph.digest() == digest
    [finding] = verify_document(document).findings
    assert "lost snapshot" in finding.problem
    assert finding.hint.startswith("The document opens without it.")


@pytest.mark.sqlite
def test_j23_a_broken_page_of_snapshots_is_damage_of_their_document(own_file: Any, tmp_path: Path) -> None:
    for slug in ("a", "b"):
        document = Document.objects.create(slug=slug)
        append_each(document, HISTORY)
    compact_document(document, KeepRules(10, 0))
    label_state(document.pk, 60, "sixty")
    checksum = Snapshot.objects.filter(reason="compaction")[0].checksum.encode()

    def break_page(content: bytearray) -> None:
        size = int.from_bytes(content[16:18], "big")
        content[content.index(checksum) // size * size] ^= 0x40

    own_file(break_page)
    with pytest.raises(CorruptJournal, match="malformed") as caught:
        hydrate(document.pk)
    way_out = f"table vuer_journal_snapshot, document_id {document.pk.hex}, seq from 50 on"
    assert way_out in caught.value.hint
    assert "--to-seq" not in caught.value.hint
    assert hydrate_readable(document.pk).head_seq == 61
    said = fails("verify_journals")
    assert "b: damaged" in said
    assert said.count(way_out) == 1
    assert "a: " not in said
    with pytest.raises(CorruptJournal, match="malformed"):
        label_rows(document.pk)
    assert "malformed" in looking_back_page(document, {})["problem"]
    assert "b: " in fails("compact_journals", "--keep", "3", "--older-than", "0")
    assert "b: " in fails("label_document", "--document", "b")
    assert "b: " in fails("export_journal", "--document", "b", "--output", str(tmp_path / "b"))


@pytest.mark.sqlite
def test_j23_a_broken_page_with_the_newest_batch_keeps_nobody_from_writing(
    own_file: Any, document: Document, other: Document
) -> None:
    """J66: who writes looks for the batch before, and who reads, and who asks for heads."""
    append_each(document, HISTORY[:20])
    append_each(Document.objects.create(slug="between"), HISTORY)
    append_each(other, HISTORY)
    mine, others = hydrate(document.pk), hydrate(other.pk)
    checksum = JournalBatch.objects.get(pk=mine.last_batch).checksum.encode()

    def break_page(content: bytearray) -> None:
        size = int.from_bytes(content[16:18], "big")
        start = content.index(checksum) // size * size
        assert content[start] == 0x0D  # a leaf of a table
        content[start] ^= 0x40

    own_file(break_page)
    positions, there = look([document.pk, other.pk], [mine.last_batch, others.last_batch])
    assert [position and position.head_seq for position in positions.values()] == [20, 60]
    assert there == {mine.last_batch, others.last_batch}
    assert read_after(document.pk, 20, last_batch=mine.last_batch) == []
    drafts = [
        Draft(document.pk, 21, entries(message(61)), mine.last_batch),
        Draft(other.pk, 61, entries(message(61)), others.last_batch),
    ]
    assert append_batches(drafts, "test") == [Appended(21, 21), Appended(61, 61)]


def test_j23_a_damaged_row_that_a_commit_meets_stops_no_other_document(
    rooms: tuple[Document, Document], caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in the way of one transaction is found by trying each document alone; the log says what it is, for
    reading on may not meet it."""

    class Broken:
        def __init__(self, connection: Any) -> None:
            pass

        def append(self, rows: Any) -> Any:
            raise Error("malformed") from of_sqlite(11)

    drafts = [Draft(room.pk, 21, entries(message(61))) for room in rooms]
    found = append_batches(drafts, "test", Broken)
    assert found == [Conflict(was_locked=True)] * 2
    assert "a commit of 2 documents met what is damaged: malformed" in caplog.text


def break_documents(own_file: Any) -> None:
    """The page that has the row of `room-10`, of thirty, is broken; four of them have a journal."""
    for number in range(30):
        Document.objects.create(slug=f"room-{number:02}", title="t" * 300)
    for number in (1, 10, 20, 28):
        append_each(Document.objects.get(slug=f"room-{number:02}"), HISTORY)
    title = b"room-10" + b"t" * 300

    def break_page(content: bytearray) -> None:
        size = int.from_bytes(content[16:18], "big")
        start = content.index(title) // size * size
        assert content[start] == 0x0D  # a leaf of a table
        content[start] ^= 0x40

    own_file(break_page)


@pytest.mark.sqlite
def test_j23_a_broken_page_of_documents_keeps_nobody_from_knowing_how_far_the_others_are(
    own_file: Any,
) -> None:
    break_documents(own_file)
    rows = Document.objects.order_by("pk").values_list("pk", flat=True)
    positions = read_positions(rows)
    lost = [pk for pk, position in positions.items() if position is None]
    assert 0 < len(lost) < 30 == len(positions)
    assert sorted(read_heads(rows)) == sorted(set(positions) - set(lost))
    assert sum(head_seq == len(HISTORY) for head_seq in read_heads(rows).values()) > 1
    known = next(pk for pk in positions if pk not in lost)
    assert read_positions([lost[0], known]) == {lost[0]: None, known: positions[known]}
    with pytest.raises(JournalUnavailable):
        read_positions(lost[:1])


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["truncated_seq", "damaged_at"])
def test_j23_a_row_that_holds_no_number_or_time_keeps_nobody_from_knowing_how_far_the_others_are(
    rooms: tuple[Document, Document], column: str
) -> None:
    """Open rooms ask for all of them in one query."""
    spoilt, whole = rooms
    become(spoilt, **{column: "'2026-13-45 99:99:99'"})
    positions = read_positions([spoilt.pk, whole.pk])
    assert positions[spoilt.pk] is None
    assert positions[whole.pk] is not None
    assert read_heads([spoilt.pk, whole.pk]) == {whole.pk: 20}
    with pytest.raises(JournalUnavailable):
        read_positions([spoilt.pk])


@pytest.mark.sqlite
def test_j23_a_broken_page_of_documents_stops_no_command_over_the_others(own_file: Any) -> None:
    break_documents(own_file)
    out = fails("compact_journals", "--keep", "3", "--older-than", "0", "--json")
    reports = {line["slug"]: line for line in map(json.loads, out.splitlines())}
    lost = {slug for slug, report in reports.items() if report["outcome"] == "failed"}
    assert "room-10" in lost
    assert len(reports) == 30
    assert all("malformed" in reports[slug]["detail"] for slug in lost)
    done = {slug for slug, report in reports.items() if report["outcome"] == "compacted"}
    assert done == {"room-01", "room-10", "room-20", "room-28"} - lost
    assert len(done) > 1
    said = fails("verify_journals")
    assert {line.partition(":")[0] for line in said.splitlines() if "malformed" in line} == lost
    assert "malformed" in fails("verify_journals", "--document", "room-10")


def raised(cause: Exception) -> Error:
    error = Error(str(cause))
    error.__cause__ = cause
    return error


def of_sqlite(code: int) -> Exception:
    error = sqlite3.DatabaseError("so it is")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("cause", "is_damage"),
    [
        (of_sqlite(11), True),  # SQLITE_CORRUPT
        (of_sqlite(779), True),  # SQLITE_CORRUPT_INDEX
        (of_sqlite(26), True),  # SQLITE_NOTADB
        (of_sqlite(5), False),  # SQLITE_BUSY
        (of_sqlite(6), False),  # SQLITE_LOCKED
        (of_sqlite(10), False),  # SQLITE_IOERR
        (of_sqlite(266), False),  # SQLITE_IOERR_READ
        (of_sqlite(13), False),  # SQLITE_FULL
        (of_sqlite(14), False),  # SQLITE_CANTOPEN
        (sqlite3.OperationalError("Could not decode to UTF-8 column 'payload' with text 'x'"), True),
        (sqlite3.OperationalError("something else"), False),
        (psycopg.errors.DataCorrupted(), True),
        (psycopg.errors.IndexCorrupted(), True),
        (psycopg.errors.IoError(), False),
        (psycopg.errors.LockNotAvailable(), False),
        (psycopg.OperationalError("the connection is lost"), False),
    ],
    ids=repr,
)
def test_what_is_stored_is_damaged_or_the_database_does_not_answer(cause: Exception, is_damage: bool) -> None:
    assert tells_damage(raised(cause)) is is_damage


def failing_at(row: JournalBatch, cause: Exception) -> Callable[..., Any]:
    """Reading that row raises, and so does every page that it may be on."""

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        is_read = sql.startswith("SELECT") and '"payload"' in sql and JournalBatch._meta.db_table in sql
        if is_read and ("LIMIT 100" in sql or row.last_seq in params):
            raise raised(cause)
        return run(sql, params, many, context)

    return execute


@pytest.mark.sql
def test_around_a_row_that_cannot_be_read_every_other_one_is(rooms: tuple[Document, Document]) -> None:
    row = JournalBatch.objects.get(document=rooms[0], first_seq=13)
    with connection.execute_wrapper(failing_at(row, psycopg.errors.DataCorrupted("missing chunk"))):
        with pytest.raises(CorruptJournal, match=r"seq 13: the database says: missing chunk\. .*backup"):
            hydrate(rooms[0].pk)
        assert hydrate_readable(rooms[0].pk).head_seq == 12
        verdict = verify_document(rooms[0])
        assert [finding.seq for finding in verdict.findings] == [13]
        assert (verdict.batches, verdict.head_seq) == (19, 20)
        assert read_tails({rooms[0].pk: 0, rooms[1].pk: 0}) == {}
    assert hydrate(rooms[0].pk).head_seq == 20


@pytest.mark.sql
def test_a_database_that_does_not_answer_says_nothing_of_the_document(rooms: Any) -> None:
    row = JournalBatch.objects.get(document=rooms[0], first_seq=13)
    with connection.execute_wrapper(failing_at(row, psycopg.errors.IoError("could not read block"))):
        for reading in (lambda: hydrate(rooms[0].pk), lambda: verify_document(rooms[0])):
            with pytest.raises(JournalUnavailable):
                reading()
        said = fails("verify_journals")
    assert "could not read block" in said
    assert not Document.objects.exclude(damage="").exists()


@pytest.mark.parametrize(("page_bytes", "queries"), [(1 << 20, 2), (1, 22)])
def test_pages_are_as_long_as_their_rows_allow(
    document: Document, monkeypatch: pytest.MonkeyPatch, page_bytes: int, queries: int
) -> None:
    """The first ten rows tell how large they are."""
    append_each(document, HISTORY[:30])
    monkeypatch.setattr("journal.stored_row.PAGE_BYTES", page_bytes)
    with CaptureQueriesContext(connection) as captured:
        found = read_after(document.pk, 0)
    assert [batch.first_seq for batch in found] == list(range(1, 31))
    assert sum("payload" in query["sql"] for query in captured) == queries


def overflow_pages(content: bytearray, payloads: list[bytes]) -> list[int]:
    """Where the pages begin that hold the middles of these payloads."""
    size = int.from_bytes(content[16:18], "big")
    parts = {re.escape(payload[len(payload) // 2 :][:40]) for payload in payloads}
    return sorted({found.start() // size * size for part in parts for found in re.finditer(part, content)})


def looked_at(document: Document, folder: Path) -> dict[str, Any]:
    """What every reader of snapshots makes of the document: what it found, or how it refused."""
    readers: dict[str, Callable[[], Any]] = {
        "hydrate": lambda: hydrate(document.pk).graph.digest(),
        "readable": lambda: hydrate_readable(document.pk).graph.digest(),
        "oldest": lambda: oldest_start(document.pk, truncated_seq_of(document.pk)).head_seq,
        "reach": lambda: reach_of(document.pk).head_seq,
        "head": lambda: graph_at(document.pk, 61).digest(),
        "length": lambda: replay_length(document.pk, 55, 61),
        "labels": lambda: looking_back_page(document, {})["point"].seq,
        "covered": lambda: covered_seq_of(document.pk),
        "prune": lambda: prune_snapshots(document.pk),
        "label": lambda: label_state(document.pk, 61, "again").seq,
        "export": lambda: call_command("export_journal", document="a", output=str(folder / "a")),
        "state": lambda: state_not_after(document.pk, 61).head_seq,
        "compact": lambda: compact_document(document, KeepRules(3, 0)).outcome,
        "again": lambda: compact_document(document, KeepRules(1, 0)).outcome,
    }
    found = {}
    for name, reader in readers.items():
        try:
            found[name] = reader()
        except (JournalError, CommandError) as refusal:
            found[name] = refusal
    return found


@pytest.mark.sqlite
def test_labels_are_not_read_to_find_where_recovery_begins(own_file: Any) -> None:
    document = Document.objects.create(slug="a")
    append_each(document, HISTORY)
    compact_document(document, KeepRules(10, 0))
    note = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9000), k=9000)))
    append_each(document, [message(80, insert("m", note=note))])
    for number in range(5):
        label_state(document.pk, head_of(document), f"label {number}")
    payloads = [bytes(row.payload) for row in Snapshot.objects.filter(reason="label")]

    def break_pages(content: bytearray) -> None:
        pages = overflow_pages(content, payloads)
        assert len(pages) == len(payloads) == 5
        for start in pages:
            content[start : start + 4] = b"\x00\x7f\xff\xff"

    own_file(break_pages)
    with CaptureQueriesContext(connection) as captured:
        assert covered_seq_of(document.pk) > 0
        assert not reach_length(document.pk)
    assert not [query["sql"] for query in captured if "payload" in query["sql"]]
    assert len(captured) == 3, "each row was asked for by itself"


@pytest.mark.sqlite
@pytest.mark.parametrize("which", range(4))
def test_j10_around_a_snapshot_whose_page_is_broken_everything_goes_on(
    own_file: Any, tmp_path: Path, which: int
) -> None:
    """What snapshots are chosen by stands behind their payloads: of one, nobody can read it."""
    document = Document.objects.create(slug="a")
    note = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9000), k=9000)))
    append_each(document, [message(1, insert("n", note=note)), *HISTORY[1:]])
    compact_document(document, KeepRules(10, 0))
    label_state(document.pk, 60, "sixty")
    digest = hydrate(document.pk).graph.digest()
    payloads = [bytes(row.payload) for row in Snapshot.objects.all()]

    def break_page(content: bytearray) -> None:
        pages = overflow_pages(content, payloads)
        assert len(pages) == len(payloads) == 4
        start = pages[which]
        content[start : start + 4] = b"\x00\x7f\xff\xff"  # where what follows is

    own_file(break_page)
    found = looked_at(document, tmp_path)
    assert found["hydrate"] == found["readable"] == found["head"] == digest
    refused = {name: told for name, told in found.items() if isinstance(told, Exception)}
    assert not refused
    assert found["compact"] == found["again"] == "compacted"
    assert hydrate(document.pk).graph.digest() == digest


def broken_toast(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """What PostgreSQL does where the pages of large values are broken: rows are found, but neither read nor deleted."""
    is_large = '"payload"' in sql and sql.startswith("SELECT")
    if Snapshot._meta.db_table in sql and (is_large or sql.startswith("DELETE")):
        raise raised(psycopg.errors.DataCorrupted("invalid page in block 7"))
    return execute(sql, params, many, context)


@pytest.mark.sql
def test_snapshots_that_can_be_neither_read_nor_deleted_stay_and_stop_nothing_else(
    transactional_db: None, document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    append_each(document, HISTORY[:20])
    graph = hydrate(document.pk).graph
    for _ in range(8):
        take_snapshot(document.pk, draft_snapshot(graph), Snapshot.Reason.COUNT)
    with connection.execute_wrapper(broken_toast):
        assert prune_snapshots(document.pk) == 0
        assert hydrate(document.pk).graph.digest() == graph.digest()
    assert "is damaged, and stays: the database says: invalid page" in caplog.text
    assert Snapshot.objects.count() == 8
    assert prune_snapshots(document.pk) > 0
