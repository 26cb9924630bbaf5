"""Means, standard errors, interquartile means, bootstrap intervals and differences."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from rliable import library, metrics

from trajectory_adacat.evaluation.statistics import (
    difference,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    standard_error,
    summarize,
    summarize_tasks,
)

SCORES = [61.0, 64.5, 70.2, 69.9, 72.3, 40.0, 75.5]


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_standard_error_is_scipys(scores: list[float]) -> None:
    assert standard_error(scores) == pytest.approx(scipy.stats.sem(scores), abs=1e-9)


def test_a_single_run_has_no_standard_error_and_no_interval() -> None:
    summary = summarize([[50.0]])
    assert (summary.mean, summary.iqm, summary.n) == (50.0, 50.0, 1)
    assert summary.standard_error is None
    assert summary.interval is None


def test_no_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        summarize([])
    with pytest.raises(ValueError, match="no scores"):
        summarize([[1.0], []])


def test_summary_of_known_scores() -> None:
    summary = summarize([SCORES])
    assert summary.mean == pytest.approx(np.mean(SCORES))
    assert summary.iqm == pytest.approx(np.mean(sorted(SCORES)[1:-1]))  # 25 % of 7 is one run at each end
    assert summary.interval is not None
    low, high = summary.interval
    assert min(SCORES) <= low < summary.iqm < high <= max(SCORES)


def test_the_interval_covers_about_95_percent() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(12):
        summary = summarize([generator.normal(50.0, 10.0, size=20).tolist()])
        assert summary.interval is not None
        covered += summary.interval[0] <= 50.0 <= summary.interval[1]
    assert covered >= 9


def test_the_intervals_depend_on_the_scores_alone() -> None:
    state = np.random.get_state()  # noqa: NPY002 - neither read nor changed
    first = summarize([SCORES])
    np.random.seed(2)  # noqa: NPY002
    assert summarize([SCORES]) == first
    assert summarize([SCORES], seed=5).interval != first.interval
    np.random.set_state(state)  # noqa: NPY002


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_the_interquartile_mean_is_rliables(scores: list[float]) -> None:
    assert interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(np.array(scores)[:, None]), abs=1e-9)


def test_one_rollout_of_each_training_gives_rliables_stratified_interval() -> None:
    runs = np.random.default_rng(1).normal(50.0, 10.0, size=(12, 3))  # [trainings, tasks]
    summary = summarize_tasks([[[score] for score in task] for task in runs.T])
    _, expected = library.get_interval_estimates(
        {"runs": runs}, lambda scores: np.array([metrics.aggregate_iqm(scores), scores.mean()]), reps=2000
    )
    assert summary.interval == pytest.approx(expected["runs"][:, 0], abs=1.0)
    assert summary.mean_interval == pytest.approx(expected["runs"][:, 1], abs=1.0)


def test_resampling_is_stratified_by_task() -> None:
    summary = summarize_tasks([[[10.0] * 6], [[90.0] * 6]])  # constant scores within each task
    assert summary.iqm == summary.mean == 50.0
    for interval in (summary.interval, summary.mean_interval):
        assert interval is not None
        assert all(math.isclose(end, 50.0) for end in interval)
    assert (summary.n, summary.trainings, summary.tasks, summary.per_training) == (12, 1, 2, 6)


# -- trainings as the unit -------------------------------------------------------------------------------------


def test_rollouts_within_a_training_do_not_shrink_the_error_of_the_method() -> None:
    few, many = [[10.0], [20.0], [60.0]], [[10.0] * 50, [20.0] * 50, [60.0] * 50]
    assert summarize(few).standard_error == pytest.approx(scipy.stats.sem([10.0, 20.0, 60.0]))
    assert summarize(many).standard_error == summarize(few).standard_error
    assert (summarize([np.ravel(many).tolist()]).standard_error or 9.0) < 3.0  # as if 150 trainings had been made


def test_each_training_has_the_same_weight_in_the_mean() -> None:
    summary = summarize([[0.0] * 9, [10.0]])
    assert summary.mean == 5.0
    assert (summary.n, summary.trainings, summary.per_training) == (10, 2, None)
    assert summary.mean_interval == (0.0, 10.0)


def test_padding_does_not_enter_the_intervals() -> None:
    summary = summarize([[7.0] * 9, [7.0], [7.0] * 4])
    assert summary.interval == summary.mean_interval == (7.0, 7.0)


def test_a_method_without_training_has_rollouts_as_units() -> None:
    untrained = summarize([SCORES], trained=False)
    assert untrained.trainings == 0
    assert untrained.standard_error == pytest.approx(scipy.stats.sem(SCORES))


def test_the_hierarchical_interval_covers_where_the_one_over_pooled_rollouts_does_not() -> None:
    generator = np.random.default_rng(0)
    covered = dict.fromkeys(["mean", "IQM", "pooled mean", "pooled IQM"], 0)
    repetitions = 50
    for _ in range(repetitions):
        trainings = generator.normal(50.0, 10.0, size=(12, 1)) + generator.normal(0.0, 10.0, size=(12, 10))
        whole, pooled = summarize(trainings.tolist()), summarize([trainings.ravel().tolist()])
        intervals = (whole.mean_interval, whole.interval, pooled.mean_interval, pooled.interval)
        for name, interval in zip(covered, intervals, strict=True):
            assert interval is not None
            covered[name] += interval[0] <= 50.0 <= interval[1]
    assert min(covered["mean"], covered["IQM"]) >= 0.88 * repetitions
    assert max(covered["pooled mean"], covered["pooled IQM"]) <= 0.70 * repetitions


# -- differences -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("n_trainings", [1, 4])
def test_probability_of_improvement_is_rliables(n_trainings: int) -> None:
    """By rollout with one training, by training with several; rliable has one score for each run."""
    generator = np.random.default_rng(1)
    tasks = [
        [generator.integers(low, 12, size=(n_trainings, 5)).astype(float) for low in lows] for lows in ((2, 0), (0, 3))
    ]
    first, second = ([task[side].tolist() for task in tasks] for side in (0, 1))
    found = probability_of_improvement(first, second)
    runs = [[task[side].mean(1) if n_trainings > 1 else task[side].ravel() for task in tasks] for side in (0, 1)]
    expected = metrics.probability_of_improvement(*(np.stack(side, axis=1) for side in runs))
    assert found.probability == pytest.approx(expected)
    assert found.by_training == (n_trainings > 1)
    assert 0.0 <= found.interval[0] <= found.probability <= found.interval[1] <= 1.0


def test_probability_of_improvement_has_its_ends() -> None:
    low, high = [[1.0, 2.0], [3.0]], [[5.0], [4.0, 6.0]]
    assert probability_of_improvement([high], [low]).probability == 1.0
    assert probability_of_improvement([low], [high]).interval == (0.0, 0.0)
    assert probability_of_improvement([low], [low]).probability == 0.5


def test_a_training_counts_by_its_mean() -> None:
    """Of the pairs of rollouts, 5 of 9 are won; of the pairs of trainings, none."""
    first, second = [[2.0, 2.0, -9.0], [2.0, 2.0, -9.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    assert probability_of_improvement([first], [second]).probability == 0.0
    assert probability_of_improvement([first[:1]], [second]).probability == pytest.approx(2 / 3)


def test_no_scores_give_no_probability_and_no_profile() -> None:
    with pytest.raises(ValueError, match="no scores"):
        probability_of_improvement([[[1.0]]], [[]])
    with pytest.raises(ValueError, match="no scores"):
        performance_profile([], np.zeros(1))


def test_a_performance_profile_is_rliables() -> None:
    generator = np.random.default_rng(2)
    scores = generator.normal(50.0, 20.0, size=(6, 2))  # runs, tasks
    thresholds = np.linspace(0.0, 100.0, 21)
    tasks = [[[score] for score in task] for task in scores.T]
    profile = performance_profile(tasks, thresholds)
    expected, bands = library.create_performance_profile({"a": scores}, thresholds, reps=2000)
    assert profile.shares == pytest.approx(expected["a"])
    assert profile.low == pytest.approx(bands["a"][0], abs=0.06)
    assert profile.high == pytest.approx(bands["a"][1], abs=0.06)


def test_a_performance_profile_gives_trainings_equal_weight() -> None:
    profile = performance_profile([[[0.0], [10.0] * 3]], np.array([-1.0, 5.0, 10.0]))
    assert profile.shares.tolist() == [1.0, 0.5, 0.0]
    assert (profile.low[1], profile.high[1]) == (0.0, 1.0)
