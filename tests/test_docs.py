"""The tables of the documentation are complete, and what they name exists."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_type_hints

import pytest
from django.conf import global_settings
from django.core.management import get_commands
from django.http.request import validate_host

from journal.failpoint import POINTS
from journal.settings import PREFIX, JournalSettings
from rooms import metrics
from rooms.settings import RoomSettings
from rooms.vitals import Vitals
from vuer_rtc.protocol.limit import Limits

ROOT = Path(__file__).resolve().parent.parent
OPERATE = (ROOT / "docs" / "operate.md").read_text()
FORMAT = (ROOT / "journal" / "FORMAT.md").read_text()
PROTOCOL = (ROOT / "vuer_rtc" / "protocol" / "PROTOCOL.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def rows(text: str, head: str) -> list[list[str]]:
    """Cells of the table whose header begins with `head`."""
    table = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in table]


def quoted(cells: Iterable[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def sources(*folders: str) -> str:
    return "".join(path.read_text() for name in folders for path in sorted((ROOT / name).rglob("*.py")))


def test_every_variable_of_the_environment_has_its_line() -> None:
    read = set(re.findall(r'environ\.get\("([A-Z_]+)"', sources("vuer_rtc")))
    read |= set(re.findall(r'environment\.(?:flag|words)\("([A-Z_]+)"', sources("vuer_rtc")))
    assert set(quoted(row[0] for row in rows(OPERATE, "| variable |"))) == read


def test_every_command_has_its_line() -> None:
    ours = {name for name, app in get_commands().items() if app in ("journal", "rooms")}
    assert set(quoted(row[0] for row in rows(OPERATE, "| command |"))) == ours - {"seed_demo"}


def test_every_metric_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = metrics.ServerCollector()
    vitals = Vitals(**dict.fromkeys(Vitals.__dataclass_fields__, 0))
    monkeypatch.setattr(collector, "vitals", lambda: vitals)
    exposed = {
        family.name.removeprefix("vuer_") + ("_total" if family.type == "counter" else ""): family.type
        for family in collector.collect()
    }
    described = {}
    for names, kinds, _ in rows(OPERATE, "| metric"):
        kind = kinds.split(", ")
        for position, name in enumerate(quoted([names])):
            described[name.partition("{")[0]] = kind[min(position, len(kind) - 1)]
    assert described == exposed


def test_prometheus_may_ask_the_server_as_both_are_set_up() -> None:
    (hosts,) = re.findall(r"VUER_RTC_ALLOWED_HOSTS=(\S+)", OPERATE)
    (targets,) = re.findall(r"static_configs: \[\{targets: \[(.*?)\]", OPERATE)
    asked = re.findall(r'"(.*?)"', targets)
    assert asked
    assert [url for url in asked if not validate_host(url.partition(":")[0], hosts.split(","))] == []


def test_every_point_of_death_has_its_line() -> None:
    """J17."""
    named: list[str] = []
    for cell, *_ in rows(FORMAT, "| killed at |"):
        for name in quoted([cell]):
            named.append(f"{named[-1].partition('.')[0]}{name}" if name.startswith(".") else name)
    assert len(named) == len(set(named))
    assert set(named) == set(POINTS)


def test_every_rule_is_quoted_by_a_test() -> None:
    """J65 says what an operator has to mind: no test can."""
    tests = sources("tests")
    named = set(re.findall(r"\b([A-Z]\d+)\b", tests))
    named |= {rule.upper() for rule in re.findall(r"def test_([a-z]\d+)_", tests)}
    for letter, first, last in re.findall(r"\b([A-Z])(\d+) to [A-Z]?(\d+)\b", tests):
        named |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}
    rules = set(re.findall(r"\*\*([A-Z]\d+)\*\*", FORMAT + PROTOCOL))
    assert rules <= named


def test_every_code_of_a_refused_transfer_is_in_the_format() -> None:
    """J44, J49, J51."""
    told = re.findall(r'(?:TransferRefused|self\._refuse)\(\s*"([a-z-]+)"', sources("journal", "rooms"))
    assert "damaged-line" in told
    rules = FORMAT[FORMAT.index("- **J44**") : FORMAT.index("## Deleting for good")]
    assert set(told) <= set(quoted([rules]))


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = {name.upper() for name in get_type_hints(RoomSettings)}
    known |= {PREFIX + name.upper() for name in get_type_hints(JournalSettings)}
    variables = set(quoted(row[0] for row in rows(OPERATE, "| variable |")))
    prefixes = "|".join(sorted({name.partition("_")[0] for name in known}))
    named = set(re.findall(rf"\b(?:{prefixes})_[A-Z_]+\b", page.read_text()))
    assert named - variables - set(dir(global_settings)) <= known
    limits = set(re.findall(r"`([a-z_]+_max)`", page.read_text()))
    assert limits <= set(Limits.__dataclass_fields__) | {name.lower() for name in known}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [name for name in linked if not (page.parent / name).exists()] == []
    text = text.replace("vuer_rtc/crdt/dtype/interval.py", "")  # what the reader is to write
    named = re.findall(r"`((?:vuer_rtc|journal|rooms|tests|benchmarks|docs)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = re.findall(r"-m ((?:vuer_rtc|tests|benchmarks)[\w.]*)", text)
    paths = [ROOT / module.replace(".", "/") for module in modules]
    assert [path for path in paths if not (path.is_dir() or path.with_suffix(".py").exists())] == []
