"""The ratio of planned to realized return."""

import pytest

from trajectory_adacat.evaluation.planned import Discounting, PlannedReturn, compare_returns


def test_ratio_is_none_unless_the_realized_return_is_positive() -> None:
    assert PlannedReturn(3.0, 2.0).ratio == 1.5
    assert PlannedReturn(3.0, 0.0).ratio is None
    assert PlannedReturn(3.0, -2.0).ratio is None


def test_nothing_is_compared_without_plans() -> None:
    assert compare_returns({}, [1.0], True, Discounting(0.99, None)) is None


@pytest.mark.parametrize(("steps", "compared"), [(298, False), (299, True)])
def test_a_cut_leaves_the_steps_whose_missing_tail_weighs_below_five_percent(steps: int, compared: bool) -> None:
    assert (compare_returns({0: 1.0}, [1.0] * steps, False, Discounting(0.99, None)) is not None) == compared
