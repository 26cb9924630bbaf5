"""Autoregressive networks for tabular data (Section 4.1), with any head."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trajectory_adacat.models.heads.base import HeadConfig


class TabularModel(nn.Module):
    """``p(x_1) p(x_2 | x_1) ...`` on the unit cube: one MLP per dimension, all of them in one batched product.

    The input of dimension t's network is every earlier column x and ``sin(2^j x)``, ``cos(2^j x)`` for ``j < b``.

    Args:
        dimensions: number of columns D.
        form: settings of the head, which is the last layer.
        hidden: units H in each hidden layer.
        layers: number of hidden layers.
        frequencies: number b of pairs of Fourier features.
    """

    def __init__(
        self, dimensions: int, form: HeadConfig, hidden: int = 500, layers: int = 3, frequencies: int = 32
    ) -> None:
        super().__init__()
        self._form = form
        features = 2 * frequencies + 1
        sizes = [dimensions * features, *[hidden] * layers]
        self.weights = nn.ParameterList(torch.empty(dimensions, *shape) for shape in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(dimensions, 1, size) for size in sizes[1:])
        _, self.head = form.make(dimensions, hidden + 1)  # the last input is 1, whose weights are the biases
        for weight in self.weights:
            _fill_uniformly(weight)
        nn.init.zeros_(self.head.weight)
        last = torch.empty(dimensions, hidden, self.head.weight.shape[2])
        self.head.weight.data[:, :-1] = _fill_uniformly(last)
        earlier = torch.ones(dimensions, dimensions).tril(-1)  # [D, D]: row t has a one for each column before t
        self.register_buffer("_mask", earlier.repeat_interleave(features, dim=1).unsqueeze(-1), persistent=False)
        self.register_buffer("_scales", 2.0 ** torch.arange(frequencies), persistent=False)
        self._mask: Tensor
        self._scales: Tensor

    def fit_bins(self, points: Tensor) -> "TabularModel":
        """Set the edges of quantile bins from the training ``points [n, D]``; return the model."""
        embedding, _ = self._form.make(*self.head.weight.shape[:2])  # its edges are set too, and not used
        self._form.fit(embedding, self.head, points)
        return self

    def forward(self, points: Tensor) -> Any:
        """Return the densities of each column given the earlier ones at ``points [n, D]``; batch shape ``[n, D]``."""
        angles = points.unsqueeze(-1) * self._scales  # [n, D, b]
        features = torch.cat((points.unsqueeze(-1), angles.sin(), angles.cos()), dim=-1)
        hidden = features.flatten(1) @ (self._mask * self.weights[0]) + self.biases[0]  # [D, n, H]
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            hidden = torch.baddbmm(bias, functional.softplus(hidden), weight)
        last, biases = self.head.weight[:, :-1], self.head.weight[:, -1:]
        outputs = torch.baddbmm(biases, functional.softplus(hidden), last)  # [D, n, O]
        return self.head.to_distribution(outputs.transpose(0, 1), torch.arange(len(outputs), device=points.device))

    def losses(self, points: Tensor, progress: float) -> Tensor:
        """Return the head's training losses, smoothed by its schedule, of ``points [n, D]``, in nats ``[n, D]``."""
        self.head.set_progress(progress)
        return self.head.loss(self(points), points)

    @torch.no_grad()
    def log_prob(self, points: Tensor, batch_size: int = 4096) -> Tensor:
        """Return the exact log-densities of the columns given the earlier ones, in batches of rows; ``[n, D]``."""
        return torch.cat([self(part).log_prob(part).double() for part in points.split(batch_size)])

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Draw points ``[count, D]``, one column after the other."""
        points = torch.zeros(count, len(self._mask), device=self._mask.device)
        for column in range(points.shape[1]):
            points[:, column] = self(points).sample()[:, column]
        return points


def _fill_uniformly(weight: Tensor) -> Tensor:
    bound = 1 / math.sqrt(weight.shape[1])  # as torch's linear layers
    return nn.init.uniform_(weight, -bound, bound)
