"""Summarize scores over trainings and rollouts: means, interquartile means, bootstrap intervals, differences.

Rollouts of one training are not independent draws of the method: they share the luck of that training. So the unit of
an interval is the training where there are several, and the bootstrap is hierarchical: it draws trainings, then
rollouts within each. With one training it draws rollouts, and the interval holds for that training alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
CHUNK = 100  # resamples drawn at once, which bounds the memory

Scores = Sequence[Sequence[float]]  # the scores of each training's rollouts


@dataclass(frozen=True)
class Summary:
    """Statistics of scores over trainings and rollouts.

    Attributes:
        mean: mean over the trainings of the mean over each one's rollouts.
        standard_error: of the mean, over trainings where there are several, else over rollouts; None for one score.
        mean_interval: 95 % hierarchical bootstrap interval of the mean; None for one score.
        n: number of rollouts.
        trainings: number of trainings on each task; 0 where nothing was trained.
        tasks: number of tasks.
        per_training: number of rollouts of each training on each task; None if they differ.
        iqm: interquartile mean over all rollouts.
        interval: 95 % hierarchical bootstrap interval of the interquartile mean; None for one score.
    """

    mean: float
    standard_error: float | None
    mean_interval: tuple[float, float] | None
    n: int
    trainings: int
    tasks: int
    per_training: int | None
    iqm: float
    interval: tuple[float, float] | None


def units(scores: Scores) -> list[float]:
    """Return the independent numbers: the means of the trainings if there are several, else the scores themselves."""
    if len(scores) > 1:
        return [float(np.mean(rollouts)) for rollouts in scores]
    return list(scores[0])


def standard_error(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (divisor n - 1) of independent values / sqrt(n); None for fewer than two."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def summarize(scores: Scores, trained: bool = True, seed: int = 0) -> Summary:
    """Summarize the scores of one method on one task.

    Args:
        scores: of each training's rollouts.
        trained: False for a method without training, whose rollouts are ``scores[0]``.
        seed: seed of the bootstrap; the same scores and seed give the same intervals.

    Raises:
        ValueError: if there are no scores.
    """
    return summarize_tasks([scores], trained, seed)


def summarize_tasks(tasks: Sequence[Scores], trained: bool = True, seed: int = 0) -> Summary:
    """Summarize the scores of one method on several tasks, with resampling stratified by task.

    The mean is that of the tasks' means, and the interquartile mean is taken over the rollouts of all tasks. All tasks
    have the same number of trainings. Arguments and errors are those of :func:`summarize`.
    """
    if not all(len(scores) and all(map(len, scores)) for scores in tasks):
        raise ValueError("there are no scores to summarize.")
    means = [float(np.mean([np.mean(rollouts) for rollouts in scores])) for scores in tasks]
    errors = [error for scores in tasks if (error := standard_error(units(scores))) is not None]
    rollouts = np.concatenate([np.concatenate(scores) for scores in tasks])
    sizes = {len(training) for scores in tasks for training in scores}
    mean_interval, interval = _intervals(tasks, seed) if len(rollouts) > len(tasks) else (None, None)
    return Summary(
        mean=float(np.mean(means)),
        standard_error=float(np.linalg.norm(errors) / len(tasks)) if len(errors) == len(tasks) else None,
        mean_interval=mean_interval,
        n=len(rollouts),
        trainings=len(tasks[0]) if trained else 0,
        tasks=len(tasks),
        per_training=sizes.pop() if len(sizes) == 1 else None,
        iqm=interquartile_mean(rollouts),
        interval=interval,
    )


def interquartile_mean(scores: NDArray[np.float64] | Sequence[float]) -> float:
    """Return the mean of the middle half of the scores: a fourth, rounded down, is cut at each end (rliable)."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def _intervals(tasks: Sequence[Scores], seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the percentile intervals of the mean and of the interquartile mean."""
    generator = np.random.default_rng(seed)
    padded = [_pad(scores) for scores in tasks]
    chunks = [_resampled_statistics(padded, generator) for _ in range(RESAMPLES // CHUNK)]
    tails = [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0]
    (mean_low, iqm_low), (mean_high, iqm_high) = np.quantile(np.concatenate(chunks), tails, axis=0)
    return (float(mean_low), float(mean_high)), (float(iqm_low), float(iqm_high))


def _pad(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the scores as ``[trainings, rollouts]``, padded, and the number of rollouts of each training."""
    counts = np.array([len(rollouts) for rollouts in scores])
    padded = np.zeros((len(scores), counts.max()))
    for row, rollouts in zip(padded, scores, strict=True):
        row[: len(rollouts)] = rollouts
    return padded, counts


def _resampled_statistics(
    tasks: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw trainings, then rollouts within each; return means and interquartile means, ``[CHUNK, 2]``."""
    means, draws = [], []
    for padded, counts in tasks:
        n_trainings, width = padded.shape
        training = generator.integers(n_trainings, size=(CHUNK, n_trainings))
        n = counts[training][..., None]  # [CHUNK, trainings, 1]
        rollout = generator.integers(n, size=(CHUNK, n_trainings, width))
        drawn = padded[training[..., None], rollout]
        is_real = np.arange(width) < n
        means.append((np.where(is_real, drawn, 0.0).sum(-1) / n[..., 0]).mean(-1))
        draws.append(np.where(is_real, drawn, np.inf).reshape(CHUNK, -1))
    return np.stack([np.mean(means, axis=0), _interquartile_means(np.concatenate(draws, axis=1))], axis=1)


def _interquartile_means(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the interquartile mean of the finite scores of each row."""
    ordered = np.sort(draws, axis=1)
    n = np.isfinite(ordered).sum(axis=1, keepdims=True)
    place = np.arange(ordered.shape[1])
    is_middle = (place >= n // 4) & (place < n - n // 4)
    return np.where(is_middle, ordered, 0.0).sum(axis=1) / is_middle.sum(axis=1)


@dataclass(frozen=True)
class Difference:
    """The difference between the means of two sets of independent values.

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
    """Compare the means of two sets of independent values with unequal variances (Welch).

    Raises:
        ValueError: if either has fewer than two values.
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
