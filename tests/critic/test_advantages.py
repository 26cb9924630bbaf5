"""Predicted advantages beside those that came true."""

import pytest
import torch

from trajectory_adacat.critic.advantages import Advantages, advantages
from trajectory_adacat.critic.transitions import Batch

from .conftest import make_critic, make_episode, make_transitions, set_scaled_value

EPISODES = [make_episode([0, 1, 2], [1, 2, 4], True, 0.0), make_episode([3, 4, 5], [8, 16, 32], False, 6.0)]


@pytest.mark.parametrize("n_steps", [1, 2, 3, 9])
def test_the_realized_advantage_is_that_of_the_next_rewards_and_the_value_after_them(n_steps: int) -> None:
    """A termination needs no value; where a time limit comes earlier, the transition is left out."""
    transitions, normalizer = make_transitions(EPISODES, 0.5)
    critic = make_critic(transitions, normalizer)
    set_scaled_value(critic, 0.5)
    value = float(critic.offset + 0.5 * critic.scale)
    expected = []
    for rewards, terminated in (([1, 2, 4], True), ([8, 16, 32], False)):
        for first in range(3):
            following = rewards[first : first + n_steps]
            if len(following) < n_steps and not terminated:
                continue
            total = sum(0.5**i * reward for i, reward in enumerate(following))
            reaches_end = terminated and first + n_steps >= 3
            expected.append(total + (0.0 if reaches_end else 0.5**n_steps * value) - value)
    found = advantages(critic, Batch.encode(critic, transitions), transitions.starts, n_steps)
    assert (found.realized * critic.scale).tolist() == pytest.approx(expected, abs=1e-4)
    assert len(found.predicted) == len(expected)


def test_the_predicted_advantage_is_the_mean_q_minus_v() -> None:
    transitions, normalizer = make_transitions(EPISODES, 0.5)
    critic = make_critic(transitions, normalizer)
    found = advantages(critic, Batch.encode(critic, transitions), transitions.starts, 1)
    q = critic.q(transitions.observations, transitions.actions).mean(0)
    expected = q - critic.value(transitions.observations)
    assert (found.predicted * critic.scale).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_correlation_is_pearsons_and_0_for_a_constant() -> None:
    first, second = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 2.0])
    expected = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
    assert Advantages(first, second).correlation() == pytest.approx(expected)
    assert Advantages(first, -2 * first).correlation() == pytest.approx(-1)
    assert Advantages(first, torch.ones(3)).correlation() == 0
