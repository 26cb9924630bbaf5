"""Whether a critic knows which actions are better: predicted advantages beside those that came true."""

from typing import NamedTuple

import torch
from torch import Tensor

from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.transitions import Batch


class Advantages(NamedTuple):
    """Advantages of actions of the data, scaled as inside the critic.

    Attributes:
        predicted: mean of the Q networks, minus V, ``[n]``.
        realized: discounted rewards of the next steps plus V after them, minus V, ``[n]``.
    """

    predicted: Tensor
    realized: Tensor

    def correlation(self) -> float:
        """Return Pearson's correlation; 0 where one of them is constant."""
        first, second = (values.double() - values.double().mean() for values in self)
        norm = float(first.norm() * second.norm())
        return float(first @ second) / norm if norm > 0.0 else 0.0


@torch.no_grad()
def advantages(critic: Critic, split: Batch, starts: Tensor, n_steps: int) -> Advantages:
    """Compare Q - V of the data's actions with what followed them.

    Left out are transitions after which a time limit ends the episode within ``n_steps``.

    Args:
        critic: the critic.
        split: whole episodes, in order.
        starts: whether each transition is the first of its episode, bool, ``[k]``.
        n_steps: rewards counted before V of the state reached.
    """
    n = len(split)
    rows = torch.arange(n, device=starts.device)
    values = critic.v_network(split.observations)[0]
    following = critic.v_network(split.next_observations)[0]
    boundary = torch.cat([starts[1:], starts.new_ones(1)])  # the episode ends with this transition
    realized = torch.zeros_like(values)
    weights = torch.ones_like(values)
    known = torch.ones_like(boundary)
    for step in range(n_steps):
        at = (rows + step).clamp(max=n - 1)
        realized += weights * split.rewards[at]
        weights = weights * split.bootstraps[at]
        if step + 1 < n_steps:
            known &= ~boundary[at] | (weights == 0.0)
    realized += weights * following[(rows + n_steps - 1).clamp(max=n - 1)]
    predicted = critic.q_networks(split.inputs).mean(0) - values
    return Advantages(predicted[known], (realized - values)[known])
