"""Python's garbage collector looks seldom while journals are read, and as before afterwards."""

import gc

import pytest

from journal.collector import THRESHOLDS, calm_collector


def test_it_is_calm_within_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with calm_collector():
        assert gc.get_threshold() == max(before, THRESHOLDS)
    assert gc.get_threshold() == before


@pytest.mark.parametrize("wanted", [(0, 10, 10), (20_000_000, 5, 5)])
def test_one_that_is_off_or_calmer_already_is_left_alone(wanted: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(*wanted)
        with calm_collector():
            assert gc.get_threshold() == wanted
    finally:
        gc.set_threshold(*before)
