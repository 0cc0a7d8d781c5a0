"""The same programs on the published package and on ours: one outcome, or a difference that docs/client.md lists."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.published.process import published_directory

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).with_name("programs.py")

DIFFERENCES: dict[str, tuple[Any, Any]] = {
    "two_sets_before_one_commit": ([1, [2], 1], [2, [2], 2]),
    "set_then_add_before_one_commit": ([105, 15], [105, 105]),
    "pushes_before_one_commit": ([["A", "B"], ["B"]], [["A", "B"], ["A", "B"]]),
    "inserts_before_one_commit": (["c2"], ["c1", "c2"]),
    "typing_before_one_commit": (["Hi", "i"], ["Hi", "Hi"]),
    "pending_edit_survives_a_message": (1, 2),
    "cancel_keeps_what_others_did": ([0, None], [0, 1]),
    "pushes_of_two": ([["A", "B"], ["B", "A"]], [["A", "B"], ["A", "B"]]),
    "undo_twice_redo_once": ("two", "one"),
    "undo_before_its_target": (5, 0),
    "undo_of_pending_edits_is_sent": (["meta.undo"], ["node.insert", "meta.undo"]),
    "compaction_keeps_the_unacknowledged": ([], ["alice:1"]),
    "duplicate_after_compaction": (11, 6),
    "legacy_operations": ("KeyError", 2),
    "misfit_in_a_message": ("TypeError", "text"),
    "name_is_a_property": ("old", "new"),
    "reinsertion": ([False, []], [True, ["n"]]),
    "unknown_operations": ("number.power", "InvalidMessage"),
    "own_echo": ([False, False], [True, False]),
    "counter_of_a_joiner": ({"a": 2, "zoe": 1}, {"a": 2, "zoe": 0}),
    "a_set_loses_to_the_second_in_one_message": (1, 2),
    "resending_after_undo": (["alice:2", "alice:3"], ["alice:3"]),
}
"""By program, the published outcome and ours."""

Outcomes = dict[str, Any]


def run(program: str | Path, package: Path) -> str:
    """What a program prints that finds `vuer_rtc` in the folder `package`."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
    arguments = [str(program)] if isinstance(program, Path) else ["-c", program]
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outcomes() -> tuple[Outcomes, Outcomes]:
    """By program, with the published package and with ours."""
    found = []
    for package in (published_directory(), ROOT):
        said = json.loads(run(PROGRAMS, package))
        assert Path(said["where"]).is_relative_to(package)
        found.append(said["outcomes"])
    return found[0], found[1]


def test_forty_programs_have_one_outcome_on_both(outcomes: tuple[Outcomes, Outcomes]) -> None:
    published, ours = outcomes
    same = published.keys() - DIFFERENCES.keys()
    assert len(same) >= 40
    assert {name: ours[name] for name in same} == {name: published[name] for name in same}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_where_outcomes_differ_it_is_on_purpose(name: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    published, ours = outcomes
    assert (published[name], ours[name]) == DIFFERENCES[name]


# The README of the published package

README_NAMES = {
    "create_graph": "createGraph",
    "get_state": "getState",
    "get_property": "getProperty",
    "from vuer_rtc import get_unacked_messages": "from vuer_rtc.client.graph_store import getUnackedMessages",
    "get_unacked_messages": "getUnackedMessages",
}
"""What the README calls things, and what the published package does."""

BEGIN = """
sent = []
def send_to_server(msg): sent.append(msg.id)
from vuer_rtc import createGraph
store = createGraph("client-1", on_send=send_to_server)
store.edit({"ot": "node.insert", "key": "", "path": "children", "value": {"key": "n", "x": 1, "pos": [0, 0, 0]}})
store.commit()
"""
END = """
print(sent, [store.getState().graph.nodes[key].properties for key in store.getState().graph.nodes])
"""


def readme_blocks() -> list[str]:
    """The programs in it; a list of operations is none."""
    [metadata] = published_directory().glob("vuer_rtc-*.dist-info/METADATA")
    blocks = re.findall(r"```python\n(.*?)```", metadata.read_text(), re.S)
    return [block for block in blocks if "store" in block and "store.receive(msg)" not in block]


def test_every_example_of_the_published_readme_runs_on_both() -> None:
    blocks = readme_blocks()
    assert len(blocks) >= 5
    for block in blocks:
        begin = BEGIN if "create_graph(" not in block else BEGIN.partition("from")[0]
        end = END if "create_graph(" not in block else ""
        ours = run(begin + block + end, ROOT)
        for readme, published in README_NAMES.items():
            block = block.replace(readme, published)
        assert ours == run(begin + block + end, published_directory()), block


def test_every_name_of_the_published_package_is_offered() -> None:
    listed = "import json, vuer_rtc; print(json.dumps([n for n in dir(vuer_rtc) if not n.startswith('_')]))"
    modules = {"client", "crdt", "operations", "serdes", "state"}
    wanted = set(json.loads(run(listed, published_directory()))) - modules
    code = f"import vuer_rtc; print([hasattr(vuer_rtc, n) for n in {sorted(wanted)}])"
    offered = json.loads(run(code, ROOT).lower())
    assert len(wanted) > 35
    assert all(offered), [
        name for name, is_there in zip(sorted(wanted), offered, strict=True) if not is_there
    ]


def test_importing_costs_little_and_loads_neither_django_nor_the_server_nor_websockets() -> None:
    heavy = "{'django', 'channels', 'websockets', 'asyncio', 'rooms', 'journal', 'msgspec', 'sqlite3'}"
    assert run(f"import sys, vuer_rtc; print({heavy} & set(sys.modules))", ROOT) == "set()\n"
    server = "{'django', 'channels', 'websockets', 'asyncio', 'rooms', 'journal', 'sqlite3'}"
    code = f"import sys; from vuer_rtc import GraphStore; GraphStore('a'); print({server} & set(sys.modules))"
    assert run(code, ROOT) == "set()\n"
