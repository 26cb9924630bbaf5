"""Transitions of a critic: what follows each, and how it is scaled."""

import pytest
import torch

from trajectory_adacat.critic.losses import q_targets
from trajectory_adacat.critic.transitions import Batch
from trajectory_adacat.datasets.episodes import cut_episodes

from .conftest import make_critic, make_episode, make_transitions, set_scaled_value


def test_a_termination_has_no_next_value_and_a_time_limit_has_that_of_the_final_observation() -> None:
    episodes = [make_episode([0, 1, 2], [1, 2, 4], True, 9.0), make_episode([3, 4], [8, 16], False, 5.0)]
    found, _ = make_transitions(episodes, 0.5)
    assert found.observations[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.next_observations[:, 0].tolist() == [1, 2, 0, 4, 5]
    assert found.bootstraps.tolist() == [0.5, 0.5, 0, 0.5, 0.5]
    assert found.returns.tolist()[:3] == [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4]
    assert found.starts.tolist() == [True, False, False, True, False]
    assert found.n_unknown == 0


def test_a_transition_into_the_unknown_is_left_out_unless_it_terminates() -> None:
    episodes = [make_episode([0, 1], [1, 2], False), make_episode([2, 3], [4, 8], True)]
    found, _ = make_transitions(episodes)
    assert found.observations[:, 0].tolist() == [0, 2, 3]
    assert found.returns.tolist()[1:] == [8, 8]
    assert found.starts.tolist() == [True, True, False]
    assert found.n_unknown == 1
    assert not found.next_observations.isnan().any()


def test_the_penalty_replaces_the_rewards_of_terminations_alone() -> None:
    episodes = [make_episode([0, 1], [1, 2], True, 0.0), make_episode([2, 3], [4, 8], False, 0.0)]
    found, _ = make_transitions(episodes, 0.5, -100.0)
    assert found.rewards.tolist() == [1, -100, 4, 8]
    assert found.returns.tolist()[:2] == [-49, -100]


def test_the_rest_of_a_cut_episode_is_worth_the_mean_return() -> None:
    episodes = [make_episode([0, 1], [1, 2], True, 0.0), make_episode([2, 3], [4, 8], False, 0.0)]
    returns = make_transitions(episodes, 0.5)[0].returns
    mean = float(returns.mean())
    assert returns.tolist() == pytest.approx([2, 2, 8 + 0.25 * mean, 8 + 0.5 * mean])


def test_a_loop_that_a_time_limit_cuts_returns_what_it_would_without_end() -> None:
    assert make_transitions([make_episode([0] * 4, [1] * 4, False, 0.0)], 0.5)[0].returns.tolist() == [2, 2, 2, 2]


def test_undiscounted_returns_of_cut_episodes_stay_as_they_are() -> None:
    found, _ = make_transitions([make_episode([0, 1], [1, 2], False, 0.0)], 1.0)
    assert found.returns.tolist() == [3, 2]


def test_a_cut_is_bootstrapped_like_a_time_limit() -> None:
    pieces = cut_episodes([make_episode([0, 1, 2, 3], [1, 1, 1, 1], True, 9.0)], 2)
    found, _ = make_transitions(pieces)
    assert found.next_observations[:, 0].tolist() == [1, 2, 3, 0]
    assert found.bootstraps.tolist() == [0.5, 0.5, 0.5, 0]


def test_short_episodes_are_left_out_as_in_a_models_training() -> None:
    episodes = [make_episode([7], [1], True, 8.0), make_episode([0, 1], [1, 2], False, 2.0)]
    found, _ = make_transitions(episodes)
    assert found.next_observations[:, 0].tolist() == [1, 2]
    assert len(found) == 2


def test_scaled_targets_are_the_targets_in_the_environments_units() -> None:
    episodes = [make_episode([0, 1, 2], [10, 20, 40], True, 9.0), make_episode([3, 4], [80, 160], False, 5.0)]
    transitions, normalizer = make_transitions(episodes, 0.5)
    critic = make_critic(transitions, normalizer)
    set_scaled_value(critic, 1.5)
    value = 1.5 * float(critic.scale) + float(critic.offset)
    targets = critic.in_units(q_targets(critic, Batch.encode(critic, transitions)))
    expected = [10 + value / 2, 20 + value / 2, 40, 80 + value / 2, 160 + value / 2]
    assert targets.tolist() == pytest.approx(expected, rel=1e-6)


def test_inputs_are_standardized_observations_and_actions_between_minus_one_and_one() -> None:
    transitions, normalizer = make_transitions([make_episode([0, 2, 4, 6], [1, 2, 3, 4], True)])
    batch = Batch.encode(make_critic(transitions, normalizer), transitions)
    assert float(batch.observations.mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.observations.std(correction=0)) == pytest.approx(1)
    assert batch.inputs[:, 1].tolist() == [-1, 1, -1, 1]
    assert float(batch.returns.mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.returns.std(correction=0)) == pytest.approx(1)
    rows = torch.tensor([2, 0])
    assert torch.equal(batch.select(rows).inputs, batch.inputs[rows])
    assert torch.equal(batch.select(rows).observations, batch.observations[rows])
