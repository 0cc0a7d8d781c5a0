"""The commands: silent in cron, plain on a terminal, JSON on request, exit status 1 when something is
wrong."""

import errno
import io
import json
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connection

from journal import lease
from journal.compaction import KeepRules, compact_document
from journal.damage import clear_damage, note_damage
from journal.entry import ZSTD_MAGIC
from journal.error import TransferRefused, UnknownDocument
from journal.management.per_document import coded
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot
from journal.packed import GZIP_MAGIC
from journal.projection import rebuild
from journal.purge import purge_document
from journal.reader import Hydrated, hydrate
from journal.verification import Identities, Verdict, verify_document
from rooms.models import Session
from tests.journal.history import append, append_each, insert, message, put, ranges
from tests.journal.test_reader import damage

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 8)]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(command: str, *arguments: str, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=out)
    return out.getvalue()


def run_json(command: str, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(command, *arguments, "--json").splitlines()]


@pytest.fixture
def rooms(document: Document, other: Document) -> tuple[Document, Document]:
    append_each(document, HISTORY)
    append_each(other, HISTORY[:3])
    return document, other


def test_cron_hears_nothing_when_all_is_well(rooms: Any) -> None:
    for arguments in (
        ["compact_journals", "--keep=0", "--older-than=0"],
        ["verify_journals"],
        ["rebuild_projections"],
    ):
        assert run(*arguments) == ""


@pytest.mark.parametrize("command", ["export_journal", "verify_journals", "label_document --label=now"])
def test_j45_a_document_that_is_being_imported_is_called_so_and_not_touched(
    document: Document, command: str
) -> None:
    Document.objects.filter(pk=document.pk).update(condition=Document.Condition.IMPORTING)
    with pytest.raises(CommandError, match=r"no such document: room \(being imported: not whole yet\)"):
        run(*command.split(), "--document", "room")
    assert not Snapshot.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["import_journal", "{folder}/none.jsonl", "--document", "room"],
        ["import_journal", "{folder}", "--document", "room"],
        ["export_journal", "--document", "room", "--output", "{folder}/none/room.jsonl"],
        ["export_journal", "--document", "room", "--output", "{folder}"],
    ],
)
def test_a_file_that_is_not_there_is_a_senseless_argument(
    document: Document, tmp_path: Path, arguments: list[str]
) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError) as failure:
        run(*[each.format(folder=tmp_path) for each in arguments], "--json", out=out)
    assert failure.value.returncode == 2
    told = json.loads(out.getvalue())
    assert (told["slug"], told["outcome"], told["detail"]) == ("room", "failed", str(failure.value))
    assert list(tmp_path.iterdir()) == []
    document.refresh_from_db()
    assert document.lease_holder == ""


@pytest.mark.parametrize(("option", "part"), [("--from-seq", [5, 7]), ("--to-seq", [0, 5])])
def test_an_export_may_be_of_a_part(
    rooms: tuple[Document, Document], tmp_path: Path, option: str, part: list[int]
) -> None:
    path = tmp_path / "room.jsonl"
    [report] = run_json("export_journal", "--document", "room", option, "5", "--output", str(path))
    assert [report["from_seq"], report["to_seq"]] == part
    header = json.loads(path.read_text().splitlines()[0])
    assert [header["fromSeq"], header["toSeq"]] == part


@pytest.mark.parametrize(
    ("suffix", "beginning"), [(".gz", GZIP_MAGIC), (".zst", ZSTD_MAGIC), ("", b'{"kind"')]
)
def test_an_export_is_packed_as_its_name_says(
    document: Document, tmp_path: Path, suffix: str, beginning: bytes
) -> None:
    path = tmp_path / f"room.jsonl{suffix}"
    run("export_journal", "--document", "room", "--output", str(path))
    assert path.read_bytes().startswith(beginning)


def test_of_an_export_nothing_is_to_be_chosen(rooms: tuple[Document, Document], tmp_path: Path) -> None:
    path = str(tmp_path / "room.jsonl")
    run("export_journal", "--document", "room", "--output", path)
    with pytest.raises(CommandError, match="--source is about dumps") as failure:
        run("import_journal", path, "--document", "copy", "--source", "room")
    assert failure.value.returncode == 2
    assert not Document.objects.filter(slug="copy").exists()


def test_an_export_that_cannot_be_finished_leaves_no_file(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    out = io.StringIO()
    with pytest.raises(CommandError) as failure:
        run("export_journal", "--document", "room", "--output", f"{tmp_path}/room.jsonl", "--json", out=out)
    assert failure.value.returncode == 1
    assert json.loads(out.getvalue())["code"] == "not-written"
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_a_line_only_where_there_is_one() -> None:
    refusals = [TransferRefused("gap", line, "why", name) for line in (0, 3) for name in ("", "a.zst")]
    told = ["gap: why", "gap: a.zst: why", "gap: line 3: why", "gap: a.zst, line 3: why"]
    assert [str(each) for each in refusals] == told
    assert [coded(each) for each in refusals[1:3]] == [{"code": "gap"}, {"code": "gap", "line": 3}]


def test_a_terminal_is_told_what_was_done(rooms: Any) -> None:
    told = run("compact_journals", "--keep", "2", "--older-than", "0", out=Terminal())
    assert "other-room: 1 messages in 1 batches folded" in told
    assert "room: 5 messages in 5 batches folded" in told
    assert "room: good: 3 messages in 3 batches, 3 snapshots, head 8" in run(
        "verify_journals", out=Terminal()
    )
    assert "room: 3 operations, 1 objects" in run("rebuild_projections", out=Terminal())


@pytest.mark.parametrize(
    "senseless",
    [
        "compact_journals --document nowhere",
        "export_journal --document nowhere",
        "export_journal --document room --json",
        "export_journal --document room --from-seq 1 --with-archives",
        "export_journal --document room --from-seq 1 --to-seq 2",
        "export_journal --document room --with-archives --to-seq 2",
        "look_back --document nowhere",
        "purge_document --document nowhere --yes",
        "purge_document --document room",
        "redact_user",
        "redact_user --user nobody",
        "redact_user --client= --document room --yes",
        "restore_document --document nowhere --seq 1",
        "restore_document --document room --undo ann:1 --dry-run",
        "restore_document --document room --seq 1 --key stranger",
        "close_sessions",
        "close_sessions --client a --user nobody",
    ],
)
def test_arguments_that_make_no_sense_end_with_status_2(rooms: Any, senseless: str) -> None:
    with pytest.raises(CommandError) as failure:
        run(*senseless.split())
    assert failure.value.returncode == 2
    if not (senseless.startswith("export_journal") and "--output" not in senseless):
        out = io.StringIO()
        with pytest.raises(CommandError):
            call_command(*senseless.split(), "--json", stdout=out)
        assert json.loads(out.getvalue())["outcome"] == "failed"


@pytest.mark.parametrize(
    "arguments",
    [
        "compact_journals --document \udcff",
        "purge_document --document \udcff --yes",
        "label_document --document room --drop \udcff",
        "look_back --document room --label \udcff",
        "redact_user --user \udcff",
        "close_sessions --user \udcff",
        "restore_document --document room --seq 1 --key n --key \udcff",
    ],
)
def test_bytes_that_are_no_text_are_told_without_a_traceback(
    rooms: Any, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    with pytest.raises(CommandError, match=r"'\\udcff' is no text") as failure:
        call_command(*arguments.split(" "), "--json")
    assert failure.value.returncode == 2
    assert json.loads(capsys.readouterr().out)["outcome"] == "failed"


def test_a_document_of_which_nothing_can_be_told_does_not_keep_the_others(
    rooms: tuple[Document, Document],
) -> None:
    """A log on a full disk: to fold the others is what gives room."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if "other-room" in text:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    out, err = Full(), io.StringIO()
    with pytest.raises(CommandError, match=r"not well: other-room$"):
        call_command("compact_journals", "--keep=0", "--older-than=0", "--json", stdout=out, stderr=err)
    assert json.loads(out.getvalue())["slug"] == "room"
    assert "other-room: what was done could not be told: [Errno 28]" in err.getvalue()


def test_compaction_takes_the_documents_named(rooms: tuple[Document, Document]) -> None:
    [report] = run_json("compact_journals", "--document", "other-room", "--keep", "0", "--older-than", "0")
    assert (report["slug"], report["outcome"], report["messages"]) == ("other-room", "compacted", 3)
    assert len(ranges(rooms[0].pk)) == 7


def test_by_default_nothing_young_is_touched(rooms: Any) -> None:
    assert {report["outcome"] for report in run_json("compact_journals")} == {"nothing to do"}
    assert JournalBatch.objects.count() == 10


def test_a_dry_run_prints_the_plan_wherever_it_runs_and_writes_nothing(rooms: Any) -> None:
    told = run("compact_journals", "--keep=2", "--older-than=0", "--dry-run")
    assert "room: would fold 5 messages in 5 batches, up to seq 5, cut 5" in told
    assert (JournalBatch.objects.count(), Snapshot.objects.count(), Operation.objects.count()) == (10, 0, 0)


def test_compaction_leaves_the_objects_exact_even_with_nothing_to_fold(rooms: Any) -> None:
    run("compact_journals")
    assert {row.document.slug: row.properties for row in SceneObject.objects.all()} == {
        "room": {"x": 7},
        "other-room": {"x": 3},
    }


def test_an_unknown_document_is_an_error(rooms: Any) -> None:
    with pytest.raises(CommandError, match="no such document: nowhere"):
        run("compact_journals", "--document", "nowhere")


@pytest.mark.parametrize(
    "arguments", [["--keep=-1"], ["--older-than=-1"], ["--older-than=nan"], ["--keep=many"]]
)
def test_keep_rules_that_make_no_sense_are_refused(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="is no number from 0"):
        run("compact_journals", *arguments)


def test_j14_a_document_kept_for_ever_does_not_keep_the_others(rooms: tuple[Document, Document]) -> None:
    Document.objects.update(keep_messages=0, keep_days=0)
    Document.objects.filter(pk=rooms[1].pk).update(keep_days=999_999)
    run("compact_journals", "--older-than=999999")
    assert not Snapshot.objects.exists()
    run("compact_journals")
    assert [row.slug for row in Document.objects.filter(truncated_seq__gt=0)] == ["room"]


def test_a_document_that_is_being_compacted_is_left_to_its_holder(rooms: tuple[Document, Document]) -> None:
    with lease.lease(rooms[0].pk, "elsewhere/1/0"):
        reports = run_json("compact_journals", "--keep", "0", "--older-than", "0")
    assert {report["slug"]: report["outcome"] for report in reports} == {
        "room": "busy",
        "other-room": "compacted",
    }


def test_a_damaged_document_fails_and_the_others_are_compacted(rooms: tuple[Document, Document]) -> None:
    damage(JournalBatch.objects.get(document=rooms[1], first_seq=2))
    out = io.StringIO()
    with pytest.raises(CommandError, match="not well: other-room"):
        run("compact_journals", "--keep", "0", "--older-than", "0", out=out)
    assert "seq 2" in out.getvalue()
    assert ranges(rooms[0].pk) == [(8, 8)]
    assert len(ranges(rooms[1].pk)) == 3


def test_cron_hears_of_a_document_that_is_known_to_be_damaged_with_nothing_to_fold(
    rooms: tuple[Document, Document],
) -> None:
    note_damage(rooms[1].pk, "seq 2: gone. Put it back\nseq 3: gone")
    out = io.StringIO()
    with pytest.raises(CommandError, match="not well: other-room") as failure:
        run("compact_journals", out=out)
    assert failure.value.returncode == 1
    assert out.getvalue().splitlines() == [
        "other-room: damaged, seq 2: gone. Put it back",
        "other-room: damaged, seq 3: gone",
        "other-room: nothing to do",
    ]
    out = io.StringIO()
    with pytest.raises(CommandError):
        run("compact_journals", "--json", out=out)
    reports = {report["slug"]: report for report in map(json.loads, out.getvalue().splitlines())}
    assert (reports["room"]["damage"], reports["room"]["outcome"]) == ("", "nothing to do")
    assert reports["other-room"]["damage"].startswith("seq 2: gone")
    clear_damage(rooms[1].pk)
    assert run("compact_journals") == ""


# Verification


def findings(document: Document) -> list[tuple[bool, int]]:
    return [(finding.is_damage, finding.seq) for finding in verify_document(document).findings]


def test_verification_finds_nothing_in_a_good_document(rooms: tuple[Document, Document]) -> None:
    run("compact_journals", "--keep", "2", "--older-than", "0")
    for document in rooms:
        assert findings(document) == []


def test_verification_finds_damaged_rows_and_gaps_each_by_its_place(rooms: tuple[Document, Document]) -> None:
    damage(JournalBatch.objects.get(document=rooms[0], first_seq=2))
    damage(JournalBatch.objects.get(document=rooms[0], first_seq=6))
    JournalBatch.objects.filter(document=rooms[0], first_seq=4).delete()
    assert findings(rooms[0]) == [(True, 2), (True, 5), (True, 6)]
    out = io.StringIO()
    with pytest.raises(CommandError, match="not well: room"):
        run("verify_journals", out=out)
    assert "damage at seq 5: batch" in out.getvalue()


def test_verification_finds_that_the_newest_batches_are_gone(rooms: tuple[Document, Document]) -> None:
    """J66: a database that was put back has rows of operations and objects no further than its batches."""
    rebuild(rooms[0].pk)
    batches = JournalBatch.objects.filter(document=rooms[0])
    last = batches.latest("last_seq")
    batches.filter(first_seq__gte=last.first_seq - 1).delete()
    assert findings(rooms[0]) == [(True, last.first_seq - 1)]
    run("rebuild_projections")
    assert findings(rooms[0]) == []


def test_verification_finds_a_damaged_snapshot(rooms: tuple[Document, Document]) -> None:
    run("compact_journals", "--keep", "2", "--older-than", "0")
    damage(Snapshot.objects.filter(document=rooms[0], reason="compaction")[0])
    assert findings(rooms[0]) == [(True, 8)]


def test_verification_says_to_delete_a_damaged_snapshot_only_when_the_document_opens_without_it(
    rooms: tuple[Document, Document],
) -> None:
    run("compact_journals", "--keep", "2", "--older-than", "0")
    snapshots = Snapshot.objects.filter(document=rooms[0])
    damage(snapshots.get(reason="origin"))
    damage(snapshots.filter(reason="compaction")[0])
    hints = [finding.hint for finding in verify_document(rooms[0]).findings]
    assert len(hints) == 2
    assert all(hint.startswith("The document opens without it. Delete this row") for hint in hints)
    damage(snapshots.filter(reason="compaction")[1])
    found = verify_document(rooms[0]).findings
    assert len(found) == 4
    assert "no good snapshot reaches" in found[0].problem
    assert not any("elete" in finding.hint for finding in found)


def test_verification_tells_of_a_damaged_snapshot_of_whatever_reason(
    rooms: tuple[Document, Document],
) -> None:
    """A later version may know more of them, and what is damaged may be that."""
    run("compact_journals", "--keep", "2", "--older-than", "0")
    row = Snapshot.objects.filter(document=rooms[0], reason="compaction")[0]
    damage(row)
    Snapshot.objects.filter(pk=row.pk).update(reason="unheard-of")
    [finding] = verify_document(rooms[0]).findings
    assert finding.problem.startswith(f"unheard-of snapshot {row.pk}: ")


def test_what_verification_says_to_delete_can_be_deleted(rooms: tuple[Document, Document]) -> None:
    run("compact_journals", "--keep", "2", "--older-than", "0")
    before = hydrate(rooms[0].pk).graph.full_digest()
    for reason in ("origin", "compaction"):
        row = Snapshot.objects.filter(document=rooms[0], reason=reason)[0]
        damage(row)
        row.delete()
        assert findings(rooms[0]) == []
        assert hydrate(rooms[0].pk).graph.full_digest() == before


def test_verification_finds_what_is_journalled_twice(rooms: tuple[Document, Document]) -> None:
    append(rooms[0], HISTORY[3])
    assert findings(rooms[0])[:2] == [(True, 8), (True, 8)]


def test_rows_left_by_an_interrupted_compaction_are_no_damage(rooms: tuple[Document, Document]) -> None:
    kept = list(JournalBatch.objects.filter(document=rooms[0], last_seq__lte=2))
    run("compact_journals", "--keep", "2", "--older-than", "0")
    JournalBatch.objects.bulk_create(kept)
    assert findings(rooms[0]) == [(False, 1), (False, 2)]
    run("compact_journals")
    assert findings(rooms[0]) == []


def test_projections_that_differ_are_no_damage(rooms: tuple[Document, Document]) -> None:
    assert findings(rooms[0]) == [(False, 0)]
    run("rebuild_projections")
    SceneObject.objects.filter(document=rooms[0]).update(properties={})
    assert findings(rooms[0]) == [(False, 7)]
    run("rebuild_projections")
    assert findings(rooms[0]) == []


@pytest.mark.parametrize(("difference_us", "found"), [(400, []), (-400, []), (2000, [(False, 7)])])
def test_times_of_rows_count_to_the_millisecond(
    rooms: tuple[Document, Document], difference_us: int, found: list[tuple[bool, int]]
) -> None:
    """Rows that were written with microseconds, and whose nodes nothing has changed since, are not wrong."""
    run("rebuild_projections")
    row = SceneObject.objects.get(document=rooms[0])
    row.updated_at += timedelta(microseconds=difference_us)
    row.save()
    assert findings(rooms[0]) == found


@pytest.mark.sql
@pytest.mark.parametrize("is_purged", [False, True])
@pytest.mark.parametrize("table", ["journalbatch", "snapshot", "sceneobject"])
def test_j13_verification_takes_no_compaction_and_no_purge_for_damage(
    rooms: tuple[Document, Document], table: str, is_purged: bool
) -> None:
    """Another command is done right before it reads some of the first document's rows."""
    run("rebuild_projections")
    overtaken: list[str] = []

    def overtake(execute: Any, statement: str, *arguments: Any) -> Any:
        if not overtaken and f'FROM "vuer_journal_{table}"' in statement:
            overtaken.append(table)
            if is_purged:
                purge_document(rooms[1])
            else:
                compact_document(rooms[1], KeepRules(1, 0))
        return execute(statement, *arguments)

    with connection.execute_wrapper(overtake):
        results = run_json("verify_journals")
    assert overtaken
    outcomes = {"other-room": "gone" if is_purged else "good", "room": "good"}
    assert {result["slug"]: result["outcome"] for result in results} == outcomes
    assert not Document.objects.exclude(damage="").exists()


def test_a_document_that_goes_before_its_projections_are_verified_is_gone(
    rooms: tuple[Document, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(document_id: UUID) -> Hydrated:
        found = hydrate(document_id)
        if document_id == rooms[1].pk:
            purge_document(rooms[1])
        return found

    monkeypatch.setattr("journal.verification.hydrate", overtaken)
    outcomes = {result["slug"]: result["outcome"] for result in run_json("verify_journals")}
    assert outcomes == {"other-room": "gone", "room": "good"}


def test_what_the_database_refuses_of_one_document_does_not_keep_the_others(
    rooms: tuple[Document, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(document: Document) -> Verdict:
        if document.pk == rooms[1].pk:
            raise DataError("out of range")
        return verify_document(document)

    monkeypatch.setattr("journal.management.commands.verify_journals.verify_document", refused)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not well: other-room$"):
        run("verify_journals", "--json", out=out)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(each["slug"], each["outcome"]) for each in told] == [("other-room", "failed"), ("room", "good")]


@pytest.mark.parametrize("command", ["compact_journals", "verify_journals", "rebuild_projections"])
def test_what_nobody_foresaw_of_one_document_does_not_keep_the_others(
    rooms: tuple[Document, Document],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    """Else cron would end there every night, and never come to those behind it."""
    module = import_module(f"journal.management.commands.{command}")
    treat = module.Command.treat

    def stumble(self: Any, document: Document, options: Any) -> Any:
        if document.slug == "other-room":
            raise KeyError("never thought of")
        return treat(self, document, options)

    monkeypatch.setattr(module.Command, "treat", stumble)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not well: other-room$"):
        call_command(command, "--json", stdout=out)
    [failed, done] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (failed["slug"], failed["outcome"], done["slug"]) == ("other-room", "failed", "room")
    assert "KeyError('never thought of')" in failed["detail"]
    assert done["outcome"] != "failed"
    assert "Traceback" in caplog.text


def test_what_nobody_foresaw_is_told_by_commands_on_one_document_too(
    document: Document, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*args: Any, **options: Any) -> None:
        raise KeyError("never thought of")

    monkeypatch.setattr("journal.management.commands.purge_document.purge_document", stumble)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not well: room$"):
        call_command("purge_document", "--document=room", "--yes", "--json", stdout=out)
    assert "KeyError('never thought of')" in json.loads(out.getvalue())["detail"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("option", ["--json", "--verbosity=2"])
def test_a_locale_without_the_characters_of_a_slug_stops_no_command(
    db: None, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    Document.objects.create(slug="büro")
    Document.objects.create(slug="stage")
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    call_command("compact_journals", option)
    first, second = written.getvalue().decode("ascii").splitlines()
    assert json.loads(first)["slug"] == "büro" if option == "--json" else first.startswith("b\\xfcro: ")
    assert "stage" in second


@pytest.mark.sqlite
def test_a_time_that_is_none_is_damage_of_its_document_alone(rooms: tuple[Document, Document]) -> None:
    _, other = rooms
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE vuer_journal_journalbatch SET created_at = 'soon' WHERE document_id = %s AND first_seq = 1",
            [other.pk.hex],
        )
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"not well: other-room$"):
        call_command("compact_journals", "--keep=0", "--older-than=0", "--json", stdout=out)
    [failed, done] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "is none" in failed["detail"]
    assert done["outcome"] == "compacted"


def test_a_document_that_is_asked_for_and_gone_is_an_error(
    rooms: tuple[Document, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(document: Document) -> None:
        raise UnknownDocument(document.slug)

    monkeypatch.setattr("journal.management.commands.verify_journals.verify_document", gone)
    assert {result["outcome"] for result in run_json("verify_journals")} == {"gone"}
    with pytest.raises(CommandError, match="not well: room"):
        run("verify_journals", "--document=room")


def test_verification_changes_nothing(rooms: tuple[Document, Document]) -> None:
    before = hydrate(rooms[0].pk).graph.full_digest(), list(Document.objects.values())
    run("verify_journals")
    assert (hydrate(rooms[0].pk).graph.full_digest(), list(Document.objects.values())) == before


@pytest.mark.sql
@pytest.mark.parametrize(
    "arguments",
    [["verify_journals"], ["compact_journals", "--json"], ["close_stale_sessions", "--json"]],
    ids=str,
)
def test_a_database_that_does_not_even_tell_the_documents_is_told_without_a_traceback(
    document: Document, arguments: list[str]
) -> None:
    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if f'FROM "{Document._meta.db_table}"' in sql or f'FROM "{Session._meta.db_table}"' in sql:
            raise OperationalError("terminating connection due to administrator command")
        return run(sql, params, many, context)

    out = io.StringIO()
    with connection.execute_wrapper(execute), pytest.raises(CommandError, match="administrator") as caught:
        call_command(*arguments, stdout=out, stderr=out)
    assert caught.value.returncode == 1
    if "--json" in arguments:
        assert json.loads(out.getvalue())["outcome"] == "failed"


def test_ids_and_counters_are_told_apart_however_they_are_written() -> None:
    identities = Identities()
    ids = [
        "a:1",
        "a:01",
        "a:2",
        "b:1",
        "a",
        "a:",
        ":1",
        "1",
        "a:b:1",
        "a:-1",
        "a:0",
        "a:٣",
        "a:" + "9" * 5000,
    ]
    for message_id in ids:
        assert not identities.has_id(message_id), message_id
    for message_id in ids:
        assert identities.has_id(message_id), message_id
    for counter in (5, 3, 4, 9):
        assert not identities.has_counter("a", counter)
        assert identities.has_counter("a", counter)
    assert not identities.has_counter("b", 5)


@pytest.mark.parametrize(
    "command", ["look_back", "restore_document --seq 1", "export_journal", "purge_document --yes"]
)
def test_what_treats_one_document_is_told_one(rooms: Any, command: str) -> None:
    with pytest.raises(CommandError, match="--document"):
        run(*command.split())
    with pytest.raises(CommandError, match="name one document"):
        run(*command.split(), "--document", "other", "--document", "room")


def test_ctrl_c_ends_a_command_with_one_line_and_status_130(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("journal.management.commands.verify_journals.Command.treat", interrupted)
    error = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_journals", stderr=error)
    assert ended.value.code == 130
    assert error.getvalue() == "ended by Ctrl-C: run it again, it goes on or begins again\n"
