"""The weighted and masked training loss, and the likelihoods that are reported."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from trajectory_adacat.errors import InputError
from trajectory_adacat.transition import TransitionSpec


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The weights of the dimensions in the loss (defaults of Trajectory Transformer). Observations have weight 1.

    Raises:
        InputError: for a value out of range.
    """

    action_weight: float = 5.0  # weight of the actions in the loss
    reward_weight: float = 1.0  # weight of the rewards in the loss
    value_weight: float = 1.0  # weight of the values in the loss

    def __post_init__(self) -> None:
        for name in ("action_weight", "reward_weight", "value_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and not negative, got {getattr(self, name)}.")


def dimension_weights(config: LossConfig, spec: TransitionSpec) -> Tensor:
    """Return the weight of each dimension of a transition, ``[D]``."""
    weights = torch.ones(spec.dimension)
    weights[spec.action] = config.action_weight
    weights[spec.reward] = config.reward_weight
    weights[spec.value] = config.value_weight
    return weights


def sequence_loss(losses: Tensor, mask: Tensor, spec: TransitionSpec, config: LossConfig) -> Tensor:
    """Return the mean over all targets of the weighted loss; padded targets count as 0, as in Trajectory Transformer.

    Args:
        losses: a head's `loss` of the targets, tokens 1 to T - 1, ``[B, T - 1]``.
        mask: bool ``[B, T]``, False for padding; token 0 is the first of an observation.
        spec: the layout of a transition.
        config: the weights.
    """
    dimensions = torch.arange(1, mask.shape[1], device=losses.device) % spec.dimension
    weights = dimension_weights(config, spec).to(losses.device)[dimensions]
    return torch.where(mask[:, 1:], losses * weights, 0.0).mean()


def group_likelihoods(
    distribution: Distribution, tokens: Tensor, mask: Tensor, spec: TransitionSpec
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the sum of the exact, unsmoothed negative log-likelihoods of each group of dimensions, and its count.

    They are in nats, of the data normalized to [0, 1]: the same units for every parameterization.
    """
    losses = -distribution.log_prob(tokens[:, 1:])
    dimensions = torch.arange(1, tokens.shape[1], device=tokens.device) % spec.dimension
    sums = {}
    for name, group in spec.groups.items():
        chosen = mask[:, 1:] & (dimensions >= group.start) & (dimensions < group.stop)
        sums[name] = (torch.where(chosen, losses, 0.0).sum(), chosen.sum())
    return sums
