"""The head of adaptive quantiles: bins of learned widths and equal masses (paper section 2.2)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trajectory_adacat.distributions import AdaCat
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding
from trajectory_adacat.models.heads.adacat import AdaCatConfig, AdaCatHead


@dataclass(frozen=True, kw_only=True)
class AdaptiveQuantileConfig(AdaCatConfig):
    """The settings of adaptive quantiles: those of AdaCat, with k outputs."""

    name: ClassVar[str] = "adaptive_quantile"

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding | TokenEmbedding, "AdaptiveQuantileHead"]:
        """Make the embedding and the head."""
        embedding = self.make_embedding(n_dimensions, width, self.n_bins)
        return embedding, AdaptiveQuantileHead(n_dimensions, width, self)


class AdaptiveQuantileHead(AdaCatHead):
    """Predict the widths of bins that have a mass of 1 / k each, k outputs."""

    def __init__(self, n_dimensions: int, width: int, config: AdaptiveQuantileConfig) -> None:
        super().__init__(n_dimensions, width, config, outputs_per_bin=1)

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> AdaCat:
        """See `Head`."""
        return AdaCat(outputs, torch.zeros_like(outputs), validate_args=False)
