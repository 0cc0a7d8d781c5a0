"""J6 to J13 hold in every schedule of a small world, and none of these rules can be left out."""

import pytest

from tests.journal.model import Mutation, explore


def test_no_schedule_loses_or_repeats_what_was_acknowledged() -> None:
    result = explore()
    assert result.fault == ""
    assert result.states > 50_000
    assert result.ends > 50


@pytest.mark.parametrize("mutation", Mutation)
def test_without_the_rule_some_schedule_does(mutation: Mutation) -> None:
    result = explore(mutation)
    assert result.fault, mutation
    assert len(result.schedule) > 5
