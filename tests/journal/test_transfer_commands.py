"""`export_journal` and `import_journal`, as processes: piped, packed, killed, two at a time."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from journal.failpoint import POINTS
from journal.management.commands.export_journal import written
from tests.journal.site import Site
from tests.server import ROOT, ServerProcess

MESSAGES = 2500
MAKE = f"""
from journal.models import Document
from tests.journal.history import append_each, insert, message, put
document = Document.objects.create(slug="stage", title="Stage")
history = [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, {MESSAGES + 1})]]
append_each(document, history, 50)
"""
"""More than one transaction of an import."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    site = Site(tmp_path_factory.mktemp("source"))
    site.manage("shell", "--no-imports", "-c", MAKE)
    path = site.data_dir / "stage.jsonl.zst"
    report = site.report("export_journal", "--document", "stage", "--output", str(path))
    piped = site.run("export_journal", "--document", "stage")
    assert len(piped.stdout.splitlines()) == MESSAGES / 50 + 2
    assert piped.stderr == b""
    assert list(path.parent.glob("*.part")) == []
    return path, report


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "target")


def test_an_empty_database_gets_the_same_document(site: Site, exported: tuple[Path, dict[str, Any]]) -> None:
    path, report = exported
    done = site.run("import_journal", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    again = site.report("export_journal", "--document", "stage", "--output", str(site.data_dir / "again"))
    assert again == report
    assert site.report("verify_journals")["findings"] == []
    refused = site.run("import_journal", str(path), "--json")
    assert refused.returncode == 1
    told = json.loads(refused.stdout)
    assert (told["outcome"], told["code"]) == ("failed", "exists")


@pytest.mark.parametrize("point", [p for p in POINTS if p.startswith("import.")])
def test_j45_an_import_that_dies_leaves_nothing_that_looks_whole(
    site: Site, exported: tuple[Path, dict[str, Any]], point: str
) -> None:
    path, report = exported
    assert site.run("import_journal", str(path), point=f"{point}:1").returncode == -9
    if point == "import.done":
        assert site.rows() == [["stage", "", MESSAGES / 50]]
        return
    [[slug, condition, _]] = site.rows()
    assert (slug, condition) == ("stage", "importing")
    assert site.manage("verify_journals", "--json") == ""
    assert site.report("import_journal", str(path))["full_digest"] == report["full_digest"]
    assert site.rows() == [["stage", "", MESSAGES / 50]]


def test_an_export_that_dies_leaves_the_file_as_it_was(exported: tuple[Path, dict[str, Any]]) -> None:
    path, _ = exported
    site = ServerProcess(path.parent)
    before = path.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "export_journal", "--document", "stage", "--output", str(path)],
        cwd=ROOT,
        env=site.environment(),
    )
    part = path.with_name(f"{path.name}.part")
    while process.poll() is None and not part.exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert path.read_bytes() == before or process.returncode == 0
    part.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["export_journal", "--document", "stage"],
        ["verify_journals", "--json"],
        ["look_back", "--document", "stage"],
        ["look_back", "--document", "nowhere", "--json"],
        ["close_sessions", "--document", "stage", "--json"],
    ],
    ids=" ".join,
)
def test_what_nobody_reads_any_more_ends_quietly(
    exported: tuple[Path, dict[str, Any]], arguments: list[str]
) -> None:
    path, _ = exported
    command = [sys.executable, "manage.py", *arguments]
    environment = ServerProcess(path.parent).environment()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments[0] == "export_journal":
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("arguments", "output", "status", "told"),
    [
        ("label_document --document stage", ">/dev/full", 1, "No space left on device"),
        ("close_sessions --document stage --json", ">/dev/full", 1, "No space left on device"),
        ("export_journal --document stage", ">/dev/full", 1, "No space left on device"),
        ("label_document --document stage", ">&-", 0, ""),
        ("look_back --document nowhere --json", ">&- 2>&-", 2, ""),
    ],
)
def test_an_output_that_takes_nothing_is_told_without_a_traceback(
    exported: tuple[Path, dict[str, Any]], arguments: str, output: str, status: int, told: str
) -> None:
    path, _ = exported
    done = subprocess.run(
        f"{sys.executable} manage.py {arguments} {output}",
        shell=True,
        cwd=ROOT,
        env=ServerProcess(path.parent).environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_j48_of_two_imports_of_one_name_the_second_hears_that_the_first_is_busy(
    site: Site, exported: tuple[Path, dict[str, Any]]
) -> None:
    path, report = exported
    commands = [site.start_command("import_journal", str(path), "--json") for _ in range(2)]
    told = [json.loads(command.communicate(timeout=120)[0]) for command in commands]
    outcomes = sorted(each["outcome"] for each in told)
    assert outcomes in (["busy", "imported"], ["failed", "imported"]), told
    assert all(each.get("code", "exists") == "exists" for each in told)
    assert site.rows() == [["stage", "", MESSAGES / 50]]
    assert (
        site.report("export_journal", "--document", "stage", "--output", str(site.data_dir / "a")) == report
    )


def test_a_terminal_sees_progress_and_cron_does_not(
    exported: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from journal.management.progress import Progress

    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", lambda text, ending="": io.StringIO.write(stream, text))
    Progress(stream, is_shown=False).tell("messages", 1, 2)
    assert stream.getvalue() == ""
    progress = Progress(stream, is_shown=True)
    progress.tell("messages", 1, 2)
    progress.clear()
    assert "messages: 1 of 2 (50 %)" in stream.getvalue()


def test_a_pipe_that_has_a_name_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    """Nor is a device: as root, an export to where nothing is kept would take that away from everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ends = os.open(pipe, os.O_RDWR)  # both of them: nobody waits for the other
    with written(str(pipe)) as out:
        out.write(b"a line\n")
    assert pipe.is_fifo()
    assert os.read(ends, 100) == b"a line\n"
    os.close(ends)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_is_followed_and_not_replaced(tmp_path: Path) -> None:
    """Else, as root, an export to `/dev/stdout` would make a file of that for everybody."""
    there, link, dangling = tmp_path / "there", tmp_path / "link.gz", tmp_path / "dangling"
    there.write_bytes(b"before")
    link.symlink_to(there)
    dangling.symlink_to("new")
    for name in (link, dangling):
        with written(str(name)) as out:
            out.write(b"a line\n")
        assert name.is_symlink()
    assert gzip.decompress(there.read_bytes()) == b"a line\n"
    assert (tmp_path / "new").read_bytes() == b"a line\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link.gz", "new", "there"]


def test_the_standard_output_by_its_own_name_may_be_a_file(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, _ = exported
    name, output = tmp_path / "stdout", tmp_path / "output"
    name.symlink_to("/proc/self/fd/1")  # as /dev/stdout is, which no test is to put at risk
    command = [sys.executable, "manage.py", "export_journal", "--document", "stage", "--output", str(name)]
    with output.open("wb") as file:
        subprocess.run(
            command, cwd=ROOT, env=ServerProcess(path.parent).environment(), stdout=file, check=True
        )
    assert name.is_symlink()
    assert output.read_bytes().startswith(b'{"kind":"header"')


def test_whoever_may_not_read_a_file_may_not_read_what_replaces_it(tmp_path: Path) -> None:
    path, part = tmp_path / "export", tmp_path / "export.part"
    path.touch(0o600)
    part.touch(0o644)  # of a run that was killed
    with written(str(path)) as out:
        assert part.stat().st_mode & 0o777 == 0o600
        out.write(b"a line\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"a line\n"
