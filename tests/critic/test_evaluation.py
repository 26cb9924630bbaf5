"""How well a critic fits: temporal-difference errors and calibration, in the environment's units."""

import numpy as np
import pytest
import torch

from trajectory_adacat.critic.evaluation import MAX_EVALUATION_TRANSITIONS, evaluate, rank_correlation
from trajectory_adacat.critic.transitions import Batch

from .conftest import make_critic, make_episode, make_transitions, set_scaled_value


def test_errors_and_means_are_in_the_environments_units() -> None:
    episodes = [make_episode([0, 1, 2], [10, 20, 40], True), make_episode([3, 4], [80, 160], False, 5.0)]
    transitions, normalizer = make_transitions(episodes, 0.5)
    critic = make_critic(transitions, normalizer)
    set_scaled_value(critic, 0.5)
    value = float(critic.offset + 0.5 * critic.scale)
    found = evaluate(critic, Batch.encode(critic, transitions), transitions.starts.nonzero()[:, 0])
    q = critic.q(transitions.observations, transitions.actions).mean(0).detach().double()
    errors = transitions.rewards + transitions.bootstraps * value - q
    assert found["td_error"] == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-5)
    assert (found["value"], found["start_value"]) == pytest.approx((value, value))
    assert found["return"] == pytest.approx(float(transitions.returns.mean()))
    assert found["start_return"] == pytest.approx(float(transitions.returns[[0, 3]].mean()))
    assert found["rank_correlation"] == 0  # of a constant


def test_starts_that_were_left_out_are_not_evaluated() -> None:
    transitions, normalizer = make_transitions([make_episode([0, 1], [1, 2], False, 2.0)])
    critic = make_critic(transitions, normalizer)
    found = evaluate(critic, Batch.encode(critic, transitions), torch.empty(0, dtype=torch.int64))
    assert set(found) == {"td_error", "value", "return", "rank_correlation"}


def test_a_large_split_is_evaluated_from_its_first_to_its_last_transition() -> None:
    n_steps = MAX_EVALUATION_TRANSITIONS * 2
    transitions, normalizer = make_transitions([make_episode(range(n_steps), np.arange(n_steps).tolist(), True)])
    critic = make_critic(transitions, normalizer)
    found = evaluate(critic, Batch.encode(critic, transitions), torch.zeros(1, dtype=torch.int64))
    assert found["return"] == pytest.approx(float(transitions.returns.mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("second", "expected"),
    [([1, 8, 9, 100], 1), ([4, 3, 2, 1], -1), ([1, 1, 1, 1], 0), ([2, 1, 4, 3], 0.6), ([1, 1, 2, 2], 2 / 5**0.5)],
)
def test_the_rank_correlation_is_spearmans(second: list[float], expected: float) -> None:
    assert rank_correlation(np.arange(4.0), np.array(second, float)) == pytest.approx(expected)
