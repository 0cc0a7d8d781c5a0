"""Rule J48 on real processes, and what a kill leaves of the commands that delete (rules J17, J52, J64)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.failpoint import POINTS
from tests.journal.site import Site
from tests.server import ROOT

MAKE = """
from journal.models import Document
from journal.projection import catch_up
from tests.journal.history import append_each, insert, message, put
document = Document.objects.create(slug="stage")
append_each(document, [message(1, insert("n", x=0)), *[message(lt, put("n", "x", lt)) for lt in range(2, 200)]], 5)
catch_up(document.pk)
"""
HOLD = """
import sys
import django; django.setup()
from journal.lease import lease
from journal.models import Document
with lease(Document.objects.get(slug="stage").pk):
    print("held", flush=True)
    sys.stdin.read()
"""
COMMANDS = [
    ["compact_journals", "--keep=1", "--older-than=0"],
    ["rebuild_projections"],
    ["export_journal", "--document=stage"],
    ["redact_user", "--client=ann", "--yes"],
    ["purge_document", "--document=stage", "--yes"],
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "data")
    site.manage("shell", "--no-imports", "-c", MAKE)
    return site


@pytest.fixture
def holder(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A living process that is at work on the document."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=ROOT,
        env=site.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_j48_what_another_process_is_at_work_on_is_busy_until_it_ends_however(
    site: Site, holder: subprocess.Popen[bytes]
) -> None:
    before = site.rows()
    for command in COMMANDS:
        output = [f"--output={site.data_dir / 'out'}"] if command[0] == "export_journal" else []
        done = site.run(*command, *output, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outcome"] == "busy", command
        assert site.run(*command, *output).stderr == b"", "cron hears nothing of it"
    assert site.rows() == before
    assert not (site.data_dir / "out").exists()
    holder.kill()
    holder.wait()
    assert site.report(*COMMANDS[0])["outcome"] == "compacted", "its lease ended with it"


def test_j48_of_two_compactions_at_once_one_does_the_work(site: Site) -> None:
    both = [site.start_command(*COMMANDS[0], "--json") for _ in range(2)]
    told = []
    for process in both:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        told.append(json.loads(out)["outcome"])
    assert "compacted" in told
    assert set(told) <= {"compacted", "busy", "nothing to do"}
    assert site.report("verify_journals")["findings"] == []


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("purge.", "redact."))])
def test_j17_a_command_that_is_killed_while_it_deletes_is_finished_by_the_next(
    site: Site, point: str
) -> None:
    command = COMMANDS[4] if point.startswith("purge.") else COMMANDS[3]
    assert site.run(*command, point=point).returncode == -9
    if point == "purge.done":
        assert site.rows() == []
        return
    again = site.run(*command, "--json")
    assert again.returncode == 0, again.stderr
    outcomes = [json.loads(line)["outcome"] for line in again.stdout.splitlines()]
    if point.startswith("purge."):
        assert outcomes == ["purged"]
        assert site.rows() == []
    else:
        assert outcomes == ([] if point == "redact.deleted" else ["redacted"]), "nothing tells of the person"
        assert site.report("verify_journals")["findings"] == []
