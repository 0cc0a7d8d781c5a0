import os
import subprocess
import sys

from rooms.models import PROCESS_CHARS_MAX
from rooms.process import ProcessIdentity


def test_an_identity_is_read_back_from_its_text_and_fits_its_column() -> None:
    mine = ProcessIdentity.of_this_process()
    assert ProcessIdentity.parse(str(mine)) == mine
    assert len(str(ProcessIdentity("h" * 40, 4_194_304, "01234567"))) <= PROCESS_CHARS_MAX
    for text in ("something else", "h::x", "h:²:x", f"h:{2**31}:x", f"h:{'9' * 40}:x"):
        assert ProcessIdentity.parse(text) is None


def test_another_start_under_the_same_process_id_is_known_dead() -> None:
    mine = ProcessIdentity.of_this_process()
    assert mine.is_known_dead(ProcessIdentity(mine.host, mine.pid, "earlier"))
    assert not mine.is_known_dead(mine)


def test_a_process_of_this_host_is_dead_when_it_does_not_run() -> None:
    mine = ProcessIdentity.of_this_process()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert mine.is_known_dead(ProcessIdentity(mine.host, ended.pid, "x"))
    assert not mine.is_known_dead(ProcessIdentity(mine.host, os.getppid(), "x"))


def test_nothing_is_known_of_processes_elsewhere() -> None:
    mine = ProcessIdentity.of_this_process()
    assert not mine.is_known_dead(ProcessIdentity("elsewhere", mine.pid, "x"))
