"""The behaviour's own likelihood of its actions, in the units of a model's."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.likelihood import behavior_action_nll
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.transition import TransitionSpec

SPEC = TransitionSpec(1, 2)
NORMALIZER = MinMaxNormalizer(torch.tensor([0.0, -1, -2, 0, 0]), torch.tensor([9.0, 1, 2, 1, 1]))  # o a a r v


def episode(log_probs: Sequence[float] | None, length: int = 2) -> Episode:
    known = None if log_probs is None else np.array(log_probs, np.float32)
    length = length if known is None else len(known)
    numbers = np.zeros((length, 2), np.float32)
    return Episode(numbers[:, :1], numbers, numbers[:, 0], True, False, np.zeros(1, np.float32), known)


def test_a_uniform_policy_over_the_bounds_has_zero() -> None:
    density = -np.log(2.0) - np.log(4.0)  # 1 over [0, 1] x [0, 1]
    assert behavior_action_nll([episode([density] * 3)], NORMALIZER, SPEC) == pytest.approx(0.0, abs=1e-6)


def test_the_mean_is_over_steps_and_per_action_dimension() -> None:
    found = behavior_action_nll([episode([1.0]), episode([2.0, 6.0])], NORMALIZER, SPEC)
    assert found == pytest.approx(-(3.0 + np.log(8.0)) / 2)


def test_it_is_unknown_unless_every_episode_has_it_and_every_dimension_a_scale() -> None:
    constant = MinMaxNormalizer(NORMALIZER.low, torch.tensor([9.0, 1, -2, 1, 1]))
    assert behavior_action_nll([], NORMALIZER, SPEC) is None
    assert behavior_action_nll([episode([1.0]), episode(None)], NORMALIZER, SPEC) is None
    assert behavior_action_nll([episode([1.0])], constant, SPEC) is None
