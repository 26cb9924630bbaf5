"""The training objective: a weighted, masked negative log-likelihood with analytic target smoothing."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trajectory_adacat.distributions import AdaCat, PiecewiseConstant, TruncatedNormal, TruncatedUniform
from trajectory_adacat.errors import InputError
from trajectory_adacat.transition import TransitionSpec


@dataclass(frozen=True)
class LossConfig:
    """What is minimized (paper equations 7 and 8, Trajectory Transformer's weights).

    Attributes:
        smooth_coeff: lambda; the full width of the uniform kernel, the scale of the normal one; 0 for none.
        smooth_type: the kernel.
        action_weight: weight of the action's dimensions; an observation's weigh 1.
        reward_weight: weight of the reward.
        value_weight: weight of the value.

    Raises:
        InputError: for a value out of range.
    """

    smooth_coeff: float = 0.001
    smooth_type: Literal["uniform", "normal"] = "uniform"
    action_weight: float = 5.0
    reward_weight: float = 1.0
    value_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("smooth_coeff", "action_weight", "reward_weight", "value_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and not negative, got {getattr(self, name)}.")
        if self.smooth_type not in ("uniform", "normal"):
            raise InputError(f"smooth_type must be uniform or normal, got {self.smooth_type!r}.")


def dimension_weights(config: LossConfig, spec: TransitionSpec) -> Tensor:
    """The weight of each dimension of a transition, ``[D]``."""
    weights = torch.ones(spec.dimension)
    weights[spec.action] = config.action_weight
    weights[spec.reward] = config.reward_weight
    weights[spec.value] = config.value_weight
    return weights


def token_losses(distribution: PiecewiseConstant, targets: Tensor, config: LossConfig) -> Tensor:
    """The smoothed negative log-likelihood of each target, ``[B, T]``.

    The baselines of fixed bins are not smoothed: their likelihood has no widths to collapse.
    """
    if not isinstance(distribution, AdaCat) or config.smooth_coeff == 0.0:
        return -distribution.log_prob(targets)
    kernel = TruncatedUniform if config.smooth_type == "uniform" else TruncatedNormal
    return -distribution.smoothed_log_prob(kernel(targets, config.smooth_coeff, validate_args=False))


def sequence_loss(
    distribution: PiecewiseConstant, tokens: Tensor, mask: Tensor, spec: TransitionSpec, config: LossConfig
) -> Tensor:
    """The mean over all targets of the weighted loss, padded targets counting as 0 (as the ancestor's).

    Args:
        distribution: predictions of ``tokens[:, 1:]``, batch shape ``[B, T - 1]``.
        tokens: ``[B, T]``, beginning with an observation.
        mask: bool ``[B, T]``, which tokens are real.
    """
    targets, real = tokens[:, 1:], mask[:, 1:]
    dimensions = torch.arange(1, tokens.shape[1], device=tokens.device) % spec.dimension
    weights = dimension_weights(config, spec).to(tokens.device)[dimensions]
    losses = token_losses(distribution, targets, config)
    return torch.where(real, losses * weights, 0.0).mean()


def group_likelihoods(
    distribution: PiecewiseConstant, tokens: Tensor, mask: Tensor, spec: TransitionSpec
) -> dict[str, tuple[Tensor, Tensor]]:
    """The sum of the exact, unsmoothed negative log-likelihoods of each group of dimensions, and its count.

    In nats, of the data normalized to [0, 1]: the same units for every parameterization.
    """
    losses = -distribution.log_prob(tokens[:, 1:])
    dimensions = torch.arange(1, tokens.shape[1], device=tokens.device) % spec.dimension
    sums = {}
    for name, group in spec.groups.items():
        chosen = mask[:, 1:] & (dimensions >= group.start) & (dimensions < group.stop)
        sums[name] = (torch.where(chosen, losses, 0.0).sum(), chosen.sum())
    return sums
