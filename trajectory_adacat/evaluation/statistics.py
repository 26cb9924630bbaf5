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
TAILS = ((1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0)

Scores = Sequence[Sequence[float]]  # the scores of each training's rollouts
Padded = tuple[NDArray[np.float64], NDArray[np.int64]]  # scores [trainings, rollouts], rollouts of each training


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
    (mean_low, iqm_low), (mean_high, iqm_high) = np.quantile(np.concatenate(chunks), TAILS, axis=0)
    return (float(mean_low), float(mean_high)), (float(iqm_low), float(iqm_high))


def _pad(scores: Scores) -> Padded:
    """Return the scores as ``[trainings, rollouts]``, padded, and the number of rollouts of each training."""
    counts = np.array([len(rollouts) for rollouts in scores])
    padded = np.zeros((len(scores), counts.max()))
    for row, rollouts in zip(padded, scores, strict=True):
        row[: len(rollouts)] = rollouts
    return padded, counts


def _draw(padded: Padded, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw trainings, then rollouts within each, with replacement.

    Returns:
        The scores, ``[CHUNK, trainings, rollouts]``, with NaN in the places beyond the number of rollouts, and that
        number, ``[CHUNK, trainings, 1]``.
    """
    scores, counts = padded
    n_trainings, width = scores.shape
    training = generator.integers(n_trainings, size=(CHUNK, n_trainings))
    n = counts[training][..., None]
    rollout = generator.integers(n, size=(CHUNK, n_trainings, width))
    drawn = scores[training[..., None], rollout]
    return np.where(np.arange(width) < n, drawn, np.nan), n


def _resampled_statistics(tasks: Sequence[Padded], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return means and interquartile means of resamples, ``[CHUNK, 2]``."""
    means, draws = [], []
    for padded in tasks:
        drawn, n = _draw(padded, generator)
        means.append((np.nansum(drawn, -1) / n[..., 0]).mean(-1))
        draws.append(np.where(np.isnan(drawn), np.inf, drawn).reshape(CHUNK, -1))
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


@dataclass(frozen=True)
class Improvement:
    """The probability that one method scores higher than another (Agarwal et al. 2021).

    Attributes:
        probability: in [0, 1]; a tie counts half.
        interval: its 95 % hierarchical bootstrap interval.
        by_training: whether it is the probability for a training's mean rather than for a rollout.
    """

    probability: float
    interval: tuple[float, float]
    by_training: bool


def probability_of_improvement(first: Sequence[Scores], second: Sequence[Scores], seed: int = 0) -> Improvement:
    """Return the probability that a training of the first method scores higher than one of the second.

    A training's score is the mean over its rollouts. The probability is the mean over tasks of the share of pairs of
    trainings in which the first is higher. Where a method has a single training, or none, the pairs are of rollouts.

    Args:
        first: scores of one method on each task.
        second: scores of the other method on the same tasks.
        seed: seed of the bootstrap.

    Raises:
        ValueError: if there are no scores, or the tasks differ in number.
    """
    if not first or not all(len(scores) and all(map(len, scores)) for scores in [*first, *second]):
        raise ValueError("there are no scores to compare.")
    by_training = all(len(scores) > 1 for scores in [*first, *second])
    pairs = list(zip(map(_pad, first), map(_pad, second), strict=True))
    generator = np.random.default_rng(seed)
    wholes = [[_units(_whole(side), by_training) for side in pair] for pair in pairs]
    chunks = [
        np.mean(
            [_share_higher(*(_units(_draw(side, generator)[0], by_training) for side in pair)) for pair in pairs],
            axis=0,
        )
        for _ in range(RESAMPLES // CHUNK)
    ]
    low, high = np.quantile(np.concatenate(chunks), TAILS)
    probability = np.mean([_share_higher(*whole) for whole in wholes])
    return Improvement(float(probability), (float(low), float(high)), by_training)


def _whole(padded: Padded) -> NDArray[np.float64]:
    """Return the scores as one resample that is the data itself, ``[1, trainings, rollouts]``."""
    scores, counts = padded
    return np.where(np.arange(scores.shape[1]) < counts[:, None], scores, np.nan)[None]


def _units(drawn: NDArray[np.float64], by_training: bool) -> NDArray[np.float64]:
    """Return the means of trainings, or all rollouts, ``[resamples, units]``."""
    return np.nanmean(drawn, axis=-1) if by_training else drawn.reshape(len(drawn), -1)


def _share_higher(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of pairs in which the first is higher, ``[resamples]``; ties count half, NaN is left out."""
    one, other = first[:, :, None], second[:, None, :]
    is_pair = ~(np.isnan(one) | np.isnan(other))
    higher = np.where(is_pair, (one > other) + 0.5 * (one == other), 0.0)
    return higher.sum(axis=(1, 2)) / is_pair.sum(axis=(1, 2))


@dataclass(frozen=True)
class Profile:
    """A performance profile: the share of runs with a score above each threshold (Agarwal et al. 2021).

    Attributes:
        thresholds: ``[T]``.
        shares: ``[T]``.
        low: lower end of the 95 % hierarchical bootstrap interval of each share, ``[T]``.
        high: upper end.
    """

    thresholds: NDArray[np.float64]
    shares: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def performance_profile(tasks: Sequence[Scores], thresholds: NDArray[np.float64], seed: int = 0) -> Profile:
    """Return the mean over tasks and trainings of the share of rollouts that score above each threshold.

    The band is pointwise. Its resampling is stratified by task: trainings are drawn, then rollouts within each.

    Raises:
        ValueError: if there are no scores.
    """
    if not tasks or not all(len(scores) and all(map(len, scores)) for scores in tasks):
        raise ValueError("there are no scores to draw.")
    generator = np.random.default_rng(seed)
    padded = [_pad(scores) for scores in tasks]
    chunks = [
        np.mean([_shares_above(_draw(task, generator)[0], thresholds) for task in padded], axis=0)
        for _ in range(RESAMPLES // CHUNK)
    ]
    low, high = np.quantile(np.concatenate(chunks), TAILS, axis=0)
    shares = np.mean([_shares_above(_whole(task), thresholds) for task in padded], axis=0)[0]
    return Profile(thresholds, shares, low, high)


def _shares_above(drawn: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over trainings of the share of rollouts above each threshold, ``[resamples, T]``."""
    n = (~np.isnan(drawn)).sum(-1)  # [resamples, trainings]
    return np.stack([((drawn > threshold).sum(-1) / n).mean(-1) for threshold in thresholds], axis=1)
