"""The head of a mixture of logistic distributions, the paper's baseline without bins (section 4.2)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trajectory_adacat.distributions import LogisticMixture
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding
from trajectory_adacat.models.heads.base import Head, ScalarHeadConfig, check_count

INITIAL_LOG_SCALE = math.log(0.1)
LOWEST_LOG_SCALE = -7.0  # as in PixelCNN++: densities stay bounded


@dataclass(frozen=True, kw_only=True)
class LogisticMixtureConfig(ScalarHeadConfig):
    """The settings of a mixture of logistic distributions.

    Raises:
        InputError: for a value out of range.
    """

    name: ClassVar[str] = "logistic_mixture"

    n_components: int = 32  # components m of the mixture (3m outputs)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_components", self.n_components)

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding | TokenEmbedding, "LogisticMixtureHead"]:
        """Make the embedding and the head."""
        embedding = self.make_embedding(n_dimensions, width, 3 * self.n_components)
        return embedding, LogisticMixtureHead(n_dimensions, width, self.n_components)


class LogisticMixtureHead(Head):
    """Predict mixtures of m logistic distributions, 3m outputs: weights, centres and scales.

    The support is the real line. Samples and means are clamped to [0, 1], the range of the tokens.

    Attributes:
        lowest_log_scale: least logarithm of a scale.
    """

    has_bins = False
    lowest_log_scale = LOWEST_LOG_SCALE
    centres: Tensor

    def __init__(self, n_dimensions: int, width: int, n_components: int) -> None:
        super().__init__(n_dimensions, width, 3 * n_components)
        # Spread the initial centres over [0, 1], so that the components learn different modes.
        centres = (torch.arange(n_components) + 0.5) / n_components
        self.register_buffer("centres", centres, persistent=False)

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> "UnitLogisticMixture":
        """See `Head`."""
        logits, shifts, log_scales = outputs.chunk(3, -1)
        scales = (log_scales + INITIAL_LOG_SCALE).clamp(min=self.lowest_log_scale).exp()
        return UnitLogisticMixture(logits, self.centres + shifts, scales, validate_args=False)


class UnitLogisticMixture(LogisticMixture):
    """A mixture of logistic distributions whose quantiles and mean are clamped to [0, 1]."""

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile of ``value`` in [0, 1], clamped."""
        margin = torch.finfo(torch.float32).eps  # the quantiles of 0 and 1 are infinite
        return super().icdf(value.clamp(margin, 1.0 - margin)).clamp(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        """Return the expected value, clamped."""
        return super().mean.clamp(0.0, 1.0)
