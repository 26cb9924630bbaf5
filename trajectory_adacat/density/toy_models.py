"""Density models in one and two dimensions, and their training, for the paper's Figures 1 to 3."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from trajectory_adacat.distributions import AdaCat, TruncatedUniform

Objective = Literal["plain", "single", "analytic"]
OBJECTIVES: tuple[Objective, ...] = ("plain", "single", "analytic")


def bin_density(params: Tensor, adaptive: bool) -> AdaCat:
    """AdaCat of ``params`` ``[..., 2k]``, or of ``[..., k]`` with equal widths."""
    if adaptive:
        return AdaCat.from_params(params, validate_args=False)
    return AdaCat(torch.zeros_like(params), params, validate_args=False)


def training_loss(density: AdaCat, targets: Tensor, objective: Objective, smoothing: float) -> Tensor:
    """The mean negative log-likelihood to be minimized.

    ``plain`` is that of the targets themselves (Equation 3), ``single`` that of one sample from the smoothing kernel in
    place of the integral (Section 3.2), ``analytic`` the smoothed one (Equation 8).

    Args:
        density: batch shape ``[b, ...]`` or one that broadcasts.
        targets: in [0, 1], ``[b, ...]``.
        objective: one of the three.
        smoothing: full width of the uniform kernel.
    """
    if objective == "plain":
        return -density.log_prob(targets).mean()
    kernel = TruncatedUniform(targets, smoothing, validate_args=False)
    if objective == "single":
        return -density.log_prob(kernel.sample()).mean()
    return -density.smoothed_log_prob(kernel).mean()


class MarginalModel(nn.Module):
    """A density on [0, 1] whose parameters are free: ``k`` equal bins at first.

    Args:
        bins: ``k``.
        adaptive: whether the widths are learned.
    """

    def __init__(self, bins: int, adaptive: bool) -> None:
        super().__init__()
        self._adaptive = adaptive
        self._params = nn.Parameter(torch.zeros(2 * bins if adaptive else bins))

    def forward(self, points: Tensor) -> AdaCat:
        """The same density for every point; its batch shape is empty."""
        return bin_density(self._params, self._adaptive)


class AutoregressiveModel(nn.Module):
    """``p(x_1) p(x_2 | x_1)`` on the unit square: free parameters, and a network of the first coordinate.

    The network sees Fourier features of it, ``sin(2^j x)`` and ``cos(2^j x)``, as in Section 4.1.

    Args:
        bins: ``k`` of both conditionals.
        adaptive: whether the widths are predicted.
        hidden: units of each of the two hidden layers.
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
        """The densities of both coordinates of ``points`` ``[n, 2]``, the second given the first: batch ``[n, 2]``."""
        first = points[:, :1]
        features = torch.cat((first, (first * self._scales).sin(), (first * self._scales).cos()), dim=-1)
        second = self._second(features)
        return bin_density(torch.stack((self._first.expand_as(second), second), dim=-2), self._adaptive)


def fit(
    model: nn.Module,
    data: Tensor,
    objective: Objective,
    smoothing: float,
    steps: int,
    batch_size: int,
    learning_rate: float,
    after_step: Callable[[int], object],
    decay: bool = False,
) -> None:
    """Minimize the training loss with Adam on random batches of ``data`` ``[n, ...]``.

    Args:
        model: from a batch of points to their density.
        data: the training set.
        objective: see :func:`training_loss`.
        smoothing: full width of the uniform kernel.
        steps: number of updates.
        batch_size: points in each.
        learning_rate: of Adam.
        after_step: called after each update with their number so far.
        decay: whether the learning rate falls to 0 along a cosine.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps if decay else 2**62)
    for step in range(1, steps + 1):
        batch = data[torch.randint(len(data), (batch_size,))]
        optimizer.zero_grad()
        training_loss(model(batch), batch, objective, smoothing).backward()
        optimizer.step()
        schedule.step()
        after_step(step)


@torch.no_grad()
def mean_negative_log_likelihood(model: nn.Module, data: Tensor) -> float:
    """Exact and unsmoothed, in nats for each point of ``data`` ``[n]`` or ``[n, d]``."""
    log_prob = model(data).log_prob(data).double()
    return -float(log_prob.flatten(start_dim=1).sum(dim=-1).mean() if log_prob.dim() > 1 else log_prob.mean())
