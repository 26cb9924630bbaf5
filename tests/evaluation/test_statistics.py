"""Means, standard errors, interquartile means, bootstrap intervals and differences."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.evaluation.statistics import difference, interquartile_mean, standard_error, summarize

SCORES = [61.0, 64.5, 70.2, 69.9, 72.3, 40.0, 75.5]


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_standard_error_is_scipys(scores: list[float]) -> None:
    assert standard_error(scores) == pytest.approx(scipy.stats.sem(scores), abs=1e-9)


def test_a_single_run_has_no_standard_error_and_no_interval() -> None:
    summary = summarize([50.0])
    assert (summary.mean, summary.iqm, summary.n) == (50.0, 50.0, 1)
    assert summary.standard_error is None
    assert summary.interval is None


def test_no_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        summarize([])


def test_summary_of_known_scores() -> None:
    summary = summarize(SCORES)
    assert summary.mean == pytest.approx(np.mean(SCORES))
    assert summary.iqm == pytest.approx(np.mean(sorted(SCORES)[1:-1]))  # 25 % of 7 is one run at each end
    assert summary.interval is not None
    low, high = summary.interval
    assert min(SCORES) <= low < summary.iqm < high <= max(SCORES)


def test_the_interval_covers_about_95_percent() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(12):
        summary = summarize(generator.normal(50.0, 10.0, size=20).tolist())
        assert summary.interval is not None
        covered += summary.interval[0] <= 50.0 <= summary.interval[1]
    assert covered >= 9


def test_the_interval_depends_on_the_scores_alone() -> None:
    np.random.seed(1)  # noqa: NPY002 - the generator that rliable uses
    first = summarize(SCORES)
    np.random.seed(2)  # noqa: NPY002
    assert summarize(SCORES) == first
    assert summarize(SCORES, seed=5).interval != first.interval


def test_the_global_generator_is_restored() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    summarize(SCORES)
    assert np.random.random() == expected  # noqa: NPY002


def test_resampling_is_stratified_by_task() -> None:
    # Two tasks, each with constant scores: resampling within a task changes nothing.
    iqm, interval = interquartile_mean(np.array([[10.0, 90.0]] * 6))
    assert iqm == 50.0
    assert interval is not None
    assert all(math.isclose(end, 50.0) for end in interval)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=20, unique=True),
    st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=20, unique=True),
)
def test_swapping_the_sides_changes_the_sign_and_a_small_p_value_is_clear(
    first: list[float], second: list[float]
) -> None:
    there, back = difference(first, second), difference(second, first)
    assert there.mean == -back.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.interval[0] <= there.mean <= there.interval[1]
    if abs(there.p_value - 0.05) > 1e-6:
        assert there.is_clear == (there.p_value < 0.05)


def test_a_difference_of_known_runs() -> None:
    # By hand: means 2 and 6, variances 1 and 4 over 3 runs each, so a standard error of sqrt(5 / 3) and
    # (5 / 3)^2 / ((1 / 9 + 16 / 9) / 2) = 50 / 17 degrees of freedom.
    found = difference([1.0, 2.0, 3.0], [4.0, 6.0, 8.0])
    half = scipy.stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert found.interval == pytest.approx((-4.0 - half, -4.0 + half))


def test_constant_runs_differ_if_they_are_not_equal() -> None:
    assert not difference([1.0, 1.0], [1.0, 1.0]).is_clear
    assert difference([1.0, 1.0], [2.0, 2.0]).is_clear


def test_a_difference_needs_two_runs_on_each_side() -> None:
    with pytest.raises(ValueError, match="two runs"):
        difference([1.0], [1.0, 2.0])
