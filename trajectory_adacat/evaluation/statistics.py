"""Summarize scores over runs: means, standard errors, interquartile means, bootstrap intervals, differences."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Statistics of scores over runs.

    Attributes:
        mean: arithmetic mean.
        standard_error: sample standard deviation over the runs / sqrt(n); None for a single run.
        n: number of runs.
        iqm: interquartile mean.
        interval: 95 % stratified bootstrap interval of the interquartile mean; None for a single run.
    """

    mean: float
    standard_error: float | None
    n: int
    iqm: float
    interval: tuple[float, float] | None


def standard_error(scores: Sequence[float]) -> float | None:
    """Return the sample standard deviation (divisor n - 1) over the pooled runs / sqrt(n), as in the paper's Table 4.

    It is None for fewer than two runs.
    """
    if len(scores) < 2:
        return None
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores)))


def summarize(scores: Sequence[float], seed: int = 0) -> Summary:
    """Summarize the scores of all runs on one task.

    Args:
        scores: one for each run; training seeds and rollouts are pooled.
        seed: seed of the bootstrap; the same scores and seed give the same interval.

    Raises:
        ValueError: if there are no scores.
    """
    if not len(scores):
        raise ValueError("there are no scores to summarize.")
    iqm, interval = interquartile_mean(np.asarray(scores, dtype=np.float64)[:, None], seed)
    return Summary(float(np.mean(scores)), standard_error(scores), len(scores), iqm, interval)


def interquartile_mean(scores: NDArray[np.float64], seed: int = 0) -> tuple[float, tuple[float, float] | None]:
    """Compute the interquartile mean and its 95 % interval from a bootstrap over runs, stratified by task (rliable).

    Args:
        scores: shape ``[runs, tasks]``.
        seed: seed of the bootstrap.

    Returns:
        The mean of the middle half of all scores, and the ends of the interval, None for a single run.
    """
    from rliable import library, metrics  # takes seconds to import

    if len(scores) == 1:
        return float(metrics.aggregate_iqm(scores)), None

    def aggregate(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([metrics.aggregate_iqm(resampled)])

    with _seeded(seed):
        points, intervals = library.get_interval_estimates(
            {"scores": scores}, aggregate, reps=RESAMPLES, confidence_interval_size=CONFIDENCE
        )
    low, high = intervals["scores"][:, 0]
    return float(points["scores"][0]), (float(low), float(high))


@dataclass(frozen=True)
class Difference:
    """The difference between the means of two sets of runs.

    Attributes:
        mean: mean of the first set minus mean of the second.
        interval: its 95 % interval by Welch's t-test.
        p_value: p-value of the hypothesis of equal means.
    """

    mean: float
    interval: tuple[float, float]
    p_value: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return not self.interval[0] <= 0.0 <= self.interval[1]


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare the means of two independent sets of runs with unequal variances (Welch).

    Raises:
        ValueError: if either has fewer than two runs.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a difference needs at least two runs on each side.")
    from scipy import stats  # takes a second to import

    mean = float(np.mean(first) - np.mean(second))
    if np.ptp(first) == 0.0 and np.ptp(second) == 0.0:  # the t statistic would be 0 / 0
        return Difference(mean, (mean, mean), float(mean == 0.0))
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(mean, (float(low), float(high)), float(test.pvalue))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # rliable's bootstrap uses numpy's global generator even if it is given a random state.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
