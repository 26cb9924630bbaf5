"""One- and two-dimensional density models and their training, for the paper's Figures 1 to 3."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from trajectory_adacat.distributions import AdaCat, SmoothingSchedule

Objective = Literal["plain", "single", "analytic", "annealed"]
OBJECTIVES: tuple[Objective, ...] = ("plain", "single", "analytic", "annealed")


def bin_density(params: Tensor, adaptive: bool) -> AdaCat:
    """Return AdaCat of ``params`` ``[..., 2k]`` if adaptive, else of ``[..., k]`` with equal widths."""
    if adaptive:
        return AdaCat.from_params(params, validate_args=False)
    return AdaCat(torch.zeros_like(params), params, validate_args=False)


def training_loss(
    density: AdaCat, targets: Tensor, objective: Objective, schedule: SmoothingSchedule, progress: float
) -> Tensor:
    """Return the mean negative log-likelihood.

    ``plain`` evaluates it at the targets (Equation 3), ``single`` at one sample from each target's smoothing kernel
    (Section 3.2), ``analytic`` and ``annealed`` smooth it in closed form (Equation 8).

    Args:
        density: batch shape ``[b, ...]`` or a shape that broadcasts to it.
        targets: in [0, 1], ``[b, ...]``.
        objective: one of the above.
        schedule: the smoothing kernel.
        progress: share of the training that is done.
    """
    kernel = None if objective == "plain" else schedule.kernel(density, targets, progress)
    if kernel is None:
        return -density.log_prob(targets).mean()
    if objective == "single":
        return -density.log_prob(kernel.sample()).mean()
    return -density.smoothed_log_prob(kernel).mean()


class MarginalModel(nn.Module):
    """A density on [0, 1] with free parameters, initialized to ``k`` equal bins.

    Args:
        bins: number of bins ``k``.
        adaptive: whether the widths are learned.
    """

    def __init__(self, bins: int, adaptive: bool) -> None:
        super().__init__()
        self._adaptive = adaptive
        self._params = nn.Parameter(torch.zeros(2 * bins if adaptive else bins))

    def forward(self, points: Tensor) -> AdaCat:
        """Return the density, which does not depend on the points; its batch shape is empty."""
        return bin_density(self._params, self._adaptive)


class AutoregressiveModel(nn.Module):
    """``p(x_1) p(x_2 | x_1)`` on the unit square: free parameters for ``x_1``, a network of ``x_1`` for ``x_2``.

    The inputs of the network are ``x_1`` and its Fourier features ``sin(2^j x_1)`` and ``cos(2^j x_1)``, as in
    Section 4.1.

    Args:
        bins: number of bins ``k`` of both densities.
        adaptive: whether the widths are predicted.
        hidden: units in each of the two hidden layers.
        frequencies: number of pairs of Fourier features.
    """

    def __init__(self, bins: int, adaptive: bool, hidden: int = 128, frequencies: int = 8) -> None:
        super().__init__()
        self._adaptive = adaptive
        outputs = 2 * bins if adaptive else bins
        self._first = nn.Parameter(torch.zeros(outputs))
        self._second = nn.Sequential(
            nn.Linear(2 * frequencies + 1, hidden),
            nn.Softplus(),
            nn.Linear(hidden, hidden),
            nn.Softplus(),
            nn.Linear(hidden, outputs),
        )
        self.register_buffer("_scales", 2.0 ** torch.arange(frequencies), persistent=False)
        self._scales: Tensor

    def forward(self, points: Tensor) -> AdaCat:
        """Return the densities of ``x_1`` and ``x_2 | x_1`` at ``points`` ``[n, 2]``; batch shape ``[n, 2]``."""
        first = points[:, :1]
        features = torch.cat((first, (first * self._scales).sin(), (first * self._scales).cos()), dim=-1)
        second = self._second(features)
        return bin_density(torch.stack((self._first.expand_as(second), second), dim=-2), self._adaptive)


def fit(
    model: nn.Module,
    data: Tensor,
    objective: Objective,
    schedule: SmoothingSchedule,
    steps: int,
    batch_size: int,
    learning_rate: float,
    after_step: Callable[[int], object],
    decay: bool = False,
) -> None:
    """Minimize :func:`training_loss` with Adam on random batches of ``data`` ``[n, ...]``.

    Args:
        model: maps a batch of points to their density.
        data: the training set.
        objective: see :func:`training_loss`.
        schedule: the smoothing kernel.
        steps: number of updates.
        batch_size: points per update.
        learning_rate: Adam's initial learning rate.
        after_step: called after each update with the number of updates so far.
        decay: whether the learning rate decays to 0 along a cosine.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps if decay else 2**62)
    for step in range(1, steps + 1):
        batch = data[torch.randint(len(data), (batch_size,))]
        optimizer.zero_grad()
        training_loss(model(batch), batch, objective, schedule, (step - 1) / steps).backward()
        optimizer.step()
        rates.step()
        after_step(step)


@torch.no_grad()
def mean_negative_log_likelihood(model: nn.Module, data: Tensor) -> float:
    """Return the exact, unsmoothed value in nats per point of ``data`` ``[n]`` or ``[n, d]``."""
    log_prob = model(data).log_prob(data).double()
    return -float(log_prob.flatten(start_dim=1).sum(dim=-1).mean() if log_prob.dim() > 1 else log_prob.mean())
