"""The rows of a dataset as Trajectory Transformer joins them, and the thresholds and bounds that it takes of them."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.datasets.d4rl import read_d4rl
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Trajectories, discounted_values
from trajectory_adacat.errors import InputError

# Where the lowest thresholds coincide, the share of the range by which the lower bound is lowered: the values below
# the minimum then have a bin of their own, as they do there.
MARGIN = 1e-6


def joined_rows(path: Path, observation_size: int, discount: float, penalty: float | None) -> Trajectories:
    """Join observation, action, reward and value of each row of a D4RL-format file but the last.

    A path ends at a terminal or a timeout. The penalty replaces the reward of a terminal.

    Args:
        path: the file.
        observation_size: columns of an observation that the model sees; ant's files have more.
        discount: of the values.
        penalty: reward of a terminal, or None for its own.

    Raises:
        InputError: if the file cannot be read or has too few rows.
    """
    arrays, _, _ = read_d4rl(path)
    terminals = arrays["terminals"][:-1]
    ended = terminals | arrays.get("timeouts", np.zeros(len(terminals) + 1, bool))[:-1]
    if len(terminals) < 2:
        raise InputError(f"{path} has too few rows.")
    rewards = arrays["rewards"][:-1].astype(np.float64)
    if penalty is not None:
        rewards[terminals] = penalty
    stops = np.unique([*(np.flatnonzero(ended) + 1), len(ended)])
    values = np.concatenate([discounted_values(part, discount) for part in np.split(rewards, stops[:-1])])
    observations = arrays["observations"][:-1, :observation_size]
    columns = [observations, arrays["actions"][:-1], rewards[:, None], values[:, None]]
    joined = np.concatenate(columns, axis=1, dtype=np.float64)
    return Trajectories(torch.from_numpy(joined), torch.from_numpy(np.repeat(stops, np.diff(stops, prepend=0))), 0)


def quantile_thresholds(rows: Tensor, n_bins: int) -> Tensor:
    """Return the thresholds of each dimension of ``rows [n, D]``, float64, ``[N + 1, D]``; some may coincide.

    They are every ``ceil(n / N)``-th of the sorted values, and the maximum.

    Raises:
        InputError: if the rows do not fill the bins.
    """
    ordered = rows.sort(0).values
    share = math.ceil(len(rows) / n_bins)
    if math.ceil(len(rows) / share) != n_bins:
        raise InputError(f"{len(rows)} rows do not fill {n_bins} bins, so this is not the dataset of the training.")
    return torch.cat([ordered[::share], ordered[-1:]])


def bounds(rows: Tensor) -> MinMaxNormalizer:
    """Return the bounds of ``rows [n, D]`` in float32, as AdaCat's code has them."""
    return MinMaxNormalizer.fit(rows.float())


def bounds_of_thresholds(thresholds: Tensor) -> MinMaxNormalizer:
    """Return the bounds of ``thresholds [N + 1, D]``, lowered by `MARGIN` where the lowest two coincide."""
    low, high = thresholds[0], thresholds[-1]
    return MinMaxNormalizer(torch.where(thresholds[1] == low, low - MARGIN * (high - low), low), high)


def normalized_edges(thresholds: Tensor, normalizer: MinMaxNormalizer) -> Tensor:
    """Return the edges in [0, 1] of the bins of ``thresholds [N + 1, D]``, float32, ``[D, N + 1]``.

    There a bin between coinciding thresholds has a token and a logit like any other, and the highest may hold much of
    the data. Here a bin without width is absent. So each bin gets at least two of float32's steps, taken from below:
    enough for its midpoint to lie inside.
    """
    edges = normalizer.normalize(thresholds).numpy()
    for i in range(len(edges) - 2, -1, -1):
        edges[i] = np.minimum(edges[i], edges[i + 1] - 2 * np.spacing(edges[i + 1]))
    return torch.from_numpy(edges.T.copy())
