"""docs/merge.md: its data type can be added as it says, and the program it shows runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "merge.md"


def blocks() -> list[str]:
    """The code blocks of the page: the module, its line in the registry, the program."""
    return re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_a_dtype_is_one_module_and_one_line_and_merges_as_the_oracle_says_in_every_order(
    tmp_path: Path,
) -> None:
    """P3; through the door, with concurrent ops, such that do not fit, and an undo."""
    module, line, program = blocks()
    for part in ("vuer_rtc/crdt", "tests/crdt/oracle"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    dtype = tmp_path / "vuer_rtc" / "crdt" / "dtype"
    (dtype / "interval.py").write_text(module)
    registry = (dtype / "__init__.py").read_text()
    (dtype / "__init__.py").write_text(registry.replace('        "object",\n', f'        "object",\n{line}'))
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_names_rules_and_files_that_there_are() -> None:
    page, rules = PAGE.read_text(), (REPOSITORY / "vuer_rtc/crdt/MERGE.md").read_text()
    named = set(re.findall(r"\b[OINPTXUKDC]\d\d?\b", page))
    assert named
    assert [rule for rule in named if f"**{rule}**" not in rules] == []
    crdt = REPOSITORY / "vuer_rtc/crdt"
    files = set(re.findall(r"`(\w+\.py)`", page))
    assert [name for name in files if not (crdt / name).exists()] == []
