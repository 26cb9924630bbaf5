"""Transitions of a critic's training, flat, with what follows each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.sequences import MIN_EPISODE_LENGTH, Trajectories
from trajectory_adacat.transition import TransitionSpec


@dataclass(frozen=True)
class Transitions:
    """k transitions in the environment's units, float64.

    Attributes:
        observations: ``[k, o]``.
        actions: ``[k, a]``.
        rewards: with the termination penalty, ``[k]``.
        next_observations: ``[k, o]``; 0 after a termination.
        bootstraps: the discount of the next observation's value: 0 after a termination, ``[k]``.
        returns: discounted sum of this reward and all later ones of the episode; where the episode was cut, the rest is
            taken to be worth the mean of these returns, ``[k]``.
        starts: whether it is the first of its episode, bool, ``[k]``.
        n_unknown: the number of transitions left out because the observation after them is unknown.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    bootstraps: Tensor
    returns: Tensor
    starts: Tensor
    n_unknown: int

    def __len__(self) -> int:
        """The number of transitions k."""
        return len(self.rewards)

    @classmethod
    def from_trajectories(
        cls, trajectories: Trajectories, episodes: Sequence[Episode], discount: float
    ) -> "Transitions":
        """Add to trajectories what follows each transition.

        The last transition of an episode is followed by its final observation. Where that is unknown, the transition
        is left out, unless the episode terminated.

        Args:
            trajectories: transitions and values of ``episodes``.
            episodes: those that the trajectories were made of.
            discount: that of the trajectories.
        """
        kept = [episode for episode in episodes if len(episode) >= MIN_EPISODE_LENGTH]
        spec = TransitionSpec(kept[0].observations.shape[1], kept[0].actions.shape[1])
        rows = trajectories.transitions
        last = trajectories.ends.unique() - 1  # of each kept episode, in order
        finals = torch.from_numpy(np.stack([episode.final_observation for episode in kept]).astype(np.float64))
        terminated = torch.tensor([episode.terminated for episode in kept])
        observations = rows[:, spec.observation]
        following = observations.roll(-1, 0)
        following[last] = torch.where(terminated[:, None], 0.0, finals)
        bootstraps = torch.full((len(rows),), discount, dtype=torch.float64)
        bootstraps[last[terminated]] = 0.0
        starts = torch.zeros(len(rows), dtype=torch.bool)
        starts[torch.cat([last.new_zeros(1), last[:-1] + 1])] = True
        n_left = trajectories.ends - torch.arange(len(rows))
        weights = torch.where(torch.isin(trajectories.ends, last[terminated] + 1), 0.0, discount ** n_left.double())
        returns = complete(rows[:, spec.reward] + discount * rows[:, spec.value], weights)
        known = ~following.isnan().any(1)
        return cls(
            observations=observations[known],
            actions=rows[known, spec.action],
            rewards=rows[known, spec.reward],
            next_observations=following[known],
            bootstraps=bootstraps[known],
            returns=returns[known],
            starts=starts[known],
            n_unknown=int((~known).sum()),
        )


def complete(returns: Tensor, weights: Tensor) -> Tensor:
    """Return ``returns + weights * c``, where c is the mean of the result: the mean return, were no episode cut.

    Args:
        returns: discounted up to the end of each episode, ``[k]``.
        weights: discount of what would follow the end; 0 after a termination, ``[k]``.
    """
    observed = 1.0 - weights.mean()
    return returns + weights * returns.mean() / observed if observed > 0.0 else returns  # 0: undiscounted and all cut


@dataclass(frozen=True)
class Batch:
    """B transitions as a critic's networks see them, float32; a whole split is one too.

    Attributes:
        inputs: scaled observations and actions, ``[B, o + a]``.
        observations: scaled, ``[B, o]``.
        next_observations: scaled, ``[B, o]``.
        rewards: ``[B]``, scaled so that a target of Q is ``rewards + bootstraps * V(next)``, V being scaled too.
        bootstraps: ``[B]``.
        returns: scaled, ``[B]``.
    """

    inputs: Tensor
    observations: Tensor
    next_observations: Tensor
    rewards: Tensor
    bootstraps: Tensor
    returns: Tensor

    @classmethod
    def encode(cls, critic: Critic, transitions: Transitions) -> "Batch":
        """Scale transitions by a critic's statistics, and put them on its device."""
        device = critic.offset.device
        observations = critic.encode_observations(transitions.observations.to(device))
        actions = critic.encode_actions(transitions.actions.to(device))
        offset, scale = float(critic.offset), float(critic.scale)
        # With Q = offset + scale q and V = offset + scale v, Q = r + b V is q = (r + (b - 1) offset) / scale + b v.
        rewards = (transitions.rewards + (transitions.bootstraps - 1.0) * offset) / scale
        inputs = torch.cat([observations, actions], 1)
        return cls(
            inputs,
            inputs[:, : observations.shape[1]],
            critic.encode_observations(transitions.next_observations.to(device)),
            rewards.float().to(device),
            transitions.bootstraps.float().to(device),
            ((transitions.returns - offset) / scale).float().to(device),
        )

    def __len__(self) -> int:
        """The number of transitions B."""
        return len(self.rewards)

    def select(self, rows: Tensor) -> "Batch":
        """Gather the transitions of the given rows, int64, ``[n]``."""
        inputs = self.inputs[rows]
        size = self.observations.shape[1]
        others = (self.next_observations, self.rewards, self.bootstraps, self.returns)
        return Batch(inputs, inputs[:, :size], *(column[rows] for column in others))
