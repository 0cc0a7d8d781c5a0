"""Rules J50 and J51: nothing is truncated that is not in the archive, whatever the storage does."""

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from journal import archive, compaction
from journal.archive import Archiving
from journal.check import check_settings
from journal.compaction import KeepRules, Report, compact_document
from journal.error import ArchiveFailed, JournalBusy, TransferRefused
from journal.export import Export
from journal.intake import import_lines
from journal.lease import Lease, lease
from journal.management.argument import Senseless
from journal.management.commands.export_journal import archived_lines
from journal.models import Document, JournalBatch, Snapshot
from journal.packed import opened
from journal.purge import mark_purged, purge_document
from journal.reader import hydrate
from journal.redaction import Person, redact_document
from journal.transfer_line import BatchLine, joined, read_lines
from rooms.management.commands import import_journal
from tests.journal.history import append, append_each, insert, message, put, ranges
from tests.journal.takeover import at, taken_over
from tests.journal.test_export import assert_same, content

HISTORY = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 13)]]


class Storage(FileSystemStorage):
    """A storage with a fault."""

    fault = ""

    def _save(self, name: str, content: Any) -> str:
        match self.fault:
            case "raises":
                raise ConnectionError("nobody there")
            case "full":
                raise OSError(28, "No space left on device")
            case "truncates":
                content = ContentFile(content.read()[:-30])
            case "flips":
                data = bytearray(content.read())
                data[len(data) // 2] ^= 1
                content = ContentFile(bytes(data))
            case "forgets":
                return name
            case "is slow":
                time.sleep(0.3)
            case "reads in a thread":
                with ThreadPoolExecutor(1) as pool:
                    content = ContentFile(pool.submit(content.read).result())
            case "renames":
                name = f"other-{name.replace('/', '-')}"
        return str(super()._save(name, content))

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        if self.fault == "overwrites":  # as S3 does
            self.delete(name)
            return name
        return super().get_available_name(name, max_length)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    place = {
        "BACKEND": "tests.journal.test_archive.Storage",
        "OPTIONS": {"location": str(tmp_path / "archive"), "base_url": "/"},
    }
    with override_settings(STORAGES={"journal-archive": place, "default": place, "staticfiles": place}):
        yield tmp_path / "archive"


def storage() -> Storage:
    found = storages["journal-archive"]
    assert isinstance(found, Storage)
    return found


def compact(document: Document, keep: int = 4) -> Report:
    return compact_document(document, KeepRules(keep, 0), is_archiving=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def history(document: Document) -> Document:
    append_each(document, HISTORY, 2)
    return document


def test_j50_what_is_truncated_is_in_a_file_named_by_its_range(history: Document, folder: Path) -> None:
    before = content(history)
    report = compact(history)
    assert report.archives == [f"{history.pk.hex}/000000000001-000000000008.jsonl.zst"]
    assert files(folder) == ["000000000001-000000000008.jsonl.zst"]
    assert ranges(history.pk)[0] == (9, 10)
    [file] = archive.files_of(history.pk)
    with lease(history.pk):
        import_lines(archive.read_archive(file), "old")
    assert content(Document.objects.get(slug="old")) == before[:4]


def test_without_being_asked_nothing_is_archived(history: Document, folder: Path) -> None:
    compact_document(history, KeepRules(4, 0))
    assert files(folder) == []


@override_settings(VUER_RTC={"JOURNAL_ARCHIVE": True})
def test_the_setting_archives_and_the_command_may_say_otherwise(history: Document, folder: Path) -> None:
    call_command("compact_journals", "--keep=8", "--older-than=0")
    assert files(folder) == ["000000000001-000000000004.jsonl.zst"]
    call_command("compact_journals", "--keep=4", "--older-than=0", "--no-archive")
    assert files(folder) == ["000000000001-000000000004.jsonl.zst"]


@pytest.mark.parametrize("fault", ["raises", "full", "truncates", "flips", "forgets", "renames"])
def test_j50_a_storage_that_does_not_keep_what_it_gets_keeps_the_journal_whole(
    history: Document, fault: str
) -> None:
    storage().fault = fault
    before = ranges(history.pk)
    with pytest.raises(ArchiveFailed):
        compact(history)
    history.refresh_from_db()
    assert history.truncated_seq == 0
    assert ranges(history.pk)[: len(before)] == before
    with pytest.raises(CommandError, match="not well: room"):
        call_command("compact_journals", "--keep=4", "--older-than=0", "--archive", stderr=io.StringIO())
    storage().fault = ""
    assert len(compact(history).archives) == 1
    assert hydrate(history.pk).graph.nodes()["n"].properties == {"x": 12}


def test_a_storage_that_stays_away_does_not_fill_the_database(history: Document) -> None:
    storage().fault = "raises"
    for _ in range(3):
        with pytest.raises(ArchiveFailed):
            compact(history)
        assert not Snapshot.objects.exists()


def test_j50_a_draft_for_which_there_is_no_room_keeps_the_journal_whole(
    history: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.tempfile, "TemporaryFile", Full)
    with pytest.raises(ArchiveFailed, match=r"temporary files: .Errno 28. No space"):
        compact(history)
    assert ranges(history.pk)[0] == (1, 2)
    assert not Snapshot.objects.exists()


def test_a_slow_storage_only_takes_its_time(history: Document) -> None:
    storage().fault = "is slow"
    assert len(compact(history).archives) == 1


def test_a_lease_that_was_lost_while_the_storage_was_slow_truncates_nothing(
    history: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: Storage, name: str, content: Any) -> str:
        Document.objects.filter(pk=history.pk).update(lease_holder="elsewhere/1/0")
        return str(FileSystemStorage._save(self, name, content))

    monkeypatch.setattr(Storage, "_save", save)
    with pytest.raises(JournalBusy):
        compact(history)
    assert ranges(history.pk)[0] == (1, 2)


def test_j50_a_run_that_follows_a_killed_one_keeps_what_that_had_archived(
    history: Document, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        if point == "archive.proved":
            raise KeyboardInterrupt

    monkeypatch.setattr(archive, "reach", die)
    with pytest.raises(KeyboardInterrupt):
        compact(history)
    monkeypatch.undo()
    [first] = files(folder)
    stamp = next(folder.rglob(first)).stat().st_mtime_ns
    append(history, message(20, put("n", "x", 20)), message(21, put("n", "x", 21)))
    report = compact(history)
    assert files(folder) == [first, "000000000009-000000000010.jsonl.zst"]
    assert [name.rpartition("/")[2] for name in report.archives] == files(folder)
    assert next(folder.rglob(first)).stat().st_mtime_ns == stamp


def test_j50_half_a_file_of_a_killed_run_is_written_anew(history: Document, folder: Path) -> None:
    path = folder / history.pk.hex / "000000000001-000000000006.jsonl.zst"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    compact(history)
    assert files(folder) == ["000000000001-000000000008.jsonl.zst"]


def batches(file: archive.ArchiveFile) -> int:
    return sum(isinstance(line, BatchLine) for _, line in archive.read_archive(file))


@pytest.mark.parametrize(
    ("module", "point"),
    [(compaction, "compact.proved"), (archive, "archive.begun"), (archive, "archive.saved")],
)
def test_j50_the_archive_of_a_run_that_has_taken_over_stays(
    history: Document, monkeypatch: pytest.MonkeyPatch, module: ModuleType, point: str
) -> None:
    """It began later, so the keep rules let it take more."""
    at(monkeypatch, module, point, lambda: taken_over(history, lambda: compact(history, 2)))
    with pytest.raises(JournalBusy):
        compact(history, 4)
    history.refresh_from_db()
    assert history.truncated_seq == 10
    chain = archive.chain_up_to(archive.files_of(history.pk), 10)
    assert (chain[0].first_seq, sum(batches(file) for file in chain)) == (1, 5)


@pytest.mark.parametrize("fault", ["", "overwrites"])
@pytest.mark.parametrize("step", ["_is_good", "_write"])
def test_j50_what_a_run_deletes_or_saves_last_is_not_what_another_has_archived_meanwhile(
    history: Document, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: str
) -> None:
    path = folder / history.pk.hex / "000000000001-000000000008.jsonl.zst"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    storage().fault = fault
    real, done = getattr(archive.Archiving, step), []

    def slow(self: archive.Archiving, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        if not done:
            done.append(1)
            taken_over(history, lambda: compact(history))
        return found

    monkeypatch.setattr(archive.Archiving, step, slow)
    with pytest.raises(JournalBusy):
        compact(history)
    history.refresh_from_db()
    assert history.truncated_seq == 8
    [file] = archive.files_of(history.pk)
    assert batches(file) == 4


def purge(document: Document) -> None:
    purge_document(document)


def half_purge(document: Document) -> None:
    with lease(document.pk) as held:
        mark_purged(held)
        archive.delete_archives(document.pk)


def redact(document: Document) -> None:
    redact_document(document, Person(None, "ann"), {"ann"})


def redact_and_compact(document: Document) -> None:
    redact(document)
    append_each(document, [message(30), message(31)])
    compact(document, 1)


@pytest.mark.parametrize("moment", ["before it is read", "after it is read", "when it is there"])
@pytest.mark.parametrize("work", [purge, half_purge, redact, redact_and_compact])
def test_j50_what_deletes_archives_while_one_is_saved_leaves_none(
    history: Document,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Document], None],
    moment: str,
) -> None:
    done: list[int] = []

    def save(self: Storage, name: str, content: Any) -> str:
        if done:
            return str(FileSystemStorage._save(self, name, content))
        done.append(1)
        if moment == "when it is there":
            name = FileSystemStorage._save(self, name, content)
        data = content.read() if moment == "after it is read" else b""
        taken_over(history, lambda: work(history))
        if moment == "when it is there":
            return name
        return str(FileSystemStorage._save(self, name, ContentFile(data) if data else content))

    monkeypatch.setattr(Storage, "_save", save)
    with pytest.raises(JournalBusy):
        compact(history)
    left = files(folder)
    assert len(left) == (1 if work is redact_and_compact else 0)
    assert "000000000001" not in str(left)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["", "reads in a thread"])
def test_the_lease_is_renewed_while_the_storage_reads(
    history: Document, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    storage().fault, save = fault, Storage._save

    def slow(self: Storage, name: str, content: Any) -> str:
        Document.objects.update(lease_until=timezone.now())
        name = save(self, name, content)
        assert Document.objects.filter(lease_until__gt=timezone.now()).exists()
        return name

    monkeypatch.setattr(Storage, "_save", slow)
    assert len(compact(history).archives) == 1


def whole(document: Document) -> bytes:
    out = io.BytesIO()
    document.refresh_from_db()
    with lease(document.pk) as held:
        Export(held, document, out).write(archived=archived_lines(document))
    return out.getvalue()


def test_j51_archives_and_journal_join_to_the_whole_history(history: Document) -> None:
    everything = content(history)
    for keep, lt in ((8, 30), (5, 31), (2, 32)):
        compact(history, keep)
        append(history, message(lt, put("n", "x", lt)), message(3, put("n", "y", lt), client=f"c{lt}"))
        everything += content(history)[-2:]
    assert len(archive.files_of(history.pk)) == 3
    import_lines(read_lines(io.BytesIO(whole(history))), "copy")
    copy = Document.objects.get(slug="copy")
    assert copy.truncated_seq == 0
    assert_same(history, copy)
    assert content(copy) == everything


def test_j51_archives_that_begin_late_bring_the_state_they_begin_at(history: Document) -> None:
    compact_document(history, KeepRules(8, 0))
    append(history, message(30, put("n", "x", 30)))
    compact(history, 2)
    append(history, message(31, put("n", "x", 31)))
    compact(history, 1)
    import_lines(read_lines(io.BytesIO(whole(history))), "copy")
    copy = Document.objects.get(slug="copy")
    assert copy.truncated_seq == 4
    assert_same(history, copy)


def test_j51_files_that_do_not_follow_one_another_are_refused(history: Document) -> None:
    for keep, lt in ((8, 30), (5, 31), (2, 32)):
        compact(history, keep)
        append(history, message(lt, put("n", "x", lt)))
    parts = [(file.name, archive.read_archive(file)) for file in archive.files_of(history.pk)]
    with pytest.raises(TransferRefused, match=f"gap: {parts[2][0]}, line 1"):
        import_lines(joined([parts[0], parts[2]]), "copy")


def test_j51_files_whose_beginning_is_gone_are_not_passed_for_a_document(
    history: Document, folder: Path
) -> None:
    """A site that lets its oldest archives expire hears of it at the export, not when it needs the file."""
    for keep in (8, 5, 2):
        compact(history, keep)
    first, second, third = sorted(folder.rglob("*.zst"))
    first.unlink()
    with pytest.raises(TransferRefused, match=r"gap: .*-000000000006.jsonl.zst, line 2: it follows seq 4"):
        whole(history)
    with pytest.raises(CommandError):
        call_command("import_journal", str(second), str(third), "--document=copy", stderr=io.StringIO())
    assert not Document.objects.filter(slug="copy").exists()


def test_j51_a_file_whose_snapshot_knows_more_than_it_holds_is_not_passed_for_a_document(
    history: Document, folder: Path
) -> None:
    """A site that did not archive from the beginning; nothing is damaged."""
    compact_document(history, KeepRules(8, 0))
    compact(history, 5)
    [path] = folder.rglob("*.zst")
    told = io.StringIO()
    with pytest.raises(CommandError):
        call_command("import_journal", str(path), "--document=copy", "--json", stdout=told)
    assert "gap: line 4: its snapshot knows what came up to seq 13" in json.loads(told.getvalue())["detail"]
    assert not Document.objects.filter(slug="copy").exists()


def test_of_many_files_the_damaged_one_is_named(history: Document, folder: Path) -> None:
    for keep in (8, 5, 2):
        compact(history, keep)
    paths = sorted(folder.rglob("*.zst"))
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(TransferRefused, match=r"incomplete: .*/000000000005-000000000006.jsonl.zst, line"):
        whole(history)
    told = io.StringIO()
    with pytest.raises(CommandError):
        call_command("import_journal", *map(str, paths), "--document=copy", "--json", stdout=told)
    assert f"incomplete: {paths[1]}, line" in json.loads(told.getvalue())["detail"]


def test_of_thousands_of_files_one_is_open_at_a_time(
    history: Document, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keep in (8, 5, 2):
        compact(history, keep)
    paths, opened_now, most = sorted(folder.rglob("*.zst")), set(), []
    real = import_journal.source

    @contextmanager
    def counted(name: str) -> Iterator[Any]:
        with real(name) as file:
            opened_now.add(name)
            most.append(len(opened_now))
            yield file
            opened_now.remove(name)

    monkeypatch.setattr(import_journal, "source", counted)
    call_command("import_journal", *map(str, paths), "--document=old")
    assert len(most) == 3
    assert max(most) == 2  # the first stays open: it was looked at before it was read
    with pytest.raises(Senseless):
        call_command("import_journal", *map(str, paths), str(folder / "none"), "--document=older")


def test_j51_what_was_folded_away_unarchived_is_not_passed_for_the_whole(history: Document) -> None:
    compact_document(history, KeepRules(4, 0))
    with pytest.raises(TransferRefused, match="no-archive"):
        whole(history)


def test_import_takes_archives_from_files(history: Document, folder: Path) -> None:
    compact(history, 8)
    append(history, message(30, put("n", "x", 30)))
    compact(history, 1)
    paths = sorted(str(path) for path in folder.rglob("*.zst"))
    call_command("import_journal", *paths, "--document=old")
    assert hydrate(Document.objects.get(slug="old").pk).graph.nodes()["n"].properties == {"x": 12}
    assert JournalBatch.objects.filter(document__slug="old").count() > 1


def test_a_site_that_archives_says_where() -> None:
    with override_settings(VUER_RTC={"JOURNAL_ARCHIVE": True, "JOURNAL_ARCHIVE_STORAGE": "nowhere"}):
        assert [error.id for error in check_settings()] == ["vuer_journal.E004"]
    with override_settings(VUER_RTC={"JOURNAL_ARCHIVE": "yes"}):
        assert [error.id for error in check_settings()] == ["vuer_journal.E002"]


def test_an_opened_file_is_told_by_its_first_bytes(history: Document) -> None:
    compact(history)
    [file] = archive.files_of(history.pk)
    with archive.archive_storage().open(file.name) as stored:
        assert next(read_lines(opened(stored)))[0] == 1


def test_reading_an_archive_back_renews_the_lease_by_time_and_not_by_batch(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renewal is a commit of its own."""
    append_each(document, HISTORY)
    renew, renewals = Lease.renew, []

    def count(held: Lease) -> None:
        renewals.append(held)
        renew(held)

    monkeypatch.setattr(Lease, "renew", count)
    with lease(document.pk) as held:
        held.confirm(0)
        held.keep()
        assert renewals == []
        Archiving(held, 0, document.pk).run(8)
        assert len(renewals) < 4  # while the storage reads it
        renewals.clear()
        with override_settings(VUER_RTC={"JOURNAL_LEASE_S": 0}):
            held.keep()
        assert len(renewals) == 1
        Document.objects.update(lease_holder="elsewhere/1/0")
        held.keep()
        with pytest.raises(JournalBusy):
            held.renew()
