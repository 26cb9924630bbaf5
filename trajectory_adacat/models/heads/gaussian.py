"""The head of a normal distribution, a baseline of the paper's Table 3."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal

from trajectory_adacat.distributions.normal_tails import log_normal_mass
from trajectory_adacat.distributions.precision import result_dtype, to_compute_dtype
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding
from trajectory_adacat.models.heads.base import Head, ScalarHeadConfig

INITIAL_LOG_SCALE = math.log(0.1)
LOWEST_LOG_SCALE = -7.0  # as for mixtures of logistic distributions: densities stay bounded


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(ScalarHeadConfig):
    """The settings of a normal distribution."""

    name: ClassVar[str] = "gaussian"

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding | TokenEmbedding, "GaussianHead"]:
        """Make the embedding and the head."""
        return self.make_embedding(n_dimensions, width, 2), GaussianHead(n_dimensions, width, 2)


class GaussianHead(Head):
    """Predict normal distributions, 2 outputs: centre and scale. Samples are clamped to [0, 1].

    Attributes:
        lowest_log_scale: least logarithm of a scale.
    """

    has_bins = False
    lowest_log_scale = LOWEST_LOG_SCALE

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> "UnitNormal":
        """See `Head`."""
        shifts, log_scales = outputs.unbind(-1)
        scales = (log_scales + INITIAL_LOG_SCALE).clamp(min=self.lowest_log_scale).exp()
        return UnitNormal(0.5 + shifts, scales, validate_args=False)


class UnitNormal(Normal):
    """A normal distribution whose samples are clamped to [0, 1]."""

    def interval_log_prob(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of the mass in ``[low, high)``; either end may be infinite.

        Args:
            low: lower ends, broadcast against the batch shape.
            high: upper ends, broadcast likewise.
        """
        lower, upper = self._standardize(low), self._standardize(high)
        return log_normal_mass(lower, upper).to(result_dtype(self.loc))

    def _standardize(self, end: Tensor) -> Tensor:
        """Return ends in scales from the centre. Beyond 1e6 of them they stay there, so that gradients are finite."""
        end = to_compute_dtype(end)
        finite = end.masked_fill(end.isinf(), 0.0)
        standard = (finite - to_compute_dtype(self.loc)) / to_compute_dtype(self.scale)
        return torch.where(end.isinf(), end, standard).clamp(-1e6, 1e6)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples, clamped."""
        return super().sample(torch.Size(sample_shape)).clamp(0.0, 1.0)
