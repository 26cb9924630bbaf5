"""The losses of a critic, and the values that chains with known ones lead to."""

from pathlib import Path

import pytest
import torch

from trajectory_adacat.critic.losses import expectile_loss, iql_losses, q_targets, start_losses
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.transitions import Batch

from .conftest import make_critic, make_episode, make_transitions, train


def test_the_expectile_weighs_errors_by_their_sign() -> None:
    differences = torch.tensor([2.0, -1.0, 0.0, -3.0])
    assert float(expectile_loss(differences, 0.9)) == pytest.approx((0.9 * 4 + 0.1 * 1 + 0.1 * 9) / 4)


@pytest.mark.parametrize("expectile", [0.5, 0.7, 0.9])
def test_the_minimum_of_the_expectile_loss_is_the_expectile(expectile: float) -> None:
    """Of two equally likely values 0 and 1 it is the expectile itself; 0.5 is the mean."""
    grid = torch.linspace(0, 1, 101)
    losses = torch.stack([expectile_loss(torch.tensor([0.0, 1.0]) - guess, expectile) for guess in grid])
    assert float(grid[losses.argmin()]) == pytest.approx(expectile, abs=0.01)


def test_the_loss_of_each_network_teaches_that_one_alone() -> None:
    transitions, normalizer = make_transitions([make_episode([0, 1, 2], [1, 2, 3], True)])
    critic, averaged = (make_critic(transitions, normalizer) for _ in range(2))
    batch = Batch.encode(critic, transitions)
    for index, network in enumerate(("q_networks", "v_network")):
        for losses in (iql_losses(critic, averaged.q_networks, batch, 0.7), start_losses(critic, batch)):
            critic.zero_grad()
            losses[index].backward()
            for name, parameter in critic.named_parameters():
                assert (parameter.grad is not None) == name.startswith(network)
    assert all(parameter.grad is None for parameter in averaged.parameters())


def test_each_q_network_has_the_loss_that_it_would_have_alone() -> None:
    transitions, normalizer = make_transitions([make_episode([0, 1, 2], [1, 2, 3], True)])
    critic = make_critic(transitions, normalizer)
    batch = Batch.encode(critic, transitions)
    with torch.no_grad():
        targets = q_targets(critic, batch)
        errors = [float((outputs - targets).square().mean()) for outputs in critic.q_networks(batch.inputs)]
        assert float(start_losses(critic, batch)[0]) == pytest.approx(sum(errors))


def test_v_learns_from_the_smallest_target() -> None:
    transitions, normalizer = make_transitions([make_episode(range(9), range(9), True)])
    critic = make_critic(transitions, normalizer)
    for parameter in critic.parameters():
        parameter.data.normal_()  # so that each network has the smallest output somewhere
    batch = Batch.encode(critic, transitions)
    with torch.no_grad():
        outputs, values = critic.q_networks(batch.inputs), critic.v_network(batch.observations)[0]
        loss = float(iql_losses(critic, critic.q_networks, batch, 0.7)[1])
    by_target = [float(expectile_loss(each - values, 0.7)) for each in (*outputs, outputs.amin(0))]
    assert loss == pytest.approx(by_target[2])
    assert by_target[2] not in by_target[:2]


def values_at(critic: Critic, *states: float) -> list[float]:
    return critic.value(torch.tensor(states)[:, None]).tolist()


def test_a_chain_that_terminates_is_worth_its_discounted_rewards(tmp_path: Path) -> None:
    """A bootstrap from the final observation would add half its value."""
    critic = train([make_episode([0, 1, 2], [1, 2, 8], True, 0.0)], tmp_path)
    assert values_at(critic, 0, 1, 2) == pytest.approx([4, 6, 8], abs=0.15)
    q = critic.q(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[-1.0], [1.0], [-1.0]]))
    assert q.shape == (2, 3)
    for network in q:
        assert network.tolist() == pytest.approx([4, 6, 8], abs=0.15)


def test_a_loop_that_a_time_limit_cuts_is_worth_its_endless_rewards(tmp_path: Path) -> None:
    """Rewards 1 and 4 alternate: the values are 4 and 6. Without a bootstrap the last state would be worth 4."""
    critic = train([make_episode([0, 1, 0, 1], [1, 4, 1, 4], False, 0.0)], tmp_path)
    assert values_at(critic, 0, 1) == pytest.approx([4, 6], abs=0.15)


def test_at_the_start_v_learns_the_mean_return_and_q_what_follows_on_average(tmp_path: Path) -> None:
    """The reward of the last step is a coin's, whatever the expectile; the first step's Q has no part in its noise."""
    episodes = [make_episode([0, 1], [0, reward], True, 0.0) for reward in [0.0, 4.0] * 5]
    critic = train(episodes, tmp_path, mc_steps=600, expectile=0.9)
    assert values_at(critic, 0, 1) == pytest.approx([1, 2], abs=0.15)
    q = critic.q(torch.tensor([[0.0]]), torch.tensor([[-1.0]]))
    assert q[:, 0].tolist() == pytest.approx([1, 1], abs=0.15)
