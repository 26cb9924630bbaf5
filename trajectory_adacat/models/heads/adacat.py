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
    smooth_start: float | None = None  # lambda at the first step, from which it falls to smooth_coeff; none: constant
    smooth_fraction: float = 0.6  # share of the steps in which lambda falls, geometrically
    smooth_type: Literal["uniform", "normal"] = "uniform"  # smoothing kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_bins", self.n_bins)
        if not 0.0 <= self.smooth_coeff < math.inf:
            raise InputError(f"smooth_coeff must be finite and not negative, got {self.smooth_coeff}.")
        if self.smooth_start is not None and not self.smooth_coeff <= self.smooth_start < math.inf:
            raise InputError(f"smooth_start must be finite and at least smooth_coeff, got {self.smooth_start}.")
        if self.smooth_start is not None and self.smooth_coeff == 0.0:
            raise InputError("smooth_start needs a smooth_coeff above 0: a geometric schedule does not reach 0.")
        if not 0.0 < self.smooth_fraction <= 1.0:
            raise InputError(f"smooth_fraction must lie in (0, 1], got {self.smooth_fraction}.")

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        idle = {} if self.smooth_coeff else {"smooth_type": "--smooth_coeff 0"}
        return idle | ({"smooth_fraction": "--smooth_start none"} if self.smooth_start is None else {})

    def smoothing(self, progress: float) -> float:
        """Return lambda when a share ``progress`` in [0, 1] of the steps is done."""
        if self.smooth_start is None or progress >= self.smooth_fraction:
            return self.smooth_coeff
        share = progress / self.smooth_fraction
        return self.smooth_start ** (1.0 - share) * self.smooth_coeff**share

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding, "AdaCatHead"]:
        """Make the scalar embedding and the head."""
        return ScalarEmbedding(n_dimensions, width, self.embedding), AdaCatHead(n_dimensions, width, self)


class AdaCatHead(Head):
    """Predict AdaCat distributions, 2k outputs: width logits first, then mass logits."""

    def __init__(self, n_dimensions: int, width: int, config: AdaCatConfig) -> None:
        super().__init__(n_dimensions, width, 2 * config.n_bins)
        self.config = config
        self._smoothing = config.smooth_coeff

    def set_progress(self, progress: float) -> None:
        """See `Head`: lambda falls from coarse to fine."""
        self._smoothing = self.config.smoothing(progress)

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> AdaCat:
        """See `Head`."""
        return AdaCat.from_params(outputs, validate_args=False)

    def loss(self, distribution: AdaCat, targets: Tensor) -> Tensor:
        """Return the smoothed negative log-likelihood of each target in nats, batch shape (paper equation 8)."""
        if self._smoothing == 0.0:
            return super().loss(distribution, targets)
        kernel = TruncatedUniform if self.config.smooth_type == "uniform" else TruncatedNormal
        return -distribution.smoothed_log_prob(kernel(targets, self._smoothing, validate_args=False))
