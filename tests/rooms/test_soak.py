"""Memory does not grow with the rooms that were open (`python -m tests.rooms.soak` for the full size)."""

from pathlib import Path

from tests.rooms.soak import SETTINGS, soak
from tests.server import ServerProcess

OPENINGS = 150
SLACK = 0.25
"""So short a run still warms up while it is measured; the full one is held to a tenth."""


async def test_rooms_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, settings=SETTINGS) as server:
        report = await soak(server, OPENINGS)
    assert report.growth < SLACK, report
