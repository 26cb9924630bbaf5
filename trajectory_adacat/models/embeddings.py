"""Token embeddings: a linear map of the scalar itself (AdaCat), or of the index of its bin (the baselines)."""

from typing import Literal

import torch
from torch import Tensor, nn

ScalarKind = Literal["shared", "per_dimension"]
EmbeddingKind = Literal["shared", "per_dimension", "one_hot"]


class ScalarEmbedding(nn.Module):
    """A linear layer that takes one scalar (paper section 4.4).

    Args:
        n_dimensions: dimensions D of a transition.
        embedding_size: width E of the model.
        kind: "shared" is the paper's single vector; "per_dimension" has one for each dimension.

    The scalar is standardized first with the buffers ``mean`` and ``std``, shape ``(D,)``. They are 0 and 1 until
    `set_statistics` is called.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_dimensions: int, embedding_size: int, kind: ScalarKind) -> None:
        super().__init__()
        n_vectors = 1 if kind == "shared" else n_dimensions
        self.weight = nn.Parameter(torch.empty(n_vectors, embedding_size))
        self.bias = nn.Parameter(torch.zeros(n_vectors, embedding_size))
        self.register_buffer("mean", torch.zeros(n_dimensions))
        self.register_buffer("std", torch.ones(n_dimensions))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the standardization, each ``(D,)``; a constant dimension keeps the scale 1."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, values: Tensor, dimensions: Tensor) -> Tensor:
        """Embed ``values [..., T]`` of ``dimensions [T]`` as ``[..., T, E]``."""
        scaled = (values - self.mean[dimensions]) / self.std[dimensions]
        rows = dimensions if len(self.weight) > 1 else torch.zeros_like(dimensions)
        return torch.addcmul(self.bias[rows], scaled.unsqueeze(-1), self.weight[rows])


class TokenEmbedding(nn.Module):
    """One learned vector for each bin of each dimension: Trajectory Transformer's one-hot embedding.

    Args:
        edges: non-decreasing bin edges of each dimension, shape ``(D, N + 1)``.
        embedding_size: width E of the model.
    """

    edges: Tensor

    def __init__(self, edges: Tensor, embedding_size: int) -> None:
        super().__init__()
        self.register_buffer("edges", edges.clone())
        self._n_bins = edges.shape[1] - 1
        self.weight = nn.Parameter(torch.empty(edges.shape[0] * self._n_bins, embedding_size))

    def forward(self, values: Tensor, dimensions: Tensor) -> Tensor:
        """Embed ``values [..., T]`` of ``dimensions [T]`` as ``[..., T, E]``."""
        inner = self.edges[dimensions, 1:-1].contiguous()  # [T, N - 1]
        # 1 belongs to the last bin of positive width, not to the empty bins that may follow it.
        below_one = values.clamp(max=1.0 - torch.finfo(values.dtype).eps / 2)
        columns = below_one.movedim(-1, 0).flatten(1).contiguous()  # [T, everything else]
        bins = torch.searchsorted(inner, columns, right=True).view(values.movedim(-1, 0).shape).movedim(0, -1)
        return nn.functional.embedding(dimensions * self._n_bins + bins, self.weight)


def uniform_edges(n_dimensions: int, n_bins: int) -> Tensor:
    """Return evenly spaced edges, shape ``(D, N + 1)``."""
    return torch.linspace(0.0, 1.0, n_bins + 1).expand(n_dimensions, -1).contiguous()
