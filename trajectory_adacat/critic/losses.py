"""The losses of implicit Q-learning (Kostrikov et al. 2021, arXiv:2110.06169), and of its start."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trajectory_adacat.critic.networks import Critic, EnsembleMLP
from trajectory_adacat.critic.transitions import Batch


def expectile_loss(differences: Tensor, expectile: float) -> Tensor:
    """Return the mean of ``|expectile - 1[difference < 0]| * difference^2`` (equation 5), for target - prediction."""
    weights = torch.where(differences < 0, 1.0 - expectile, expectile)
    return (weights * differences.square()).mean()


def q_targets(critic: Critic, batch: Batch) -> Tensor:
    """Return ``r + discount * V(s')`` without the second term after a termination, scaled, ``[B]``; no gradient."""
    with torch.no_grad():
        return batch.rewards + batch.bootstraps * critic.v_network(batch.next_observations)[0]


def q_loss(critic: Critic, batch: Batch, targets: Tensor) -> Tensor:
    """Return the mean squared error against ``targets [B]``, summed over the Q networks so that each learns alone."""
    return (critic.q_networks(batch.inputs) - targets).square().mean(1).sum()


def iql_losses(critic: Critic, target: EnsembleMLP, batch: Batch, expectile: float) -> tuple[Tensor, Tensor]:
    """Return the losses of Q (equation 6) and of V (equation 5), scaled.

    Args:
        critic: gets the gradients.
        target: the averaged Q networks, whose smallest output is V's target.
        batch: the transitions.
        expectile: of V among the actions of the data.
    """
    with torch.no_grad():
        smallest = target(batch.inputs).amin(0)
    values = critic.v_network(batch.observations)[0]
    return q_loss(critic, batch, q_targets(critic, batch)), expectile_loss(smallest - values, expectile)


def start_losses(critic: Critic, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the losses of Q and V at the start: V learns the data's returns, and Q the reward and V of what follows.

    Q does not learn the returns. They are noisy, and what it would fit of their noise is differences between actions.
    """
    values = critic.v_network(batch.observations)[0]
    return q_loss(critic, batch, q_targets(critic, batch)), F.mse_loss(values, batch.returns)
