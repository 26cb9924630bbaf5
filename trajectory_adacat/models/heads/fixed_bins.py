"""The baselines' heads: bins with edges independent of the context (Trajectory Transformer; paper Table 4)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from trajectory_adacat.distributions import FixedBins
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import TokenEmbedding, uniform_edges
from trajectory_adacat.models.heads.base import Head, HeadConfig, check_count


@dataclass(frozen=True, kw_only=True)
class UniformConfig(HeadConfig):
    """The settings of bins of equal width.

    Raises:
        InputError: for a value out of range.
    """

    name: ClassVar[str] = "uniform"

    N: int = 100  # number of fixed bins

    def __post_init__(self) -> None:
        check_count("N", self.N)

    def make(self, n_dimensions: int, width: int) -> tuple[TokenEmbedding, "FixedBinsHead"]:
        """Make the one-hot embedding and the head, both with evenly spaced edges."""
        edges = uniform_edges(n_dimensions, self.N)
        return TokenEmbedding(edges, width), FixedBinsHead(edges, width)


@dataclass(frozen=True, kw_only=True)
class QuantileConfig(UniformConfig):
    """The settings of bins that hold equal shares of the training data."""

    name: ClassVar[str] = "quantile"

    def fit(self, embedding: TokenEmbedding, head: "FixedBinsHead", tokens: Tensor) -> None:
        """Set the edges of both from the training ``tokens [n, D]``."""
        edges = quantile_edges(tokens, self.N)
        embedding.edges.copy_(edges)
        head.edges.copy_(edges)


@dataclass(frozen=True, kw_only=True)
class MuLawConfig(UniformConfig):
    """The settings of bins of equal width on the mu-law scale of [-1, 1]: narrow at 0.5, wide at 0 and 1."""

    name: ClassVar[str] = "mu_law"

    mu: float = 255.0  # mu of the mu-law scale

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.mu < math.inf:
            raise InputError(f"mu must be finite and above 0, got {self.mu}.")

    def make(self, n_dimensions: int, width: int) -> tuple[TokenEmbedding, "FixedBinsHead"]:
        """Make the one-hot embedding and the head, both with these edges."""
        edges = mu_law_edges(n_dimensions, self.N, self.mu)
        return TokenEmbedding(edges, width), FixedBinsHead(edges, width)


class FixedBinsHead(Head):
    """Predict the masses of fixed bins. Targets are not smoothed, because the widths cannot collapse.

    Args:
        edges: non-decreasing bin edges of each dimension from 0 to 1, shape ``(D, N + 1)``.
        width: width E of the model.
    """

    edges: Tensor

    def __init__(self, edges: Tensor, width: int) -> None:
        super().__init__(edges.shape[0], width, edges.shape[1] - 1)
        self.register_buffer("edges", edges.clone())

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> FixedBins:
        """See `Head`."""
        return FixedBins(self.edges[dimensions], outputs, validate_args=False)


def quantile_edges(tokens: Tensor, n_bins: int) -> Tensor:
    """Return edges between which ``tokens [n, D]`` have equal mass, shape ``(D, N + 1)``.

    Equal edges are merged. A dimension that keeps fewer bins repeats its last edge, 1.
    """
    levels = torch.linspace(0.0, 1.0, n_bins + 1, dtype=torch.float64)
    columns = []
    for values in tokens.double().cpu().T:  # torch.quantile over all at once refuses large inputs
        order = values.sort().values
        inner = order[(levels[1:-1] * (len(order) - 1)).round().long()]
        distinct = torch.cat([torch.zeros(1), inner, torch.ones(1)]).float().unique()
        columns.append(nn.functional.pad(distinct, (0, n_bins + 1 - len(distinct)), value=1.0))
    return torch.stack(columns)


def mu_law_edges(n_dimensions: int, n_bins: int, mu: float) -> Tensor:
    """Return edges that are evenly spaced on the mu-law scale, shape ``(D, N + 1)``.

    ``2 e - 1 = sign(y) ((1 + mu)^|y| - 1) / mu`` for evenly spaced y from -1 to 1.
    """
    scaled = torch.linspace(-1.0, 1.0, n_bins + 1, dtype=torch.float64)
    values = scaled.sign() * (scaled.abs() * math.log1p(mu)).expm1() / mu
    return ((values + 1) / 2).float().expand(n_dimensions, -1).contiguous()
