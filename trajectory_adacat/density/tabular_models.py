"""Autoregressive networks for tabular data (Section 4.1), with bins of free or of equal widths."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trajectory_adacat.density.toy_models import bin_density
from trajectory_adacat.distributions import AdaCat


class TabularModel(nn.Module):
    """``p(x_1) p(x_2 | x_1) ...`` on the unit cube: one MLP per dimension, all of them in one batched product.

    The input of dimension t's network is every earlier column x and ``sin(2^j x)``, ``cos(2^j x)`` for ``j < b``.

    Args:
        dimensions: number of columns D.
        bins: number of bins k of each density.
        adaptive: whether the widths are predicted.
        hidden: units H in each hidden layer.
        layers: number of hidden layers.
        frequencies: number b of pairs of Fourier features.
    """

    def __init__(
        self, dimensions: int, bins: int, adaptive: bool, hidden: int = 500, layers: int = 3, frequencies: int = 32
    ) -> None:
        super().__init__()
        self._adaptive = adaptive
        features = 2 * frequencies + 1
        sizes = [dimensions * features, *[hidden] * layers, 2 * bins if adaptive else bins]
        self.weights = nn.ParameterList(torch.empty(dimensions, *shape) for shape in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(dimensions, 1, size) for size in sizes[1:])
        for weight in self.weights:
            bound = 1 / math.sqrt(weight.shape[1])  # as torch's linear layers
            nn.init.uniform_(weight, -bound, bound)
        earlier = torch.ones(dimensions, dimensions).tril(-1)  # [D, D]: row t has a one for each column before t
        self.register_buffer("_mask", earlier.repeat_interleave(features, dim=1).unsqueeze(-1), persistent=False)
        self.register_buffer("_scales", 2.0 ** torch.arange(frequencies), persistent=False)
        self._mask: Tensor
        self._scales: Tensor

    def forward(self, points: Tensor) -> AdaCat:
        """Return the densities of each column given the earlier ones at ``points [n, D]``; batch shape ``[n, D]``."""
        angles = points.unsqueeze(-1) * self._scales  # [n, D, b]
        features = torch.cat((points.unsqueeze(-1), angles.sin(), angles.cos()), dim=-1)
        hidden = features.flatten(1) @ (self._mask * self.weights[0]) + self.biases[0]  # [D, n, H]
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            hidden = torch.baddbmm(bias, functional.softplus(hidden), weight)
        return bin_density(hidden.transpose(0, 1), self._adaptive)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Draw points ``[count, D]``, one column after the other."""
        points = torch.zeros(count, len(self._mask), device=self._mask.device)
        for column in range(points.shape[1]):
            points[:, column] = self(points).sample()[:, column]
        return points
