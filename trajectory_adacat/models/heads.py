"""Output heads: one matrix for each dimension of a transition, giving a distribution over [0, 1]."""

from typing import Literal

import torch
from torch import Tensor, nn

from trajectory_adacat.distributions import AdaCat, FixedBins, PiecewiseConstant

Parameterization = Literal["adacat", "uniform", "quantile"]


class PerDimensionLinear(nn.Module):
    """A linear map without bias whose matrix depends on the dimension that is predicted.

    Args:
        n_dimensions: dimensions D of a transition.
        in_features: width E.
        out_features: outputs O of each matrix.
    """

    def __init__(self, n_dimensions: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_dimensions, in_features, out_features))

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps ``hidden [B, T, E]``, whose row p predicts dimension (p + 1) mod D, to ``[B, T, O]``."""
        n_dimensions, n_rows = len(self.weight), hidden.shape[1]
        n_transitions = -(-n_rows // n_dimensions)
        padded = nn.functional.pad(hidden, (0, 0, 0, n_transitions * n_dimensions - n_rows))
        by_dimension = padded.unflatten(1, (n_transitions, n_dimensions))  # [B, L, D, E]
        outputs = torch.einsum("blde,deo->bldo", by_dimension, self.weight.roll(-1, 0))
        return outputs.flatten(1, 2)[:, :n_rows]

    def one(self, hidden: Tensor, dimension: int) -> Tensor:
        """Maps ``hidden [..., E]`` with the matrix that predicts ``dimension``, to ``[..., O]``."""
        return hidden @ self.weight[dimension]


class AdaCatHead(PerDimensionLinear):
    """Width and mass logits of AdaCat, 2k outputs (paper section 2.3)."""

    def __init__(self, n_dimensions: int, in_features: int, n_bins: int) -> None:
        super().__init__(n_dimensions, in_features, 2 * n_bins)

    def distribution(self, hidden: Tensor) -> PiecewiseConstant:
        """The distributions of all positions, batch shape ``[B, T]``; see `PerDimensionLinear.forward`."""
        return AdaCat.from_params(self(hidden), validate_args=False)

    def distribution_of(self, hidden: Tensor, dimension: int) -> PiecewiseConstant:
        """The distributions of one dimension, batch shape ``hidden.shape[:-1]``."""
        return AdaCat.from_params(self.one(hidden, dimension), validate_args=False)


class FixedBinsHead(PerDimensionLinear):
    """Logits of fixed bins: the uniform and quantile baselines (Trajectory Transformer; paper Table 4).

    Args:
        edges: non-decreasing bin edges of each dimension from 0 to 1, shape ``(D, N + 1)``.
    """

    edges: Tensor

    def __init__(self, edges: Tensor, in_features: int) -> None:
        super().__init__(edges.shape[0], in_features, edges.shape[1] - 1)
        self.register_buffer("edges", edges.clone())

    def distribution(self, hidden: Tensor) -> PiecewiseConstant:
        """The distributions of all positions, batch shape ``[B, T]``; see `PerDimensionLinear.forward`."""
        predicted = (torch.arange(hidden.shape[1], device=hidden.device) + 1) % len(self.edges)
        return FixedBins(self.edges[predicted], self(hidden), validate_args=False)

    def distribution_of(self, hidden: Tensor, dimension: int) -> PiecewiseConstant:
        """The distributions of one dimension, batch shape ``hidden.shape[:-1]``."""
        return FixedBins(self.edges[dimension], self.one(hidden, dimension), validate_args=False)


def uniform_edges(n_dimensions: int, n_bins: int) -> Tensor:
    """Equal-width edges, shape ``(D, N + 1)``."""
    return torch.linspace(0.0, 1.0, n_bins + 1).expand(n_dimensions, -1).contiguous()


def quantile_edges(tokens: Tensor, n_bins: int) -> Tensor:
    """Edges between which ``tokens [n, D]`` have equal mass, shape ``(D, N + 1)``.

    Coinciding edges are merged; a dimension that keeps fewer bins repeats its last edge, 1.
    """
    levels = torch.linspace(0.0, 1.0, n_bins + 1, dtype=torch.float64)
    columns = []
    for values in tokens.double().cpu().T:  # torch.quantile over all at once refuses large inputs
        order = values.sort().values
        inner = order[(levels[1:-1] * (len(order) - 1)).round().long()]
        distinct = torch.cat([torch.zeros(1), inner, torch.ones(1)]).float().unique()
        columns.append(nn.functional.pad(distinct, (0, n_bins + 1 - len(distinct)), value=1.0))
    return torch.stack(columns)
