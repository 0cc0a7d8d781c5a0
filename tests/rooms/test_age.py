"""J21: which messages a live room folds away, and which stay open."""

from typing import Any

import pytest

from rooms.age import Ages, cut_of

MINUTE_S = 60


class Graph:
    """Messages with Lamport times 1, 2, 3, … of which some are folded; each of so many bytes."""

    def __init__(self, lt: int, folded: int = 0, size: int = 1) -> None:
        self.lt = lt
        self._size = size
        self.retained_bytes = size * (lt - folded)
        self.retained_count = lt - folded
        self._folded = folded

    def retained_lt(self, index: int) -> int:
        return self._folded + index + 1

    def retained_index(self, size: int) -> int:
        return -(-size // self._size) - 1


@pytest.fixture(autouse=True)
def small(settings: Any) -> None:
    settings.VUER_RTC = {
        "OPEN_MESSAGES": 100,
        "OPEN_MINUTES": 10,
        "OPEN_MESSAGES_MAX": 1000,
        "FOLD_MESSAGES": 10,
        "FOLD_MESSAGES_MAX": 50,
        "OPEN_BYTES_MAX": 2000,
    }


def aged(*known: tuple[float, int]) -> Ages:
    return Ages((minutes * MINUTE_S, lt) for minutes, lt in known)


@pytest.mark.parametrize(("lt", "cut"), [(99, None), (109, None), (110, 10), (140, 40), (500, 50)])
def test_j21_the_newest_stay_open_and_the_old_go_a_few_at_a_time(lt: int, cut: int | None) -> None:
    assert cut_of(Graph(lt), aged((0, lt)), 60 * MINUTE_S) == cut


def test_j21_the_young_stay_open_however_many_they_are() -> None:
    ages = aged((0, 30), (5, 60), (10, 90))
    assert cut_of(Graph(150), ages, 9 * MINUTE_S) is None
    assert cut_of(Graph(150), ages, 10 * MINUTE_S) == 30
    assert cut_of(Graph(150), ages, 15 * MINUTE_S) == 50
    assert cut_of(Graph(150, folded=30), ages, 30 * MINUTE_S) == 50


def test_j21_what_nobody_knows_the_age_of_counts_as_young() -> None:
    assert cut_of(Graph(900), aged(), 60 * MINUTE_S) is None


def test_j21_there_is_a_bound_whatever_their_age() -> None:
    assert cut_of(Graph(999), aged(), 0) is None
    assert cut_of(Graph(1000), aged(), 0) == 50
    assert cut_of(Graph(1050, folded=50), aged((5, 55)), 20 * MINUTE_S) == 100


def test_ages_are_known_in_steps_and_forgotten_when_they_are_used() -> None:
    ages = Ages()
    for second in range(100):
        ages.note(second, second)
    assert [ages.highest_before(time) for time in (45, 45.5, 50, 9, 1000)] == [40, 40, 50, -1, 90]


def test_j21_large_messages_are_folded_however_young_and_few_they_are() -> None:
    assert cut_of(Graph(20, size=100), aged(), 0) is None
    assert cut_of(Graph(21, size=100), aged(), 0) == 3  # 1,800 bytes stay
    assert cut_of(Graph(1, size=5000), aged(), 0) == 1
    assert cut_of(Graph(90, size=100), aged(), 0) == 50
