"""Who deletes or changes many rows leaves room for those who write live."""

from types import SimpleNamespace
from typing import Any

import pytest

from journal import pace, projection, purge, turnstile
from journal.models import Document, JournalBatch, SceneObject
from journal.pace import Pace
from journal.projection import rebuild
from journal.purge import purge_document
from tests.journal.history import append_each, compact, insert, message, put


class Clock:
    """The time, and who slept how long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []
        fake = SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.slept_s.append)
        monkeypatch.setattr(pace, "time", fake)
        monkeypatch.setattr(turnstile, "time", fake)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def connection_of(vendor: str = "sqlite", *, in_atomic_block: bool = False) -> Any:
    return SimpleNamespace(vendor=vendor, in_atomic_block=in_atomic_block)


@pytest.mark.parametrize(
    ("commit_s", "row_s", "rows"),
    [
        (0.001, 0.0, [1, 4, 16, 64, 256, 500, 500]),
        (0.001, 0.0005, [1, 4, 16, 64, 98, 98, 98]),
        (0.001, 0.02, [1, 2, 2, 2, 2]),
        (0.001, 0.2, [1, 2, 2, 2, 2]),
        (0.06, 0.0, [1, 2, 4, 8, 16, 32]),  # a slow disk: fewer rows would not take less
    ],
)
def test_a_transaction_takes_as_many_rows_as_others_can_wait_for(
    clock: Clock, commit_s: float, row_s: float, rows: list[int]
) -> None:
    found, steps = [], Pace(500)
    for _ in rows:
        found.append(steps.rows)
        with steps.step(connection_of()):
            clock.now_s += commit_s + row_s * steps.rows
    assert found == pytest.approx(rows, abs=2)


def test_behind_it_sqlite_is_left_alone_for_as_long_as_it_took(clock: Clock) -> None:
    for took_s in (0.03, 5):
        with Pace(500).step(connection_of()):
            clock.now_s += took_s
    assert clock.slept_s == pytest.approx([0.03, 0.1])


@pytest.mark.parametrize("connection", [connection_of("postgresql"), connection_of(in_atomic_block=True)])
def test_nobody_sleeps_where_nobody_waits(clock: Clock, connection: Any) -> None:
    with Pace(500).step(connection):
        clock.now_s += 1
    assert clock.slept_s == []


def test_large_batches_are_deleted_few_at_a_time(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand point clouds in one transaction were a hundred megabytes of log."""
    append_each(document, [message(lt, put("n", "x", lt)) for lt in range(1, 17)])
    a_tenth_each = SimpleNamespace(monotonic=lambda: -0.1 * JournalBatch.objects.count())
    monkeypatch.setattr(pace, "time", a_tenth_each)
    left: list[int] = []
    take = Pace.step
    monkeypatch.setattr(
        Pace, "step", lambda self, at: left.append(JournalBatch.objects.count()) or take(self, at)
    )
    compact(document)
    assert left == [17, 16, 14, 12, 10, 8, 6, 4, 2]


def test_a_purge_leaves_room_behind_each_transaction(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "ROWS_MAX", 2)
    monkeypatch.setattr(pace, "ROWS_FIRST", 2)
    steps: list[Any] = []
    take = Pace.step
    monkeypatch.setattr(Pace, "step", lambda self, at: steps.append(at.alias) or take(self, at))
    SceneObject.objects.bulk_create([SceneObject(document=document, key=f"n{n}", lt=1) for n in range(5)])
    purge_document(document)
    assert len(steps) == 3


def test_a_projection_of_a_whole_document_leaves_room_and_that_of_a_live_room_does_not_wait(
    document: Document, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.VUER_RTC = {"JOURNAL_PROJECTION_ROWS_MAX": 2}
    append_each(document, [message(lt, insert(f"n{lt}")) for lt in range(1, 7)])
    steps: list[Any] = []
    leave = projection.leaving_room
    monkeypatch.setattr(projection, "leaving_room", lambda at: steps.append(at.alias) or leave(at))
    rebuild(document.pk)
    assert len(steps) == 5  # 3 of operations; of objects all but the last two
    append_each(document, [message(lt, put("n1", "x", lt)) for lt in range(7, 13)])
    steps.clear()
    projection.project(document.pk, 12, (), {}, since=6)
    assert steps == []
