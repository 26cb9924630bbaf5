"""The AdaCat head: width and mass logits of k bins (paper section 2.3), trained on smoothed targets (section 3)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from trajectory_adacat.distributions import AdaCat, TruncatedNormal, TruncatedUniform
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import ScalarEmbedding
from trajectory_adacat.models.heads.base import Head, ScalarHeadConfig, check_count


@dataclass(frozen=True, kw_only=True)
class AdaCatConfig(ScalarHeadConfig):
    """The settings of AdaCat (paper sections 2.3 and 3).

    Raises:
        InputError: for a value out of range.
    """

    name: ClassVar[str] = "adacat"

    n_bins: int = 50  # number of bins k (2k outputs)
    smooth_coeff: float = 0.001  # lambda: full width of the uniform kernel or scale of the normal one; 0: no smoothing
    smooth_type: Literal["uniform", "normal"] = "uniform"  # smoothing kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_bins", self.n_bins)
        if not 0.0 <= self.smooth_coeff < math.inf:
            raise InputError(f"smooth_coeff must be finite and not negative, got {self.smooth_coeff}.")

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        return {} if self.smooth_coeff else {"smooth_type": "--smooth_coeff 0"}

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding, "AdaCatHead"]:
        """Make the scalar embedding and the head."""
        return ScalarEmbedding(n_dimensions, width, self.embedding), AdaCatHead(n_dimensions, width, self)


class AdaCatHead(Head):
    """Predict AdaCat distributions, 2k outputs: width logits first, then mass logits."""

    def __init__(self, n_dimensions: int, width: int, config: AdaCatConfig) -> None:
        super().__init__(n_dimensions, width, 2 * config.n_bins)
        self.config = config

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> AdaCat:
        """See `Head`."""
        return AdaCat.from_params(outputs, validate_args=False)

    def loss(self, distribution: AdaCat, targets: Tensor) -> Tensor:
        """Return the smoothed negative log-likelihood of each target in nats, batch shape (paper equation 8)."""
        if self.config.smooth_coeff == 0.0:
            return super().loss(distribution, targets)
        kernel = TruncatedUniform if self.config.smooth_type == "uniform" else TruncatedNormal
        return -distribution.smoothed_log_prob(kernel(targets, self.config.smooth_coeff, validate_args=False))
