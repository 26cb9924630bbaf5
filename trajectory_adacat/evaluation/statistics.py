"""Mean, standard error and interquartile mean of scores over runs, with bootstrap intervals; differences of means."""

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
    """Scores over runs in a few numbers.

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
    """Sample standard deviation (divisor n - 1) over the pooled runs / sqrt(n), as in the paper's Table 4.

    None for fewer than two runs, which say nothing about their spread.
    """
    if len(scores) < 2:
        return None
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores)))


def summarize(scores: Sequence[float], seed: int = 0) -> Summary:
    """Summarize the scores of all runs on one task.

    Args:
        scores: one for each run, training seeds and rollouts pooled.
        seed: of the bootstrap, so that the same scores give the same interval.

    Raises:
        ValueError: if there are no scores.
    """
    if not len(scores):
        raise ValueError("there are no scores to summarize.")
    iqm, interval = interquartile_mean(np.asarray(scores, dtype=np.float64)[:, None], seed)
    return Summary(float(np.mean(scores)), standard_error(scores), len(scores), iqm, interval)


def interquartile_mean(scores: NDArray[np.float64], seed: int = 0) -> tuple[float, tuple[float, float] | None]:
    """The interquartile mean and its 95 % interval from a bootstrap over runs, stratified by task (rliable).

    Args:
        scores: with shape ``[runs, tasks]``.
        seed: of the bootstrap.

    Returns:
        The mean of the middle half of all scores, and the interval's ends; None for them with a single run.
    """
    from rliable import library, metrics  # it takes seconds to import

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
    """How far the mean of one set of runs lies above that of another.

    Attributes:
        mean: of the first less that of the second.
        interval: its 95 % interval, by Welch's t-test.
        p_value: of equal means.
    """

    mean: float
    interval: tuple[float, float]
    p_value: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return not self.interval[0] <= 0.0 <= self.interval[1]


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compares the means of two independent sets of runs, whose spreads may differ (Welch).

    Raises:
        ValueError: if either has fewer than two runs.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a difference needs two runs or more on either side.")
    from scipy import stats  # it takes a second to import

    mean = float(np.mean(first) - np.mean(second))
    if np.ptp(first) == 0.0 and np.ptp(second) == 0.0:  # without any spread, there is nothing to test against
        return Difference(mean, (mean, mean), float(mean == 0.0))
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(mean, (float(low), float(high)), float(test.pvalue))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # rliable's bootstrap draws from numpy's global generator, whatever random state it is given.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
